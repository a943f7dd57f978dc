//! The mapping of an index that holds a table's own columns, derived from their types.
//!
//! Left to itself, Elasticsearch guesses types from the first document and then refuses the rows that do not fit: a
//! text column whose first value looks like a date, a number beyond 2^63, a zero date. The database is the
//! authority on types, so Rowmill derives the mapping from the columns.

use rowmill_rows::{ColumnType, TableVersion};
use serde_json::{Map, Value, json};

/// The mapping of a table's columns, a JSON object.
pub(crate) fn of_table(table: &TableVersion) -> String {
    let mut properties = Map::new();
    for column in &table.columns {
        if let Some(field) = of_type(&column.column_type) {
            properties.insert(column.name.to_string(), field);
        }
    }
    json!({ "date_detection": false, "properties": properties }).to_string()
}

fn of_type(column_type: &ColumnType) -> Option<Value> {
    Some(match column_type {
        ColumnType::Unknown => return None,
        ColumnType::Integer { unsigned: false } | ColumnType::Bit => json!({ "type": "long" }),
        // `unsigned_long` is not in every distribution. The exact value is found by its text, whatever its size.
        ColumnType::Integer { unsigned: true } => {
            json!({ "type": "long", "ignore_malformed": true, "fields": { "text": { "type": "keyword", "ignore_above": 64 } } })
        }
        ColumnType::Boolean => json!({ "type": "boolean" }),
        ColumnType::Float => json!({ "type": "float" }),
        // All digits are in the document; the index holds the nearest double, for ranges and sorting.
        ColumnType::Double | ColumnType::Decimal { .. } => json!({ "type": "double" }),
        ColumnType::Date | ColumnType::DateTime | ColumnType::Timestamp => {
            json!({ "type": "date", "format": "strict_date_optional_time", "ignore_malformed": true })
        }
        ColumnType::Time | ColumnType::Enum { .. } | ColumnType::Set { .. } => {
            json!({ "type": "keyword", "ignore_above": 1024 })
        }
        ColumnType::Text => {
            json!({ "type": "text", "fields": { "keyword": { "type": "keyword", "ignore_above": 256 } } })
        }
        ColumnType::LongText => json!({ "type": "text" }),
        ColumnType::Binary => json!({ "type": "binary" }),
        // Kept whole and not indexed: any value fits, whatever the value before it was.
        ColumnType::Json => json!({ "type": "object", "enabled": false }),
    })
}
