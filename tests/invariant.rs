//! Elasticsearch equals the plugins applied to the tables, whatever happens to rows and in whatever order partitions are
//! read.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use rowmill::config::{Overrides, read_text};
use rowmill::pipeline::Pipeline;
use rowmill_tests::captures::{self, Record, interleaved};
use rowmill_tests::guests;
use serde_json::{Value, json};

/// A row of the table `shop.thing`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: u8,
    kind: &'static str,
    name: String,
    count: u8,
}

impl Row {
    /// Cells by name, each as JSON.
    fn cells(&self) -> Value {
        json!({ "id": self.id, "kind": self.kind, "name": self.name, "count": self.count })
    }
}

/// What is tried on the table; what is not possible (an insert of a row that is there) does nothing.
#[derive(Clone, Debug)]
enum Try {
    Insert(Row),
    Update(Row),
    Delete(u8),
    /// An update that changes the key, and the rest too.
    Move(u8, Row),
}

/// What then happened: the row before and after.
type Change = (Option<Row>, Option<Row>);

fn rows() -> impl Strategy<Value = Row> {
    (0..5_u8, prop::sample::select(vec!["a", "b", "c"]), "[xy]{1,2}", 0..4_u8).prop_map(|(id, kind, name, count)| Row {
        id,
        kind,
        name,
        count,
    })
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let one = prop_oneof![
        3 => rows().prop_map(Try::Insert),
        4 => rows().prop_map(Try::Update),
        2 => (0..5_u8).prop_map(Try::Delete),
        2 => (0..5_u8, rows()).prop_map(|(id, row)| Try::Move(id, row)),
    ];
    prop::collection::vec(one, 1..40)
}

/// The changes, and the table at the end.
fn played(tries: &[Try]) -> (Vec<Change>, BTreeMap<u8, Row>) {
    let mut table: BTreeMap<u8, Row> = BTreeMap::new();
    let mut changes = Vec::new();
    for one in tries {
        match one {
            Try::Insert(row) if !table.contains_key(&row.id) => {
                table.insert(row.id, row.clone());
                changes.push((None, Some(row.clone())));
            }
            Try::Update(row) if table.get(&row.id).is_some_and(|old| old != row) => {
                changes.push((table.insert(row.id, row.clone()), Some(row.clone())));
            }
            Try::Delete(id) if table.contains_key(id) => changes.push((table.remove(id), None)),
            Try::Move(id, row) if *id != row.id && table.contains_key(id) && !table.contains_key(&row.id) => {
                changes.push((table.remove(id), Some(row.clone())));
                table.insert(row.id, row.clone());
            }
            _ => {}
        }
    }
    (changes, table)
}

/// What the plugin is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Keep,
    Filter,
    Edit,
    Index,
    Id,
    Copies,
    FilterAndIndexAndId,
}

impl Shape {
    const ALL: [Self; 7] =
        [Self::Keep, Self::Filter, Self::Edit, Self::Index, Self::Id, Self::Copies, Self::FilterAndIndexAndId];

    fn settings(self) -> &'static str {
        match self {
            Self::Keep => "",
            Self::Filter => "keep = [\"kind\", \"a\"]",
            Self::Edit => "edit = [\"name\", \"edited \"]",
            Self::Index => "index = [\"kind\", \"shaped-\"]",
            // Unique, as an id must be: it depends on the whole row.
            Self::Id => "id = \"id\"\nindex = [\"count\", \"shaped-\"]\nedit = [\"name\", \"edited \"]",
            Self::Copies => "id = \"id\"\ncopies = \"count\"",
            Self::FilterAndIndexAndId => "keep = [\"kind\", \"a\"]\nindex = [\"name\", \"shaped-\"]\nid = \"id\"",
        }
    }

    /// The documents of a row: index, id and source.
    fn documents(self, row: &Row) -> Vec<(String, String, Value)> {
        let one = |index: &str, id: String, source| vec![(index.to_string(), id, source)];
        let id = row.id.to_string();
        let mut edited = row.cells();
        edited["name"] = format!("edited {}", row.name).into();
        match self {
            Self::Keep => one("thing", id, row.cells()),
            Self::Filter | Self::FilterAndIndexAndId if row.kind != "a" => Vec::new(),
            Self::Filter => one("thing", id, row.cells()),
            Self::Edit => one("thing", id, edited),
            Self::Index => one(&format!("shaped-{}", row.kind), id, row.cells()),
            Self::Id => one(&format!("shaped-{}", row.count), id, edited),
            Self::Copies => {
                (0..row.count).map(|number| ("thing".into(), format!("{id}#{number}"), row.cells())).collect()
            }
            Self::FilterAndIndexAndId => one(&format!("shaped-{}", row.name), id, row.cells()),
        }
    }
}

