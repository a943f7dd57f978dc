//! What must hold of the sandbox: no guest harms the host, and a plugin gives the same documents natively and inside.

mod harness;
mod log;

mod hostile;
mod javascript;
mod native_and_wasm;
mod wasi;
