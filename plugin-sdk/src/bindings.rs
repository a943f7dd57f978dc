//! The bindings that wit-bindgen generates from the contract, and their only use: moving records in and out.

use crate::contract;
use crate::log::Level;

wit_bindgen::generate!({
    path: "wit",
    world: "transform",
    pub_export_macro: true,
    export_macro_name: "export_guest",
    default_bindings_module: "rowmill_sdk::bindings",
});

use self::rowmill::plugin::types as wire;

impl From<contract::Description> for wire::Description {
    fn from(d: contract::Description) -> Self {
        Self {
            name: d.name,
            version: d.version,
            tables: d.tables,
            mode: match d.mode {
                contract::Mode::Image => wire::Mode::Image,
                contract::Mode::Change => wire::Mode::Change,
            },
            indices: d.indices.into_iter().map(|i| wire::Index { name: i.name, mapping: i.mapping }).collect(),
            settings_schema: d.settings_schema,
        }
    }
}

impl From<wire::Table> for contract::Table {
    fn from(t: wire::Table) -> Self {
        Self {
            id: t.id,
            database: t.database,
            name: t.name,
            columns: t.columns.into_iter().map(|c| contract::Column { name: c.name, kind: c.kind.into() }).collect(),
            key: t.key,
        }
    }
}

impl From<wire::ColumnKind> for contract::ColumnKind {
    fn from(kind: wire::ColumnKind) -> Self {
        use wire::ColumnKind as W;
        match kind {
            W::Unknown => Self::Unknown,
            W::Integer => Self::Integer,
            W::UnsignedInteger => Self::UnsignedInteger,
            W::Boolean => Self::Boolean,
            W::Bit => Self::Bit,
            W::Float => Self::Float,
            W::Double => Self::Double,
            W::Decimal => Self::Decimal,
            W::Date => Self::Date,
            W::Time => Self::Time,
            W::DateTime => Self::DateTime,
            W::Timestamp => Self::Timestamp,
            W::Text => Self::Text,
            W::Binary => Self::Binary,
            W::Enumeration => Self::Enumeration,
            W::Set => Self::Set,
            W::Json => Self::Json,
        }
    }
}

impl From<wire::Batch> for contract::Batch {
    fn from(b: wire::Batch) -> Self {
        Self { table: b.table, count: b.count, operations: b.operations, cells: b.cells, bytes: b.bytes }
    }
}

impl From<contract::Output> for wire::Output {
    fn from(o: contract::Output) -> Self {
        Self { verdicts: o.verdicts, names: o.names, bytes: o.bytes }
    }
}

/// Hands a message to the host.
pub(crate) fn log(level: Level, message: &str) {
    use self::rowmill::plugin::log as host;
    use Level;
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message);
}
