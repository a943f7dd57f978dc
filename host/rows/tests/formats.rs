//! Each case of each format: what a record says and what is decoded.
#![allow(clippy::unwrap_used)]

mod support;

use rowmill_rows::{DeclaredTypes, Format, RowInEvent, SourcePosition};
use support::*;

type KeyAndValue<'a> = (Option<&'a str>, Option<&'a str>);

fn decode(format: Format, topic: &str, declared: &[(&str, &str)], records: &[KeyAndValue<'_>]) -> Decoded {
    let mut types = DeclaredTypes::default();
    for (column, column_type) in declared {
        types.declare("*", column, column_type).unwrap();
    }
    let mut batch = batch(format, topic, 0);
    for (n, (key, value)) in records.iter().enumerate() {
        batch.push(n as i64, -1, key.map(str::as_bytes), value.map(str::as_bytes), []);
    }
    let (mut decoded, mut again) = (Decoded::default(), Decoded::default());
    let mut decoder = decoder(types);
    decode_batch(&mut decoder, &batch, &mut decoded);
    // All that was learnt must not change what is decoded, nor make new versions.
    let n_versions = decoder.tables().len();
    decode_batch(&mut decoder, &batch, &mut again);
    assert_eq!(again.rows.len(), decoded.rows.len());
    for (row, again) in decoded.rows.iter().zip(&again.rows) {
        let truncate = row.operation == rowmill_rows::Operation::Truncate;
        assert!(row == again || truncate, "{row:?} {again:?}");
    }
    assert_eq!((&again.ignored, &again.errors), (&decoded.ignored, &decoded.errors));
    assert_eq!(decoder.tables().len(), n_versions);
    decoded
}

/// One line for everything that came out.
fn render(decoded: &Decoded) -> Vec<String> {
    let image = |image: &Option<Image>| match image {
        None => "-".to_owned(),
        Some(image) => image.iter().map(|(c, v)| format!("{c}={v}")).collect::<Vec<_>>().join(" "),
    };
    let position = |position| match position {
        SourcePosition::Binlog { file, position, row } => {
            let row = match row {
                RowInEvent::InEvent(n) => format!("event+{n}"),
                RowInEvent::InTransaction(n) => format!("transaction+{n}"),
                RowInEvent::LastOfTransaction => "last".to_owned(),
            };
            format!("{file}:{position}:{row}")
        }
        SourcePosition::Time { milliseconds } => format!("time {milliseconds}"),
        SourcePosition::Unknown => "nowhere".to_owned(),
    };
    let rows = decoded.rows.iter().map(|row| {
        let partial = if row.before_is_whole { "" } else { " (before is not whole)" };
        format!(
            "{:?} {}[{}] {} => {} at {}{partial}",
            row.operation,
            row.table,
            row.key.join(","),
            image(&row.before),
            image(&row.after),
            position(row.position)
        )
    });
    let ignored = decoded.ignored.iter().map(|kind| format!("ignored {kind:?}"));
    let errors = decoded.errors.iter().map(|error| format!("error {error}"));
    rows.chain(ignored).chain(errors).collect()
}

/// `records` (key, value) of one topic become `expect`: rows, then what is ignored, then errors.
#[track_caller]
fn check(format: Format, topic: &str, declared: &[(&str, &str)], records: &[KeyAndValue<'_>], expect: &[&str]) {
    assert_eq!(render(&decode(format, topic, declared, records)), expect);
    // A topic's format is found out by itself, too, if its records tell it at all.
    let auto = render(&decode(Format::Auto, topic, declared, records));
    assert!(auto == expect || auto.iter().all(|l| l.starts_with("error no known format")), "auto: {auto:?}");
}

#[track_caller]
fn canal(value: &str, expect: &[&str]) {
    check(Format::Canal, "shop_t", &[], &[(None, Some(value))], expect);
}

#[test]
fn canal_rows() {
    canal(
        r#"{"data":[{"id":"1","n":"5"},{"id":"2","n":null}],"database":"shop","es":7000,"id":1,"isDdl":false,
            "mysqlType":{"id":"bigint(20) unsigned","n":"int(11)"},"old":null,"pkNames":["id"],"sql":"",
            "sqlType":{"id":-5,"n":4},"table":"t","ts":9,"type":"INSERT"}"#,
        &["Insert shop.t[id] - => id=1 n=5 at time 7000", "Insert shop.t[id] - => id=2 n=null at time 7000"],
    );
    canal(
        r#"{"data":[{"id":"1","a":"x","b":"y"},{"id":"9","a":"x","b":null}],"database":"shop","es":7000,"isDdl":false,
            "mysqlType":{"id":"int","a":"text","b":"text"},"old":[{"a":"w"},{"id":"2","b":"z"}],"pkNames":["id"],
            "table":"t","type":"UPDATE"}"#,
        &[
            "Update shop.t[id] a=\"w\" b=\"y\" id=1 => a=\"x\" b=\"y\" id=1 at time 7000",
            "Update shop.t[id] a=\"x\" b=\"z\" id=2 => a=\"x\" b=null id=9 at time 7000",
        ],
    );
    canal(
        r#"{"data":[{"id":"1"}],"database":"shop","es":7000,"isDdl":false,"mysqlType":{"id":"int"},"old":null,
            "pkNames":null,"table":"t","type":"DELETE"}"#,
        &["Delete shop.t[] id=1 => - at time 7000"],
    );
    // A changed value that was NULL is `null` in `old`; an element may be missing altogether.
    canal(
        r#"{"data":[{"id":"1","a":"x"},{"id":"2","a":"x"}],"database":"shop","isDdl":false,
            "mysqlType":{"id":"int","a":"text"},"old":[{"a":null},null],"pkNames":["id"],"table":"t","type":"UPDATE"}"#,
        &[
            "Update shop.t[id] a=null id=1 => a=\"x\" id=1 at nowhere",
            "Update shop.t[id] - => a=\"x\" id=2 at nowhere (before is not whole)",
        ],
    );
}

