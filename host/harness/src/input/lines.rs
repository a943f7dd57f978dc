//! Reads and writes rows as lines of JSON: the description of a table, then its rows.
//!
//! ```text
//! {"table": "shop.orders", "columns": {"id": "bigint unsigned", "state": "varchar(20)"}, "key": ["id"]}
//! {"id": 1, "state": "open"}
//! {"update": {"id": 1, "state": "paid"}, "before": {"id": 1, "state": "open"}}
//! {"delete": {"id": 1, "state": "paid"}}
//! ```

use std::fmt::Write as _;

use anyhow::{Context, bail, ensure};
use rowmill_rows::ColumnType;
use rowmill_sandbox::{ColumnKind, Table};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Image, Input, Operation, Row, spelling};

/// A JSON object that keeps the order of its members and the spelling of their values.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Members {
    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn is_table(&self) -> bool {
        self.get("table").is_some_and(|table| table.get().starts_with('"'))
            && self.get("columns").is_some_and(|columns| columns.get().starts_with('{'))
            && self.0.iter().all(|(name, _)| matches!(name.as_str(), "table" | "columns" | "key"))
    }
}

/// Returns true if the first line describes a table.
pub(super) fn begins_with_table(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.next().and_then(|line| serde_json::from_slice::<Members>(line).ok()).is_some_and(|line| line.is_table())
}

/// Reads lines of which the first describes a table.
pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Input> {
    let mut input = Input::default();
    for_each_line(bytes, |number, members| {
        if members.is_table() {
            let table = described(input.tables.len(), &members)?;
            input.tables.push(table);
            return Ok(());
        }
        let row = row(&input.tables, &members)?;
        input.push(format!("line {number}"), Ok(row));
        Ok(())
    })?;
    Ok(input)
}

