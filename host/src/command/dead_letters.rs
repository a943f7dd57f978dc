//! `rowmill dead-letters …`: lists dead letters, shows one, and replays them through the present plugins and routes.

mod dry_run;
mod list;
mod replay;
mod show;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rowmill_sandbox::Pattern;

use super::ConfigArgs;
use crate::dead_letter::stored::{Condition, LetterFilter, LetterStore};

#[derive(Subcommand)]
pub(super) enum DeadLettersCommand {
    /// Lists letters that have not been replayed
    #[command(after_help = "Examples:
  rowmill dead-letters list -c rowmill.toml
  rowmill dead-letters list --plugin order-document --since 2h
  rowmill dead-letters list --where 'reason~not a whole number' --json
  rowmill dead-letters list --file dead-letter.ndjson.again-1")]
    List(ListArgs),
    /// Shows one letter: why it was rejected, its record, and where the letter is
    #[command(after_help = "Example:
  rowmill dead-letters show 3f9a -c rowmill.toml")]
    Show(ShowArgs),
    /// Sends letters through the present plugins and routes into the configured sink
    ///
    /// Each letter keeps its topic, partition, offset and versions, so it never overwrites newer data. A letter is replayed once.
    /// Those that fail again go to FILE.again-1, or to the same topic with a header rowmill.attempt. May run beside a gateway.
    #[command(after_help = "Examples:
  rowmill dead-letters replay --dry-run -c rowmill.toml
  rowmill dead-letters replay --table shop.orders --rate 500
  rowmill dead-letters replay --file dead-letter.ndjson.again-1 --where 'reason~gc_deletes' --recreate")]
    Replay(ReplayArgs),
}

/// Which letters, and where they are.
#[derive(Args)]
struct SelectArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A file of dead letters, with its rotated predecessors, instead of those of [dead_letter]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Only letters of this stage
    #[arg(long, value_parser = ["decode", "plugin", "document", "sink"])]
    stage: Option<String>,
    /// Only letters of this plugin; * matches any text
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Only letters of this table: shop.orders, orders, or shop.*
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Only letters of this index; * matches any text
    #[arg(long, value_name = "NAME")]
    index: Option<String>,
    /// Only letters of the last time, like 2h or 3days, or since a time like 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<jiff::Timestamp>,
    /// Only letters with this: FIELD~TEXT (contains), FIELD=TEXT (is), FIELD!~TEXT or FIELD!=TEXT; can be repeated
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<Condition>,
}

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Also lists letters that have been replayed
    #[arg(long)]
    all: bool,
    /// Lists the newest N letters; 0 for all, which is the default with --json [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Prints one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The letter's ID as `list` prints it, or its begin
    id: String,
    #[command(flatten)]
    select: SelectArgs,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Writes nothing: prints what would become of each letter, and how its documents would change
    #[arg(long)]
    dry_run: bool,
    /// The most letters per second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Also creates documents that do not exist from changes that are older than Elasticsearch remembers deletes: a row that
    /// was deleted since comes back
    #[arg(long)]
    recreate: bool,
    /// Prints one line of JSON; with --dry-run, one for each document and failure
    #[arg(long)]
    json: bool,
}

pub(super) fn dead_letters(command: &DeadLettersCommand) -> anyhow::Result<ExitCode> {
    match command {
        DeadLettersCommand::List(args) => list::list(args),
        DeadLettersCommand::Show(args) => show::show(args),
        DeadLettersCommand::Replay(args) => replay::replay(args),
    }
}

impl SelectArgs {
    /// The store of the letters. The configuration is only read if it names the store.
    fn store(&self) -> anyhow::Result<LetterStore> {
        match &self.file {
            Some(path) => Ok(LetterStore::file(path)),
            None => Ok(LetterStore::configured(&self.config.read()?.dead_letter)),
        }
    }

    fn filter(&self) -> LetterFilter {
        let pattern = |text: &Option<String>| text.as_deref().map(Pattern::new);
        LetterFilter {
            stage: self.stage.clone(),
            plugin: pattern(&self.plugin),
            table: pattern(&self.table),
            index: pattern(&self.index),
            since: self.since,
            conditions: self.conditions.clone(),
            id: None,
        }
    }
}

fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| jiff::Timestamp::now().checked_sub(ago).ok());
    ago.ok_or_else(|| "write a time like 2026-11-01T00:00:00Z, or how long ago: 90m, 2h, 3days".into())
}
