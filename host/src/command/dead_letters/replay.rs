//! `rowmill dead-letters replay`: the gateway's own pipeline, with letters as its source.

use std::process::ExitCode;

use super::ReplayArgs;
use super::dry_run::DryRun;
use crate::command::run::{end_on_signals, print_line, with_pushed};
use crate::command::text::number;
use crate::config::{Config, DeadLetterConfig, SourceConfig};
use crate::dead_letter::stored::LetterStore;
use crate::pipeline::{Ended, Pipeline, Summary};
use crate::source::ReplayConfig;

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let (mut config, _) = with_pushed(&args.select.config)?;
    let store = match &args.select.file {
        Some(path) => LetterStore::file(path),
        None => LetterStore::configured(&config.dead_letter),
    };
    let again = store.again();
    apart_from_the_gateway(&mut config);
    config.dead_letter = again.clone();
    config.source = SourceConfig::Replay(ReplayConfig {
        store,
        filter: args.select.filter(),
        rate: args.rate,
        recreates: args.recreate,
        is_dry: args.dry_run,
    });
    let mut pipeline = Pipeline::new(config)?;
    if args.dry_run {
        pipeline = DryRun::instead_of_writing(pipeline, args.json, args.recreate)?;
    }
    end_on_signals(&pipeline);
    let (owns_stdout, metrics) = (pipeline.owns_stdout(), pipeline.metrics());
    let (summary, ended) = pipeline.run(true)?;
    if !args.dry_run {
        let line = if args.json { serde_json::to_string(&summary)? } else { describe(&summary, ended, &again) };
        if owns_stdout { eprintln!("{line}") } else { print_line(&line) }
    } else if !args.json {
        let n = number(metrics.events.get());
        print_line(&format!("{n} letters would be replayed; nothing was written"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes what two programs cannot share: a gateway may run with the same configuration.
fn apart_from_the_gateway(config: &mut Config) {
    config.http.listen = None;
    config.plugins.state = None;
    config.config_topic = None;
}

fn describe(summary: &Summary, ended: Ended, again: &DeadLetterConfig) -> String {
    let documents = &summary.documents;
    let written = documents.index + documents.merge + documents.put_item;
    let deleted = documents.delete + documents.merge_remove + documents.remove_item;
    let mut text = format!(
        "replayed {} letters: {} documents written, {} deleted, {} operations stale",
        number(summary.events),
        number(written),
        number(deleted),
        number(summary.stale + summary.folded),
    );
    if summary.dead_letters > 0 {
        let place = match again {
            DeadLetterConfig::File { path, .. } => {
                format!("{0}; see `rowmill dead-letters list --file {0}`", path.display())
            }
            DeadLetterConfig::Kafka(kafka) => format!("the topic {}", kafka.topic),
        };
        text += &format!("; {} new dead letters, in {place}", number(summary.dead_letters));
    }
    if ended == Ended::Stopped {
        text += "; stopped before the end: run it again for the rest";
    }
    text
}
