//! A plugin that reads every column with every getter and writes the values in every way. Native code and the sandbox must agree
//! on everything, including errors.

use std::cell::RefCell;

use rowmill_sdk::{Columns, Description, Document, Fail, Out, Row, Table, Transform};
use serde::Deserialize;
use serde_json::Value;

/// The plugin.
#[derive(Debug)]
pub struct Reader {
    how: How,
    /// The columns of each table version; the tag of a row is the place of its version.
    tables: RefCell<Vec<Vec<String>>>,
}

/// The settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    how: How,
}

/// The kind of output.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    /// One document of everything that could be read.
    #[default]
    Document,
    /// One document per column, with an index and an ID made from its value.
    Split,
    /// The row, with every cell replaced and the first one absent.
    Edit,
    /// A part of a merged document.
    Merge,
    /// A failure with all values in its reason.
    Fail,
    /// A panic if the first column is odd.
    Panic,
}

impl Transform for Reader {
    const NAME: &'static str = "reader";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn describe() -> Description {
        Description::default().index("read-*").index("read")
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { how: settings.how, tables: RefCell::default() })
    }

    fn columns(&self, table: &Table) -> Result<Columns, String> {
        let mut tables = self.tables.borrow_mut();
        tables.push(table.columns.iter().map(|column| column.name.clone()).collect());
        Ok(Columns::all().tag(tables.len() as u32 - 1))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let tables = self.tables.borrow();
        let columns = tables.get(row.tag() as usize).ok_or_else(|| Fail::new("an unknown table"))?;
        match self.how {
            How::Document => {
                let mut document = out.document();
                document.index("read").routing("one place");
                document.object("as it came", |all| {
                    all.all();
                });
                document.object("but one", |some| {
                    some.all_except(columns.first().map(String::as_str));
                });
                for column in columns {
                    document.object(column, |object| read(row, column, object));
                }
            }
            How::Split => {
                for (place, column) in columns.iter().enumerate() {
                    let mut document = out.document();
                    document
                        .index(format_args!("read-{place}"))
                        .column(column.as_str())
                        .column_as(column.as_str(), "again");
                    if let Ok(Some(value)) = row.scalar(column.as_str()) {
                        // Some IDs are too long, which fails the row.
                        document.id(format_args!("{place}-{value}"));
                    }
                }
            }
            How::Edit => {
                let mut edit = out.edit();
                for (place, column) in columns.iter().enumerate() {
                    match row.json::<Value>(column.as_str()) {
                        _ if place == 1 => edit.absent(column.as_str()),
                        Ok(Some(Value::String(text))) => edit.text(column.as_str(), &text),
                        Ok(value) => edit.set(column.as_str(), &value),
                        Err(error) => edit.text(column.as_str(), error.reason()),
                    };
                }
            }
            How::Merge => {
                out.merge().index("read").all();
            }
            How::Fail => {
                let values: Vec<String> =
                    columns.iter().map(|column| format!("{:?}", row.raw(column.as_str()))).collect();
                return Err(Fail::new(values.join(" ")));
            }
            How::Panic => {
                let first = columns.first().map(|column| row.i64(column.as_str())).transpose()?.flatten();
                assert!(first.unwrap_or(0) % 2 == 0, "told to panic");
            }
        }
        Ok(())
    }
}

/// Every getter, with its error if it cannot read the cell.
fn read(row: &Row<'_>, name: &str, object: &mut Document<'_, '_>) {
    macro_rules! show {
        ($($getter:ident => |$o:ident, $value:ident| $write:expr;)+) => {
            $(match row.$getter(name) {
                Ok(None) => {
                    object.null(stringify!($getter));
                }
                Ok(Some($value)) => {
                    let $o = &mut *object;
                    $write;
                }
                Err(error) => {
                    object.text(stringify!($getter), error.reason());
                }
            })+
        };
    }
    show! {
        text => |o, value| o.text("text", &value).set("text by serde", &value);
        scalar => |o, value| o.text("scalar", &value);
        i64 => |o, value| o.integer("i64", value);
        u64 => |o, value| o.integer("u64", value);
        f64 => |o, value| o.set("f64", &value);
        bool => |o, value| o.boolean("bool", value);
        decimal => |o, value| o
            .decimal("decimal", &value)
            .set("cents", &value.to_cents())
            .set("thousandths", &value.to_scaled(3).map(|scaled| scaled.to_string()))
            .set("as f64", &value.to_f64());
        date => |o, value| o.text("date", &value.to_string()).integer("days", value.to_epoch_days());
        time => |o, value| o.text("time", &value.to_string()).integer("microseconds", value.to_microseconds());
        datetime => |o, value| o
            .datetime("datetime", value)
            .datetime_utc("datetime in UTC", value)
            .integer("epoch", value.to_epoch_micros())
            .boolean("is valid", value.is_valid());
        bytes => |o, value| o.set("bytes", &value);
        bit => |o, value| o.integer("bit", value);
        enumeration => |o, value| o.text("enumeration", &value);
        set => |o, value| o.texts("set", value.iter());
    }
    match row.json::<Value>(name) {
        Ok(value) => object.set("json", &value),
        Err(error) => object.text("json", error.reason()),
    };
    if let (Ok(null), Ok(absent), Ok(raw)) = (row.is_null(name), row.is_absent(name), row.raw(name)) {
        object.boolean("is null", null).boolean("is absent", absent);
        if !absent {
            object.raw("raw", raw);
        }
    }
    object.text("kind", &format!("{:?}", row.kind(name)));
}

rowmill_sdk::export!(Reader);
