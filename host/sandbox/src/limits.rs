//! Resource limits of plugins.

use std::time::Duration;

/// Limits of one plugin instance. Each worker thread has one instance of each plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest `.wasm` file, in bytes.
    pub file_bytes: usize,
    /// Size of all linear memories of the instance together, in bytes.
    pub memory_bytes: usize,
    /// Elements of all tables together.
    pub table_elements: usize,
    /// Time for each of instantiation, `describe`, `configure` and `define-table`.
    pub setup_time: Duration,
    /// Time for a call of `transform`, independent of the batch's size.
    pub batch_time: Duration,
    /// Additional time per image of the batch.
    pub image_time: Duration,
    /// Largest answer of `transform` in bytes, independent of the batch's size.
    pub output_bytes: usize,
    /// Additional bytes of the answer per byte of the batch.
    pub output_bytes_per_input_byte: usize,
    /// Largest number of documents per image.
    pub documents_per_image: u32,
    /// Log messages per call; further ones are dropped and counted.
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
