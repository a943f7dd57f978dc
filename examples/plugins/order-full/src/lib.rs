//! Builds one document per order, with its items, from rows of two tables, whatever the order of arrival.
//!
//! `shop.orders` provides the fields, each row of `shop.order_items` an item of the array `items`. An item that changes, moves
//! to another order or is deleted does not affect other items.

use rowmill_sdk::{Columns, Description, Fail, NoSettings, Out, Row, Table, Transform, fail};

/// The plugin.
#[derive(Debug)]
pub struct OrderFull;

const MAPPING: &str = r#"{
  "properties": {
    "customer": { "type": "keyword" },
    "state": { "type": "keyword" },
    "total": { "type": "scaled_float", "scaling_factor": 100 },
    "items": { "properties": { "line": { "type": "integer" }, "sku": { "type": "keyword" }, "quantity": { "type": "integer" } } }
  }
}"#;

impl Transform for OrderFull {
    const NAME: &'static str = "order-full";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::default().tables(["shop.orders", "shop.order_items"]).index_with_mapping("order-full", MAPPING)
    }

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn columns(&self, table: &Table) -> Result<Columns, String> {
        // The tag identifies the table in `row` without comparing names.
        Ok(match table.name.as_str() {
            "orders" => Columns::of(["id"]).pass("customer_no").pass("state").pass("total").tag(ORDERS),
            _ => Columns::of(["order_id", "line_no"]).pass("sku").pass("qty").tag(ITEMS),
        })
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        if row.tag() == ORDERS {
            let Some(id) = row.i64("id")? else { fail!("an order without a number") };
            let mut part = out.merge();
            part.index("order-full").id(id).column_as("customer_no", "customer").column("state").column("total");
            return Ok(());
        }
        let (Some(order), Some(line)) = (row.i64("order_id")?, row.i64("line_no")?) else {
            fail!("an item without an order or a line");
        };
        out.put_item("items", line)
            .index("order-full")
            .id(order)
            .column_as("line_no", "line")
            .column("sku")
            .column_as("qty", "quantity");
        Ok(())
    }
}

const ORDERS: u32 = 0;
const ITEMS: u32 = 1;

rowmill_sdk::export!(OrderFull);
