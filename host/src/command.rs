//! The command line: parses it, sets up the log, and runs the command.

mod check;
mod compile_plugin;
mod config;
mod dead_letters;
mod demo;
mod plugin;
mod plugins;
mod progress;
mod run;
mod text;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, Layer, Overrides};

/// A gateway between a MySQL binlog and Elasticsearch that runs every row through sandboxed WebAssembly plugins.
#[derive(Parser)]
#[command(name = "rowmill", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log filter: `info`, `debug`, or a filter like `rowmill=debug,rdkafka=warn` [env: ROWMILL_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Logs as JSON, one object per line
    #[arg(long, global = true)]
    log_json: bool,
}

const EXIT_CODES: &str = "Exit codes:
  0  finished: caught up, or stopped on request with everything settled
  1  stopped by an error; unsettled records are not committed and are read again.
     For `plugins`: no gateway answers, or it refuses the command
  2  the command line or the configuration is wrong, or a plugin or its settings were refused at the start
  3  `check` found a problem, or a case of `plugin test` failed
  130  stopped immediately by a second Ctrl-C";

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway
    #[command(after_help = "Examples:
  rowmill run -c rowmill.toml
  rowmill run -c rowmill.toml --until-caught-up
  rowmill run -c rowmill.toml --plugins ./my-plugins --set sink.kind=null")]
    Run(RunArgs),
    /// Runs the whole pipeline on a captured stream; needs no Kafka or Elasticsearch
    #[command(after_help = "Examples:
  rowmill demo
  rowmill demo --once --plugins plugins/dist")]
    Demo(DemoArgs),
    /// Checks the configuration, plugins, Kafka and Elasticsearch, and says how to fix problems
    #[command(after_help = "Example:
  rowmill check -c rowmill.toml")]
    Check(ConfigArgs),
    /// Shows and pushes the keys that can change while gateways run
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Lists dead letters, shows one, and replays them
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Creates, builds and tests a plugin; needs no gateway
    ///
    /// From an empty folder to a tested .wasm file. For the plugins of a running gateway, use `rowmill plugins`.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Shows the plugins of a running gateway, publishes them and rolls them back
    ///
    /// Without an action, lists all plugins. Finds the gateway by its configuration, or by --url. To create and test a plugin,
    /// use `rowmill plugin`.
    #[command(after_help = "Examples:
  rowmill plugins                            lists all plugins
  rowmill plugins show trade-document        shows one, with its history
  rowmill plugins rollback trade-document    restores the last good generation
  rowmill plugins shadow trade-document --rows 50000 --manual
  rowmill plugins promote trade-document
  rowmill plugins --url http://10.0.0.5:8088 --token-file token.txt --json")]
    Plugins(plugins::PluginsArgs),
    /// Rebuilds a plugin whenever its source is saved, and shows which documents changed
    #[command(after_help = "Examples:
  rowmill dev hello
  rowmill dev hello --input captured.ndjson --settings settings.toml")]
    Dev(plugin::DevArgs),
    /// Compiles a plugin from standard input within limits; started by the gateway
    #[command(name = crate::plugins::compile::child::COMMAND, hide = true)]
    CompilePlugin(compile_plugin::CompilePluginArgs),
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "rowmill.toml")]
    config: PathBuf,
    /// The plugin folder, instead of the one from the configuration
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Sets a key of the configuration, for example sink.in_flight=4; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Stops once all records that existed at the start are settled, and prints one line of JSON
    #[arg(long)]
    until_caught_up: bool,
}

#[derive(Args)]
struct DemoArgs {
    /// Stops when the captured stream is settled
    #[arg(long)]
    once: bool,
    /// The plugin folder
    #[arg(long, value_name = "DIR", default_value = "plugins/dist")]
    plugins: PathBuf,
    /// The port of the embedded store; 0 for any free port
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// An error in the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl ConfigArgs {
    fn overrides(&self) -> Overrides {
        Overrides { plugins: self.plugins.clone(), set: self.set.clone() }
    }

    fn read(&self) -> anyhow::Result<Config> {
        self.read_over(None)
    }

    /// Reads the configuration, with a layer that overrides the file.
    fn read_over(&self, layer: Option<&Layer>) -> anyhow::Result<Config> {
        let mut config = match layer {
            None => crate::config::read(&self.config, &self.overrides())?,
            Some(layer) => {
                let name = self.config.display().to_string();
                let text = std::fs::read_to_string(&self.config)
                    .map_err(|error| ConfigError(format!("cannot read the configuration {name}: {error}")))?;
                crate::config::read_layers(&text, &name, Some(layer), &self.overrides())?
            }
        };
        config.plugins.compile.program = this_program();
        Ok(config)
    }
}

/// The path of this program, which also compiles plugins in a separate process.
fn this_program() -> Option<PathBuf> {
    // On Linux: the running file itself, even after an update replaced it on disk.
    let running = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() { Some(running) } else { std::env::current_exe().ok() }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = start_log(&cli).and_then(|()| match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::demo(args),
        Command::Check(args) => check::check(args),
        Command::Config(command) => config::config(command),
        Command::DeadLetters(command) => dead_letters::dead_letters(command),
        Command::Plugin(command) => plugin::plugin(command),
        Command::Plugins(args) => plugins::plugins(args),
        Command::Dev(args) => plugin::dev(args),
        Command::CompilePlugin(args) => compile_plugin::compile_plugin(args),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rowmill: {error:#}");
            ExitCode::from(if error.is::<Usage>() || error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn start_log(cli: &Cli) -> anyhow::Result<()> {
    let quiet = !matches!(cli.command, Command::Run(_));
    // The client libraries repeat connection errors many times; the commands report them once.
    let default = if quiet { "warn,librdkafka=off,rdkafka=off" } else { "info,librdkafka=off,rdkafka=warn" };
    let filter = match (&cli.log, std::env::var("ROWMILL_LOG")) {
        (Some(filter), _) => log_filter("--log", filter)?,
        // An empty variable counts as not set.
        (None, Ok(filter)) if !filter.trim().is_empty() => log_filter("ROWMILL_LOG", &filter)?,
        _ => tracing_subscriber::EnvFilter::new(default),
    };
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(progress::LogWriter::new).with_target(false);
    if cli.log_json {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).compact().init();
    }
    Ok(())
}

/// Parses a log filter. Refuses a mistyped level, which would silently hide all messages.
fn log_filter(given_as: &str, filter: &str) -> Result<tracing_subscriber::EnvFilter, Usage> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let refuse = |reason: String| {
        Err(Usage(format!(
            "{given_as} {filter:?}: {reason}; write off, error, warn, info, debug or trace, or a filter like rowmill=debug,rdkafka=warn"
        )))
    };
    // The filter takes an unknown word for a module name, and would then log nothing else.
    for word in filter.split(',').map(|word| word.trim().to_lowercase()) {
        if word.is_empty() {
            return refuse("it has an empty part".into());
        }
        let is_level = LEVELS.contains(&word.as_str()) || word.parse::<u8>().is_ok();
        if !is_level
            && !word.contains(['=', ':', '['])
            && let Some(level) = crate::config::nearest(&word, LEVELS.into_iter())
        {
            return refuse(format!("{word:?} is not a level; did you mean {level:?}?"));
        }
    }
    tracing_subscriber::EnvFilter::try_new(filter).or_else(|error| refuse(error.to_string()))
}
