//! `rowmill config`: shows the effective live keys, and pushes keys to all gateways through the configuration topic.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use toml::{Table, Value};

use super::run::print_line;
use super::{ConfigArgs, Usage};
use crate::config::{ConfigError, ConfigTopicConfig, Layer, is_live};
use crate::reload::topic::{Topic, push};

/// The subcommands of `rowmill config`.
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Shows the keys that can change while the gateway runs, and the source of each
    #[command(after_help = "Example:
  rowmill config show -c rowmill.toml")]
    Show(ConfigArgs),
    /// Writes keys to the configuration topic, from which every gateway applies them
    #[command(after_help = "Examples:
  rowmill config push faster.toml -c rowmill.toml
  rowmill config push --remove -c rowmill.toml")]
    Push(PushArgs),
}

#[derive(Args)]
pub(super) struct PushArgs {
    /// A TOML file with keys that can change while the gateway runs; they override the configuration file
    #[arg(value_name = "FILE", required_unless_present = "remove", conflicts_with = "remove")]
    file: Option<PathBuf>,
    /// Removes what was pushed before, so that only the configuration file applies
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn config(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Show(args) => show(args)?,
        ConfigCommand::Push(args) => write(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(args: &PushArgs) -> anyhow::Result<()> {
    let topic = topic_of(&args.config)?;
    let text = match &args.file {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))?;
            let layer = Layer { text, name: path.display().to_string() };
            args.config.read_over(Some(&layer))?;
            Some(layer.text)
        }
    };
    // Report problems with the topic as `run` does.
    Topic::open(&topic)?;
    let offset = push(&topic, text.as_deref())
        .with_context(|| format!("cannot write to the configuration topic {}", topic.topic))?;
    let done = if text.is_some() { "written" } else { "removed" };
    print_line(&format!("{done}: topic {}, key {}, offset {offset}", topic.topic, topic.key));
    Ok(())
}

fn topic_of(args: &ConfigArgs) -> anyhow::Result<ConfigTopicConfig> {
    let none = || ConfigError(format!("{} has no [config_topic]; add one to push keys", args.config.display()));
    Ok(args.read()?.config_topic.ok_or_else(none)?)
}

fn show(args: &ConfigArgs) -> anyhow::Result<()> {
    let topic = args.read()?.config_topic.as_ref().map(Topic::open).transpose()?;
    let layer = match &topic {
        Some(topic) => topic.layer()?,
        None => None,
    };
    // Fails if the layers are not valid together.
    args.read_over(layer.as_ref())?;
    let text = std::fs::read_to_string(&args.config).with_context(|| args.config.display().to_string())?;
    // The text as written: the value of a variable may be a secret.
    let file: Table = toml::from_str(&text).with_context(|| args.config.display().to_string())?;
    let over = layer.as_ref().map(Layer::table).transpose()?.unwrap_or_default();
    let mut lines: Vec<ConfigLine> = Vec::new();
    collect(&over, &[], &format!("topic {}", topic.as_ref().map_or("", |topic| topic.name())), &mut lines);
    let mut own = Vec::new();
    collect(&file, &[], &args.config.display().to_string(), &mut own);
    own.retain(|(key, ..)| is_live(key) && lines.iter().all(|(other, ..): &ConfigLine| other != key));
    lines.extend(own);
    lines.sort();
    let width = lines.iter().map(|(_, _, place)| place.chars().count()).max().unwrap_or(0);
    for (key, value, place) in &lines {
        print_line(&format!("{place:width$}  {key} = {value}"));
    }
    if let Some(record) = topic.as_ref().and_then(Topic::record) {
        let at = record.timestamp.and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
        let at = at.map_or(String::new(), |at| format!(", written {at:.0}"));
        print_line(&format!("# topic record: offset {}{at}", record.offset));
    }
    for set in &args.set {
        print_line(&format!("# overrides all: --set {set}"));
    }
    Ok(())
}

/// A key, its value, and where it comes from.
type ConfigLine = (String, String, String);

/// Collects the keys of a table and their values, one line each.
fn collect(table: &Table, path: &[String], place: &str, lines: &mut Vec<ConfigLine>) {
    for (key, value) in table {
        let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let mut path = path.to_vec();
        path.push(if is_bare { key.clone() } else { format!("{key:?}") });
        match value {
            Value::Table(table) if !table.is_empty() => collect(table, &path, place, lines),
            value => lines.push((path.join("."), value.to_string(), place.into())),
        }
    }
}
