//! Messages for the host's log. They are rate-limited there, and should not contain row values.

/// The severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// For the gateway's operator.
    Info,
    /// Something is wrong, but the plugin continues.
    Warn,
    /// Something failed.
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

/// Writes a message for the gateway's operator.
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
