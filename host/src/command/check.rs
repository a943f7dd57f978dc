//! `rowmill check`: a plain verdict on each part, and what to do.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rowmill_runtime::Sandbox;

use super::ConfigArgs;
use super::run::print_line;
use crate::config::{Config, SinkConfig, SourceConfig};
use crate::metrics::Metrics;
use crate::plugins::PluginFolder;
use crate::sink::client::Client;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn check(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = args.read()?;
    let mut report = Report { failed: false };
    let routes = match config.routes.len() {
        1 => "1 route".to_string(),
        n => format!("{n} routes"),
    };
    report.good("configuration", &format!("{} is understood; {}", args.config.display(), routes));
    check_plugins(&config, &mut report)?;
    check_source(&config, &mut report);
    check_sink(&config, &mut report)?;
    Ok(if report.failed { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

struct Report {
    failed: bool,
}

impl Report {
    fn good(&mut self, part: &str, text: &str) {
        print_line(&format!("ok    {part:14} {text}"));
    }

    fn bad(&mut self, part: &str, text: &str) {
        self.failed = true;
        print_line(&format!("FAIL  {part:14} {text}"));
    }

    fn note(&mut self, part: &str, text: &str) {
        print_line(&format!("note  {part:14} {text}"));
    }
}

fn check_plugins(config: &Config, report: &mut Report) -> anyhow::Result<()> {
    let Some(dir) = &config.plugins.dir else {
        report.note(
            "plugins",
            "none: every row becomes a document of its own columns (plugins.dir names a folder of .wasm files)",
        );
        return Ok(());
    };
    let sandbox = Arc::new(Sandbox::new(config.limits.clone())?);
    let mut folder = PluginFolder::new(config.plugins.clone(), sandbox, Metrics::new());
    let loaded = match folder.scan() {
        Ok(loaded) => loaded.unwrap_or_default(),
        Err(error) => {
            report.bad("plugins", &format!("{error:#}; create the folder or set plugins.dir"));
            return Ok(());
        }
    };
    if loaded.is_empty() {
        report.note("plugins", &format!("no .wasm file in {}", dir.display()));
    }
    let mut refused = false;
    for file in loaded {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match file.result {
            Ok(plugin) => {
                let tables = if plugin.description.tables.is_empty() {
                    "all tables".to_string()
                } else {
                    plugin.description.tables.join(", ")
                };
                report.good(
                    "plugin",
                    &format!(
                        "{name}: {} {}, for {tables}, SHA-256 {}",
                        plugin.name,
                        plugin.description.version,
                        &plugin.hash[..16]
                    ),
                );
            }
            Err(reason) => {
                refused = true;
                report.bad("plugin", &format!("{name}: {reason}"));
            }
        }
    }
    // The name of a refused plugin is not known.
    for unknown in folder.unknown_names().into_iter().filter(|_| !refused) {
        report.bad("plugins", &unknown);
    }
    Ok(())
}

fn check_source(config: &Config, report: &mut Report) {
    match &config.source {
        SourceConfig::Demo => report.good("source", "the captured stream of the demo"),
        SourceConfig::File { path } if path.as_os_str() == "-" => report.good("source", "standard input"),
        SourceConfig::File { path } => match std::fs::File::open(path) {
            Ok(_) => report.good("source", &format!("{} can be read", path.display())),
            Err(error) => report.bad("source", &format!("{}: {error}", path.display())),
        },
        SourceConfig::Kafka(kafka) => match crate::source::kafka::check(kafka, PATIENCE) {
            Err(error) => report.bad("Kafka", &format!("{error:#}; is source.brokers right, and does source.properties have what the brokers ask for (TLS, SASL)?")),
            Ok(topics) => {
                report.good("Kafka", &format!("{} answers; {} topics", kafka.brokers, topics.len()));
                for wanted in &kafka.topics {
                    let found: Vec<&(String, usize)> = match wanted.strip_prefix('^') {
                        // librdkafka matches regular expressions; here it is enough to know that some topic begins so.
                        Some(pattern) => {
                            let literal: String = pattern.replace("\\.", ".").chars().take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')).collect();
                            topics.iter().filter(|(name, _)| name.starts_with(&literal)).collect()
                        }
                        None => topics.iter().filter(|(name, partitions)| name == wanted && *partitions > 0).collect(),
                    };
                    match found.as_slice() {
                        [] => report.bad("topic", &format!("{wanted}: there is none; does the CDC tool write to another, or nothing yet?")),
                        [(_, partitions)] => report.good("topic", &format!("{wanted}: {partitions} partitions")),
                        many => report.good("topic", &format!("{wanted}: {} topics", many.len())),
                    }
                }
            }
        },
    }
}

fn check_sink(config: &Config, report: &mut Report) -> anyhow::Result<()> {
    let elasticsearch = match &config.sink {
        SinkConfig::Null => {
            report.note("sink", "null: documents are counted and forgotten");
            return Ok(());
        }
        SinkConfig::Embedded { .. } => {
            report.note("sink", "the embedded store: documents are in memory and gone at the end");
            return Ok(());
        }
        SinkConfig::Elasticsearch(elasticsearch) => elasticsearch,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = match Client::new(elasticsearch) {
        Ok(client) => client,
        Err(error) => {
            report.bad("Elasticsearch", &format!("{error:#}"));
            return Ok(());
        }
    };
    let urls = elasticsearch.urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match runtime.block_on(async { tokio::time::timeout(PATIENCE, client.version()).await }) {
        Ok(Ok(version)) => report.good("Elasticsearch", &format!("{urls} answers, version {version}")),
        Ok(Err(error)) => {
            report.bad(
                "Elasticsearch",
                &format!("{urls}: {error:#}; is it running, and are sink.urls and the credentials right?"),
            );
            return Ok(());
        }
        Err(_) => {
            report.bad(
                "Elasticsearch",
                &format!("{urls}: no answer within {} s; is it running, and is sink.urls right?", PATIENCE.as_secs()),
            );
            return Ok(());
        }
    }
    for index in config.routes.iter().filter_map(|route| route.index.as_ref()) {
        match runtime.block_on(client.has_index(index)) {
            Ok(true) => report.good("index", &format!("{index} is there")),
            Ok(false) if elasticsearch.bulk.create_indices => {
                report.note("index", &format!("{index} is not there yet; it is created with the first document"))
            }
            Ok(false) => {
                report.bad("index", &format!("{index} is not there and sink.create_indices is false; create it"))
            }
            Err(error) => report.bad("index", &format!("{index}: {error:#}")),
        }
    }
    Ok(())
}
