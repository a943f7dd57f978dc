//! An in-process HTTP server that speaks what Rowmill needs of Elasticsearch 8, in memory.
//!
//! It is what the demo writes to, what plugin authors try their documents on, and what tests make fail on demand. It
//! gives the same answers as the real server to the requests of `tests/scenarios`, down to the texts of its errors;
//! [`Store`] tells what it cannot do.
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
//! The way of a request: `http` reads it and finds what it asks for, `bulk`, `update` and `search` do it on the
//! `cluster`, whose `index`es hold documents checked against their `mapping`. One lock guards the cluster; searches take
//! what they need out from under it. Nothing here knows Kafka, plugins or the rest of Rowmill.

mod store;

mod clock;
mod counters;
mod fault;
mod script;

mod http;

mod bulk;
mod cluster;
mod error;
mod filter;
mod index;
mod json;
mod mapping;
mod names;
mod query;
mod search;
mod settings;
mod sort;
mod template;
mod update;

pub use clock::Clock;
pub use counters::Counters;
pub use fault::{FaultEffect, FaultRule, FaultTarget};
pub use script::{ScriptContext, ScriptFunction, ScriptOp};
pub use store::{Store, StoreBuilder, StoreHandle, StoredDocument};
