//! Canal flat messages: rows, types, names, and messages without rows.

use rowmill_rows::Format;

use crate::check;

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
    // A changed value that was NULL is `null` in `old`; a whole element of `old` may be `null`.
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
fn canal_transactions() {
    let with = |gtid: &str| {
        format!(
            r#"{{"data":[{{"id":"1"}}],"database":"shop","es":7000,"gtid":"{gtid}","isDdl":false,"mysqlType":{{"id":"int"}},
                "pkNames":["id"],"table":"t","ts":7009,"type":"INSERT"}}"#
        )
    };
    let numbered = ["Insert shop.t[id] - => id=1 at time 7000, sent 7009, transaction 42"];
    canal(&with("3e11fa47-71ca-11e1-9e33-c80aa9429562:42"), &numbered);
    canal(&with("3e11fa47-71ca-11e1-9e33-c80aa9429562:tag:42"), &numbered);
    canal(&with("0-1-42"), &numbered);
    for gtid in ["", "x", ":", "3e11fa47-71ca-11e1-9e33-c80aa9429562:99999999999999999999"] {
        canal(&with(gtid), &["Insert shop.t[id] - => id=1 at time 7000"]);
    }
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
fn a_bad_cell_fails_its_row_and_not_the_others_of_the_message() {
    let bad =
        "table shop.t: column a does not hold an integer in its type's range: correct the declared type or the source";
    canal(
        r#"{"data":[{"a":"1"},{"a":"x"},{"a":"3"},{"a":"y"}],"database":"shop","isDdl":false,"mysqlType":{"a":"int"},
            "pkNames":null,"table":"t","type":"INSERT"}"#,
        &[
            "Insert shop.t[] - => a=1 at nowhere",
            "Insert shop.t[] - => a=3 at nowhere",
            &format!("error row 2 of 4 cannot be decoded, nor can 1 other row; the rest is processed: {bad}"),
        ],
    );
    // Also where the bad value is an old one.
    canal(
        r#"{"data":[{"id":"1","a":"1"},{"id":"2","a":"2"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int","a":"int"},
            "old":[{"a":"x"},{"a":"1"}],"pkNames":["id"],"table":"t","type":"UPDATE"}"#,
        &[
            "Update shop.t[id] a=1 id=2 => a=2 id=2 at nowhere",
            &format!("error row 1 of 2 cannot be decoded; the rest is processed: {bad}"),
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
    // Columns that a row lacks are absent; columns that the message does not describe are an error.
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
