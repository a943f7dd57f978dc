//! Shapes rows of the `trade` table into documents: renamed and nested fields, readable status, exact cents, UTC times.
//!
//! It accepts rows of every source format, even if column types are unknown: times may be texts or epoch numbers, decimals
//! texts or numbers, the status a label or its number.

use rowmill_sdk::{Col, Description, Document, Fail, Out, Row, Table, Transform};
use serde::Deserialize;

rowmill_sdk::columns! {
    mod col {
        STATUS: read "status",
        AMOUNT: read "amount",
        CREATED_AT: read "created_at",
        CURRENCY: read_optional "currency",
        TAGS: read_optional "tags",
        PAY_TIME: read_optional "pay_time",
        SHIP_TIME: read_optional "ship_time",
        UPDATED_AT: read_optional "updated_at",
        RECEIVER_NAME: read_optional "receiver_name",
        IS_PAID: read_optional "is_paid",
        ID: pass "id",
        TRADE_NO: pass "trade_no",
        TITLE: pass_optional "title",
        BUYER_ID: pass_optional "buyer_id",
        BUYER_MEMO: pass_optional "buyer_memo",
        SELLER_ID: pass_optional "seller_id",
        SELLER_MEMO: pass_optional "seller_memo",
        SHOP_NAME: pass_optional "shop_name",
        RECEIVER_PHONE: pass_optional "receiver_phone",
        RECEIVER_ADDR: pass_optional "receiver_addr",
        PAY_CHANNEL: pass_optional "pay_channel",
        QUANTITY: pass_optional "quantity",
        EXT: pass_optional "ext",
        DETAIL: pass_optional "detail",
        REMARK: pass_optional "remark",
    }
}

/// The plugin.
#[derive(Debug)]
pub struct TradeDocument {
    settings: Settings,
}

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// The currency for rows without one: three capital letters.
    currency: String,
    /// Whether documents contain the long `detail`.
    index_detail: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { currency: "CNY".to_owned(), index_detail: false }
    }
}

const MAPPING: &str = include_str!("mapping.json");
const SETTINGS_SCHEMA: &str = include_str!("settings.schema.json");

impl Transform for TradeDocument {
    const NAME: &'static str = "trade-document";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn describe() -> Description {
        Description::default().tables(["trade"]).index_with_mapping("", MAPPING).settings_schema(SETTINGS_SCHEMA)
    }

    fn new(settings: Settings) -> Result<Self, String> {
        let currency = &settings.currency;
        if currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase()) {
            Ok(Self { settings })
        } else {
            Err(format!("settings: currency is '{currency}', expected three capital letters, as in 'CNY'"))
        }
    }

    fn columns(&self, _: &Table) -> Result<rowmill_sdk::Columns, String> {
        Ok(col::all())
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let mut doc = out.document();
        doc.column(col::ID)
            .column_as(col::TRADE_NO, "tradeNo")
            .column(col::TITLE)
            .column(col::QUANTITY)
            .column(col::REMARK)
            .column(col::EXT);
        if self.settings.index_detail {
            doc.column(col::DETAIL);
        }
        if let Some(status) = row.scalar(col::STATUS)? {
            doc.text("status", readable_status(&status));
        }
        if let Some(paid) = row.bool(col::IS_PAID)? {
            doc.boolean("paid", paid);
        }
        if let Some(tags) = row.set(col::TAGS)? {
            doc.texts("tags", tags.iter());
        }
        time(row, &mut doc, col::CREATED_AT, "createdAt")?;
        time(row, &mut doc, col::UPDATED_AT, "updatedAt")?;
        time(row, &mut doc, col::SHIP_TIME, "shippedAt")?;
        doc.object("buyer", |buyer| {
            buyer.column_as(col::BUYER_ID, "id").column_as(col::BUYER_MEMO, "memo");
        });
        doc.object("seller", |seller| {
            seller
                .column_as(col::SELLER_ID, "id")
                .column_as(col::SHOP_NAME, "shop")
                .column_as(col::SELLER_MEMO, "memo");
        });
        doc.object("receiver", |receiver| {
            if let Some(name) = row.text(col::RECEIVER_NAME)? {
                receiver.text("name", name.trim());
            }
            receiver.column_as(col::RECEIVER_PHONE, "phone").column_as(col::RECEIVER_ADDR, "address");
            Ok::<(), Fail>(())
        })?;
        doc.object("pay", |pay| self.pay(row, pay))
    }
}

impl TradeDocument {
    fn pay(&self, row: &Row<'_>, pay: &mut Document<'_, '_>) -> Result<(), Fail> {
        pay.column_as(col::PAY_CHANNEL, "channel");
        time(row, pay, col::PAY_TIME, "time")?;
        if let Some(amount) = row.decimal(col::AMOUNT)? {
            let cents =
                amount.to_cents().ok_or_else(|| row.wrong(col::AMOUNT, "not a whole number of cents in 64 bits"))?;
            pay.integer("amountCents", cents);
        }
        let currency = row.text(col::CURRENCY)?;
        match currency.as_deref().map(str::trim) {
            None | Some("") => pay.text("currency", &self.settings.currency),
            Some(currency) if currency.bytes().any(|b| b.is_ascii_lowercase()) => {
                pay.text("currency", &currency.to_ascii_uppercase())
            }
            Some(currency) => pay.text("currency", currency),
        };
        Ok(())
    }
}

/// The status as a word, from its label or its number in the ENUM. An unknown status is passed on unchanged.
fn readable_status(status: &str) -> &str {
    match status {
        "NEW" | "1" => "new",
        "PAID" | "2" => "paid",
        "SHIPPED" | "3" => "shipped",
        "DONE" | "4" => "done",
        "CLOSED" | "5" => "closed",
        other => other,
    }
}

/// Writes a time in ISO-8601 with a `Z`; nothing for NULL and for MySQL's zero dates, which date fields reject.
fn time(row: &Row<'_>, doc: &mut Document<'_, '_>, column: Col, name: &'static str) -> Result<(), Fail> {
    if let Some(time) = row.datetime(column)?
        && time.is_valid()
    {
        doc.datetime_utc(name, time);
    }
    Ok(())
}

rowmill_sdk::export!(TradeDocument);
