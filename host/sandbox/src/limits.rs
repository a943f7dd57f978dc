//! What a plugin may use.

use std::time::Duration;

/// Limits of one plugin instance. There is one instance a plugin and worker thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest `.wasm` file, in bytes.
    pub file_bytes: usize,
    /// Linear memory of all the instance's memories together, in bytes.
    pub memory_bytes: usize,
    /// Elements of all tables together.
    pub table_elements: usize,
    /// Time for instantiation, `describe`, `configure` and `define-table`, each.
    pub setup_time: Duration,
    /// Time for a call of `transform`, whatever the batch's size.
    pub batch_time: Duration,
    /// Time added for each image of a batch.
    pub image_time: Duration,
    /// Bytes that one answer of `transform` may have, whatever the batch's size.
    pub output_bytes: usize,
    /// Bytes added to that for each byte of the batch.
    pub output_bytes_per_input_byte: usize,
    /// Documents that one image may become.
    pub documents_per_image: u32,
    /// Messages that one call may log; more are dropped and counted.
    pub log_messages_per_call: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            setup_time: Duration::from_secs(5),
            batch_time: Duration::from_millis(500),
            image_time: Duration::from_millis(2),
            output_bytes: 4 << 20,
            output_bytes_per_input_byte: 16,
            documents_per_image: 10_000,
            log_messages_per_call: 16,
        }
    }
}
