//! Debezium messages: envelopes, schemas, unwrapped rows, and messages without rows.

use rowmill_rows::Format;

use crate::{KeyAndValue, check};

pub(crate) const SOURCE: &str =
    r#""source":{"ts_ms":5000,"db":"shop","table":"t","file":"binlog.000042","pos":99,"row":3}"#;

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
    // Members in any order and whitespace anywhere; line breaks are removed from an embedded object.
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
    // Without a key, and with one that is not an object.
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
    // A declared type supplies what the schema lacks.
    check(
        Format::Debezium,
        "p.shop.t",
        &[("id", "bigint unsigned"), ("b", "boolean")],
        &[(Some(key), Some(&value))],
        &[&expect.replace("id=-1", "id=18446744073709551615").replace("b=1", "b=true")],
    );
    // The payload may come first, and the row may be unwrapped.
    let turned = format!(r#"{{ "payload":{{"before":null,"after":{row},{SOURCE},"op":"c"}}, "schema":{schema}}}"#);
    debezium("p.shop.t", &[(Some(key), Some(&turned))], &[&expect]);
    // So may a key's payload; without a schema it is a column named `payload`.
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
        // The topic names another table, so its middle part may not be the database.
        (r#""__op":"c","__table":"u""#, "Insert u[id] - => a=\"x\" id=1 at nowhere"),
    ] {
        debezium("p.shop.t", &[(key, Some(&flat(meta)))], &[expect]);
    }
    // A row without metadata: only its key identifies it as a row, and only if the format is configured.
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
