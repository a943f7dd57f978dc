//! The golden cases in `cases/`, natively and in the sandbox.

rowmill_sdk::cases!(row_filter::RowFilter);
