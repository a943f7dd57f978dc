//! Golden cases and rows in code, run twice: natively, and as the real `.wasm` in the real sandbox. Feature `harness`.
//!
//! `tests/cases.rs` of a plugin's crate is one line, and every folder in `cases/` is a test:
//!
//! ```text
//! rowmill_sdk::cases!(hello::Hello); // cases!(change audit::Audit) for the mode `change`
//! ```
//!
//! A case is a folder with an `input.ndjson`, a `settings.toml` if the plugin has settings, and an `expected.ndjson`, which
//! `ROWMILL_BLESS=1 cargo test` writes. Its input is lines of JSON that begin with a table's description,
//!
//! ```text
//! {"table": "shop.orders", "columns": {"id": "bigint", "total": "decimal(10,2)"}, "key": ["id"]}
//! {"id": 1, "total": "9.90"}
//! {"update": {"id": 1, "total": "12.00"}, "before": {"id": 1, "total": "9.90"}}
//! {"delete": {"id": 1, "total": "12.00"}}
//! ```
//!
//! or a file of records that Canal, Debezium or Maxwell wrote. The expected outcomes are those of Rowmill with this plugin
//! alone in the chain: documents, deletes, rows that are kept or dropped, failures with their reason.
//!
//! Rows in code run in the same two ways:
//!
//! ```no_run
//! # use rowmill_sdk::{Fail, NoSettings, Out, Row, Transform};
//! # struct Hello;
//! # impl Transform for Hello {
//! #     const NAME: &'static str = "hello";
//! #     type Settings = NoSettings;
//! #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
//! #     fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> { Ok(()) }
//! # }
//! use rowmill_sdk::harness::{Both, Rows};
//! use serde_json::json;
//!
//! let orders = Rows::of("shop.orders", [("id", "bigint"), ("total", "decimal(10,2)")])
//!     .insert(json!({"id": 1, "total": "9.90"}));
//! let plugin = Both::<Hello>::in_crate(env!("CARGO_MANIFEST_DIR"));
//! let outcomes = plugin.outcomes(&json!({}), &orders.input());
//! assert_eq!(outcomes[0].body()["id"], 1);
//! ```
//!
//! The native run comes first, in this process, where debuggers, coverage tools and `println!` work. The program `rowmill`,
//! found by [`program::find`], does the run in the sandbox, so that a plugin's tests need not compile the engine.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rowmill_harness::build::{Crate, Words};
use rowmill_harness::{Sides, compare};
use serde_json::Value;

use rowmill_harness::runtime as host;

use crate::contract;
use crate::native::Driver;
use crate::plugin::{Changes, Drive, Images};

pub use rowmill_harness::{
    Case, CaseReport, Figures, Image, Input, Operation, Outcome, Reading, Row, Rows, Subject, program,
};

/// If set to anything but `0`, the plugin's current outcomes are written as the expected ones.
pub const BLESS: &str = "ROWMILL_BLESS";

/// A [`Transform`](crate::Transform) that is run both ways.
pub type Both<T> = BothWays<Images<T>>;

/// A [`ChangeTransform`](crate::ChangeTransform) that is run both ways.
pub type BothChange<T> = BothWays<Changes<T>>;

/// Tests a plugin with the golden cases of its crate, `cases/*/`: `cases!(MyPlugin)`, or `cases!(change MyPlugin)` for the
/// mode `change`. Feature `harness`.
#[macro_export]
macro_rules! cases {
    (change $plugin:ty) => {
        #[test]
        fn cases() {
            $crate::harness::BothChange::<$plugin>::in_crate(::core::env!("CARGO_MANIFEST_DIR")).check_cases();
        }
    };
    ($plugin:ty) => {
        #[test]
        fn cases() {
            $crate::harness::Both::<$plugin>::in_crate(::core::env!("CARGO_MANIFEST_DIR")).check_cases();
        }
    };
}

/// The implementation of [`Both`] and [`BothChange`].
#[derive(Debug)]
pub struct BothWays<D> {
    folder: PathBuf,
    wasm: OnceLock<PathBuf>,
    plugin: PhantomData<fn() -> D>,
}

