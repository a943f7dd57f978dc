//! The commands, as a person types them.

mod check;
mod compile_plugin;
mod config;
mod demo;
mod plugin;
mod plugins;
mod progress;
mod run;

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
    /// What is logged: `info`, `debug`, or a filter like `rowmill=debug,rdkafka=warn` [env: ROWMILL_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Logs as JSON, one object a line
    #[arg(long, global = true)]
    log_json: bool,
}

const EXIT_CODES: &str = "Exit codes:
  0  ended in order: caught up, or asked to end and everything was settled
  1  stopped by an error; what was not settled is not committed and is read again.
     Of `plugins`: no gateway answers, or it does not do what is asked
  2  the command line or the configuration is wrong, or a plugin or its settings are refused at the start
  3  `check` found something that would not work, or a case of `plugin test` is not as expected
  130  ended at once by a second Ctrl-C";

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway
    #[command(after_help = "Examples:
  rowmill run -c rowmill.toml
  rowmill run -c rowmill.toml --until-caught-up
  rowmill run -c rowmill.toml --plugins ./my-plugins --set sink.kind=null")]
    Run(RunArgs),
    /// Shows the whole way with a captured stream, without anything installed
    #[command(after_help = "Examples:
  rowmill demo
  rowmill demo --once --plugins plugins/dist")]
    Demo(DemoArgs),
    /// Checks configuration, plugins, Kafka and Elasticsearch, and says what to do
    #[command(after_help = "Example:
  rowmill check -c rowmill.toml")]
    Check(ConfigArgs),
    /// Shows and pushes what may change while gateways run
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Makes a plugin: its crate, its file, its tests; needs no gateway
    ///
    /// From an empty folder to a tested .wasm file. What the plugins of a running gateway do is shown by `rowmill plugins`.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Shows the plugins of a running gateway; publishes them, takes them back
    ///
    /// Without an action: all plugins, a line each. The gateway is found by its configuration, or by --url. Making and
    /// testing a plugin is `rowmill plugin`.
    #[command(after_help = "Examples:
  rowmill plugins                            all plugins of the gateway here
  rowmill plugins show trade-document        all of one, with its history
  rowmill plugins rollback trade-document    the last good generation again
  rowmill plugins shadow trade-document --rows 50000 --by-hand
  rowmill plugins promote trade-document
  rowmill plugins --url http://10.0.0.5:8088 --token-file token.txt --json")]
    Plugins(plugins::PluginsArgs),
    /// Builds a plugin whenever its source is saved, and shows which documents changed
    #[command(after_help = "Examples:
  rowmill dev hello
  rowmill dev hello --input captured.ndjson --settings settings.toml")]
    Dev(plugin::DevArgs),
    /// Compiles a plugin from standard input within limits; the gateway starts it for itself
    #[command(name = crate::plugins::compile::child::COMMAND, hide = true)]
    CompilePlugin(compile_plugin::CompilePluginArgs),
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "rowmill.toml")]
    config: PathBuf,
    /// The folder of plugins, in place of the configuration's
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Sets a key of the configuration, for example sink.in_flight=4; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ends once everything that was there at the start is settled, and prints one line of JSON
    #[arg(long)]
    until_caught_up: bool,
}

#[derive(Args)]
struct DemoArgs {
    /// Ends when the captured stream is settled
    #[arg(long)]
    once: bool,
    /// The folder of plugins
    #[arg(long, value_name = "DIR", default_value = "plugins/dist")]
    plugins: PathBuf,
    /// The port of the embedded store; 0 for any
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Something is wrong with the command line.
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

    /// The configuration with a layer over its file.
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

/// This program, which compiles plugins in a process of its own.
fn this_program() -> Option<PathBuf> {
    // On Linux the very file that runs, also after another was installed in its place.
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
    // What the client libraries say of a broker that is away comes a hundred times; the commands say it once.
    let default = if quiet { "warn,librdkafka=off,rdkafka=off" } else { "info,librdkafka=off,rdkafka=warn" };
    let filter = match (&cli.log, std::env::var("ROWMILL_LOG")) {
        (Some(filter), _) => log_filter("--log", filter)?,
        // Set and empty is as good as not set.
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

/// A filter of logs as a person wrote it. A mistyped one would hide what they asked for, so it is refused.
fn log_filter(given_as: &str, filter: &str) -> Result<tracing_subscriber::EnvFilter, Usage> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let refuse = |why: String| {
        Err(Usage(format!(
            "{given_as} {filter:?}: {why}; write off, error, warn, info, debug or trace, or a filter like rowmill=debug,rdkafka=warn"
        )))
    };
    // A word alone that is no level would be taken as the name of a module, and nothing else would be logged.
    for word in filter.split(',').map(|word| word.trim().to_lowercase()) {
        if word.is_empty() {
            return refuse("a part of it is empty".into());
        }
        let is_level = LEVELS.contains(&word.as_str()) || word.parse::<u8>().is_ok();
        if !is_level
            && !word.contains(['=', ':', '['])
            && let Some(level) = crate::config::nearest(&word, LEVELS.into_iter())
        {
            return refuse(format!("{word:?} is no level; did you mean {level:?}?"));
        }
    }
    tracing_subscriber::EnvFilter::try_new(filter).or_else(|error| refuse(error.to_string()))
}
