//! Every folder in `cases/` is a test. It runs natively and as the .wasm file in the sandbox, with the same expected output.
//! `ROWMILL_BLESS=1 cargo test` accepts the current output as expected.

rowmill_sdk::cases!({{crate}}::{{type}});
