//! Elasticsearch equals the plugins applied to the tables, whatever happens to rows, in whatever order partitions are
//! read, and whenever a plugin is replaced.

mod swap;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use rowmill::config::{Overrides, read_text};
use rowmill::pipeline::Pipeline;
use rowmill::sink::embedded;
use rowmill_tests::captures::{self, Record, interleaved};
use rowmill_tests::guests;
use rowmill_tests::history::{Change, Documents, ReportedRecord, Row, Shape, Tool};
use serde_json::json;

use swap::Swapper;

/// A change tried on the table; an impossible one (an insert of an existing row) does nothing.
#[derive(Clone, Debug)]
enum Try {
    Insert(Row),
    Update(Row),
    Delete(u32),
    /// An update that changes the key, and the rest too.
    Move(u32, Row),
    Truncate,
}

/// The table that changes.
const TABLE: &str = "thing";

/// The table at the end: each row, and which change made it so.
type Table = BTreeMap<u32, (Row, usize)>;

fn rows() -> impl Strategy<Value = Row> {
    (0..5_u32, prop::sample::select(vec!["a", "b", "c"]), "[xy]{1,2}", 0..4_u8)
        .prop_map(|(id, kind, name, count)| Row { id, kind, name, count, parent: None })
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let one = prop_oneof![
        3 => rows().prop_map(Try::Insert),
        4 => rows().prop_map(Try::Update),
        2 => (0..5_u32).prop_map(Try::Delete),
        2 => (0..5_u32, rows()).prop_map(|(id, row)| Try::Move(id, row)),
        1 => Just(Try::Truncate),
    ];
    prop::collection::vec(one, 1..40)
}

/// The changes, and the table at the end. There are no truncates if the tool does not report them.
fn played(tries: &[Try], tool: Tool) -> (Vec<Change>, Table) {
    let mut table = Table::new();
    let mut changes = Vec::new();
    for one in tries {
        let number = changes.len();
        let row_of = |table: &Table, id: &u32| table.get(id).map(|(row, _)| row.clone());
        match one {
            Try::Insert(row) if !table.contains_key(&row.id) => {
                table.insert(row.id, (row.clone(), number));
                changes.push(Change::Row { table: TABLE, before: None, after: Some(row.clone()) });
            }
            Try::Update(row) if row_of(&table, &row.id).is_some_and(|old| old != *row) => {
                changes.push(Change::Row { table: TABLE, before: row_of(&table, &row.id), after: Some(row.clone()) });
                table.insert(row.id, (row.clone(), number));
            }
            Try::Delete(id) if table.contains_key(id) => {
                changes.push(Change::Row { table: TABLE, before: row_of(&table, id), after: None });
                table.remove(id);
            }
            Try::Move(id, row) if *id != row.id && table.contains_key(id) && !table.contains_key(&row.id) => {
                changes.push(Change::Row { table: TABLE, before: row_of(&table, id), after: Some(row.clone()) });
                table.remove(id);
                table.insert(row.id, (row.clone(), number));
            }
            Try::Truncate if tool.tells_truncates() => {
                table.clear();
                changes.push(Change::Truncate { table: TABLE });
            }
            _ => {}
        }
    }
    (changes, table)
}

/// The documents that the plugins build from the table.
fn wanted(table: &Table, shape: Shape, tool: Tool) -> Documents {
    shape.documents(table.values().map(|(row, _)| (TABLE, row)), tool.tells_truncates())
}

/// How the pipeline is cut up.
#[derive(Clone, Copy)]
struct Cut {
    workers: usize,
    batch_rows: usize,
}

/// Small batches and two workers, to provoke races.
const SMALL: Cut = Cut { workers: 2, batch_rows: 3 };
/// Rows one after the other, each by the chain that is published then.
const SINGLE: Cut = Cut { workers: 1, batch_rows: 1 };

/// Runs the records through the pipeline; returns everything that is in the embedded store then. `prepare` gets the
/// pipeline before it runs.
fn stored<T>(
    records: &[Record],
    tool: Tool,
    plugins: &str,
    cut: Cut,
    prepare: impl FnOnce(&Pipeline) -> T,
) -> (Documents, T) {
    let folder = rowmill_tests::scratch("invariant");
    let path = captures::write(folder.path(), "records.ndjson", records);
    let letters = folder.path().join("dead-letter.ndjson");
    let store = embedded::start(0).expect("the embedded store starts");
    let truncate = if tool.tells_truncates() { "apply" } else { "ignore" };
    let text = format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\nlinger = \"1ms\"\nbulk_documents = 5\n[dead_letter]\npath = {:?}\n\
         [[routes]]\ntable = \"shop.thing\"\ntruncate = \"{truncate}\"\n[pipeline]\nworkers = {}\nbatch_rows = {}\n{plugins}",
        path.display().to_string(),
        store.url(),
        letters.display().to_string(),
        cut.workers,
        cut.batch_rows,
    );
    let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is right");
    let pipeline = Pipeline::new(config).expect("the pipeline is set up");
    let prepared = prepare(&pipeline);
    let (summary, _) = pipeline.run(true).expect("it ends in order");
    assert_eq!(summary.dead_letters, 0, "{}", std::fs::read_to_string(letters).unwrap_or_default());
    let of_index = |index: String| {
        let documents = store.documents(&index);
        documents
            .into_iter()
            .map(move |one| ((index.clone(), one.id), serde_json::from_str(&one.source).expect("a source is JSON")))
    };
    // Beside the documents Rowmill keeps which truncates it applied.
    let indices = store.indices().into_iter().filter(|index| index != "rowmill-truncates");
    (indices.flat_map(of_index).collect(), prepared)
}

