//! The tables behind the captured streams: their columns' types, their rows at the end, and those rows as documents.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The four tables.
pub const TABLES: [&str; 4] = ["customers", "order_items", "orders", "trade"];

/// Documents by id.
pub type Documents = BTreeMap<String, Value>;

/// Name and type of each column, from `schema.sql` and the ALTERs of the workload.
///
/// # Panics
/// The file has changed.
pub fn columns(table: &str) -> BTreeMap<String, String> {
    let schema = std::fs::read_to_string(crate::fixture("schema.sql")).expect("a fixture is text");
    let (_, body) = schema.split_once(&format!("CREATE TABLE {table} (\n")).expect("the table");
    let lines = body.lines().take_while(|line| !line.starts_with(')')).map(str::trim);
    let mut columns: BTreeMap<String, String> = lines
        .filter(|line| !["PRIMARY", "UNIQUE", "KEY"].iter().any(|word| line.starts_with(word)))
        .map(|line| {
            let (name, rest) = line.split_once(' ').expect("a name and a type");
            let end = [" NOT NULL", " NULL"].iter().filter_map(|word| rest.find(word)).min().expect("NULL or NOT NULL");
            (name.to_string(), rest[..end].trim().to_string())
        })
        .collect();
    match table {
        "orders" => drop(columns.insert("channel".into(), "VARCHAR(16)".into())),
        "customers" => {
            columns.insert("nickname".into(), "VARCHAR(80)".into());
            // The workload makes it signed; the type that holds both is the one to declare.
            columns.insert("grade".into(), "SMALLINT".into());
        }
        _ => {}
    }
    columns
}

/// The `[tables]` section that declares all columns.
pub fn declared() -> String {
    let mut text = String::new();
    for table in TABLES {
        text += &format!("\n[tables.\"shop.{table}\"]\n");
        for (name, column_type) in columns(table) {
            text += &format!("{name} = {}\n", json!(column_type));
        }
    }
    text
}

/// The default ID of a row.
fn id(table: &str, row: &Value) -> String {
    let key: &[&str] = match table {
        "customers" => &["customer_no"],
        "order_items" => &["order_id", "line_no"],
        _ => &["id"],
    };
    let parts: Vec<String> =
        key.iter().map(|column| row[column].as_str().map_or_else(|| row[column].to_string(), str::to_string)).collect();
    parts.join("|")
}

/// The rows at the end as MariaDB prints them, by id.
pub fn rows(table: &str) -> Documents {
    let path = crate::fixture(&format!("expected/{table}.ndjson"));
    let text = std::fs::read_to_string(path).expect("a fixture is text");
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row"));
    rows.map(|row| (id(table, &row), row)).collect()
}

/// Returns true if a stream does not report all changes of a table: neither unwrapped Debezium nor this version of Maxwell reports
/// a truncate.
pub fn lacks_truncates(stream: &str, table: &str) -> bool {
    table == "order_items" && matches!(stream, "debezium/flat" | "maxwell/records")
}

/// The documents of a table's rows, with all column types declared, as far as the stream reports them.
pub fn expected(stream: &str, table: &str) -> Documents {
    let types = columns(table);
    let document = |row: Value| -> Value {
        let Value::Object(row) = row else { panic!("a row is an object") };
        row.into_iter()
            .map(|(column, value)| {
                let value = spell(stream, &types[&column], value);
                (column, value)
            })
            .collect::<Map<_, _>>()
            .into()
    };
    rows(table).into_iter().map(|(id, row)| (id, document(row))).collect()
}