impl<D: Drive + Send> BothWays<D> {
    /// The plugin of the crate in this folder: `env!("CARGO_MANIFEST_DIR")`.
    pub fn in_crate(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), wasm: OnceLock::new(), plugin: PhantomData }
    }

    /// The plugin's description, as the host's type.
    pub fn description() -> host::Description {
        description::<D>()
    }

    /// A native instance with these settings, a JSON object.
    ///
    /// # Errors
    /// The plugin rejects its settings; the error is its message.
    pub fn native(settings: &str) -> Result<Box<dyn host::Guest>, String> {
        native_guest::<D>(settings)
    }

    /// Runs the cases in the crate's folder `cases`.
    ///
    /// # Panics
    /// An outcome differs from the expected one, or between native code and the sandbox; the message says where.
    #[track_caller]
    pub fn check_cases(&self) {
        if let Err(reason) = self.try_cases(&self.folder.join("cases")) {
            panic!("{reason}");
        }
    }

    /// Runs rows both ways.
    ///
    /// # Panics
    /// Native code and the sandbox differ, or the plugin cannot be built.
    #[track_caller]
    pub fn outcomes(&self, settings: &Value, input: &Input) -> Vec<Outcome> {
        let settings = settings.to_string();
        let native = subject::<D>().run(&settings, input);
        let folder = std::env::temp_dir().join("rowmill-harness");
        let sandboxed = self
            .wasm()
            .and_then(|wasm| program::run_rows(wasm, &settings, input, &folder).map_err(|error| format!("{error:#}")));
        match sandboxed {
            Ok(sandboxed) => match compare(NATIVE_AND_WASM, &native, &sandboxed, input) {
                None => native,
                Some(difference) => panic!("the sandbox gives something else than native code:\n{difference}"),
            },
            Err(reason) => panic!("natively all went well; the sandbox: {reason}"),
        }
    }

    /// The `.wasm` file, built by the first call.
    fn wasm(&self) -> Result<&Path, String> {
        if let Some(built) = self.wasm.get() {
            return Ok(built);
        }
        let built = Crate::find(&self.folder).and_then(|package| package.build(Words::Kept)).map_err(text)?;
        Ok(self.wasm.get_or_init(|| built))
    }

    fn try_cases(&self, folder: &Path) -> Result<(), String> {
        let cases = Case::all(folder).map_err(text)?;
        let subject = subject::<D>();
        let bless = std::env::var_os(BLESS).is_some_and(|value| value != "0");
        let mut wrong = Vec::new();
        let mut natively = Vec::new();
        for case in &cases {
            let of_case = |reason: String| format!("case {}: {reason}", case.name);
            let input = case.input().map_err(text).map_err(of_case)?;
            let settings = case.settings().map_err(text).map_err(of_case)?;
            let outcomes = subject.run(&settings.0, &input);
            match case.expected().map_err(text).map_err(of_case)? {
                _ if bless => {}
                None => wrong.push(format!(
                    "case {}: there is no expected.ndjson yet; write it with `{BLESS}=1 cargo test`, and look at it",
                    case.name
                )),
                Some(expected) => {
                    let difference = compare(EXPECTED_AND_NOW, &expected, &outcomes, &input);
                    wrong.extend(difference.map(|difference| format!("case {}: {difference}", case.name)));
                }
            }
            natively.push((case, input, outcomes));
        }
        if wrong.is_empty() {
            let reports = self
                .wasm()
                .and_then(|wasm| program::run_cases(wasm, folder).map_err(text))
                .map_err(|reason| format!("natively all cases are as expected; the sandbox: {reason}"))?;
            for (case, input, outcomes) in &natively {
                let Some(report) = reports.iter().find(|report| report.case == case.name) else {
                    return Err(format!("the sandbox ran no case {}", case.name));
                };
                match compare(NATIVE_AND_WASM, outcomes, &report.outcomes, input) {
                    Some(difference) => wrong.push(format!(
                        "case {}: the sandbox gives something else than native code: {difference}",
                        case.name
                    )),
                    None => say(case, report),
                }
            }
        }
        if wrong.is_empty() && bless {
            for (case, _, outcomes) in &natively {
                if case.bless(outcomes).map_err(text)? {
                    eprintln!("case {}: blessed", case.name);
                }
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!("{}\n`{BLESS}=1 cargo test` makes what comes out now the expected", wrong.join("\n"))),
        }
    }
}

