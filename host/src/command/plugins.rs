//! `rowmill plugins …`: what a running gateway's plugins do, and what a person tells them.

mod gateway;
mod list;
mod show;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Deserialize;

use self::gateway::Gateway;
use super::run::print_line;
use crate::config::{RolloutChange, RolloutMode};
use crate::plugins::status::{PluginStatus, Status};

#[derive(Args)]
#[command(subcommand_value_name = "ACTION", subcommand_help_heading = "Actions")]
pub(super) struct PluginsArgs {
    /// Prints what the gateway answers, as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Option<Action>,
}

/// Which gateway is meant.
#[derive(Args)]
#[command(next_help_heading = "Which gateway")]
struct Place {
    /// The configuration file that the gateway runs with
    #[arg(short, long, global = true, value_name = "FILE", default_value = "rowmill.toml")]
    config: PathBuf,
    /// The folder of plugins, if the gateway was started with --plugins
    #[arg(long, global = true, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// A key that the gateway was started with, for example plugins.state=/tmp/a; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The gateway's address, in place of the configuration: http://10.0.0.5:8088
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A file with the token, in place of the configuration's
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Shows all of one plugin: its generations, the trial field by field, what happened
    Show(Name),
    /// Brings the last good generation back
    Rollback(Name),
    /// Lets rows through the plugin again
    Enable(Name),
    /// Lets no row through the plugin; its file stays
    Disable(Name),
    /// Publishes the candidate: one in a trial, held, or rolled back
    Promote(Name),
    /// Sends the candidate away; the running generation stays
    Discard(Name),
    /// Lets the next generation be compared before it is published
    ///
    /// The next generation gets rows beside the running one. Its documents are compared and not written. Options that are
    /// left out stay as they are.
    #[command(after_help = "Examples:
  rowmill plugins shadow trade-document --rows 50000 --share 20%
  rowmill plugins shadow trade-document --max-changed 0.1%
  rowmill plugins shadow trade-document --by-hand")]
    Shadow(Shadow),
    /// Lets a share of the documents take the next generation first
    ///
    /// Which documents they are depends on their ids, so a document stays with one generation. Options that are left out
    /// stay as they are.
    #[command(after_help = "Example:
  rowmill plugins canary trade-document --share 5% --by-hand")]
    Canary(Trial),
    /// Lets the next generation in as soon as it is proven
    Direct(Name),
}

#[derive(Args)]
struct Name {
    /// The plugin's name
    name: String,
}

#[derive(Args)]
struct Trial {
    #[command(flatten)]
    name: Name,
    /// How many rows the trial takes
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// Which share takes part: 0.1 or 10%
    #[arg(long, value_name = "SHARE", value_parser = text::share)]
    share: Option<f64>,
    /// Is held after the trial, until `promote` or `discard`
    #[arg(long, conflicts_with = "by_itself")]
    by_hand: bool,
    /// Is published on its own after a good trial
    #[arg(long)]
    by_itself: bool,
}

#[derive(Args)]
struct Shadow {
    #[command(flatten)]
    trial: Trial,
    /// Which share of the documents may differ for it to be published on its own: 0.01 or 1%
    #[arg(long, value_name = "SHARE", value_parser = text::share)]
    max_changed: Option<f64>,
}

impl Trial {
    fn change(&self, mode: RolloutMode) -> RolloutChange {
        RolloutChange {
            mode: Some(mode),
            rows: self.rows,
            share: self.share,
            publish: (self.by_hand || self.by_itself).then_some(self.by_itself),
            max_changed: None,
        }
    }
}

pub(super) fn plugins(args: &PluginsArgs) -> anyhow::Result<ExitCode> {
    let gateway = Gateway::find(&args.place)?;
    let width = text::width();
    match &args.action {
        None => {
            let answer = gateway.get(&[])?;
            print(args, &answer, |answer| Ok(list::render(&parse::<Status>(answer)?, width)))
        }
        Some(Action::Show(Name { name })) => {
            let answer = gateway.get(&[name])?;
            print(args, &answer, |answer| Ok(show::render(&parse::<PluginStatus>(answer)?, width)))
        }
        Some(action) => {
            let (name, order, change) = order(action);
            let body = change.map(|change| serde_json::to_string(&change)).transpose()?;
            let answer = gateway.post(&[name, order], body)?;
            print(args, &answer, |answer| Ok(text::wrapped(&parse::<Done>(answer)?.done, "", width)))
        }
    }
}

#[derive(Deserialize)]
struct Done {
    done: String,
}

/// The plugin, the last part of the path, and the body.
fn order(action: &Action) -> (&str, &'static str, Option<RolloutChange>) {
    match action {
        Action::Show(name) => (&name.name, "", None),
        Action::Rollback(name) => (&name.name, "rollback", None),
        Action::Enable(name) => (&name.name, "enable", None),
        Action::Disable(name) => (&name.name, "disable", None),
        Action::Promote(name) => (&name.name, "promote", None),
        Action::Discard(name) => (&name.name, "discard", None),
        Action::Direct(name) => {
            let change = RolloutChange { mode: Some(RolloutMode::Direct), ..RolloutChange::default() };
            (&name.name, "rollout", Some(change))
        }
        Action::Canary(trial) => (&trial.name.name, "rollout", Some(trial.change(RolloutMode::Canary))),
        Action::Shadow(Shadow { trial, max_changed }) => {
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
    serde_json::from_str(answer)
        .context("the gateway's answer is not understood; is it of another version than this program? --json prints it")
}
