//! One shape of 12 fields on the `trade` table, 8 of them passed on and 4 computed, written in every style of the SDK;
//! `by_hand` is the same without the SDK. The setting `how` selects one.

pub mod by_hand;

use std::borrow::Cow;

use rowmill_sdk::{Col, Columns, DateTime, Decimal, Document, Fail, FromRow, Out, Row, Table, Transform, doc};
use serde::Deserialize;

/// The columns that are read, in the order in which [`by_hand`] reads them too.
pub const READ: [&str; 4] = ["status", "amount", "created_at", "receiver_name"];
/// The columns that are passed on.
pub const PASSED: [&str; 8] = ["id", "trade_no", "title", "quantity", "remark", "buyer_id", "seller_id", "shop_name"];

rowmill_sdk::columns! {
    mod col {
        STATUS: read "status",
        AMOUNT: read "amount",
        CREATED_AT: read "created_at",
        RECEIVER_NAME: read "receiver_name",
        ID: pass "id",
        TRADE_NO: pass "trade_no",
        TITLE: pass "title",
        QUANTITY: pass "quantity",
        REMARK: pass "remark",
        BUYER_ID: pass "buyer_id",
        SELLER_ID: pass "seller_id",
        SHOP_NAME: pass "shop_name",
    }
}

#[derive(Row)]
struct Trade<'r> {
    status: Cow<'r, str>,
    amount: Decimal<'r>,
    created_at: DateTime,
    receiver_name: Cow<'r, str>,
    #[row(pass)]
    id: Col,
    #[row(pass)]
    trade_no: Col,
    #[row(pass)]
    title: Col,
    #[row(pass)]
    quantity: Col,
    #[row(pass)]
    remark: Col,
    #[row(pass)]
    buyer_id: Col,
    #[row(pass)]
    seller_id: Col,
    #[row(pass)]
    shop_name: Col,
}

/// The style in which the shape is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// On the flat lists of the contract, without the SDK.
    ByHand,
    /// Columns by handles, the builder's methods.
    Handles,
    /// Columns by name.
    Names,
    /// `#[derive(Row)]`.
    Struct,
    /// `#[derive(Row)]` and `doc!`.
    Macro,
}

/// All styles.
pub const ALL: [(How, &str); 5] = [
    (How::ByHand, "by_hand"),
    (How::Handles, "handles"),
    (How::Names, "names"),
    (How::Struct, "struct"),
    (How::Macro, "macro"),
];

/// The plugin; [`How::ByHand`] does not use it.
#[derive(Debug)]
pub struct Shapes(How);

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    how: How,
}

impl Transform for Shapes {
    const NAME: &'static str = "shapes";
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings.how))
    }

    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(match self.0 {
            How::Handles => col::all(),
            How::Struct | How::Macro => Trade::columns(),
            How::Names | How::ByHand => Columns::of(READ),
        })
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        match self.0 {
            How::Handles => handles(row, out),
            How::Names | How::ByHand => names(row, out),
            How::Struct => with_struct(row, out),
            How::Macro => with_macro(row, out),
        }
    }
}

/// The status as a word.
pub fn readable(status: &str) -> &str {
    match status {
        "NEW" => "new",
        "PAID" => "paid",
        "SHIPPED" => "shipped",
        "DONE" => "done",
        "CLOSED" => "closed",
        other => other,
    }
}

fn cents(row: &Row<'_>, amount: Option<Decimal<'_>>, column: Col) -> Result<i64, Fail> {
    amount.and_then(|amount| amount.to_cents()).ok_or_else(|| row.wrong(column, "not a whole number of cents"))
}

fn handles(row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
    let mut document = out.document();
    document
        .column(col::ID)
        .column_as(col::TRADE_NO, "tradeNo")
        .column(col::TITLE)
        .column(col::QUANTITY)
        .column(col::REMARK);
    if let Some(status) = row.text(col::STATUS)? {
        document.text("status", readable(&status));
    }
    document.integer("amountCents", cents(row, row.decimal(col::AMOUNT)?, col::AMOUNT)?);
    if let Some(time) = row.datetime(col::CREATED_AT)? {
        document.datetime_utc("createdAt", time);
    }
    if let Some(name) = row.text(col::RECEIVER_NAME)? {
        document.text("receiver", name.trim());
    }
    document.object("buyer", |buyer| {
        buyer.column_as(col::BUYER_ID, "id");
    });
    document.object("seller", |seller| {
        seller.column_as(col::SELLER_ID, "id").column_as(col::SHOP_NAME, "shop");
    });
    Ok(())
}

fn names(row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
    let mut document = out.document();
    document.column("id").column_as("trade_no", "tradeNo").column("title").column("quantity").column("remark");
    if let Some(status) = row.text("status")? {
        document.text("status", readable(&status));
    }
    let amount = row.decimal("amount")?.and_then(|amount| amount.to_cents());
    document.integer("amountCents", amount.ok_or_else(|| row.wrong("amount", "not a whole number of cents"))?);
    if let Some(time) = row.datetime("created_at")? {
        document.datetime_utc("createdAt", time);
    }
    if let Some(name) = row.text("receiver_name")? {
        document.text("receiver", name.trim());
    }
    document.object("buyer", |buyer| {
        buyer.column_as("buyer_id", "id");
    });
    document.object("seller", |seller| {
        seller.column_as("seller_id", "id").column_as("shop_name", "shop");
    });
    Ok(())
}

fn with_struct(row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
    let trade = Trade::from_row(row)?;
    let mut document = out.document();
    document
        .column(trade.id)
        .column_as(trade.trade_no, "tradeNo")
        .column(trade.title)
        .column(trade.quantity)
        .column(trade.remark);
    document.text("status", readable(&trade.status));
    let amount = trade.amount.to_cents();
    document.integer("amountCents", amount.ok_or_else(|| row.wrong("amount", "not a whole number of cents"))?);
    document.datetime_utc("createdAt", trade.created_at);
    document.text("receiver", trade.receiver_name.trim());
    document.object("buyer", |buyer| {
        buyer.column_as(trade.buyer_id, "id");
    });
    document.object("seller", |seller| {
        seller.column_as(trade.seller_id, "id").column_as(trade.shop_name, "shop");
    });
    Ok(())
}

fn with_macro(row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
    let trade = Trade::from_row(row)?;
    let cents = trade.amount.to_cents().ok_or_else(|| row.wrong("amount", "not a whole number of cents"))?;
    let mut document: Document<'_, '_> = out.document();
    doc!(document, {
        "id": column trade.id,
        "tradeNo": column trade.trade_no,
        "title": column trade.title,
        "quantity": column trade.quantity,
        "remark": column trade.remark,
        "status": readable(&trade.status),
        "amountCents": cents,
        "createdAt": format_args!("{}Z", trade.created_at),
        "receiver": trade.receiver_name.trim(),
        "buyer": { "id": column trade.buyer_id },
        "seller": { "id": column trade.seller_id, "shop": column trade.shop_name },
    });
    Ok(())
}

#[cfg(target_arch = "wasm32")]
mod exports;