fn records_of(reported: &[ReportedRecord], random: &mut fastrand::Rng) -> Vec<Record> {
    let records: Vec<Record> = reported.iter().map(|reported| reported.record.clone()).collect();
    interleaved(&records, random)
}

/// Tries many histories, each with its own shape and random number generator.
///
/// The seed is printed: `ROWMILL_TEST_SEED` gives the same cases again, `PROPTEST_CASES` sets another number of them.
#[track_caller]
fn check(
    tool: Tool,
    shapes: &[Shape],
    case: impl Fn(&[Change], &Table, Shape, &mut fastrand::Rng) -> Result<(), TestCaseError>,
) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&rowmill_tests::seed().to_le_bytes());
    let cases = Cases { cases, max_shrink_iters: 200, failure_persistence: None, ..Cases::default() };
    let mut runner = TestRunner::new_with_rng(cases, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let strategy = (tries(), prop::sample::select(shapes.to_vec()), any::<u64>());
    let result = runner.run(&strategy, |(tries, shape, seed)| {
        let (changes, table) = played(&tries, tool);
        case(&changes, &table, shape, &mut fastrand::Rng::with_seed(seed))
    });
    if let Err(error) = result {
        panic!("{tool:?}: {error}");
    }
}

/// The documents are the plugin's of the table, in any order that partitions can be read in.
#[track_caller]
fn holds(tool: Tool, shapes: &[Shape]) {
    check(tool, shapes, |changes, table, shape, random| {
        let records = records_of(&tool.records(changes), random);
        let plugins = format!(
            "[plugins]\nstate = \"\"\ndir = {:?}\n[plugins.settings.shaper]\n{}",
            guests::shaper().display().to_string(),
            shape.settings_text(),
        );
        let (found, ()) = stored(&records, tool, &plugins, SMALL, |_| ());
        prop_assert_eq!(found, wanted(table, shape, tool), "{:?} {:?}", shape, changes);
        Ok(())
    });
}

#[test]
fn of_canal() {
    holds(Tool::Canal, &Shape::ROWS);
}

#[test]
fn of_debezium() {
    holds(Tool::Debezium, &Shape::ROWS);
}

#[test]
fn of_debezium_with_schema() {
    holds(Tool::DebeziumWithSchema, &Shape::ROWS);
}

/// Unwrapped updates have no before image: only documents with the default ID and index can follow a row.
#[test]
fn of_unwrapped_debezium() {
    holds(Tool::Unwrapped, &[Shape::Keep, Shape::Filter, Shape::Edit]);
}

#[test]
fn of_maxwell() {
    holds(Tool::Maxwell, &Shape::ROWS);
}

/// The plugin is replaced again and again, in the midst of batches, by one from another file that does the same.
#[test]
fn while_a_plugin_is_replaced_by_an_equal_one() {
    let swaps = AtomicU64::new(0);
    check(Tool::Debezium, &Shape::ROWS, |changes, table, shape, random| {
        let records = records_of(&Tool::Debezium.records(changes), random);
        let marks = random.usize(1..=6);
        let (records, _) = swap::marked(records, marks, random);
        let (found, swapper) = stored(&records, Tool::Debezium, "", SMALL, |pipeline| {
            Swapper::start(pipeline, Box::new(move |_| shape.settings().to_string()))
        });
        swaps.fetch_add(swapper.swaps(), Ordering::Relaxed);
        prop_assert_eq!(swapper.swaps(), marks as u64, "each mark was met by a plugin");
        prop_assert_eq!(found, wanted(table, shape, Tool::Debezium), "{:?} {:?}", shape, changes);
        Ok(())
    });
    assert!(swaps.into_inner() > 0, "plugins were replaced");
}

/// A plugin is replaced by one that writes a field differently: later rows have the new form, and existing documents stay until
/// their row changes.
#[test]
fn while_a_plugin_is_replaced_by_one_that_changes_a_field() {
    let prefix = |swapped: bool| if swapped { "changed " } else { "edited " };
    for tool in [Tool::Canal, Tool::Debezium, Tool::Maxwell] {
        check(tool, &[Shape::Edit], |changes, table, _, random| {
            let reported = tool.records(changes);
            let (records, marks) = swap::marked(records_of(&reported, random), 1, random);
            let (found, swapper) = stored(&records, tool, "", SINGLE, |pipeline| {
                Swapper::start(
                    pipeline,
                    Box::new(move |number| json!({ "edit": ["name", prefix(number > 0)] }).to_string()),
                )
            });
            prop_assert_eq!(swapper.swaps(), 1);
            let mut wanted = Documents::new();
            for (row, change) in table.values() {
                // The record with the after image; for a changed key, the one with the new row.
                let last = reported.iter().find(|reported| reported.change == *change && reported.has_after);
                let record = &last.expect("a row comes from a change").record;
                let place = records.iter().position(|other| other == record).expect("all records are read");
                let mut source = row.cells();
                source["name"] = format!("{}{}", prefix(place > marks[0]), row.name).into();
                wanted.insert(("thing".into(), row.id.to_string()), source);
            }
            prop_assert_eq!(found, wanted, "mark {} of {:?}", marks[0], changes);
            Ok(())
        });
    }
}
