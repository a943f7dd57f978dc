//! `rowmill demo`: the whole pipeline on a captured stream, with nothing to install.

mod broker;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rowmill_store::StoreHandle;

use super::run::{end_on_signals, print_line};
use super::{DemoArgs, Usage, this_program};
use crate::config::{Config, Overrides, SinkConfig, SourceConfig, read_text};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::shutdown::Shutdown;
use crate::sink::elasticsearch::client::Client;
use crate::sink::embedded;
use crate::transform::Published;
use broker::{Broker, Changes, captured_trade};

/// How long the captured stream may take to be written.
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the demo reports what happens.
const REPORT_INTERVAL: Duration = Duration::from_secs(3);

pub(super) fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if !args.plugins.is_dir() {
        return Err(Usage(format!(
            "there is no folder {}; build the bundled plugins with `make plugins`, or name a folder with --plugins",
            args.plugins.display()
        ))
        .into());
    }
    let letters = std::env::temp_dir().join(format!("rowmill-demo-{}.ndjson", std::process::id()));
    let result = run(args, &letters);
    let _ = std::fs::remove_file(&letters);
    result
}

fn run(args: &DemoArgs, letters: &Path) -> anyhow::Result<ExitCode> {
    let (broker, changes) = Broker::start()?;
    let store = embedded::start(args.port)?;
    let config = configuration(args, &broker, &store, letters)?;
    let SinkConfig::Elasticsearch(elasticsearch) = &config.sink else { anyhow::bail!("the demo writes to a store") };
    let client = Client::new(elasticsearch)?;
    let pipeline = Pipeline::new(config)?;
    end_on_signals(&pipeline);
    let view = View {
        client,
        metrics: pipeline.metrics(),
        published: pipeline.published(),
        url: store.url(),
        plugins: args.plugins.display().to_string(),
        shutdown: pipeline.shutdown(),
    };
    view.introduce();
    if args.once {
        let result = pipeline.run(true);
        view.show_documents();
        print_line(&serde_json::to_string(&result?.0)?);
        return Ok(ExitCode::SUCCESS);
    }
    run_live(pipeline, changes, view)
}

/// Runs until Ctrl-C, while rows keep changing and the view reports what happens.
fn run_live(pipeline: Pipeline, changes: Changes, view: View) -> anyhow::Result<ExitCode> {
    let shutdown = pipeline.shutdown();
    let changing = {
        let shutdown = shutdown.clone();
        std::thread::Builder::new().name("changes".into()).spawn(move || changes.run(&shutdown))?
    };
    let reporting = std::thread::Builder::new().name("view".into()).spawn(move || view.report())?;
    let result = pipeline.run(false);
    shutdown.request();
    let _ = (changing.join(), reporting.join());
    let (summary, _) = result?;
    print_line(&format!(
        "Stopped: {} events, {} documents written, {} dead letters.",
        summary.events, summary.documents.index, summary.dead_letters
    ));
    Ok(ExitCode::SUCCESS)
}

/// The demo's configuration: from the broker to the store.
fn configuration(args: &DemoArgs, broker: &Broker, store: &StoreHandle, letters: &Path) -> anyhow::Result<Config> {
    let source = broker.source();
    let text = format!(
        "[source]\nbrokers = {:?}\ntopics = {:?}\n[plugins]\nstate = \"\"\n[sink]\nurls = [{:?}]\nlinger = \"50ms\"\n\
         [[routes]]\ntable = \"*\"\ntruncate = \"apply\"\n[pipeline]\nworkers = 2\n[dead_letter]\npath = {:?}\n",
        source.brokers,
        source.topics,
        store.url(),
        letters.display().to_string()
    );
    let overrides = Overrides { plugins: Some(args.plugins.clone()), set: Vec::new() };
    let mut config: Config = read_text(&text, "demo", &overrides)?;
    config.source = SourceConfig::Kafka(source);
    config.plugins.compile.program = this_program();
    Ok(config)
}

/// What the demo prints.
struct View {
    client: Client,
    metrics: Arc<Metrics>,
    published: Arc<ArcSwap<Published>>,
    /// The store's address.
    url: String,
    /// The folder of plugins.
    plugins: String,
    shutdown: Shutdown,
}

impl View {
    fn introduce(&self) {
        let chain = self.published.load().chain.clone();
        let names: Vec<&str> = chain.plugins.iter().map(|plugin| &*plugin.name).collect();
        let names = if names.is_empty() { "none".to_string() } else { names.join(" → ") };
        print_line("Rowmill demo: MySQL rows → plugins → documents, all in this process\n");
        print_line("  source     a Kafka broker with the changes of a shop's four tables, as Canal captured them");
        print_line(&format!("  plugins    {names}, from {}", self.plugins));
        print_line(&format!("  store      {}", self.url));
    }

