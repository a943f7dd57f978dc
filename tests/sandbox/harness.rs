//! Runs one guest through its whole life, as the host does, and returns the outcome as plain data.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rowmill_sandbox::isolate::{self, Part};
use rowmill_sandbox::{
    Batch, CallError, Column, ColumnKind, ColumnNames, Expect, Guest, Limits, Mode, NameRules, Plugin, Refusal,
    Sandbox, Table, Verdict,
};

/// A sandbox with the limits that the gateway has, and time enough for a busy machine.
pub static GENEROUS: LazyLock<Arc<Sandbox>> = LazyLock::new(|| {
    sandbox(Limits { batch_time: Duration::from_secs(20), setup_time: Duration::from_secs(20), ..Limits::default() })
});

/// A sandbox for guests that never end.
pub static HURRIED: LazyLock<Arc<Sandbox>> = LazyLock::new(|| {
    sandbox(Limits {
        batch_time: Duration::from_millis(300),
        setup_time: Duration::from_millis(1000),
        image_time: Duration::ZERO,
        ..Limits::default()
    })
});

fn sandbox(limits: Limits) -> Arc<Sandbox> {
    Arc::new(Sandbox::new(limits).expect("this machine can run the engine"))
}

/// The outcome of a guest.
#[derive(Debug)]
pub enum Outcome {
    /// It was not taken.
    Refused(Refusal),
    /// It does not process the table, or trapped on it.
    Table(CallError),
    /// It was shown a batch.
    Rows {
        /// One for each row, in order.
        rows: Vec<Row>,
        /// How often an instance was spent.
        faults: u32,
    },
}

/// The outcome of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Keep,
    Drop,
    /// Columns and their new values.
    Edit(Vec<(u32, String)>),
    Documents(Vec<Doc>),
    /// The batch was answered, and this row's answer says or amounts to a failure.
    Fails(String),
    /// No call that showed this row gave an answer.
    CallFails(String),
}

/// A document as the sink would write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    pub index: Option<String>,
    pub id: Option<String>,
    pub routing: Option<String>,
    pub body: String,
}

/// The table that all guests are shown.
pub fn table() -> Table {
    let column = |name: &str, kind| Column { name: name.into(), kind };
    Table {
        id: 7,
        database: "shop".into(),
        name: "trade".into(),
        columns: vec![
            column("mark", ColumnKind::Text),
            column("n", ColumnKind::Integer),
            column("note", ColumnKind::Text),
        ],
        key: vec![1],
    }
}

/// The cells of row `n`; those in `marked` say `"trap me"`.
fn cells(n: u32, marked: &[u32]) -> [String; 3] {
    let mark = if marked.contains(&n) { "\"trap me\"".into() } else { format!("\"row {n}\"") };
    [mark, n.to_string(), "null".into()]
}

fn batch(count: u32, marked: &[u32], asked: &[u32]) -> Batch {
    let mut batch = Batch { table: table().id, count, ..Batch::default() };
    for n in 0..count {
        let cells = cells(n, marked);
        for &column in asked {
            batch.bytes.extend_from_slice(cells[column as usize].as_bytes());
            batch.cells.push(batch.bytes.len() as u32);
        }
    }
    batch
}

/// Loads a file.
pub fn load(sandbox: &Arc<Sandbox>, path: &Path) -> Result<Plugin, Refusal> {
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("wat") => wat::parse_file(path).unwrap_or_else(|error| panic!("{error}")),
        _ => std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    };
    Plugin::load(sandbox, &bytes)
}

/// A running guest that knows the table.
pub struct Running<'a> {
    plugin: &'a Plugin,
    settings: String,
    guest: Box<dyn Guest>,
    asked: Vec<u32>,
}

impl<'a> Running<'a> {
    pub fn start(plugin: &'a Plugin, settings: &str) -> Result<Self, Outcome> {
        let mut guest: Box<dyn Guest> = Box::new(plugin.instantiate(settings).map_err(Outcome::Refused)?);
        let asked = guest.define_table(&table()).map_err(Outcome::Table)?;
        Ok(Self { plugin, settings: settings.to_string(), guest, asked })
    }

