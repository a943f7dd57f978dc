//! Every folder in `cases/` is a test. It runs natively and as the .wasm file in the sandbox, and both must give the same.
//! `ROWMILL_BLESS=1 cargo test` makes what comes out now the expected.

rowmill_sdk::cases!({{crate}}::{{type}});
