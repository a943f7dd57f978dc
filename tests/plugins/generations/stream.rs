//! A gateway in this process with one plugin, and a pipe through which its rows come.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rowmill::config::{Overrides, read_text};
use rowmill::metrics::Metrics;
use rowmill::pipeline::{Ended, Pipeline, Summary};
use rowmill::plugins::control::Control;
use rowmill::plugins::status::{CandidateState, PluginEvent, PluginStatus, Status};
use rowmill::sink::embedded;
use rowmill_store::StoreHandle;
use rowmill_tests::captures::Record;
use rowmill_tests::{TempDir, guests, wait};
use serde_json::{Value, json};

pub const PATIENCE: Duration = Duration::from_secs(120);
/// The name of the plugin's file.
pub const FILE: &str = "variant.wasm";

/// The files that persist between runs: the plugin folder, the state, the dead letters.
pub struct Place {
    pub folder: TempDir,
    /// Further lines of the configuration, of `[plugins]` at first.
    pub settings: String,
    has_store: bool,
    /// The program that compiles; `None` for this one.
    pub program: Option<PathBuf>,
}

/// A running gateway.
pub struct Stream {
    pipe: File,
    run: JoinHandle<anyhow::Result<(Summary, Ended)>>,
    store: Option<StoreHandle>,
    pub control: Control,
    pub metrics: Arc<Metrics>,
    pub plugins: PathBuf,
    /// Rows that were written into the pipe.
    pub written: u64,
}

/// A document: who made it, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub by: String,
    pub name: String,
}

impl Place {
    /// A folder with one plugin in it, and further lines of the configuration.
    pub fn new(name: &str, deeds: &str, settings: &str) -> Self {
        let (folder, settings) = (rowmill_tests::scratch(name), settings.to_string());
        let place = Self { folder, settings, has_store: true, program: None };
        fs::create_dir(place.plugins()).expect("a folder is made");
        place.put(&guests::variant(deeds));
        let made = Command::new("mkfifo").arg(place.pipe()).status().expect("mkfifo runs");
        assert!(made.success(), "a pipe is made");
        place
    }

    /// The same with documents that are counted and discarded.
    pub fn without_store(self) -> Self {
        Self { has_store: false, ..self }
    }

    /// The folder of plugins.
    pub fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    /// The plugin's file.
    pub fn file(&self) -> PathBuf {
        self.plugins().join(FILE)
    }

    fn pipe(&self) -> PathBuf {
        self.folder.path().join("records")
    }

    /// Puts the plugin's file there in one step.
    pub fn put(&self, bytes: &[u8]) {
        put(&self.plugins(), bytes);
    }

    /// Starts a gateway.
    #[track_caller]
    pub fn start(&self) -> Stream {
        self.try_start().expect("the gateway starts")
    }

    pub fn try_start(&self) -> anyhow::Result<Stream> {
        let shown = |path: PathBuf| path.display().to_string();
        let store = if self.has_store { Some(embedded::start(0)?) } else { None };
        let sink = match &store {
            Some(store) => format!("urls = [{:?}]\n", store.url()),
            None => "kind = \"null\"\n".to_string(),
        };
        let text = format!(
            "[source]\nkind = \"file\"\npath = {:?}\n[sink]\n{sink}linger = \"1ms\"\n[pipeline]\nworkers = 2\n\
             [dead_letter]\npath = {:?}\n[plugins]\ndir = {:?}\nstate = {:?}\n{}",
            shown(self.pipe()),
            shown(self.folder.path().join("dead-letter.ndjson")),
            shown(self.plugins()),
            shown(self.folder.path().join("state")),
            self.settings,
        );
        let mut config = read_text(&text, "test", &Overrides::default())?;
        config.plugins.compile.program = self.program.clone();
        let pipeline = Pipeline::new(config)?;
        let (control, metrics) = (pipeline.control(), pipeline.metrics());
        // Open for both, so that it waits for no reader.
        let pipe = OpenOptions::new().read(true).write(true).open(self.pipe())?;
        let run = std::thread::spawn(move || {
            let ended = pipeline.run(true);
            if let Err(error) = &ended {
                eprintln!("the gateway ended: {error:#}");
            }
            ended
        });
        Ok(Stream { pipe, run, store, control, metrics, plugins: self.plugins(), written: 0 })
    }

    /// The dead letters, as JSON objects.
    pub fn letters(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("dead-letter.ndjson")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a letter is a line of JSON")).collect()
    }
}

