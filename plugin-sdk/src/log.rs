//! Messages for the host's log. They are rate-limited there, and should not carry row values.

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// For whoever runs the gateway.
    Info,
    /// Something is not as it should be, and the plugin goes on.
    Warn,
    /// Something cannot be done.
    Error,
}

/// Writes a message to the host's log; on native targets to standard error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Writes a message for the plugin's author.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Writes a message for whoever runs the gateway.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Writes a warning.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Writes an error.
pub fn error(message: &str) {
    log(Level::Error, message);
}