/// MariaDB's text in the form of documents (docs/formats.md).
fn spell(stream: &str, column_type: &str, value: Value) -> Value {
    let Value::String(text) = &value else {
        return match (column_type, &value) {
            ("BOOLEAN", Value::Number(number)) => json!(number.as_u64() != Some(0)),
            _ => value,
        };
    };
    let word = column_type.split('(').next().unwrap_or_default();
    match word {
        "JSON" => serde_json::from_str(text).expect("a JSON column holds JSON"),
        "DATETIME" | "TIMESTAMP" | "TIME" => {
            let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
            let fraction = format!("{fraction:0<6}");
            let fraction = match fraction.strip_suffix("000") {
                // This version of Maxwell truncates them.
                _ if stream == "maxwell/records" => String::new(),
                Some("000") => String::new(),
                Some(milliseconds) => format!(".{milliseconds}"),
                None => format!(".{fraction}"),
            };
            let zone = if word == "TIMESTAMP" { "Z" } else { "" };
            format!("{}{fraction}{zone}", clock.replace(' ', "T")).into()
        }
        _ => value,
    }
}

/// Compares documents with expected ones value by value: texts by all their characters, numbers by all their digits,
/// floats by the number that they are.
///
/// # Panics
/// They differ; the message names each field that does.
#[track_caller]
pub fn check(what: &str, stream: &str, table: &str, got: &Documents, want: &Documents) {
    let types = columns(table);
    let mut wrong = Vec::new();
    for (id, want) in want {
        let Some(got) = got.get(id) else {
            wrong.push(format!("{id}: missing"));
            continue;
        };
        let names = |value: &Value| {
            value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
        };
        let (mut mine, mut theirs) = (names(got), names(want));
        mine.sort();
        theirs.sort();
        if mine != theirs {
            wrong.push(format!("{id}: has the fields {mine:?} and not {theirs:?}"));
        }
        for name in theirs {
            // Maxwell's TIME is wrong outside of a day.
            if stream == "maxwell/records" && name == "cutoff" {
                continue;
            }
            let column_type = types.get(&name).map_or("", String::as_str);
            if canonical(column_type, &got[&name]) != canonical(column_type, &want[&name]) {
                wrong.push(format!("{id} {name}: {} and not {}", got[&name], want[&name]));
            }
        }
    }
    if !lacks_truncates(stream, table) {
        wrong.extend(got.keys().filter(|id| !want.contains_key(*id)).map(|id| format!("{id}: should not be there")));
    }
    assert!(wrong.is_empty(), "{what}, {stream}, {table}:\n  {}", wrong.join("\n  "));
}

fn canonical(column_type: &str, value: &Value) -> Value {
    let Value::Number(number) = value else { return value.clone() };
    match column_type {
        "FLOAT" => json!(number.to_string().parse::<f32>().expect("a float").to_string()),
        "DOUBLE" => json!(number.to_string().parse::<f64>().expect("a double").to_string()),
        _ => value.clone(),
    }
}

/// The document that the bundled plugin `trade-document` builds from a row of `trade`, by an independent model. The row is the
/// document without plugins.
pub fn trade_document(row: &Value) -> Value {
    let utc = |text: &str| format!("{}Z", text.trim_end_matches('Z'));
    let words = [("NEW", "new"), ("PAID", "paid"), ("SHIPPED", "shipped"), ("DONE", "done"), ("CLOSED", "closed")];
    let status = words.iter().find(|(label, _)| row["status"] == *label).expect("a known status").1;
    // All amounts have two digits behind the point.
    let cents: i64 = row["amount"].as_str().expect("an amount").replace('.', "").parse().expect("cents");
    let mut document = json!({
        "id": row["id"], "tradeNo": row["trade_no"], "title": row["title"], "quantity": row["quantity"],
        "remark": row["remark"], "ext": row["ext"], "status": status, "paid": row["is_paid"],
        "buyer": { "id": row["buyer_id"], "memo": row["buyer_memo"] },
        "seller": { "id": row["seller_id"], "shop": row["shop_name"], "memo": row["seller_memo"] },
        "receiver": {
            "name": row["receiver_name"].as_str().expect("a name").trim(),
            "phone": row["receiver_phone"], "address": row["receiver_addr"],
        },
        "pay": { "channel": row["pay_channel"], "amountCents": cents, "currency": row["currency"].as_str().expect("a currency").trim().to_uppercase() },
    });
    if let Some(tags) = row["tags"].as_str() {
        document["tags"] = tags.split(',').filter(|tag| !tag.is_empty()).collect();
    }
    for (column, name) in [("created_at", "createdAt"), ("updated_at", "updatedAt"), ("ship_time", "shippedAt")] {
        if let Some(time) = row[column].as_str() {
            document[name] = utc(time).into();
        }
    }
    if let Some(time) = row["pay_time"].as_str() {
        document["pay"]["time"] = utc(time).into();
    }
    document
}

