//! `rowmill plugin run`: runs rows through a plugin and prints the documents.

use std::io::IsTerminal;
use std::process::ExitCode;

use rowmill_harness::{Input, summary};

use super::PluginRunArgs;
use super::load::{load, reading, settings, subject};
use crate::command::run::print_line;

pub(super) fn run(args: &PluginRunArgs) -> anyhow::Result<ExitCode> {
    let input = Input::read(&args.input, &reading(args.table.as_deref(), args.types.as_deref())?)?;
    let settings = settings(args.settings.as_deref())?;
    let plugin = load(&args.file)?;
    let subject = subject(&plugin);
    let outcomes = subject.run(&settings.0, &input);
    let pretty = std::io::stdout().is_terminal();
    for outcome in &outcomes {
        print_line(&if pretty {
            format!("row {}: {}", outcome.row, outcome.pretty())
        } else {
            serde_json::to_string(outcome)?
        });
    }
    if pretty {
        let figures = subject.figures(&settings.0, &input);
        let figures = figures.map_or(String::new(), |figures| format!("; {}", figures.line()));
        eprintln!("{}: {}{figures}", input.summary(), summary(&outcomes));
    }
    Ok(ExitCode::SUCCESS)
}
