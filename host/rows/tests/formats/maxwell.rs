//! Maxwell messages: rows, keys, positions, and messages without rows.

use rowmill_rows::Format;

use crate::check;

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