#[test]
fn canal_types() {
    canal(
        r#"{"data":[{"e":"2","s":"3","b":"A","d":"1.5","f":"0.1","t":"2026-03-04 05:06:07","x":"?"}],
            "database":"shop","isDdl":false,"mysqlType":{"e":"enum('a','b')","s":"set('x','y')","b":"blob",
            "d":"decimal(10,2)","f":"float","t":"timestamp","x":"somethingnew(3)"},"pkNames":null,"table":"t",
            "type":"INSERT"}"#,
        &["Insert shop.t[] - => b=\"QQ==\" d=\"1.50\" e=\"b\" f=0.1 s=\"x,y\" t=\"2026-03-04T05:06:07Z\" x=\"?\" at \
           nowhere"],
    );
}

#[test]
fn canal_without_rows() {
    let ddl = |kind: &str, is_ddl: bool| {
        format!(
            r#"{{"data":null,"database":"shop","es":7000,"isDdl":{is_ddl},"mysqlType":null,"old":null,"pkNames":null,"sql":"…","table":"t","type":"{kind}"}}"#
        )
    };
    canal(&ddl("TRUNCATE", true), &["Truncate shop.t[] - => - at time 7000"]);
    for kind in ["CREATE", "ALTER", "ERASE", "RENAME", "CINDEX", "DINDEX"] {
        canal(&ddl(kind, true), &["ignored SchemaChange"]);
    }
    canal(&ddl("QUERY", false), &["ignored Statement"]);
    canal(&ddl("QUERY", true), &["ignored Statement"]);
    canal(&ddl("GTID", false), &["ignored Transaction"]);
    canal(&ddl("MHEARTBEAT", false), &["ignored Heartbeat"]);
    canal(&ddl("INSERT", false), &["error not a Canal message: expected rows in `data` and the name of their `table`"]);
    canal(&ddl("INSERT", false).replace("\"data\":null", "\"data\":[]"), &["ignored Other"]);
}

#[test]
fn canal_rows_stand_and_fall_together() {
    canal(
        r#"{"data":[{"a":"1"},{"a":"x"}],"database":"shop","isDdl":false,"mysqlType":{"a":"int"},"pkNames":null,"table":"t",
            "type":"INSERT"}"#,
        &[
            "error table shop.t: column a does not hold an integer in its type's range: correct the declared type or the \
           source",
        ],
    );
}

