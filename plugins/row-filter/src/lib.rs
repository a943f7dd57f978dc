//! Keeps or drops rows by conditions on their columns, as configured in the settings.
//!
//! ```json
//! {"rules": [{"table": "shop.trade", "where": [
//!     {"column": "status", "not_in": ["CLOSED"]},
//!     {"column": "amount", "gte": "10.00", "lt": 5000},
//!     {"column": "deleted_at", "is_null": true}
//! ]}]}
//! ```
//!
//! A row is kept if it matches every rule of its table. A row matches a rule if it matches all conditions, or with `"any": true`
//! at least one. Rows of tables without a rule are kept, so without settings the plugin changes nothing. As in SQL, NULL matches
//! only `is_null`; a column that the source did not send counts as NULL.

mod condition;
mod settings;

use std::cell::RefCell;

use rowmill_sdk::{Col, Columns, Description, Fail, Out, Row, Table, Transform};

use crate::condition::Condition;
pub use crate::settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct RowFilter {
    rules: Vec<Rule>,
    /// The rules that apply to each table version, as places in `rules`. The tag of a row is the place of its plan.
    plans: RefCell<Vec<Vec<usize>>>,
}

/// The conditions for rows of matching tables.
#[derive(Debug)]
struct Rule {
    /// The position of the rule in the settings, for messages.
    place: String,
    table: String,
    conditions: Vec<Condition>,
    /// Whether one condition is enough.
    any: bool,
}

impl Transform for RowFilter {
    const NAME: &'static str = "row-filter";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn describe() -> Description {
        Description::default().settings_schema(include_str!("settings.schema.json"))
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { rules: settings.rules()?, plans: RefCell::default() })
    }

    fn columns(&self, table: &Table) -> Result<Columns, String> {
        let matching = self.rules.iter().enumerate().filter(|(_, rule)| table.matches(&rule.table));
        let mut plan = Vec::new();
        let mut columns = Columns::none();
        for (number, rule) in matching {
            plan.push(number);
            for condition in &rule.conditions {
                if let Some(column) = table.column(&condition.column) {
                    condition.fits(column.kind).map_err(|e| format!("{}: {e}", rule.place))?;
                }
                columns = columns.read(&condition.column);
            }
        }
        let mut plans = self.plans.borrow_mut();
        let tag = plans.iter().position(|p| *p == plan).unwrap_or(plans.len());
        if tag == plans.len() {
            plans.push(plan);
        }
        Ok(columns.tag(tag as u32))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let plans = self.plans.borrow();
        let plan = plans.get(row.tag() as usize).map_or(&[][..], Vec::as_slice);
        // The columns are in the order of rules and conditions.
        let mut column = 0;
        for rule in plan.iter().map(|&number| &self.rules[number]) {
            let first = column;
            column += rule.conditions.len() as u32;
            if !rule.passes(row, first)? {
                out.drop();
                return Ok(());
            }
        }
        out.keep();
        Ok(())
    }
}

impl Rule {
    fn passes(&self, row: &Row<'_>, first: u32) -> Result<bool, Fail> {
        for (condition, column) in self.conditions.iter().zip(first..) {
            if condition.holds(row, Col::new(column))? == self.any {
                return Ok(self.any);
            }
        }
        Ok(!self.any)
    }
}

rowmill_sdk::export!(RowFilter);