    /// Shows how many documents there are, and one row beside its document.
    fn show_documents(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let mut counts = Vec::new();
            for index in ["trade", "orders", "order_items", "customers"] {
                let _ = self.client.refresh(index).await;
                if let Ok(Some(count)) = self.client.count(index).await {
                    counts.push(format!("{index} {count}"));
                }
            }
            print_line(&format!("  documents  {}\n", counts.join(", ")));
            if let Ok(Some(document)) = self.client.document("trade", "4").await {
                let row = captured_trade("4").unwrap_or_default();
                side_by_side(
                    &format!("One row of shop.trade, {} of its 41 columns", COLUMNS.len()),
                    &row_lines(&row),
                    "Its document in the index trade",
                    &document_lines(&document),
                );
            }
        });
    }

    fn suggest(&self) {
        let Self { url, plugins, .. } = self;
        // The command as it was called: after a first build it is not in PATH.
        let rowmill = std::env::args().next().unwrap_or_else(|| "rowmill".into());
        print_line("\nA trade and an order change twice per second. Three things to try in another terminal:");
        print_line(&format!("  look at a document      curl -s '{url}/trade/_doc/4?pretty'"));
        print_line(&format!("  take a plugin out       mv {plugins}/20-trade-document.wasm /tmp"));
        print_line(&format!(
            "  write a plugin          {rowmill} plugin new hello && {rowmill} plugin build hello --into {plugins}"
        ));
        print_line("Ctrl-C stops the demo.\n");
    }

    /// Reports what happens until the run is to end: the documents of the captured stream, then what changes.
    fn report(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        self.wait_until(STREAM_TIMEOUT, || self.metrics.events.get() >= 244 && self.metrics.written_total() >= 80);
        if self.shutdown.is_requested() {
            return;
        }
        self.show_documents();
        self.suggest();
        // A chain is also published when a generation passes its probation, with the same plugins as before.
        let mut known = self.generations();
        let mut last_shape = String::new();
        loop {
            self.wait_until(REPORT_INTERVAL, || self.generations() != known);
            if self.shutdown.is_requested() {
                return;
            }
            let now = self.generations();
            if now != known {
                let names = if now.is_empty() { "none".to_string() } else { now.join(" → ") };
                print_line(&format!("  the plugins are now {names}"));
                known = now;
            }
            let Ok(document) = runtime.block_on(self.client.document("trade", "4")) else { return };
            print_line(&format!(
                "  {} events read, {} operations written, {} stale, {} dead letters",
                self.metrics.events.get(),
                self.metrics.written_total(),
                self.metrics.stale.get(),
                self.metrics.dead_letters_total()
            ));
            // The row's numbers change all the time; the document is shown again when its shape changes.
            let document = document.unwrap_or_default();
            let shape: String = document.chars().filter(|c| !c.is_ascii_digit()).collect();
            if shape != last_shape && !last_shape.is_empty() {
                print_line("  the document trade/4 has a new shape:");
                document_lines(&document).iter().for_each(|line| print_line(&format!("    {line}")));
            }
            last_shape = shape;
        }
    }

    fn generations(&self) -> Vec<String> {
        let chain = self.published.load().chain.clone();
        chain.plugins.iter().map(|plugin| format!("{} (generation {})", plugin.name, plugin.generation)).collect()
    }

    /// Waits until the condition holds, the time is over, or the run is to end.
    fn wait_until(&self, timeout: Duration, condition: impl Fn() -> bool) {
        let end = Instant::now() + timeout;
        while Instant::now() < end && !self.shutdown.is_requested() && !condition() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// The columns of the row that are shown.
const COLUMNS: [&str; 12] = [
    "id",
    "trade_no",
    "status",
    "buyer_id",
    "seller_id",
    "amount",
    "currency",
    "is_paid",
    "pay_channel",
    "quantity",
    "receiver_name",
    "created_at",
];
/// Lines of a document that are shown.
const MAX_LINES: usize = 16;
/// Characters of the left column, and of all: the screen has 100.
const LEFT: usize = 46;
const SCREEN: usize = 100;

/// The shown columns of a captured row, one per line.
fn row_lines(row: &str) -> Vec<String> {
    let row: serde_json::Value = serde_json::from_str(row).unwrap_or_default();
    let value = |column: &str| match &row[column] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    COLUMNS.iter().map(|column| format!("{column:14} {}", value(column))).collect()
}

/// The fields of a document, one per line.
fn document_lines(document: &str) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(document).unwrap_or_default();
    let fields = document.as_object().into_iter().flatten();
    let mut lines: Vec<String> = fields.map(|(name, value)| format!("{name:14} {value}")).collect();
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES + 1;
        lines.truncate(MAX_LINES - 1);
        lines.push(format!("… and {more} more fields"));
    }
    lines.iter().map(|line| shorten(line, SCREEN - LEFT - 4)).collect()
}

fn side_by_side(left_title: &str, left: &[String], right_title: &str, right: &[String]) {
    print_line(&format!("  {left_title:LEFT$}{right_title}"));
    for place in 0..left.len().max(right.len()) {
        let of = |side: &[String]| side.get(place).cloned().unwrap_or_default();
        print_line(format!("    {:LEFT$}{}", shorten(&of(left), LEFT - 2), of(right)).trim_end());
    }
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