/// An error with its causes, on one line.
fn text(error: impl std::fmt::Display) -> String {
    format!("{error:#}")
}

const EXPECTED_AND_NOW: Sides = Sides { before: "expected", after: "what comes out" };
const NATIVE_AND_WASM: Sides = Sides { before: "native", after: "in the sandbox" };

/// Shown by `cargo test -- --nocapture`.
fn say(case: &Case, report: &CaseReport) {
    let figures = report.figures.as_ref().map_or(String::new(), |figures| format!("; {}", figures.line()));
    eprintln!("case {}: {}{figures}", case.name, rowmill_harness::summary(&report.outcomes));
}

fn subject<D: Drive + Send>() -> Subject {
    Subject::new(description::<D>(), std::sync::Arc::new(native_guest::<D>))
}

fn description<D: Drive>() -> host::Description {
    let description = Driver::<D>::describe();
    let index = |index: contract::Index| host::Index { name: index.name, mapping: index.mapping };
    host::Description {
        name: description.name,
        version: description.version,
        tables: description.tables,
        mode: match description.mode {
            contract::Mode::Image => host::Mode::Image,
            contract::Mode::Change => host::Mode::Change,
        },
        indices: description.indices.into_iter().map(index).collect(),
        settings_schema: description.settings_schema,
    }
}

fn native_guest<D: Drive + Send>(settings: &str) -> Result<Box<dyn host::Guest>, String> {
    let mut driver = Driver::<D>::new();
    let configured = caught(|| driver.configure(settings)).map_err(|trap| trap.to_string())?;
    configured.map_err(|refusal| host::single_line(&refusal))?;
    Ok(Box::new(NativeGuest(driver)))
}

/// A native plugin behind the host's types.
struct NativeGuest<D>(Driver<D>);

impl<D: Drive + Send> host::Guest for NativeGuest<D> {
    fn define_table(&mut self, table: &host::Table) -> Result<Vec<u32>, host::CallError> {
        let column = |column: &host::Column| contract::Column { name: column.name.clone(), kind: kind(column.kind) };
        let table = contract::Table {
            id: table.id,
            database: table.database.clone(),
            name: table.name.clone(),
            columns: table.columns.iter().map(column).collect(),
            key: table.key.clone(),
        };
        caught(|| self.0.define_table(&table))?.map_err(|refusal| host::CallError::Refused(host::single_line(&refusal)))
    }

    fn transform(&mut self, batch: &host::Batch) -> Result<host::RawOutput, host::CallError> {
        let batch = contract::Batch {
            table: batch.table,
            count: batch.count,
            operations: batch.operations.clone(),
            cells: batch.cells.clone(),
            bytes: batch.bytes.clone(),
        };
        let output = caught(|| self.0.transform(&batch))?;
        Ok(host::RawOutput { verdicts: output.verdicts, names: output.names, bytes: output.bytes })
    }
}

/// Turns a panic into a trap, as in the sandbox: the instance is not used again.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, host::CallError> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|_| host::CallError::Trapped("it panicked or aborted (unreachable code)".to_owned()))
}

/// The host's kind as the SDK's kind; both enums follow the contract.
fn kind(kind: host::ColumnKind) -> contract::ColumnKind {
    use contract::ColumnKind as To;
    use host::ColumnKind as From;
    match kind {
        From::Unknown => To::Unknown,
        From::Integer => To::Integer,
        From::UnsignedInteger => To::UnsignedInteger,
        From::Boolean => To::Boolean,
        From::Bit => To::Bit,
        From::Float => To::Float,
        From::Double => To::Double,
        From::Decimal => To::Decimal,
        From::Date => To::Date,
        From::Time => To::Time,
        From::DateTime => To::DateTime,
        From::Timestamp => To::Timestamp,
        From::Text => To::Text,
        From::Binary => To::Binary,
        From::Enumeration => To::Enumeration,
        From::Set => To::Set,
        From::Json => To::Json,
    }
}
