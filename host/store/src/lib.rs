//! An in-process HTTP server that behaves as Elasticsearch 8 does for the requests that Rowmill sends, in memory.
//!
//! The demo writes to it, plugin authors try their documents on it, and tests make it fail on demand. For the requests
//! of `tests/scenarios` it answers with the status codes, results and error types of the real server; [`Store`] lists
//! its limits.
//!
//! ```
//! use rowmill_store::Store;
//!
//! let store = Store::builder().start()?;
//! println!("{}", store.url()); // http://127.0.0.1:…, for any Elasticsearch client
//! assert_eq!(store.count("orders"), 0);
//! store.shutdown();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! `http` reads a request and calls its handler. `bulk`, `update` and `search` act on the `cluster`, which holds the
//! `index`es; an index checks each document against its `mapping`. One lock guards the cluster; searches run on a view
//! without it. The crate depends on no other crate of Rowmill.

mod store;

mod clock;
mod counters;
mod fault;
mod script;

mod http;
mod shared;

mod bulk;
mod cluster;
mod index;
mod search;
mod update;

mod filter;
mod mapping;
mod query;
mod settings;
mod sort;
mod values;
mod version;

mod error;
mod json;
mod names;

pub use clock::Clock;
pub use counters::Counters;
pub use fault::{FaultEffect, FaultRule, FaultTarget};
pub use script::{ScriptContext, ScriptFunction, ScriptOp};
pub use store::{Store, StoreBuilder, StoreHandle, StoredDocument};
