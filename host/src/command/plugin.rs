//! `rowmill plugin …` and `rowmill dev`: from an empty folder to a tested `.wasm` file.

mod build;
mod dev;
mod inspect;
mod load;
mod new;
mod project;
mod run;
mod template;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

pub(super) use dev::dev;

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Creates a plugin project with a test, a case and a README
    #[command(after_help = "Examples:
  rowmill plugin new hello
  cd hello && cargo test && rowmill plugin build
  rowmill plugin new hello-js --language js")]
    New(NewArgs),
    /// Builds a plugin's .wasm file, and shows its size and contract version
    #[command(after_help = "Examples:
  rowmill plugin build
  rowmill plugin build hello --into plugins/dist")]
    Build(BuildArgs),
    /// Runs golden cases on a .wasm file; the source is not needed
    #[command(after_help = "Examples:
  rowmill plugin test                          builds the plugin in this folder and runs its cases
  rowmill plugin test hello.wasm               runs the cases in ./cases, or else those in the file
  rowmill plugin test hello.wasm --cases hello/cases
  rowmill plugin test --bless                  accepts the current output as expected")]
    Test(TestArgs),
    /// Describes a .wasm file: tables, columns, indices, settings, imports, contract version
    #[command(after_help = "Examples:
  rowmill plugin inspect hello.wasm
  rowmill plugin inspect hello.wasm --input captured.ndjson
  rowmill plugin inspect hello.wasm --json")]
    Inspect(InspectArgs),
    /// Runs rows through a .wasm file and prints the documents
    #[command(after_help = "Examples:
  rowmill plugin run hello.wasm --input captured.ndjson
  rowmill plugin run hello.wasm --input rows.ndjson --table shop.orders --settings settings.toml")]
    Run(PluginRunArgs),
}

#[derive(Args)]
pub(super) struct NewArgs {
    /// The plugin's name, which is also the name of the new folder; may contain a path
    name: PathBuf,
    /// The programming language
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
}

/// The language of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    /// JavaScript or TypeScript
    #[value(alias = "javascript")]
    Js,
}

#[derive(Args)]
pub(super) struct BuildArgs {
    /// The plugin's project folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Moves the file into this folder atomically; a gateway that watches the folder loads it
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Does not embed the cases in the file; otherwise the gateway runs them before it publishes the plugin
    #[arg(long)]
    no_cases: bool,
}

fn count_of_cases(n: usize) -> String {
    match n {
        0 => "no cases".into(),
        1 => "1 case".into(),
        n => format!("{n} cases"),
    }
}

#[derive(Args)]
pub(super) struct TestArgs {
    /// A .wasm file, or a plugin's project folder, which is built first
    #[arg(default_value = ".", value_name = "FILE|DIR")]
    plugin: PathBuf,
    /// The folder of cases [default: `cases` in the project folder or the current one, or else the cases in the file]
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Accepts the current output as the expected one
    #[arg(long)]
    bless: bool,
    /// Prints the output of each case as one line of JSON
    #[arg(long, conflicts_with = "bless")]
    json: bool,
}

#[derive(Args)]
pub(super) struct InspectArgs {
    /// The .wasm file
    file: PathBuf,
    /// Rows or captured records; shows which columns of their tables the plugin reads
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A folder of cases; shows which columns of their tables the plugin reads
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// The plugin's settings, .toml or .json
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Column types of captured records: a file with `[tables]` as in the gateway's configuration
    #[arg(long, value_name = "FILE", requires = "input")]
    types: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct PluginRunArgs {
    /// The .wasm file
    file: PathBuf,
    /// Rows as lines of JSON, or records captured from Canal, Debezium or Maxwell
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The table of the rows, if the file does not name it
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: Option<String>,
    /// The plugin's settings, .toml or .json
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Column types of captured records: a file with `[tables]` as in the gateway's configuration
    #[arg(long, value_name = "FILE")]
    types: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct DevArgs {
    /// The plugin's project folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Rows or captured records to replay, instead of the project's cases
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The plugin's settings for --input, .toml or .json
    #[arg(long, value_name = "FILE", requires = "input")]
    settings: Option<PathBuf>,
    /// Column types of captured records: a file with `[tables]` as in the gateway's configuration
    #[arg(long, value_name = "FILE", requires = "input")]
    types: Option<PathBuf>,
    /// Stops after the first build
    #[arg(long)]
    once: bool,
}

pub(super) fn plugin(command: &PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::New(args) => new::new(args),
        PluginCommand::Build(args) => build::build(args),
        PluginCommand::Test(args) => test::test(args),
        PluginCommand::Inspect(args) => inspect::inspect(args),
        PluginCommand::Run(args) => run::run(args),
    }
}
