//! Tests of the command line: `rowmill check`, the commands for plugins, the examples.

mod check;
mod examples;
mod plugin_commands;
