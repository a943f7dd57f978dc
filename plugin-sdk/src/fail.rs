//! The reason why a row cannot be processed.

use std::fmt;

/// Why a row cannot be processed. The row becomes a dead letter with this reason; other rows are not affected.
///
/// Any error converts into it, so `?` works; [`fail!`](crate::fail!) makes one from a message. A reason should name
/// columns, not values: the dead letter contains the row.
pub struct Fail(Box<str>);

impl Fail {
    /// A failure with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into().into_boxed_str())
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Fail {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// Returns from the function with a failed row: `fail!("no rate for {currency}")`.
#[macro_export]
macro_rules! fail {
    ($($message:tt)*) => {
        return ::core::result::Result::Err($crate::Fail::new(::std::format!($($message)*)))
    };
}
