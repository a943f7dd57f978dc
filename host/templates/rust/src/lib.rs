//! Orders as documents: drafts stay out of the index, and the total is in cents.

use rowmill_sdk::{Columns, Description, Fail, NoSettings, Out, Row, Table, Transform};

/// The plugin. Settings, if it has any, are its fields.
pub struct {{type}};

impl Transform for {{type}} {
    const NAME: &'static str = "{{name}}";
    type Settings = NoSettings;

    fn describe() -> Description {
        // The mapping is that of the table's own index, which the gateway creates with it.
        Description::default().tables(["shop.orders"]).index_with_mapping("", MAPPING)
    }

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    /// Only columns that are read are copied into the plugin; the others are passed on by the host.
    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(Columns::none().read("state").read("total").pass("id").pass("customer_no"))
    }

    /// Says what a row is: a document, none, or several. It must depend on the row and the settings alone: when a row
    /// changes or goes, the host asks what it was, and deletes the documents that it no longer is.
    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        if row.text("state")?.as_deref() == Some("draft") {
            out.drop();
            return Ok(());
        }
        let mut document = out.document();
        document.column("id").column_as("customer_no", "customer").column("state");
        if let Some(total) = row.decimal("total")? {
            let cents = total.to_cents().ok_or_else(|| row.wrong("total", "not a whole number of cents"))?;
            document.object("amount", |amount| {
                amount.integer("cents", cents).text("currency", "CNY");
            });
        }
        Ok(())
    }
}

const MAPPING: &str = r#"{
  "properties": {
    "id": { "type": "long" },
    "customer": { "type": "keyword" },
    "state": { "type": "keyword" },
    "amount": { "properties": { "cents": { "type": "long" }, "currency": { "type": "keyword" } } }
  }
}"#;

rowmill_sdk::export!({{type}});
