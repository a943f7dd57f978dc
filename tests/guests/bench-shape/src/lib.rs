//! The plugin of the benchmark `flow`: keeps rows with status 1 to 3 and shapes documents of twelve fields. Nine columns are
//! passed on; the status becomes text, the amount a number of cents, and the receiver's name is trimmed and upper-cased.

use rowmill_sdk::{Columns, Description, Fail, NoSettings, Out, Row, Table, Transform};

rowmill_sdk::columns! {
    mod col {
        STATUS: read "status",
        AMOUNT: read "amount",
        RECEIVER_NAME: read "receiver_name",
        ID: pass "id",
        TRADE_NO: pass "trade_no",
        BUYER_ID: pass "buyer_id",
        SELLER_ID: pass "seller_id",
        SHOP_NAME: pass "shop_name",
        TITLE: pass "title",
        QUANTITY: pass "quantity",
        CREATED_AT: pass "created_at",
        UPDATED_AT: pass "updated_at",
    }
}

/// The plugin.
#[derive(Debug)]
pub struct BenchShape;

impl Transform for BenchShape {
    const NAME: &'static str = "bench-shape";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::default().tables(["shop.trade"])
    }

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(col::all())
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let status = match row.i64(col::STATUS)? {
            Some(1) => "PAID",
            Some(2) => "SHIPPED",
            Some(3) => "DONE",
            _ => {
                out.drop();
                return Ok(());
            }
        };
        let mut document = out.document();
        document
            .column(col::ID)
            .column(col::TRADE_NO)
            .column(col::BUYER_ID)
            .column(col::SELLER_ID)
            .column(col::SHOP_NAME)
            .column(col::TITLE)
            .column(col::QUANTITY)
            .column(col::CREATED_AT)
            .column(col::UPDATED_AT);
        document.text("status", status);
        if let Some(amount) = row.decimal(col::AMOUNT)? {
            let cents = amount.to_cents().ok_or_else(|| row.wrong(col::AMOUNT, "is not a whole number of cents"))?;
            document.integer("amount_cents", cents);
        }
        if let Some(name) = row.text(col::RECEIVER_NAME)? {
            document.text("receiver", &name.trim().to_uppercase());
        }
        Ok(())
    }
}

rowmill_sdk::export!(BenchShape);
