//! Of what `auto` makes the versions of each table: decided once per process, by the table's first streamed change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rowmill_rows::SourcePosition;

/// Of what `auto` makes the versions of a table: the best that the table's first streamed change carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// As [`crate::version::VersionStrategy::Binlog`].
    Binlog,
    /// As [`crate::version::VersionStrategy::Time`].
    Time,
    /// As [`crate::version::VersionStrategy::Offset`].
    Offset,
}

impl Basis {
    /// The best that a position offers.
    pub fn of(position: SourcePosition) -> Self {
        match position {
            SourcePosition::Binlog { .. } => Self::Binlog,
            SourcePosition::Time { .. } => Self::Time,
            SourcePosition::Unknown => Self::Offset,
        }
    }

    /// The name of the strategy in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binlog => "binlog",
            Self::Time => "time",
            Self::Offset => "offset",
        }
    }
}

/// The basis of a table's versions, once it is decided. All workers share it.
pub(crate) type PinnedBasis = Arc<OnceLock<Basis>>;

/// The bases of all tables, by full name and epoch: a raised epoch is how an operator allows another basis.
#[derive(Debug, Default)]
pub(crate) struct Bases(Mutex<HashMap<(Arc<str>, u64), PinnedBasis>>);

impl Bases {
    /// The basis of a table's versions within an epoch.
    pub fn of_table(&self, full_name: &Arc<str>, epoch: u64) -> PinnedBasis {
        let mut bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bases.entry((full_name.clone(), epoch)).or_default().clone()
    }
}
