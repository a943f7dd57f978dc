//! `rowmill run`.

use std::process::ExitCode;

use anyhow::Context;

use super::progress::Progress;
use super::{ConfigArgs, RunArgs};
use crate::config::Config;
use crate::pipeline::{Ended, Pipeline};
use crate::reload::topic::Topic;
use crate::reload::{Origin, Reload};

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (config, topic) = with_pushed(&args.config)?;
    let pipeline = Pipeline::new(config)?;
    end_on_signals(&pipeline);
    let origin = Origin { file: args.config.config.clone(), overrides: args.config.overrides() };
    let reload = Reload::start(origin, (*pipeline.config()).clone(), pipeline.live(), topic)?;
    let progress = Progress::start(pipeline.metrics());
    let owns_stdout = pipeline.owns_stdout();
    let result = pipeline.run(args.until_caught_up);
    drop((progress, reload));
    let (summary, ended) = result?;
    if ended == Ended::CaughtUp {
        let line = serde_json::to_string(&summary)?;
        if owns_stdout { eprintln!("{line}") } else { print_line(&line) }
    } else {
        tracing::info!(
            events = summary.events,
            dead_letters = summary.dead_letters,
            "stopped; every record that was read is settled"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration, overridden by what was pushed to the configuration topic, and that topic.
///
/// # Errors
/// The configuration is not valid, or the topic does not answer.
pub(super) fn with_pushed(args: &ConfigArgs) -> anyhow::Result<(Config, Option<Topic>)> {
    let mut config = args.read()?;
    let topic = config.config_topic.as_ref().map(Topic::open).transpose()?;
    if let Some(layer) = topic.as_ref().map_or(Ok(None), Topic::layer)? {
        config = args.read_over(Some(&layer)).context(
            "the pushed configuration does not fit this gateway's file; push another one, or remove it with `rowmill config push --remove`",
        )?;
    }
    Ok((config, topic))
}

/// Prints a line of the command's result; everything else goes to the log.
#[allow(clippy::print_stdout, reason = "the summary is the command's result")]
pub(super) fn print_line(line: &str) {
    println!("{line}");
}

/// The first Ctrl-C (or SIGTERM) ends the run in order, the second one ends it at once.
pub(super) fn end_on_signals(pipeline: &Pipeline) {
    let shutdown = pipeline.shutdown();
    pipeline.runtime().spawn(async move {
        signal().await;
        tracing::info!("stopping: records in flight are written and committed; press Ctrl-C again to stop at once");
        shutdown.request();
        signal().await;
        std::process::exit(130);
    });
}

async fn signal() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}
