//! Orders with camel-case names, and the customer and the total as objects. Demonstrates `#[derive(Row)]` and `doc!`.

use rowmill_sdk::{
    Columns, DateTime, Decimal, Description, Fail, FromRow, NoSettings, Out, Row, Table, Transform, doc,
};

/// The columns that the plugin reads; all others are passed on or left out without entering the sandbox.
#[derive(Row)]
struct Order<'r> {
    total: Decimal<'r>,
    ordered_at: Option<DateTime>,
}

/// The plugin.
#[derive(Debug)]
pub struct RenameAndNest;

impl Transform for RenameAndNest {
    const NAME: &'static str = "rename-and-nest";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::default().tables(["shop.orders"]).index_with_mapping("", include_str!("mapping.json"))
    }

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(Order::columns().pass("id").pass("customer_no").pass("state").pass("note").pass_optional("trade_id"))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let order = Order::from_row(row)?;
        let cents = order.total.to_cents().ok_or_else(|| row.wrong("total", "is not a whole number of cents"))?;
        // Elasticsearch rejects zero dates.
        let ordered_at = order.ordered_at.filter(|time| time.is_valid()).map(|time| time.to_string());
        doc!(out.document(), {
            "orderId": column "id",
            "customer": { "number": column "customer_no" },
            "state": column "state",
            "total": { "cents": cents, "text": order.total.as_str() },
            "orderedAt": ordered_at,
            "links": { "tradeId": column "trade_id" },
            "note": column "note",
        });
        Ok(())
    }
}

rowmill_sdk::export!(RenameAndNest);