/// Puts the plugin's file into a folder in one step.
pub fn put(plugins: &Path, bytes: &[u8]) {
    let part = plugins.join(".variant.wasm.part");
    fs::write(&part, bytes).expect("the plugin is written");
    fs::rename(&part, plugins.join(FILE)).expect("and put in its place");
}

impl Stream {
    /// Writes a row for each id.
    pub fn write(&mut self, ids: impl IntoIterator<Item = u64>) {
        let mut lines = String::new();
        for id in ids {
            let offset = self.written as i64;
            self.written += 1;
            let value = json!({
                "database": "shop", "table": "thing", "type": "insert", "ts": 1_795_216_000, "xid": offset, "commit": true,
                "position": format!("binlog.000001:{}", 1000 + offset), "primary_key_columns": ["id"],
                "data": { "id": id, "name": format!("thing {id}") },
            });
            lines += &Record::new("maxwell", offset, value.to_string()).line();
            lines.push('\n');
            if lines.len() > 32 << 10 {
                self.pipe.write_all(lines.as_bytes()).expect("the gateway reads");
                lines.clear();
            }
        }
        self.pipe.write_all(lines.as_bytes()).expect("the gateway reads");
    }

    /// Puts another file in the place of the plugin's.
    pub fn put(&self, bytes: &[u8]) {
        put(&self.plugins, bytes);
    }

    /// Waits until every written row is settled: it became a document, was superseded by a newer one, or is counted as failed.
    #[track_caller]
    pub fn settle(&self) {
        wait::until("all rows are settled", PATIENCE, || {
            assert!(!self.run.is_finished(), "the gateway ended");
            self.settled() == self.written
        });
    }

    /// Rows whose end is counted.
    pub fn settled(&self) -> u64 {
        let of = &self.metrics;
        of.written_total() + of.folded.get() + of.stale.get() + of.filtered.get() + of.dead_letters_total()
    }

    pub fn status(&self) -> Status {
        self.control.status().expect("the gateway answers")
    }

    /// The plugin.
    #[track_caller]
    pub fn plugin(&self) -> PluginStatus {
        let status = self.status();
        assert_eq!(status.plugins.len(), 1, "{status:#?}");
        status.plugins.into_iter().next().expect("one plugin")
    }

    /// Waits until the plugin is as `is` wants it; returns how it is then.
    #[track_caller]
    pub fn until(&self, what: &str, is: impl Fn(&PluginStatus) -> bool) -> PluginStatus {
        let found = wait::within(PATIENCE, || Some(self.plugin()).filter(&is));
        found.unwrap_or_else(|| panic!("waited in vain: {what}; {:#?}", self.plugin()))
    }

    /// Waits until these bytes are published.
    #[track_caller]
    pub fn until_running(&self, bytes: &[u8]) -> PluginStatus {
        let hash = hash(bytes);
        self.until("the file is published", |plugin| plugin.running.hash == hash)
    }

    /// Waits until the candidate is in this state.
    #[track_caller]
    pub fn until_candidate(&self, state: CandidateState) -> PluginStatus {
        self.until(&format!("{state:?}"), |plugin| {
            plugin.candidate.as_ref().is_some_and(|candidate| candidate.state == state)
        })
    }

    /// The documents as they are.
    pub fn raw_documents(&self) -> Vec<(String, Value)> {
        let documents = self.store.as_ref().expect("a store").documents("thing").into_iter();
        documents.map(|document| (document.id, serde_json::from_str(&document.source).expect("JSON"))).collect()
    }

    /// The documents by id.
    pub fn documents(&self) -> BTreeMap<u64, Made> {
        let made = |(id, source): (String, Value)| {
            let text = |name: &str| source[name].as_str().unwrap_or_default().to_string();
            (id.parse().expect("a number"), Made { by: text("by"), name: text("name") })
        };
        self.raw_documents().into_iter().map(made).collect()
    }

    /// Ends the stream, and the gateway with it.
    #[track_caller]
    pub fn end(self) -> Summary {
        drop(self.pipe);
        let (summary, _) = self.run.join().expect("the gateway ends").expect("in order");
        summary
    }
}

/// SHA-256 as the gateway reports it.
pub fn hash(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether something happened to the plugin.
pub fn happened(plugin: &PluginStatus, what: &str) -> bool {
    plugin.history.iter().any(|PluginEvent { what: happened, .. }| happened == what)
}
