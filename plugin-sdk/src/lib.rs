//! The SDK for Rowmill plugins in Rust: filter rows and shape documents, compiled to one `.wasm` file.
//!
//! The [`guide`] explains everything from a first plugin to the encoding at the sandbox's boundary.
//!
//! # A plugin
//!
//! A plugin is a function of one row image: it keeps the row, drops it, changes it, or returns documents.
//!
//! ```
//! use rowmill_sdk::{Description, Fail, NoSettings, Out, Row, Transform};
//!
//! struct Orders;
//!
//! impl Transform for Orders {
//!     const NAME: &'static str = "orders";
//!     type Settings = NoSettings;
//!
//!     fn describe() -> Description {
//!         Description::default().tables(["shop.orders"])
//!     }
//!
//!     fn new(_: NoSettings) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
//!         if row.text("state")?.as_deref() == Some("draft") {
//!             out.drop();
//!             return Ok(());
//!         }
//!         let mut doc = out.document();
//!         doc.column("id").column_as("customer_no", "customer");
//!         if let Some(total) = row.decimal("total")? {
//!             let cents = total.to_cents().ok_or_else(|| row.wrong("total", "does not fit"))?;
//!             doc.integer("totalCents", cents);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! rowmill_sdk::export!(Orders);
//! ```
//!
//! `Cargo.toml` needs `crate-type = ["cdylib", "rlib"]`; `cargo build --release --target wasm32-unknown-unknown` makes the
//! file that goes into the gateway's plugin folder.
//!
//! The host calls the plugin with the before image and with the after image, and derives writes, moves and deletes from the
//! two answers. So the answer must depend on the row and the settings alone, and plugins never return deletes. A plugin that
//! needs the change itself implements [`ChangeTransform`].
//!
//! # Columns
//!
//! [`Transform::columns`] declares the columns that the plugin reads; only these are copied into it. Documents may pass on
//! any column, which the host copies. [`columns!`] makes handles that need no look-up, for plugins on large tables.
//!
//! # Settings
//!
//! [`Transform::Settings`] is any type that serde reads. The gateway shows serde's errors.
//!
//! # Tests
//!
//! With the feature `harness` one line in `tests/cases.rs`, `rowmill_sdk::cases!(orders::Orders);`, runs the golden cases
//! in `cases/*/` twice: natively, and as the real `.wasm` in the real sandbox. `rowmill plugin new` creates
//! such a crate.
//!
//! In unit tests a plugin runs natively; [`testing`] builds rows and reads documents:
//!
//! ```
//! # use rowmill_sdk::{Fail, NoSettings, Out, Row, Transform};
//! # struct Orders;
//! # impl Transform for Orders {
//! #     const NAME: &'static str = "orders";
//! #     type Settings = NoSettings;
//! #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
//! #     fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
//! #         out.document().column("id").integer("totalCents", row.decimal("total")?.unwrap().to_cents().unwrap());
//! #         Ok(())
//! #     }
//! # }
//! use rowmill_sdk::testing::{Harness, table};
//! use serde_json::json;
//!
//! let orders = table("shop.orders", [("id", "integer"), ("total", "decimal")]);
//! let mut plugin = Harness::<Orders>::new(&json!({})).unwrap();
//! let verdict = plugin.row(&orders, r#"{"id": 1, "total": "9.90"}"#).unwrap();
//! assert_eq!(verdict.document(), json!({"id": 1, "totalCents": 990}));
//! ```

#[doc = include_str!("guide.md")]
pub mod guide {}

mod contract;
mod decimal;
mod document;
mod encode;
mod fail;
mod from_row;
mod macros;
mod names;
mod out;
mod plugin;
mod row;
mod table;
mod time;
mod value;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[allow(missing_docs, unused_qualifications, reason = "mostly generated")]
pub mod bindings;
#[cfg(feature = "harness")]
pub mod harness;
pub mod log;
pub mod native;
pub mod testing;

pub use contract::{Batch, Column, ColumnKind, Description, Index, Mode, Output, Table};
pub use decimal::Decimal;
pub use document::Document;
pub use fail::Fail;
pub use from_row::{FromCell, FromRow};
pub use names::FieldName;
pub use out::{Edit, Out};
pub use plugin::{ChangeTransform, NoSettings, Transform};
pub use row::{Change, Labels, Operation, Row};
pub use rowmill_sdk_derive::Row;
pub use table::{Col, ColumnRef, Columns};
pub use time::{Date, DateTime, Time};

/// Used by [`export!`]; not for direct use.
#[doc(hidden)]
pub mod __private {
    pub use crate::from_row::Slots;
    pub use crate::native::Instance;
    pub use crate::plugin::{Changes, Images};
}
