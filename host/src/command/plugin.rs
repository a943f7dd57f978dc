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
    /// Makes a plugin's crate, with a test, a case and a README
    #[command(after_help = "Examples:
  rowmill plugin new hello
  cd hello && cargo test && rowmill plugin build
  rowmill plugin new hello-js --language js")]
    New(NewArgs),
    /// Builds the .wasm file of a plugin's crate, and shows its size and contract version
    #[command(after_help = "Examples:
  rowmill plugin build
  rowmill plugin build hello --into plugins/dist")]
    Build(BuildArgs),
    /// Runs golden cases on a .wasm file, also without its source
    #[command(after_help = "Examples:
  rowmill plugin test                          builds the crate here and runs its cases
  rowmill plugin test hello.wasm               those in ./cases, else those inside of the file
  rowmill plugin test hello.wasm --cases hello/cases
  rowmill plugin test --bless                  takes what comes out now as expected")]
    Test(TestArgs),
    /// Shows what a .wasm file is: tables, columns, indices, settings, imports, contract version
    #[command(after_help = "Examples:
  rowmill plugin inspect hello.wasm
  rowmill plugin inspect hello.wasm --input captured.ndjson
  rowmill plugin inspect hello.wasm --json")]
    Inspect(InspectArgs),
    /// Runs rows through a .wasm file: rows in, documents out
    #[command(after_help = "Examples:
  rowmill plugin run hello.wasm --input captured.ndjson
  rowmill plugin run hello.wasm --input rows.ndjson --table shop.orders --settings settings.toml")]
    Run(RunArgs),
}

#[derive(Args)]
pub(super) struct NewArgs {
    /// The plugin's name, and the folder that is made; may have a path before it
    name: PathBuf,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
}

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    /// JavaScript or TypeScript
    #[value(alias = "javascript")]
    Js,
}

#[derive(Args)]
pub(super) struct BuildArgs {
    /// The folder of the plugin's crate
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Puts the file into this folder in one step; a running gateway takes it up
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Leaves the crate's cases out of the file, which otherwise brings them along: the gateway runs them before it lets
    /// rows through
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
    /// A .wasm file, or the folder of a plugin's crate, which is built
    #[arg(default_value = ".", value_name = "FILE|DIR")]
    plugin: PathBuf,
    /// The folder of cases [default: `cases` in the crate's folder, or here; else those inside of the file]
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Makes what comes out now the expected
    #[arg(long)]
    bless: bool,
    /// Prints what came out of each case as a line of JSON, for programs
    #[arg(long, conflicts_with = "bless")]
    json: bool,
}

#[derive(Args)]
pub(super) struct InspectArgs {
    /// The .wasm file
    file: PathBuf,
    /// Rows or captured records, whose tables the plugin is asked about
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A folder of cases, whose tables the plugin is asked about
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// The plugin's settings, .toml or .json
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Column types of captured records, as `[tables]` of the gateway's configuration declares them
    #[arg(long, value_name = "FILE", requires = "input")]
    types: Option<PathBuf>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RunArgs {
    /// The .wasm file
    file: PathBuf,
    /// Rows as lines of JSON, or records that Canal, Debezium or Maxwell wrote
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The table of rows whose file does not describe it
    #[arg(long, value_name = "DATABASE.TABLE")]
    table: Option<String>,
    /// The plugin's settings, .toml or .json
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Column types of captured records, as `[tables]` of the gateway's configuration declares them
    #[arg(long, value_name = "FILE")]
    types: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct DevArgs {
    /// The folder of the plugin's crate
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Rows or captured records that are replayed, in place of the crate's cases
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The plugin's settings for --input, .toml or .json
    #[arg(long, value_name = "FILE", requires = "input")]
    settings: Option<PathBuf>,
    /// Column types of captured records, as `[tables]` of the gateway's configuration declares them
    #[arg(long, value_name = "FILE", requires = "input")]
    types: Option<PathBuf>,
    /// Ends after the first build
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