#[test]
fn canal_names() {
    canal(
        r#"{"data":[{"`id`":"1","源":"x"}],"database":"`shop`","isDdl":false,"mysqlType":{"`id`":"int","源":"text"},
            "pkNames":["`id`"],"table":"`t`","type":"INSERT"}"#,
        &["Insert shop.t[id] - => id=1 源=\"x\" at nowhere"],
    );
    // Members that a row lacks are absent; members that nothing describes are refused.
    canal(
        r#"{"data":[{"id":"1"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int","a":"text"},"pkNames":["id"],
            "table":"t","type":"INSERT"}"#,
        &["Insert shop.t[id] - => id=1 at nowhere"],
    );
    canal(
        r#"{"data":[{"id":"1","z":"1"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int"},"pkNames":["id"],
            "table":"t","type":"INSERT"}"#,
        &["error table shop.t: column z is not among the columns that the message describes"],
    );
    canal(
        r#"{"data":[{"id":"1","id":"2"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int"},"pkNames":["id"],
            "table":"t","type":"INSERT"}"#,
        &["error table shop.t: column id is in the row twice"],
    );
    canal(
        r#"{"data":[{"a":"1"}],"database":"shop","isDdl":false,"mysqlType":{"a":"int","id":"int"},"pkNames":["id"],
            "table":"t","type":"INSERT"}"#,
        &["error table shop.t: key column id is not in the row: the source must send all key columns"],
    );
    canal(
        r#"{"data":[{"a":"secret"}],"database":"shop","isDdl":false,"mysqlType":{"a":"int"},"pkNames":null,"table":"t",
            "type":"INSERT"}"#,
        &[
            "error table shop.t: column a does not hold an integer in its type's range: correct the declared type or the \
           source",
        ],
    );
    canal(
        r#"{"data":[{"a":"1"}],"database":"shop","isDdl":false,"mysqlType":{"a":"int"},"old":[],"pkNames":null,"table":"t",
            "type":"UPDATE"}"#,
        &["error not a Canal message: expected as many rows in `old` as in `data`"],
    );
}

const SOURCE: &str = r#""source":{"ts_ms":5000,"db":"shop","table":"t","file":"binlog.000042","pos":99,"row":3}"#;

