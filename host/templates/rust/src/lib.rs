//! Maps orders to documents: skips drafts, and converts the total to cents.

use rowmill_sdk::{Columns, Description, Fail, NoSettings, Out, Row, Table, Transform};

/// The plugin. Settings, if it has any, are its fields.
pub struct {{type}};

impl Transform for {{type}} {
    const NAME: &'static str = "{{name}}";
    type Settings = NoSettings;

    fn describe() -> Description {
        // The mapping of the table's default index, which the gateway creates with it.
        Description::default().tables(["shop.orders"]).index_with_mapping("", MAPPING)
    }

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    /// Only `read` columns are copied into the plugin. The host copies `pass` columns into documents itself.
    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(Columns::none().read("state").read("total").pass("id").pass("customer_no"))
    }

    /// Maps a row to one document, none or several. The result may depend only on the row and the settings: when a row
    /// changes or is deleted, the host calls this with the before image and deletes the documents that no longer apply.
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