/// A tool that reports changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Canal,
    Debezium,
    Unwrapped,
    Maxwell,
}

impl Tool {
    /// The records of all changes, with the offsets of their partitions.
    fn records(self, changes: &[Change]) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        let mut add = |id: u8, key: Option<Value>, value: Option<Value>| {
            let partition = i32::from(id % 3);
            let offset = records.iter().filter(|record| record.partition == partition).count() as i64;
            let mut record = Record::new("tool.shop.thing", offset, "");
            record.partition = partition;
            record.key = key.map(|key| key.to_string().into_bytes());
            record.value = value.map(|value| value.to_string().into_bytes());
            records.push(record);
        };
        for (number, (before, after)) in changes.iter().enumerate() {
            // Each change has a second of its own, for Canal knows no finer time.
            let second = 1_795_216_000 + number as i64;
            let place = 1_000 + 200 * number;
            let id = after.as_ref().or(before.as_ref()).map_or(0, |row| row.id);
            match self {
                Self::Canal => add(id, None, Some(canal(before.as_ref(), after.as_ref(), second))),
                Self::Maxwell => {
                    let key = json!({ "database": "shop", "table": "thing", "pk.id": id });
                    add(id, Some(key), Some(maxwell(before.as_ref(), after.as_ref(), second, place)));
                }
                Self::Debezium | Self::Unwrapped => {
                    let moved =
                        before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| before.id != after.id);
                    // A change of the key is a delete and a create, of one event in the binlog.
                    let steps = match moved {
                        true => vec![(before.as_ref(), None), (None, after.as_ref())],
                        false => vec![(before.as_ref(), after.as_ref())],
                    };
                    for (before, after) in steps {
                        let id = after.or(before).map_or(0, |row| row.id);
                        let value = match self {
                            Self::Debezium => debezium(before, after, second, place),
                            _ => unwrapped(before, after, second, place),
                        };
                        add(id, Some(json!({ "id": id })), Some(value));
                        if after.is_none() {
                            add(id, Some(json!({ "id": id })), None);
                        }
                    }
                }
            }
        }
        records
    }
}

fn texts(row: &Row) -> Value {
    json!({ "id": row.id.to_string(), "kind": row.kind, "name": row.name, "count": row.count.to_string() })
}

/// What the row before had otherwise.
fn old(before: &Value, after: &Value) -> Value {
    let fields = before.as_object().into_iter().flatten();
    fields
        .filter(|(name, value)| after[name.as_str()] != **value)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn canal(before: Option<&Row>, after: Option<&Row>, second: i64) -> Value {
    let (kind, data, old) = match (before, after) {
        (Some(before), Some(after)) => ("UPDATE", texts(after), json!([old(&texts(before), &texts(after))])),
        (None, Some(after)) => ("INSERT", texts(after), Value::Null),
        (before, None) => ("DELETE", before.map(texts).unwrap_or_default(), Value::Null),
    };
    json!({
        "data": [data], "database": "shop", "table": "thing", "type": kind, "isDdl": false, "old": old, "sql": "", "id": 1,
        "es": second * 1000, "ts": second * 1000 + 300, "pkNames": ["id"],
        "mysqlType": { "id": "int", "kind": "char(1)", "name": "varchar(20)", "count": "tinyint" },
        "sqlType": { "id": 4, "kind": 1, "name": 12, "count": -6 },
    })
}

fn maxwell(before: Option<&Row>, after: Option<&Row>, second: i64, place: usize) -> Value {
    let mut value = json!({
        "database": "shop", "table": "thing", "ts": second, "xid": place, "xoffset": 0, "commit": true,
        "position": format!("binlog.000001:{place}"), "server_id": 1,
    });
    let (kind, row) = match (before, after) {
        (Some(before), Some(after)) => {
            value["old"] = old(&before.cells(), &after.cells());
            ("update", after)
        }
        (None, Some(after)) => ("insert", after),
        (Some(before), None) => ("delete", before),
        (None, None) => unreachable!("a change has a row"),
    };
    value["type"] = kind.into();
    value["data"] = row.cells();
    value["primary_key"] = json!([row.id]);
    value
}

fn operation(before: Option<&Row>, after: Option<&Row>) -> &'static str {
    match (before, after) {
        (None, _) => "c",
        (_, None) => "d",
        _ => "u",
    }
}