/// Returns true if a value equals that of the row, in any spelling of a stream without declared types.
pub fn says(stream: &str, column_type: &str, got: &Value, row: &Value) -> bool {
    let want = spell(stream, column_type, row.clone());
    if canonical(column_type, got) == canonical(column_type, &want) || got == row {
        return true;
    }
    let number = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let text = row.as_str().unwrap_or_default();
    let cut = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_string();
    match column_type.split('(').next().unwrap_or_default() {
        // Values that do not fit Java's long become negative.
        "BIGINT UNSIGNED" => got.as_i64().is_some_and(|signed| Some(signed as u64) == row.as_u64()),
        "BOOLEAN" | "BIT" if got.is_boolean() => got.as_bool() == Some(row.as_u64() != Some(0)),
        "BIT" => {
            let bytes = got.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            !bytes.is_empty()
                && bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
                    == row.as_u64().unwrap_or_default()
        }
        "DECIMAL" => {
            cut(&format!("{}.", number(got)).replacen("..", ".", 1)) == cut(text) || cut(&number(got)) == cut(text)
        }
        "SET" => got
            .as_array()
            .is_some_and(|labels| labels.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",") == text),
        "JSON" => got.as_str().is_some_and(|got| got == text),
        "DATETIME" | "TIMESTAMP" | "DATE" | "TIME" if got.is_number() => true_count(column_type, &number(got), text),
        "DATETIME" | "TIMESTAMP" | "TIME" => {
            let plain =
                |text: &str| cut(&format!("{}.", text.replace('T', " ").trim_end_matches('Z')).replacen("..", ".", 1));
            let got = plain(got.as_str().unwrap_or_default());
            let want = plain(text);
            got == want.trim_end_matches('.')
                || cut(&got) == cut(&want)
                || want.split('.').next() == got.split('.').next() && stream == "maxwell/records"
        }
        // MariaDB's 3 is another tool's 3.0.
        "FLOAT" | "DOUBLE" => number(got).parse::<f64>().ok() == number(row).parse().ok(),
        _ => number(got) == number(row),
    }
}

/// Returns true if a count of days, milliseconds or microseconds equals this time.
fn true_count(column_type: &str, count: &str, text: &str) -> bool {
    let Ok(count) = count.parse::<i128>() else { return false };
    let (date, clock) = match text.split_once(' ') {
        Some((date, clock)) => (Some(date), clock),
        None if column_type == "DATE" => (Some(text), ""),
        None => (None, text),
    };
    let days = date.map_or(0, days_since_1970);
    if column_type == "DATE" {
        return count == days;
    }
    let sign = if clock.starts_with('-') { -1 } else { 1 };
    let (whole, fraction) =
        clock.trim_start_matches('-').split_once('.').unwrap_or((clock.trim_start_matches('-'), "0"));
    let seconds = whole.split(':').fold(0, |all, part| all * 60 + part.parse::<i128>().unwrap_or_default());
    let microseconds = (days * 86_400 + sign * seconds) * 1_000_000
        + sign * format!("{fraction:0<6}").parse::<i128>().unwrap_or_default();
    count == microseconds || count * 1_000 == microseconds
}

/// Days from the civil calendar (Howard Hinnant's algorithm), so that Rowmill's code does not check itself.
fn days_since_1970(date: &str) -> i128 {
    let mut parts = date.split('-').map(|part| part.parse::<i128>().unwrap_or_default());
    let (year, month, day) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
