//! The host's side of an instance: memory limits, log, and the state of its WASI stub.

use wasmtime::ResourceLimiter;

use crate::bindings::rowmill::plugin::{log, types};
use crate::limits::Limits;
use crate::single_line::{SHOWN, single_line};
use crate::wasi::{STDERR, STDOUT, WasiState};

/// Everything in the host that an instance can reach.
pub(crate) struct HostState {
    pub(crate) plugin: String,
    pub(crate) memory_left: usize,
    table_elements_left: usize,
    pub(crate) refused: Option<&'static str>,
    pub(crate) log_messages_left: u32,
    pub(crate) log_messages_dropped: u64,
    pub(crate) wasi: WasiState,
}

impl HostState {
    pub(crate) fn new(plugin: &str, limits: &Limits) -> Self {
        Self {
            plugin: plugin.to_string(),
            memory_left: limits.memory_bytes,
            table_elements_left: limits.table_elements,
            refused: None,
            log_messages_left: limits.log_messages_per_call,
            log_messages_dropped: 0,
            wasi: WasiState::new(),
        }
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if more > self.memory_left {
            self.refused = Some("memory");
            return Ok(false);
        }
        self.memory_left -= more;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        if more > self.table_elements_left {
            self.refused = Some("table elements");
            return Ok(false);
        }
        self.table_elements_left -= more;
        Ok(true)
    }

    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        // Each reserves 4 GiB of address space. A component has one per module, and few modules.
        8
    }
}

impl types::Host for HostState {}

impl log::Host for HostState {
    fn log(&mut self, level: log::Level, message: String) {
        self.say(level, &message);
    }
}

impl HostState {
    /// Logs a message of the plugin.
    pub(crate) fn say(&mut self, level: log::Level, message: &str) {
        // A plugin that logs every row must not flood the log: the number per call is limited, the rest is counted.
        let Some(left) = self.log_messages_left.checked_sub(1) else {
            self.log_messages_dropped += 1;
            return;
        };
        self.log_messages_left = left;
        let message = single_line(message);
        let plugin = &self.plugin;
        match level {
            log::Level::Debug => tracing::debug!(target: "rowmill::plugin", %plugin, "{message}"),
            log::Level::Info => tracing::info!(target: "rowmill::plugin", %plugin, "{message}"),
            log::Level::Warn => tracing::warn!(target: "rowmill::plugin", %plugin, "{message}"),
            log::Level::Error => tracing::error!(target: "rowmill::plugin", %plugin, "{message}"),
        }
    }
}

impl HostState {
    /// Handles output to standard output or standard error: complete lines go to the log.
    pub(crate) fn write(&mut self, output: u32, bytes: &[u8]) {
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let first = lines.next().unwrap_or_default();
        self.append(output, first);
        for line in lines {
            self.end_line(output);
            self.append(output, line);
        }
    }

    fn append(&mut self, output: u32, bytes: &[u8]) {
        let line = &mut self.wasi.lines[usize::from(output == STDERR)];
        // Keep only as much as the log shows.
        let room = SHOWN.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, output: u32) {
        let line = std::mem::take(&mut self.wasi.lines[usize::from(output == STDERR)]);
        let level = if output == STDERR { log::Level::Warn } else { log::Level::Info };
        if !line.is_empty() {
            self.say(level, &String::from_utf8_lossy(&line));
        }
    }

    /// Ends a call: unfinished lines go to the log.
    pub(crate) fn end_lines(&mut self) {
        self.end_line(STDOUT);
        self.end_line(STDERR);
    }
}