#[track_caller]
fn debezium(topic: &str, records: &[KeyAndValue<'_>], expect: &[&str]) {
    check(Format::Debezium, topic, &[], records, expect);
}

#[test]
fn debezium_envelopes() {
    let message = |before: &str, after: &str, op: &str| {
        format!(r#"{{"before":{before},"after":{after},{SOURCE},"transaction":null,"op":"{op}","ts_ms":1}}"#)
    };
    let key = Some(r#"{"id":1}"#);
    let at = "at 42:99:event+3";
    for (before, after, op, expect) in [
        ("null", r#"{"id":1,"a":"x"}"#, "c", format!("Insert shop.t[id] - => a=\"x\" id=1 {at}")),
        ("null", r#"{"id":1,"a":"x"}"#, "r", format!("Snapshot shop.t[id] - => a=\"x\" id=1 {at}")),
        (
            r#"{"id":1,"a":"w"}"#,
            r#"{"id":1,"a":"x"}"#,
            "u",
            format!("Update shop.t[id] a=\"w\" id=1 => a=\"x\" id=1 {at}"),
        ),
        ("null", r#"{"id":1,"a":"x"}"#, "u", format!("Update shop.t[id] - => a=\"x\" id=1 {at} (before is not whole)")),
        (r#"{"id":1,"a":"x"}"#, "null", "d", format!("Delete shop.t[id] a=\"x\" id=1 => - {at}")),
        ("null", "null", "t", format!("Truncate shop.t[] - => - {at}")),
        ("null", "null", "m", "ignored Other".to_owned()),
        ("null", "null", "d", "error not a Debezium message: expected the deleted row in `before`".to_owned()),
        ("null", "null", "c", "error not a Debezium message: expected the row in `after`".to_owned()),
        ("null", "null", "?", "error not a Debezium message: expected `op` c, u, d, r, t or m".to_owned()),
        // Columns in another order, and one that is absent.
        (
            r#"{"a":"w","id":1}"#,
            r#"{"id":1,"a":"x"}"#,
            "u",
            format!("Update shop.t[id] a=\"w\" id=1 => a=\"x\" id=1 {at}"),
        ),
        (r#"{"id":1}"#, r#"{"id":1,"a":"x"}"#, "u", format!("Update shop.t[id] id=1 => a=\"x\" id=1 {at}")),
    ] {
        debezium("p.shop.t", &[(key, Some(&message(before, after, op)))], &[&expect]);
    }
    // Any order of the members, white space anywhere; an embedded object is put on one line.
    debezium(
        "p.shop.t",
        &[(
            key,
            Some(&format!(
                "{{ \"op\" : \"c\",\n{SOURCE},\n\"after\" :\n{{ \"id\" : 1 , \"a\" : {{\n\"k\" : [ ]\n}} }} }}\n"
            )),
        )],
        &["Insert shop.t[id] - => a={\"k\":[]} id=1 at 42:99:event+3"],
    );
    debezium(
        "p.shop.t",
        &[(key, Some(&format!("{{\"ts_ms\":1,\"op\":\"c\",{SOURCE},\"after\":{{\"id\":1}}}}")))],
        &["Insert shop.t[id] - => id=1 at 42:99:event+3"],
    );
    // Without a key, and with one that is no object.
    for key in [None, Some("Struct{id=1}"), Some("5")] {
        debezium(
            "p.shop.t",
            &[(key, Some(&message("null", r#"{"id":1}"#, "c")))],
            &["Insert shop.t[] - => id=1 at 42:99:event+3"],
        );
    }
    debezium(
        "p.shop.t",
        &[(Some(r#"{"other":1}"#), Some(&message("null", r#"{"id":1}"#, "c")))],
        &["error table shop.t: key column other is not in the row: the source must send all key columns"],
    );
    debezium(
        "p.shop.t",
        &[(Some(r#"{"id":1,"__dbz__physicalTableIdentifier":"x"}"#), Some(&message("null", r#"{"id":1}"#, "c")))],
        &["Insert shop.t[id] - => id=1 at 42:99:event+3"],
    );
}

#[test]
fn debezium_without_rows() {
    debezium("p.shop.t", &[(Some(r#"{"id":1}"#), None), (None, Some("null"))][..1], &["ignored Tombstone"]);
    check(Format::Debezium, "p.shop.t", &[], &[(None, Some("null"))], &["ignored Tombstone"]);
    debezium("p.shop.t", &[(None, Some(r#"{"schema":null,"payload":null}"#))], &["ignored Tombstone"]);
    debezium("__debezium-heartbeat.p", &[(None, Some(r#"{"anything":1}"#))], &["ignored Heartbeat"]);
    debezium("beat", &[(None, Some(r#"{"ts_ms":1}"#))], &["ignored Heartbeat"]);
    debezium("beat", &[(None, Some(r#"{"schema":{"type":"struct"},"payload":{"ts_ms":1}}"#))], &["ignored Heartbeat"]);
    let transaction = r#"{"status":"END","id":"0-1-39","event_count":0,"data_collections":[],"ts_ms":1}"#;
    debezium("p.transaction", &[(None, Some(transaction))], &["ignored Transaction"]);
    let ddl = format!(r#"{{{SOURCE},"ts_ms":1,"databaseName":"shop","schemaName":null,"ddl":"…","tableChanges":[]}}"#);
    debezium("p", &[(None, Some(&ddl))], &["ignored SchemaChange"]);
    let ddl = format!(r#"{{"databaseName":"shop","ddl":"…",{SOURCE}}}"#);
    debezium("p", &[(None, Some(&ddl))], &["ignored SchemaChange"]);
}

#[test]
fn debezium_with_schema() {
    let field = |name: &str, rest: &str| format!(r#"{{"optional":true,"field":"{name}",{rest}}}"#);
    let columns = [
        field("id", r#""type":"int64""#),
        field("d", r#""type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}"#),
        field("b", r#""type":"boolean""#),
        field("f", r#""type":"bytes","name":"io.debezium.data.Bits","parameters":{"length":"16"}"#),
        field("t", r#""type":"int64","name":"io.debezium.time.MicroTimestamp""#),
        field("c", r#""type":"int64","name":"org.apache.kafka.connect.data.Timestamp""#),
        field("n", r#""type":"int64","name":"io.debezium.time.NanoTimestamp""#),
        field("j", r#""type":"string","name":"io.debezium.data.Json""#),
        field("g", r#""type":"struct","name":"io.debezium.data.geometry.Point""#),
        field("e", r#""type":"string","name":"io.debezium.data.Enum","parameters":{"allowed":"x,y"}"#),
    ]
    .join(",");
    let row = r#"{"id":-1,"d":"JwY=","b":true,"f":"AYA=","t":1772600767123456,"c":1772600767000,"n":1772600767123456789,"j":"{\"k\": 1}","g":{"wkb":"AA=="},"e":"x"}"#;
    let schema = format!(
        r#"{{"type":"struct","fields":[{{"type":"struct","fields":[{columns}],"field":"before"}},{{"type":"struct","fields":[{columns}],"field":"after"}},{{"type":"string","field":"op"}}]}}"#
    );
    let value = format!(r#"{{"schema":{schema},"payload":{{"before":null,"after":{row},{SOURCE},"op":"c"}}}}"#);
    let key = r#"{"schema":{"type":"struct","fields":[]},"payload":{"id":1}}"#;
    let cells = r#"b=1 c="2026-03-04T05:06:07" d="99.90" e="x" f=32769 g={"wkb":"AA=="} id=-1 j={"k": 1} n="2026-03-04T05:06:07.123456" t="2026-03-04T05:06:07.123456""#;
    let expect = format!("Insert shop.t[id] - => {cells} at 42:99:event+3");
    debezium("p.shop.t", &[(Some(key), Some(&value)), (Some(key), Some(&value))], &[&expect, &expect]);
    // A declared type mends what the schema cannot tell.
    check(
        Format::Debezium,
        "p.shop.t",
        &[("id", "bigint unsigned"), ("b", "boolean")],
        &[(Some(key), Some(&value))],
        &[&expect.replace("id=-1", "id=18446744073709551615").replace("b=1", "b=true")],
    );
    // The payload may stand first, and the row may be unwrapped.
    let turned = format!(r#"{{ "payload":{{"before":null,"after":{row},{SOURCE},"op":"c"}}, "schema":{schema}}}"#);
    debezium("p.shop.t", &[(Some(key), Some(&turned))], &[&expect]);
    // So may a key's; without a schema it is the key of a column of that name.
    let turned_key = r#"{"payload":{"id":1},"schema":{"type":"struct","fields":[]}}"#;
    debezium("p.shop.t", &[(Some(turned_key), Some(&value)), (Some(key), Some(&value))], &[&expect, &expect]);
    let named_so = format!(r#"{{"before":null,"after":{{"payload":7}},{SOURCE},"op":"c"}}"#);
    let expect_named = "Insert shop.t[payload] - => payload=7 at 42:99:event+3";
    debezium("p.shop.t", &[(Some(r#"{"payload":7}"#), Some(&named_so))], &[expect_named]);
    let flat = format!(
        r#"{{"schema":{{"type":"struct","fields":[{columns},{{"type":"string","field":"__op"}}]}},"payload":{},"__op":"c"}}}}"#,
        &row[..row.len() - 1]
    );
    debezium("p.shop.t", &[(Some(key), Some(&flat))], &[&format!("Insert shop.t[id] - => {cells} at nowhere")]);
}

#[test]
fn debezium_unwrapped() {
    let key = Some(r#"{"id":1}"#);
    let flat = |meta: &str| format!(r#"{{"id":1,"a":"x",{meta}}}"#);
    for (meta, expect) in [
        (r#""__op":"c","__table":"t","__source_ts_ms":5"#, "Insert shop.t[id] - => a=\"x\" id=1 at time 5"),
        (r#""__op":"r","__deleted":"false""#, "Snapshot shop.t[id] - => a=\"x\" id=1 at nowhere"),
        (r#""__op":"u""#, "Update shop.t[id] - => a=\"x\" id=1 at nowhere (before is not whole)"),
        (r#""__deleted":"false""#, "Update shop.t[id] - => a=\"x\" id=1 at nowhere (before is not whole)"),
        (r#""__deleted":"true""#, "Delete shop.t[id] a=\"x\" id=1 => - at nowhere"),
        (r#""__op":"d","__deleted":true"#, "Delete shop.t[id] a=\"x\" id=1 => - at nowhere"),
        (
            r#""__op":"c","__db":"other","__table":"u","__source_file":"binlog.000007","__source_pos":4,"__source_row":1"#,
            "Insert other.u[id] - => a=\"x\" id=1 at 7:4:event+1",
        ),
        // The topic names another table, so that its middle part may not be the database.
        (r#""__op":"c","__table":"u""#, "Insert u[id] - => a=\"x\" id=1 at nowhere"),
    ] {
        debezium("p.shop.t", &[(key, Some(&flat(meta)))], &[expect]);
    }
    // Nothing but the row: only the key tells that it is one, and only if the format is set.
    debezium(
        "p.shop.t",
        &[(key, Some(r#"{"id":1,"before":"x"}"#)), (key, Some(r#"{"before":"x","id":1}"#))],
        &[
            "Update shop.t[id] - => before=\"x\" id=1 at nowhere (before is not whole)",
            "Update shop.t[id] - => before=\"x\" id=1 at nowhere (before is not whole)",
        ],
    );
    let refused = "error not a Debezium message: expected an envelope with `op` and `source`, or an unwrapped row with \
                   `__op`, `__deleted` or its key's columns";
    debezium("p.shop.t", &[(None, Some(r#"{"id":1}"#))], &[refused]);
    debezium("p.shop.t", &[(Some(r#"{"other":1}"#), Some(r#"{"id":1}"#))], &[refused]);
}

#[test]
fn debezium_plain_with_declared_types() {
    let row = r#"{"id":-1,"b":true,"y":true,"d":"JwY=","t":1772600767123,"s":"2026-03-04T05:06:07Z"}"#;
    let value = format!(r#"{{"before":null,"after":{row},{SOURCE},"op":"c"}}"#);
    debezium(
        "p.shop.t",
        &[(None, Some(&value))],
        &["Insert shop.t[] - => b=true d=\"JwY=\" id=-1 s=\"2026-03-04T05:06:07Z\" t=1772600767123 y=true at \
           42:99:event+3"],
    );
    check(
        Format::Debezium,
        "p.shop.t",
        &[("id", "bigint unsigned"), ("b", "bit(1)"), ("Y", "boolean"), ("d", "decimal(18,2)"), ("t", "datetime(3)")],
        &[(None, Some(&value))],
        &["Insert shop.t[] - => b=1 d=\"99.90\" id=18446744073709551615 s=\"2026-03-04T05:06:07Z\" \
           t=\"2026-03-04T05:06:07.123\" y=true at 42:99:event+3"],
    );
}

#[track_caller]
fn maxwell(key: Option<&str>, value: &str, expect: &[&str]) {
    check(Format::Maxwell, "maxwell", &[], &[(key, Some(value))], expect);
}

#[test]
fn maxwell_rows() {
    let message = |rest: &str| format!(r#"{{"database":"shop","table":"t","ts":5,"xid":1,{rest}}}"#);
    let key = Some(r#"{"database":"shop","table":"t","pk.id":1}"#);
    for (rest, expect) in [
        (
            r#""type":"insert","xoffset":3,"position":"binlog.000001:65418","data":{"id":1,"a":[]}"#,
            "Insert shop.t[id] - => a=[] id=1 at 1:65418:transaction+3",
        ),
        (
            r#""type":"insert","commit":true,"position":"mysql-bin.000002:4","data":{"id":1,"a":99.9}"#,
            "Insert shop.t[id] - => a=99.9 id=1 at 2:4:last",
        ),
        (
            r#""type":"update","data":{"id":2,"a":"x"},"old":{"id":1,"a":null}"#,
            "Update shop.t[id] a=null id=1 => a=\"x\" id=2 at time 5000",
        ),
        (
            r#""type":"update","data":{"id":2,"a":"x"}"#,
            "Update shop.t[id] - => a=\"x\" id=2 at time 5000 (before is not whole)",
        ),
        (
            r#""type":"delete","data":{"id":2,"a":"x"},"old":{"a":"w"}"#,
            "Delete shop.t[id] a=\"x\" id=2 => - at time 5000",
        ),
        (r#""type":"bootstrap-insert","data":{"id":1}"#, "Snapshot shop.t[id] - => id=1 at time 5000"),
        (
            r#""old":{"a":1},"data":{"id":1,"a":2},"type":"update""#,
            "Update shop.t[id] a=1 id=1 => a=2 id=1 at time 5000",
        ),
        (r#""type":"bootstrap-start","data":{}"#, "ignored Other"),
        (r#""type":"bootstrap-complete","data":{}"#, "ignored Other"),
        (r#""type":"table-create","def":{}"#, "ignored SchemaChange"),
        (r#""type":"table-alter","old":{"a":1},"def":{}"#, "ignored SchemaChange"),
        (r#""type":"table-drop""#, "ignored SchemaChange"),
        (r#""type":"database-create""#, "ignored SchemaChange"),
        (r#""type":"table-truncate""#, "Truncate shop.t[] - => - at time 5000"),
        (
            r#""type":"insert","encrypted":{"data":"…"}"#,
            "error not a Maxwell message: expected a row in `data` and the name of its `table` (encrypted messages \
             cannot be read)",
        ),
        (
            r#""type":"insert","data":{"a":1}"#,
            "error table shop.t: key column id is not in the row: the source must send all key columns",
        ),
    ] {
        maxwell(key, &message(rest), &[expect]);
    }
    maxwell(None, r#"{"type":"database-drop","database":"shop","ts":1}"#, &["ignored SchemaChange"]);
    let two = message(r#""type":"insert","primary_key_columns":["b","a"],"data":{"a":1,"b":2}"#);
    maxwell(None, &two, &["Insert shop.t[b,a] - => a=1 b=2 at time 5000"]);
    let one = message(r#""type":"insert","data":{"a":1}"#);
    maxwell(Some(r#"["shop","t",[{"a":1}]]"#), &one, &["Insert shop.t[a] - => a=1 at time 5000"]);
    for key in [None, Some("7f83b165"), Some(r#"{"database":"shop","table":"t","_uuid":"x"}"#)] {
        maxwell(key, &one, &["Insert shop.t[] - => a=1 at time 5000"]);
    }
    check(
        Format::Maxwell,
        "maxwell",
        &[("d", "decimal(9,2)"), ("s", "set('a','b')"), ("b", "boolean")],
        &[(None, Some(&message(r#""type":"insert","data":{"d":99.9,"s":["a","b"],"b":1}"#)))],
        &["Insert shop.t[] - => b=true d=\"99.90\" s=\"a,b\" at time 5000"],
    );
}

#[test]
fn a_topic_has_one_format() {
    let maxwell = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1}}"#;
    let canal = r#"{"data":[{"id":"1"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int"},"pkNames":["id"],"table":"t","type":"INSERT"}"#;
    let debezium = format!(r#"{{"before":null,"after":{{"id":1}},{SOURCE},"op":"c"}}"#);
    let all = [(Format::Maxwell, maxwell), (Format::Canal, canal), (Format::Debezium, debezium.as_str())];
    for (expected, own) in all {
        for (found, other) in all.into_iter().filter(|(f, _)| *f != expected) {
            let records = [(None, Some(own)), (None, Some(other)), (None, Some(own))];
            for format in [expected, Format::Auto] {
                let decoded = decode(format, "x.shop.t", &[], &records);
                assert_eq!(decoded.rows.len(), 2, "{expected} {found}");
                let message = format!("a {found} message where {expected} was expected: a topic has one format");
                assert_eq!(decoded.errors, [message]);
            }
        }
    }
    let nobody = decode(Format::Auto, "t", &[], &[(None, Some(r#"{"a":1}"#)), (None, Some("[1]"))]);
    assert!(nobody.errors.iter().all(|e| e.starts_with("no known format: ")), "{:?}", nobody.errors);
    let text = decode(Format::Auto, "t", &[], &[(None, Some("hello"))]);
    assert_eq!(text.errors, ["not JSON at byte 0: expected a value"]);
    let cut = decode(Format::Maxwell, "t", &[], &[(None, Some(&maxwell[..17]))]);
    assert_eq!(cut.errors, ["not JSON at byte 17: expected the end of a string"]);
}

#[test]
fn a_batch_says_its_format() {
    let mut decoder = decoder(DeclaredTypes::default());
    let mut decode = |format, value: &str| {
        let mut records = batch(format, "shop.t", 0);
        records.push(0, -1, None, Some(value.as_bytes()), []);
        let mut decoded = Decoded::default();
        decode_batch(&mut decoder, &records, &mut decoded);
        render(&decoded).join("\n")
    };
    let maxwell = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1}}"#;
    let canal = r#"{"data":[{"id":"1"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int"},"pkNames":["id"],"table":"t","type":"INSERT"}"#;
    // One decoder, one topic name, batches of two formats by turns: each keeps its own state.
    for _ in 0..2 {
        assert_eq!(decode(Format::Maxwell, maxwell), "Insert shop.t[] - => id=1 at time 5000");
        assert_eq!(decode(Format::Canal, canal), "Insert shop.t[id] - => id=1 at nowhere");
        assert!(decode(Format::Maxwell, canal).contains("a Canal message where Maxwell was expected"));
    }
}

#[test]
fn shapes_that_alternate_are_two_versions() {
    let old = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1}}"#;
    let new = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1,"a":2}}"#;
    let other = r#"{"database":"shop","table":"u","type":"insert","ts":5,"data":{"id":1}}"#;
    let records: Vec<KeyAndValue<'_>> = (0..30).map(|n| (None, Some([old, new, other][n % 3]))).collect();
    let decoded = decode(Format::Auto, "maxwell", &[], &records);
    let versions: Vec<u32> = decoded.rows.iter().map(|r| r.version).collect();
    assert_eq!(versions, (0..30).map(|n| n % 3).collect::<Vec<u32>>());
    let canal = |types: &str, row: &str| {
        format!(
            r#"{{"data":[{row}],"database":"shop","isDdl":false,"mysqlType":{types},"pkNames":["id"],"table":"t","type":"INSERT"}}"#
        )
    };
    // A display width is no other type.
    let messages = [
        canal(r#"{"id":"int(11)"}"#, r#"{"id":"1"}"#),
        canal(r#"{"id":"int(10)"}"#, r#"{"id":"1"}"#),
        canal(r#"{"id":"bigint(20)"}"#, r#"{"id":"1"}"#),
        canal(r#"{"id":"int(11)","a":"int(11) unsigned"}"#, r#"{"id":"1","a":"2"}"#),
    ];
    let records: Vec<KeyAndValue<'_>> = messages.iter().cycle().take(12).map(|m| (None, Some(m.as_str()))).collect();
    let decoded = decode(Format::Canal, "t", &[], &records);
    let versions: Vec<u32> = decoded.rows.iter().map(|r| r.version).collect();
    assert_eq!(versions, [0, 0, 0, 1].repeat(3));
}

#[test]
fn rows_with_ever_other_columns_do_not_make_versions_without_end() {
    let row = |columns: &[usize]| {
        let columns: Vec<String> = columns.iter().map(|c| format!("\"c{c}\":1")).collect();
        format!(r#"{{"database":"shop","table":"t","type":"insert","ts":5,"data":{{{}}}}}"#, columns.join(","))
    };
    // Row image MINIMAL: any of ten columns. And then rows that have nothing in common.
    let mut messages = vec![row(&(0..10).collect::<Vec<_>>())];
    messages.extend((1..1023).map(|set| row(&(0..10).filter(|c| set >> c & 1 == 1).collect::<Vec<_>>())));
    let records: Vec<KeyAndValue<'_>> = messages.iter().map(|m| (None, Some(m.as_str()))).collect();
    let decoded = decode(Format::Maxwell, "t", &[], &records);
    assert_eq!(decoded.errors, [""; 0]);
    assert!(decoded.rows.iter().all(|r| r.version < 20));
    let messages: Vec<String> = (0..1100).map(|n| row(&[n])).collect();
    let records: Vec<KeyAndValue<'_>> = messages.iter().map(|m| (None, Some(m.as_str()))).collect();
    let decoded = decode(Format::Maxwell, "t", &[], &records);
    assert_eq!(decoded.rows.len(), 1000);
    assert_eq!(
        decoded.errors[0],
        "table shop.t: its rows have more than 1000 different shapes: are these rows of one table?"
    );
}
