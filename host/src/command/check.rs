//! `rowmill check`: a plain verdict on each part, and what to do.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rowmill_sandbox::Sandbox;

use super::ConfigArgs;
use super::run::print_line;
use crate::config::{Config, DeadLetterConfig, PluginConfig, SinkConfig, SourceConfig};
use crate::dead_letter;
use crate::metrics::Metrics;
use crate::plugins::Plugins;
use crate::reload::topic::Topic;
use crate::sink::client::{Client, Refused};
use crate::sink::rules;
use crate::source::access;

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
    check_config_topic(args, &config, &mut report);
    check_sink(&config, &mut report)?;
    check_dead_letters(&config.dead_letter, &mut report);
    if let Some(address) = config.http.listen {
        check_http(address, &mut report);
        if config.plugins.dir.is_some() && config.http.token.is_none() && !address.ip().is_loopback() {
            report.note(
                "http",
                &format!("{address} is for others too and no token is set, so /plugins stays closed; set http.token_file to open it, for `rowmill plugins` as well"),
            );
        }
    }
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
    let sandbox = Arc::new(Sandbox::new(config.limits.clone())?.with_name_rules(rules::elasticsearch()));
    // What the folder holds, and not what a restart could do without it; a gateway may be at work on the state folder.
    let plugins = PluginConfig { state: None, ..config.plugins.clone() };
    let plugins = match Plugins::load(&plugins, Arc::new([]), &sandbox, Metrics::new(), 1) {
        Ok(plugins) => plugins,
        Err(error) => {
            report.bad("plugins", &format!("{error:#}"));
            return Ok(());
        }
    };
    let loaded = plugins.loaded();
    if loaded.is_empty() {
        report.note("plugins", &format!("no .wasm file in {}", dir.display()));
    }
    let mut refused = false;
    for file in loaded {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match &file.result {
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
    for unknown in plugins.unknown_names().into_iter().filter(|_| !refused) {
        report.bad("plugins", &unknown);
    }
    Ok(())
}

fn check_config_topic(args: &ConfigArgs, config: &Config, report: &mut Report) {
    let Some(topic) = &config.config_topic else { return };
    let fits = |topic: &Topic| match topic.layer()? {
        None => anyhow::Ok("nothing is pushed"),
        Some(layer) => args.read_over(Some(&layer)).map(|_| "what is pushed fits the file"),
    };
    match Topic::open(topic).and_then(|read| fits(&read)) {
        Ok(fits) => report.good("config topic", &format!("{}, key {}: {fits}", topic.topic, topic.key)),
        Err(error) => report.bad("config topic", &format!("{error:#}")),
    }
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
            Err(error) => report.bad("Kafka", &format!("{error:#}")),
            Ok(topics) => {
                report.good("Kafka", &format!("{} answers; {} topics", kafka.brokers, topics.len()));
                for wanted in &kafka.topics {
                    let found: Vec<&(String, usize)> = match wanted.strip_prefix('^') {
                        // librdkafka matches regular expressions; here it is enough to know that some topic begins so.
                        Some(pattern) => {
                            let literal: String = pattern
                                .replace("\\.", ".")
                                .chars()
                                .take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
                                .collect();
                            topics.iter().filter(|(name, _)| name.starts_with(&literal)).collect()
                        }
                        None => topics.iter().filter(|(name, partitions)| name == wanted && *partitions > 0).collect(),
                    };
                    match found.as_slice() {
                        [] => report.bad(
                            "topic",
                            &format!("{wanted}: there is none; does the CDC tool write to another, or nothing yet?"),
                        ),
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
        // It says what to do.
        Ok(Err(error)) if error.is::<Refused>() => {
            report.bad("Elasticsearch", &format!("{urls}: {error:#}"));
            return Ok(());
        }
        Ok(Err(error)) => {
            report.bad(
                "Elasticsearch",
                &format!("{urls}: {error:#}; is it running, and is sink.urls right (http or https, port)?"),
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

fn check_dead_letters(config: &DeadLetterConfig, report: &mut Report) {
    match config {
        DeadLetterConfig::File { path } => match can_append(path) {
            Ok(()) => report.good("dead letters", &format!("{} can be written", path.display())),
            Err(problem) => report.bad(
                "dead letters",
                &format!("{problem}; set dead_letter.path to a file in a folder that Rowmill may write to"),
            ),
        },
        DeadLetterConfig::Kafka { brokers, topic, properties } => {
            let client = dead_letter::client(brokers, properties);
            match access::topics(&client, dead_letter::PROPERTIES, brokers, PATIENCE) {
                Err(error) => report.bad("dead letters", &format!("{error:#}")),
                Ok(topics) if topics.iter().any(|(name, _)| name == topic) => {
                    report.good("dead letters", &format!("{brokers} answers and has the topic {topic}"));
                }
                Ok(_) => report.note(
                    "dead letters",
                    &format!("{brokers} answers, and has no topic {topic} yet; create it, unless the brokers create topics by themselves (auto.create.topics.enable)"),
                ),
            }
        }
    }
}

/// Whether letters can be appended to this file. It is not made, and nothing is written to it: a gateway may be at work.
fn can_append(path: &Path) -> Result<(), String> {
    match std::fs::OpenOptions::new().append(true).open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{} cannot be written: {error}", path.display())),
    }
    let folder = dead_letter::folder_of(path);
    if !folder.is_dir() {
        return Err(format!("the folder {} does not exist", folder.display()));
    }
    // Whether a file can be made is only known by making one; it has a name that nothing else has.
    let trial = folder.join(format!(".rowmill-check-{}", std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&trial);
    made.and_then(|_| std::fs::remove_file(&trial))
        .map_err(|error| format!("no file can be made in the folder {}: {error}", folder.display()))
}

fn check_http(address: SocketAddr, report: &mut Report) {
    match TcpListener::bind(address) {
        Ok(_) => report.good("http", &format!("{address} is free for metrics and health")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_gateway(address) => {
            report.note("http", &format!("a gateway serves on {address} already; one more needs another http.listen"))
        }
        Err(error) => report.bad(
            "http",
            &format!(
                "cannot listen on {address}: {error}; set http.listen to an address of this machine and a free port"
            ),
        ),
    }
}

/// Whether it is a gateway that listens there: it says so under `/healthz`.
fn is_gateway(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok\n"))
}
