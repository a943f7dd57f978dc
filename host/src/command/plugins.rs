//! `rowmill plugins …`: the status of a running gateway's plugins, and operator commands.

mod gateway;
mod list;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Deserialize;

use self::gateway::Gateway;
use super::run::print_line;
use super::text;
use crate::config::{RolloutChange, RolloutMode};
use crate::plugins::status::{PluginStatus, Status};

#[derive(Args)]
#[command(subcommand_value_name = "ACTION", subcommand_help_heading = "Actions")]
pub(super) struct PluginsArgs {
    /// Prints the gateway's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(subcommand)]
    action: Option<PluginsAction>,
}

/// Which gateway to contact.
#[derive(Args)]
#[command(next_help_heading = "Gateway")]
struct GatewayArgs {
    /// The configuration file that the gateway runs with
    #[arg(short, long, global = true, value_name = "FILE", default_value = "rowmill.toml")]
    config: PathBuf,
    /// The plugin folder, if the gateway was started with --plugins
    #[arg(long, global = true, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// A key that the gateway was started with, for example plugins.state=/tmp/a; can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The gateway's address, instead of the one from the configuration: http://10.0.0.5:8088
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A file with the token, instead of the one from the configuration
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum PluginsAction {
    /// Shows one plugin in detail: its generations, its trial field by field, its history
    Show(PluginName),
    /// Rolls back to the last good generation
    Rollback(PluginName),
    /// Sends rows through the plugin again
    Enable(PluginName),
    /// Stops sending rows through the plugin; its file stays in the folder
    Disable(PluginName),
    /// Publishes the candidate: in a trial, held, rolled back, refused by the probe, or discarded
    Promote(PluginName),
    /// Discards the candidate; the running generation stays
    Discard(PluginName),
    /// Compares the next generation with the running one before publishing it
    ///
    /// The next generation processes a share of the rows in addition to the running one. Its documents are compared but not
    /// written. Omitted options keep their values.
    #[command(after_help = "Examples:
  rowmill plugins shadow trade-document --rows 50000 --share 20%
  rowmill plugins shadow trade-document --max-changed 0.1%
  rowmill plugins shadow trade-document --manual")]
    Shadow(ShadowArgs),
    /// Lets the next generation produce a share of the documents first
    ///
    /// The document IDs decide which documents it produces, so a document stays with one generation. Omitted options keep
    /// their values.
    #[command(after_help = "Example:
  rowmill plugins canary trade-document --share 5% --manual")]
    Canary(TrialArgs),
    /// Publishes the next generation as soon as it is validated
    Direct(PluginName),
}

#[derive(Args)]
struct PluginName {
    /// The plugin's name
    name: String,
}

#[derive(Args)]
struct TrialArgs {
    #[command(flatten)]
    name: PluginName,
    /// The number of rows after which the trial ends
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// The share that takes part: 0.1 or 10%
    #[arg(long, value_name = "SHARE", value_parser = text::share)]
    share: Option<f64>,
    /// Holds the generation after the trial until `promote` or `discard`
    #[arg(long, conflicts_with = "auto")]
    manual: bool,
    /// Publishes the generation automatically after a successful trial
    #[arg(long)]
    auto: bool,
}

#[derive(Args)]
struct ShadowArgs {
    #[command(flatten)]
    trial: TrialArgs,
    /// The largest share of differing documents for automatic publishing: 0.01 or 1%
    #[arg(long, value_name = "SHARE", value_parser = text::share)]
    max_changed: Option<f64>,
}

impl TrialArgs {
    fn change(&self, mode: RolloutMode) -> RolloutChange {
        RolloutChange {
            mode: Some(mode),
            rows: self.rows,
            share: self.share,
            publish: (self.manual || self.auto).then_some(self.auto),
            max_changed: None,
        }
    }
}

pub(super) fn plugins(args: &PluginsArgs) -> anyhow::Result<ExitCode> {
    let gateway = Gateway::find(&args.gateway)?;
    let width = text::width();
    match &args.action {
        None => {
            let answer = gateway.get(&[])?;
            print(args, &answer, |answer| Ok(list::render(&parse::<Status>(answer)?, width)))
        }
        Some(PluginsAction::Show(PluginName { name })) => {
            let answer = gateway.get(&[name])?;
            print(args, &answer, |answer| Ok(show::render(&parse::<PluginStatus>(answer)?, width)))
        }
        Some(action) => {
            let (name, command, change) = request(action);
            let body = change.map(|change| serde_json::to_string(&change)).transpose()?;
            let answer = gateway.post(&[name, command], body)?;
            print(args, &answer, |answer| Ok(text::wrapped(&parse::<CommandReply>(answer)?.done, "", width)))
        }
    }
}

#[derive(Deserialize)]
struct CommandReply {
    done: String,
}

/// The plugin, the last segment of the path, and the body.
fn request(action: &PluginsAction) -> (&str, &'static str, Option<RolloutChange>) {
    match action {
        PluginsAction::Show(name) => (&name.name, "", None),
        PluginsAction::Rollback(name) => (&name.name, "rollback", None),
        PluginsAction::Enable(name) => (&name.name, "enable", None),
        PluginsAction::Disable(name) => (&name.name, "disable", None),
        PluginsAction::Promote(name) => (&name.name, "promote", None),
        PluginsAction::Discard(name) => (&name.name, "discard", None),
        PluginsAction::Direct(name) => {
            let change = RolloutChange { mode: Some(RolloutMode::Direct), ..RolloutChange::default() };
            (&name.name, "rollout", Some(change))
        }
        PluginsAction::Canary(trial) => (&trial.name.name, "rollout", Some(trial.change(RolloutMode::Canary))),
        PluginsAction::Shadow(ShadowArgs { trial, max_changed }) => {
            let change = RolloutChange { max_changed: *max_changed, ..trial.change(RolloutMode::Shadow) };
            (&trial.name.name, "rollout", Some(change))
        }
    }
}

fn print(
    args: &PluginsArgs,
    answer: &str,
    render: impl FnOnce(&str) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    match args.json {
        true => print_line(answer.trim_end()),
        false => print_line(render(answer)?.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

fn parse<'a, T: Deserialize<'a>>(answer: &'a str) -> anyhow::Result<T> {
    serde_json::from_str(answer).context(
        "cannot parse the gateway's answer; it may be another version than this program. --json prints the answer",
    )
}