    /// Calls it with a batch; its answer is checked as for a bulk request.
    pub fn transform(&mut self, count: u32, marked: &[u32]) -> (Vec<Row>, u32) {
        let batch = batch(count, marked, &self.asked);
        let expect = Expect {
            count,
            columns: table().columns.len() as u32,
            indices: self.plugin.indices(),
            change_mode: self.plugin.description().mode == Mode::Change,
            documents_per_image: Limits::default().documents_per_image,
            rules: &NameRules::default(),
        };
        let (plugin, settings) = (self.plugin, &self.settings);
        let mut renew = || {
            let mut guest: Box<dyn Guest> =
                Box::new(plugin.instantiate(settings).map_err(|refusal| refusal.to_string())?);
            guest.define_table(&table()).map_err(|error| error.to_string())?;
            Ok(guest)
        };
        let mut parts = Vec::new();
        let faults = isolate::transform(&mut self.guest, &batch, self.asked.len(), expect, &mut renew, &mut parts);
        let mut rows = Vec::new();
        for part in &parts {
            assert_eq!(part.first as usize, rows.len(), "the parts cover the batch in order");
            read(part, marked, &mut rows);
        }
        assert_eq!(rows.len(), count as usize, "every row is answered for once");
        (rows, faults)
    }
}

fn read(part: &Part, marked: &[u32], rows: &mut Vec<Row>) {
    let output = match &part.result {
        Ok(output) => output,
        Err(reason) => {
            assert_eq!(part.count, 1, "a failure is told of one row at a time");
            return rows.push(Row::CallFails(reason.clone()));
        }
    };
    assert_eq!(output.len(), part.count as usize);
    let names = table();
    let names = ColumnNames::new(names.columns.iter().map(|column| column.name.as_str()));
    for image in 0..part.count {
        let cells = cells(part.first + image, marked);
        rows.push(match output.verdict(image) {
            Verdict::Keep => Row::Keep,
            Verdict::Drop => Row::Drop,
            Verdict::Edit(edits) => {
                Row::Edit(edits.map(|(column, value)| (column, one_line(value, "a cell"))).collect())
            }
            Verdict::Fail(reason) | Verdict::Refused(reason) => Row::Fails(reason.to_string()),
            Verdict::Documents(documents) => Row::Documents(
                documents
                    .map(|document| {
                        let mut body = Vec::new();
                        document.write_body(&mut body, &names, |column| cells[column as usize].as_bytes());
                        let body = one_line(&body, "a body");
                        assert!(body.starts_with('{'), "{body}");
                        let owned = |text: Option<&str>| text.map(str::to_string);
                        Doc {
                            index: owned(document.index),
                            id: owned(document.id),
                            routing: owned(document.routing),
                            body,
                        }
                    })
                    .collect(),
            ),
        });
    }
}

/// Bytes that are copied into a bulk request must be one JSON value on one line, whatever the guest did.
fn one_line(bytes: &[u8], what: &str) -> String {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!text.contains(['\n', '\r']), "{what} with a line break: {text:.200}");
    if let Err(error) = serde_json::from_str::<&serde_json::value::RawValue>(text) {
        panic!("{what}: {error} in {text:.200}");
    }
    text.to_string()
}

/// Takes a loaded guest through `configure`, `define-table` and one batch.
pub fn live(plugin: Result<&Plugin, Refusal>, settings: &str, rows: u32) -> Outcome {
    let plugin = match plugin {
        Ok(plugin) => plugin,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    match Running::start(plugin, settings) {
        Ok(mut running) => {
            let (rows, faults) = running.transform(rows, &[]);
            Outcome::Rows { rows, faults }
        }
        Err(outcome) => outcome,
    }
}

/// The same with a clock: the outcome, and how long it took.
pub fn timed(run: impl FnOnce() -> Outcome) -> (Outcome, Duration) {
    let start = Instant::now();
    (run(), start.elapsed())
}