fn debezium(before: Option<&Row>, after: Option<&Row>, second: i64, place: usize) -> Value {
    json!({
        "before": before.map(Row::cells), "after": after.map(Row::cells), "op": operation(before, after), "ts_ms": second * 1000 + 300,
        "source": {
            "version": "3.5.0.Final", "connector": "mysql", "name": "tool", "ts_ms": second * 1000, "snapshot": "false", "db": "shop",
            "table": "thing", "server_id": 1, "file": "binlog.000001", "pos": place, "row": 0,
        },
    })
}

fn unwrapped(before: Option<&Row>, after: Option<&Row>, second: i64, place: usize) -> Value {
    let mut value = after.or(before).map(Row::cells).unwrap_or_default();
    value["__op"] = operation(before, after).into();
    value["__deleted"] = if after.is_none() { "true" } else { "false" }.into();
    value["__table"] = "thing".into();
    value["__source_db"] = "shop".into();
    value["__source_file"] = "binlog.000001".into();
    value["__source_pos"] = place.into();
    value["__source_row"] = 0.into();
    value["__source_ts_ms"] = (second * 1000).into();
    value
}

/// Everything in the embedded store by index and id.
fn stored(records: &[Record], shape: Shape) -> BTreeMap<(String, String), Value> {
    let folder = rowmill_tests::scratch("invariant");
    let path = captures::write(folder.path(), "records.ndjson", records);
    let text = format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nkind = \"embedded\"\nlinger = \"1ms\"\nbulk_documents = 5\n[dead_letter]\npath = {:?}\n\
         [pipeline]\nworkers = 2\nbatch_rows = 3\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\n{}\n",
        path.display().to_string(),
        folder.path().join("dead-letter.ndjson").display().to_string(),
        guests::shaper().display().to_string(),
        shape.settings(),
    );
    let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is right");
    let mut pipeline = Pipeline::new(config).expect("the pipeline is set up");
    let store = pipeline.take_store().expect("the embedded store is the sink");
    let (summary, _) = pipeline.run(true).expect("it ends in order");
    let letters = std::fs::read_to_string(folder.path().join("dead-letter.ndjson")).unwrap_or_default();
    assert_eq!(summary.dead_letters, 0, "{letters}");
    let of_index = |index: String| {
        let documents = store.documents(&index);
        documents
            .into_iter()
            .map(move |one| ((index.clone(), one.id), serde_json::from_str(&one.source).expect("a source is JSON")))
    };
    store.indices().into_iter().flat_map(of_index).collect()
}

/// `PROPTEST_CASES` sets another number; what fails is printed with its seed and kept in `proptest-regressions`.
#[track_caller]
fn check(tool: Tool, shapes: &[Shape]) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    let mut runner =
        TestRunner::new(Cases { cases, max_shrink_iters: 200, failure_persistence: None, ..Cases::default() });
    let strategy = (tries(), prop::sample::select(shapes.to_vec()), any::<u64>());
    let result = runner.run(&strategy, |(tries, shape, seed)| {
        let (changes, table) = played(&tries);
        let mut random = fastrand::Rng::with_seed(seed);
        let records = interleaved(&tool.records(&changes), &mut random);
        let wanted: BTreeMap<(String, String), Value> = table
            .values()
            .flat_map(|row| shape.documents(row))
            .map(|(index, id, source)| ((index, id), source))
            .collect();
        prop_assert_eq!(stored(&records, shape), wanted, "{:?}, seed {}", changes, seed);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{tool:?}: {error}");
    }
}

#[test]
fn of_canal() {
    check(Tool::Canal, &Shape::ALL);
}

#[test]
fn of_debezium() {
    check(Tool::Debezium, &Shape::ALL);
}

/// Unwrapped rows tell no image before an update: only what has its usual id and index can follow.
#[test]
fn of_unwrapped_debezium() {
    check(Tool::Unwrapped, &[Shape::Keep, Shape::Filter, Shape::Edit]);
}

#[test]
fn of_maxwell() {
    check(Tool::Maxwell, &Shape::ALL);
}
