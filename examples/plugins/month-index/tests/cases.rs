//! The golden cases in `cases/`, natively and in the sandbox.

rowmill_sdk::cases!(month_index::MonthIndex);
