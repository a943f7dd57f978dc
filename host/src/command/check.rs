//! `rowmill check`: reports for each part whether it works, and what to do if it does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;

use rowmill_engine::Route;
use rowmill_sandbox::Sandbox;
use tokio::sync::watch;

use super::ConfigArgs;
use crate::budget::Budget;
use crate::config::{Config, PluginConfig};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::pipeline::check_routes;
use crate::plugins::Plugins;
use crate::reload::topic::Topic;
use crate::report::{self, Report};
use crate::sink::{SinkContext, rules};

pub(super) fn check(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = args.read()?;
    let mut report = Report::default();
    let routes = match config.routes.len() {
        1 => "1 route".to_string(),
        n => format!("{n} routes"),
    };
    report.ok("configuration", &format!("{} is valid; {}", args.config.display(), routes));
    check_plugins(&config, &mut report)?;
    config.source.build().check(&mut report);
    check_config_topic(args, &config, &mut report);
    check_sink(&config, &mut report)?;
    config.dead_letter.build().check(&mut report);
    if let Some(address) = config.http.listen {
        check_http(address, &mut report);
        if config.plugins.dir.is_some() && config.http.token.is_none() && !address.ip().is_loopback() {
            report.note(
                "http",
                &format!("{address} is reachable from other machines and no token is set, so /plugins is closed; set http.token_file to open it, for `rowmill plugins` too"),
            );
        }
    }
    Ok(if report.has_failed() { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn check_plugins(config: &Config, report: &mut Report) -> anyhow::Result<()> {
    let Some(dir) = &config.plugins.dir else {
        report.note(
            "plugins",
            "none: every row becomes a document with its columns (set plugins.dir to a folder of .wasm files)",
        );
        return Ok(());
    };
    let sandbox = Arc::new(Sandbox::new(config.limits.clone())?.with_name_rules(rules::elasticsearch()));
    // Only the files of the folder are checked, without the last good ones; a gateway may be using the state folder.
    let plugins = PluginConfig { state: None, ..config.plugins.clone() };
    let plugins = match Plugins::load(&plugins, Arc::new([]), &sandbox, Arc::default(), Metrics::new(), 1) {
        Ok(plugins) => plugins,
        Err(error) => {
            report.fail("plugins", &format!("{error:#}"));
            return Ok(());
        }
    };
    let loaded = plugins.loaded();
    if loaded.is_empty() {
        report.note("plugins", &format!("no .wasm file in {}", dir.display()));
    }
    let mut any_rejected = false;
    for file in loaded {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match &file.result {
            Ok(plugin) => {
                let tables = if plugin.description.tables.is_empty() {
                    "all tables".to_string()
                } else {
                    plugin.description.tables.join(", ")
                };
                report.ok(
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
                any_rejected = true;
                report.fail("plugin", &format!("{name}: {reason}"));
            }
        }
    }
    // The name of a rejected plugin is unknown.
    for unknown in plugins.unknown_names().into_iter().filter(|_| !any_rejected) {
        report.fail("plugins", &unknown);
    }
    Ok(())
}

fn check_config_topic(args: &ConfigArgs, config: &Config, report: &mut Report) {
    let Some(topic) = &config.config_topic else { return };
    let fits = |topic: &Topic| match topic.layer()? {
        None => anyhow::Ok("no configuration was pushed"),
        Some(layer) => args.read_over(Some(&layer)).map(|_| "the pushed configuration fits the file"),
    };
    match Topic::open(topic).and_then(|read| fits(&read)) {
        Ok(fits) => report.ok("config topic", &format!("{}, key {}: {fits}", topic.topic, topic.key)),
        Err(error) => report.fail("config topic", &format!("{error:#}")),
    }
}

/// Checks the sink without starting it.
fn check_sink(config: &Config, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let routes: Arc<[Route]> = config.routes.clone().into();
    let context = SinkContext {
        runtime: runtime.handle().clone(),
        indices: Arc::default(),
        routes: Arc::new(move || routes.clone()),
        bulk: watch::channel(config.sink.bulk()).1,
        metrics: Metrics::new(),
        budget: Budget::new(config.pipeline.bytes_in_flight),
        health: Health::new(config.http.stalled_after),
    };
    match config.sink.build(context) {
        Err(error) => report.fail("sink", &format!("{error:#}")),
        Ok(sink) => {
            sink.check(report);
            if let Err(error) = check_routes(&config.routes, &sink.supports()) {
                report.fail("routes", &error.to_string());
            }
            if !sink.supports().versions {
                report.note(
                    "sink",
                    "it does not compare versions: after a restart, an older version of a document can follow a newer one",
                );
            }
        }
    }
    Ok(())
}

fn check_http(address: SocketAddr, report: &mut Report) {
    match TcpListener::bind(address) {
        Ok(_) => report.ok("http", &format!("{address} is free for metrics and health")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_gateway(address) => report
            .note("http", &format!("a gateway already serves on {address}; a second one needs another http.listen")),
        Err(error) => report.fail(
            "http",
            &format!(
                "cannot listen on {address}: {error}; set http.listen to an address of this machine and a free port"
            ),
        ),
    }
}

/// Returns true if a gateway listens on this address: it answers under `/healthz`.
fn is_gateway(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, report::TIMEOUT)?;
        stream.set_read_timeout(Some(report::TIMEOUT))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let is_state = |body: &str| ["ok\n", "starting\n", "stalled\n"].iter().any(|state| body.starts_with(state));
    ask().is_ok_and(|answer| {
        answer.starts_with("HTTP/1.1 200") && answer.split_once("\r\n\r\n").is_some_and(|(_, body)| is_state(body))
    })
}