/// Reads lines without a description, as rows of the table with this name. Its columns are those of the rows.
pub(super) fn parse_of_table(bytes: &[u8], name: &str) -> anyhow::Result<Input> {
    if begins_with_table(bytes) {
        bail!("the first line describes the table; omit the table's name");
    }
    let mut names: Vec<(String, String)> = Vec::new();
    for_each_line(bytes, |_, members| {
        for (name, value) in &members.0 {
            let fields = match name.as_str() {
                "insert" | "update" | "delete" | "snapshot" | "before" => serde_json::from_str(value.get()).ok(),
                _ => None,
            };
            let fields: Vec<String> = match fields {
                Some(Members(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
                None => vec![name.clone()],
            };
            for name in fields {
                if !names.iter().any(|(known, _)| *known == name) {
                    names.push((name, "unknown".to_string()));
                }
            }
        }
        Ok(())
    })?;
    let mut input = Input { tables: vec![table(0, name, names, None)?], ..Input::default() };
    for_each_line(bytes, |number, members| {
        let row = row(&input.tables, &members)?;
        input.push(format!("line {number}"), Ok(row));
        Ok(())
    })?;
    Ok(input)
}

fn for_each_line(bytes: &[u8], mut each: impl FnMut(usize, Members) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for (place, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed: Result<Members, _> = serde_json::from_slice(line);
        parsed
            .context("expected a JSON object: a table's description or a row")
            .and_then(|members| each(place + 1, members))
            .with_context(|| format!("line {}", place + 1))?;
    }
    Ok(())
}

fn described(number: usize, members: &Members) -> anyhow::Result<Table> {
    let text = |name: &str| members.get(name).map(RawValue::get).unwrap_or_default();
    let name: String = serde_json::from_str(text("table"))?;
    let columns: Members = serde_json::from_str(text("columns"))?;
    let columns = columns.0.into_iter().map(|(column, kind)| {
        let kind: String = serde_json::from_str(kind.get())
            .with_context(|| format!("column {column}: expected its type as a string, such as \"bigint unsigned\""))?;
        Ok((column, kind))
    });
    let key = members.get("key").map(|key| {
        serde_json::from_str::<Vec<String>>(key.get()).context("`key`: expected an array of the key's columns")
    });
    table(number, &name, columns.collect::<anyhow::Result<_>>()?, key.transpose()?.as_deref())
}

/// A table; its first column is the key if none is given.
pub(super) fn table(
    number: usize,
    full_name: &str,
    columns: Vec<(String, String)>,
    key: Option<&[String]>,
) -> anyhow::Result<Table> {
    ensure!(!columns.is_empty(), "table {full_name}: it has no columns");
    let (database, name) = full_name.split_once('.').unwrap_or(("", full_name));
    let mut kinds = Vec::new();
    for (column, kind) in &columns {
        let kind = match ColumnKind::from_name(kind) {
            Some(kind) => kind.name(),
            None => ColumnType::parse(kind)
                .map_err(|error| anyhow::anyhow!("column {column}: {error}, or a kind of the contract's"))?
                .kind(),
        };
        kinds.push((column.as_str(), kind));
    }
    let key = match key {
        None => vec![0],
        Some(key) => key
            .iter()
            .map(|name| {
                let place = columns.iter().position(|(column, _)| column == name);
                place.map(|place| place as u32).with_context(|| format!("`key` names {name}, which is not a column"))
            })
            .collect::<anyhow::Result<_>>()?,
    };
    Ok(Table::new(number as u32, database, name, kinds, &key))
}

/// A row of the last described table.
fn row(tables: &[Table], members: &Members) -> anyhow::Result<Row> {
    let place = tables.len() - 1;
    let table = &tables[place];
    let words = ["insert", "update", "delete", "snapshot", "before"];
    let has_column = |name: &str| table.columns.iter().any(|column| column.name == name);
    let is_change =
        !members.0.is_empty() && members.0.iter().all(|(name, _)| words.contains(&name.as_str()) && !has_column(name));
    if !is_change {
        return Ok(Row {
            table: place,
            operation: Operation::Insert,
            before: None,
            after: Some(image(table, members)?),
        });
    }
    let said = |name: &str| -> anyhow::Result<Option<Image>> {
        let Some(value) = members.get(name) else { return Ok(None) };
        let members: Members =
            serde_json::from_str(value.get()).with_context(|| format!("`{name}`: expected the row as an object"))?;
        image(table, &members).with_context(|| format!("`{name}`")).map(Some)
    };
    let operation = match members
        .0
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != "before")
        .collect::<Vec<_>>()[..]
    {
        ["insert"] => Operation::Insert,
        ["update"] => Operation::Update,
        ["delete"] => Operation::Delete,
        ["snapshot"] => Operation::Snapshot,
        _ => bail!("expected one of `insert`, `update` (with `before`), `delete`, `snapshot`"),
    };
    let before = said("before")?;
    ensure!(before.is_none() || operation == Operation::Update, "`before` belongs to an `update`");
    let (before, after) = match operation {
        Operation::Insert => (None, said("insert")?),
        Operation::Snapshot => (None, said("snapshot")?),
        Operation::Delete => (said("delete")?, None),
        _ => (before, said("update")?),
    };
    Ok(Row { table: place, operation, before, after })
}

pub(super) fn image_of_value(table: &Table, row: &Value) -> anyhow::Result<Image> {
    let members: Members = serde_json::from_str(&row.to_string())
        .with_context(|| format!("a row of {} is not an object", table.full_name()))?;
    image(table, &members)
}

fn image(table: &Table, members: &Members) -> anyhow::Result<Image> {
    let mut image = vec![Vec::new(); table.columns.len()];
    for (name, value) in &members.0 {
        let Some(place) = table.columns.iter().position(|column| column.name == *name) else {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            bail!("table {} has no column {name:?}; it has {}", table.full_name(), names.join(", "));
        };
        let kind = table.columns[place].kind;
        ensure!(
            fits(kind, value.get()),
            "column {name} of {} is of the kind {}: expected {}, got {}",
            table.full_name(),
            kind.name(),
            spelling(kind),
            value.get()
        );
        image[place] = value.get().as_bytes().to_vec();
    }
    Ok(image)
}

/// Returns true if a JSON value is spelled like cells of this kind. The gateway passes no others to a plugin.
fn fits(kind: ColumnKind, json: &str) -> bool {
    let whole = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let first = json.as_bytes().first().copied().unwrap_or_default();
    if json == "null" {
        return true;
    }
    match kind {
        ColumnKind::Unknown | ColumnKind::Json => true,
        ColumnKind::Integer => whole(json.strip_prefix('-').unwrap_or(json)),
        ColumnKind::UnsignedInteger | ColumnKind::Bit => whole(json),
        ColumnKind::Boolean => matches!(json, "true" | "false"),
        ColumnKind::Float | ColumnKind::Double => first == b'-' || first.is_ascii_digit(),
        _ => first == b'"',
    }
}

/// Writes the rows as lines; each table is described before its first row.
pub(super) fn write(input: &Input) -> String {
    let mut out = String::new();
    let mut described = None;
    for row in input.rows.iter().filter_map(|(_, row)| row.as_ref().ok()) {
        let table = &input.tables[row.table];
        if described != Some(row.table) {
            described = Some(row.table);
            write_table(&mut out, table);
        }
        let name = match row.operation {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Snapshot | Operation::Truncate => "snapshot",
        };
        let (main, before) = match (&row.after, &row.before) {
            (Some(after), before) => (after, before.as_ref()),
            (None, Some(before)) => (before, None),
            (None, None) => continue,
        };
        let _ = write!(out, "{{\"{name}\":");
        write_image(&mut out, table, main);
        if let Some(before) = before {
            out.push_str(",\"before\":");
            write_image(&mut out, table, before);
        }
        out.push_str("}\n");
    }
    out
}

fn write_table(out: &mut String, table: &Table) {
    let name = |column: u32| Value::from(table.columns[column as usize].name.as_str()).to_string();
    let columns: Vec<String> = (0..table.columns.len() as u32)
        .map(|column| format!("{}:\"{}\"", name(column), table.columns[column as usize].kind.name()))
        .collect();
    let key: Vec<String> = table.key.iter().map(|column| name(*column)).collect();
    let full_name = Value::from(table.full_name());
    let _ =
        writeln!(out, "{{\"table\":{full_name},\"columns\":{{{}}},\"key\":[{}]}}", columns.join(","), key.join(","));
}

fn write_image(out: &mut String, table: &Table, image: &Image) {
    let cells = table.columns.iter().zip(image).filter(|(_, cell)| !cell.is_empty());
    let members: Vec<String> = cells
        .map(|(column, cell)| format!("{}:{}", Value::from(column.name.as_str()), String::from_utf8_lossy(cell)))
        .collect();
    let _ = write!(out, "{{{}}}", members.join(","));
}
