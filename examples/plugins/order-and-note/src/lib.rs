//! An order becomes two documents: the order, and its note, if it has one, in a separate index.
//!
//! The host does the rest: it deletes the document of a note that is set to NULL, and both documents when the order is deleted.

use rowmill_sdk::{Columns, Description, Fail, NoSettings, Out, Row, Table, Transform, fail};

/// The plugin.
#[derive(Debug)]
pub struct OrderAndNote;

impl Transform for OrderAndNote {
    const NAME: &'static str = "order-and-note";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::default().tables(["shop.orders"]).index("").index_with_mapping(
            "order-notes",
            r#"{"properties": {"order": {"type": "long"}, "customer": {"type": "keyword"}, "text": {"type": "text"}}}"#,
        )
    }

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(Columns::of(["id", "note", "customer_no"]))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        out.document().all_except(["note"]);
        let note = row.text("note")?;
        if note.as_deref().is_some_and(|note| !note.trim().is_empty()) {
            let (Some(id), Some(customer)) = (row.i64("id")?, row.text("customer_no")?) else {
                fail!("an order without number or customer");
            };
            // The index differs, so the default ID would do; this one shows what the document is.
            out.document()
                .index("order-notes")
                .id(format_args!("order-{id}"))
                .routing(&customer)
                .column_as("id", "order")
                .column_as("customer_no", "customer")
                .column_as("note", "text");
        }
        Ok(())
    }
}

rowmill_sdk::export!(OrderAndNote);
