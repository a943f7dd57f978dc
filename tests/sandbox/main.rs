//! Tests of the sandbox: no guest harms the host, and a plugin produces the same documents natively and in the sandbox.

mod harness;
mod log;

mod hostile;
mod javascript;
mod native_and_wasm;
mod wasi;
