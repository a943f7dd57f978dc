//! `rowmill demo`: the whole way on a captured stream, with nothing installed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;

use super::run::{end_on_signals, print_line};
use super::{DemoArgs, Usage, this_program};
use crate::config::{Config, Overrides, read_text};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::sink::elasticsearch::client::Client;
use crate::source::{Stop, demo::captured_trade};
use crate::transform::chain::Chain;

pub(super) fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if !args.plugins.is_dir() {
        return Err(Usage(format!(
            "there is no folder {}; build the bundled plugins with `make plugins`, or name a folder with --plugins",
            args.plugins.display()
        ))
        .into());
    }
    let letters = std::env::temp_dir().join(format!("rowmill-demo-{}.ndjson", std::process::id()));
    let text = format!(
        "[source]\nkind = \"demo\"\n[plugins]\nstate = \"\"\n[sink]\nkind = \"embedded\"\nlinger = \"50ms\"\nlisten = \"127.0.0.1:{}\"\n[[routes]]\ntable = \"*\"\ntruncate = \"apply\"\n[pipeline]\nworkers = 2\n[dead_letter]\npath = {:?}\n",
        args.port,
        letters.display().to_string()
    );
    let overrides = Overrides { plugins: Some(args.plugins.clone()), set: Vec::new() };
    let mut config: Config = read_text(&text, "demo", &overrides)?;
    config.plugins.compile.program = this_program();
    let mut pipeline = Pipeline::new(config)?;
    end_on_signals(&pipeline);
    let metrics = pipeline.metrics();
    let client = pipeline.client().context("the embedded store")?;
    let chain = pipeline.chain();
    let store = pipeline.take_store().context("the embedded store")?;
    let url = store.url();

    print_line("Rowmill demo: MySQL rows → plugins → documents, all in this process.\n");
    print_line("  source    a Kafka-protocol broker with what Canal wrote of a shop's four tables");
    let names: Vec<String> = chain.load().plugins.iter().map(|plugin| plugin.name.to_string()).collect();
    print_line(&format!(
        "  plugins   {} (from {})",
        if names.is_empty() { "none".to_string() } else { names.join(" → ") },
        args.plugins.display()
    ));
    print_line(&format!("  store     {url}\n"));

    let plugins = args.plugins.display().to_string();
    if args.once {
        let result = pipeline.run(true);
        let _ = std::fs::remove_file(&letters);
        show_documents(&client);
        print_line(&serde_json::to_string(&result?.0)?);
        return Ok(ExitCode::SUCCESS);
    }
    let stop = Stop::default();
    let narrator = {
        let stop = stop.clone();
        std::thread::Builder::new()
            .name("narrator".into())
            .spawn(move || narrate(&client, &metrics, &url, &plugins, &chain, &stop))?
    };
    let result = pipeline.run(false);
    stop.request();
    let _ = narrator.join();
    let _ = std::fs::remove_file(&letters);
    let (summary, _) = result?;
    print_line(&format!(
        "Ended in order: {} events, {} documents written, {} dead letters.",
        summary.events, summary.documents.index, summary.dead_letters
    ));
    Ok(ExitCode::SUCCESS)
}

/// Shows how many documents there are, and one before and after.
fn show_documents(client: &Client) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        for index in ["trade", "orders", "order_items", "customers"] {
            let _ = client.refresh(index).await;
            if let Ok(Some(count)) = client.count(index).await {
                print_line(&format!("  index {index:12} {count:3} documents"));
            }
        }
        if let Ok(Some(document)) = client.document("trade", "4").await {
            print_line("\nRow 4 of shop.trade, 41 columns, as Canal wrote it:");
            print_line(&format!("  {}", shorten(&captured_trade("4").unwrap_or_default(), 900)));
            print_line("Its document is");
            print_line(&format!("  {}\n", shorten(&document, 900)));
        }
    });
}

/// Tells what happens: the documents once the captured stream is there, then what changes, until it is stopped.
fn narrate(client: &Client, metrics: &Metrics, url: &str, plugins: &str, chain: &ArcSwap<Chain>, stop: &Stop) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    wait_until(Duration::from_secs(20), || {
        stop.is_requested() || metrics.events.get() >= 244 && metrics.written_total() >= 80
    });
    if stop.is_requested() {
        return;
    }
    show_documents(client);
    print_line(&format!("Look around:      curl -s '{url}/trade/_search?size=1'"));
    print_line(&format!(
        "Replace a plugin: change its source, `make plugins`; or remove it: mv {plugins}/20-trade-document.wasm /tmp"
    ));
    print_line(
        "                  (a trade and an order change every half second; each document follows when its row changes next)",
    );
    // As it was called: a first build is not in PATH.
    let rowmill = std::env::args().next().unwrap_or_else(|| "rowmill".into());
    print_line(&format!("Write a plugin:   {rowmill} plugin new hello; {rowmill} plugin build hello --into {plugins}"));
    print_line("End:              Ctrl-C\n");
    // A chain is also published when a generation has passed its probation: what it consists of is then as before.
    let names = || -> Vec<String> {
        let now = chain.load();
        now.plugins.iter().map(|plugin| format!("{} (generation {})", plugin.name, plugin.generation)).collect()
    };
    let mut known = names();
    let mut last = String::new();
    loop {
        wait_until(Duration::from_secs(3), || stop.is_requested() || names() != known);
        if stop.is_requested() {
            return;
        }
        let now = names();
        if now != known {
            known = now;
            print_line(&format!(
                "  plugins are now: {}",
                if known.is_empty() { "none".to_string() } else { known.join(" → ") }
            ));
        }
        let Ok(document) = runtime.block_on(client.document("trade", "4")) else { return };
        let document = document.unwrap_or_default();
        let line = format!(
            "  {} events · {} written · {} stale · {} dead letters",
            metrics.events.get(),
            metrics.written_total(),
            metrics.stale.get(),
            metrics.dead_letters_total()
        );
        print_line(&line);
        // The version moves with every change; the document is shown again when its shape does.
        let shape: String = document.chars().filter(|c| !c.is_ascii_digit()).collect();
        if shape != last && !last.is_empty() {
            print_line(&format!("  trade/4 is now: {}", shorten(&document, 400)));
        }
        last = shape;
    }
}

fn wait_until(patience: Duration, condition: impl Fn() -> bool) -> bool {
    let end = std::time::Instant::now() + patience;
    while std::time::Instant::now() < end {
        if condition() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    condition()
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
