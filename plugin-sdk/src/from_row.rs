//! Rows as structs: what `#[derive(Row)]` implements.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::decimal::Decimal;
use crate::fail::Fail;
use crate::row::{Labels, Row};
use crate::table::{Col, ColumnRef, Columns, Place, TableState, sealed};
use crate::time::{Date, DateTime, Time};

/// A struct of the columns that a plugin needs, made by `#[derive(Row)]`.
///
/// Each field is a column of the same name. Its type determines how the column is read, as by the method of [`Row`] that
/// returns this type; smaller integers are checked for overflow. Use an `Option` for a column that may be NULL or absent;
/// otherwise such a row fails with the column's name.
///
/// | type | reads |
/// | --- | --- |
/// | `u8` to `u64`, `i8` to `i64` | an integer |
/// | `f32`, `f64` | a number |
/// | `bool` | `true`, `false`, 0, 1 |
/// | [`Decimal`]`<'r>` | any number with all its digits |
/// | `String`, `Cow<'r, str>` | a text, a label of an ENUM |
/// | [`Date`], [`Time`], [`DateTime`] | times |
/// | `Vec<u8>` | a binary column |
/// | [`Labels`]`<'r>` | a SET |
///
/// Attributes: `#[row(column = "buyer_name")]` names the column, `#[row(optional)]` lets tables lack it, `#[row(json)]`
/// reads a JSON column as any type that serde supports, `#[row(bit)]` a BIT column as `u64`, `#[row(scalar)]` a string or
/// number as text. `#[row(pass)]` on a field of type [`Col`] makes it a handle for passing the column on to documents
/// without reading it or looking up its name.
///
/// ```
/// use rowmill_sdk::{Columns, Decimal, Fail, FromRow, NoSettings, Out, Row, Table, Transform};
///
/// #[derive(Row)]
/// struct Order<'r> {
///     id: u64,
///     state: String,
///     total: Option<Decimal<'r>>,
///     #[row(column = "memo", optional)]
///     note: Option<String>,
/// }
///
/// struct Orders;
///
/// impl Transform for Orders {
///     const NAME: &'static str = "orders";
///     type Settings = NoSettings;
///
///     fn new(_: NoSettings) -> Result<Self, String> {
///         Ok(Self)
///     }
///
///     fn columns(&self, _: &Table) -> Result<Columns, String> {
///         Ok(Order::columns())
///     }
///
///     fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
///         let order = Order::from_row(row)?;
///         if order.state == "draft" {
///             out.drop();
///             return Ok(());
///         }
///         let mut document = out.document();
///         document.integer("id", order.id).text("state", &order.state);
///         if let Some(total) = &order.total {
///             document.decimal("total", total);
///         }
///         Ok(())
///     }
/// }
/// # let orders = rowmill_sdk::testing::table(
/// #     "shop.orders", [("id", "integer"), ("state", "text"), ("total", "decimal"), ("junk", "text")]);
/// # let mut plugin = rowmill_sdk::testing::Harness::<Orders>::new(&serde_json::json!({})).unwrap();
/// # let verdict = plugin.row(&orders, r#"{"id": 1, "state": "open", "total": "9.90"}"#).unwrap();
/// # assert_eq!(verdict.document(), serde_json::json!({"id": 1, "state": "open", "total": "9.90"}));
/// ```
///
/// [`columns`](FromRow::columns) declares exactly these columns to the host, so only they are copied into the plugin, and
/// their places are worked out once per table version. A struct whose columns were not declared is read by name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no struct of columns",
    label = "add `#[derive(rowmill_sdk::Row)]` to `{Self}`"
)]
pub trait FromRow<'r>: Sized {
    /// Identifies this struct among those of the plugin.
    #[doc(hidden)]
    const KEY: &'static str;

    /// These columns, read, behind those that are named already.
    #[doc(hidden)]
    fn add_columns(columns: Columns) -> Columns;

    /// The columns that the struct reads, for [`Transform::columns`](crate::Transform::columns). More can be added;
    /// [`Columns::row`] adds a struct's to others.
    fn columns() -> Columns {
        Columns::none().row::<Self>()
    }

    /// Reads a row.
    ///
    /// # Errors
    /// A column is missing, NULL where the field is no `Option`, or not of the field's type; the reason names the
    /// column and the table.
    fn from_row(row: &Row<'r>) -> Result<Self, Fail>;
}

/// A type that a column can be read as.
#[diagnostic::on_unimplemented(
    message = "a column cannot be read as `{Self}`",
    label = "no type for a column",
    note = "integers, `f64`, `bool`, `String`, `Cow<'r, str>`, `Decimal<'r>`, `Date`, `Time`, `DateTime`, `Vec<u8>`, `Labels<'r>`, and an `Option` of each can be read; \
            `#[row(json)]` reads a JSON column as any type that serde reads"
)]
pub trait FromCell<'r>: Sized {
    /// Reads a column; `None` for NULL and absent.
    ///
    /// # Errors
    /// The column does not exist, was not declared, or has a value of another type.
    fn from_cell(row: &Row<'r>, column: impl ColumnRef) -> Result<Option<Self>, Fail>;
}

macro_rules! from_cell {
    ($($type:ty: $reader:ident),+ $(,)?) => {
        $(impl<'r> FromCell<'r> for $type {
            #[inline]
            fn from_cell(row: &Row<'r>, column: impl ColumnRef) -> Result<Option<Self>, Fail> {
                row.$reader(column)
            }
        })+
    };
}

from_cell! {
    i64: i64, u64: u64, f64: f64, bool: bool, Decimal<'r>: decimal, Cow<'r, str>: text, Date: date, Time: time,
    DateTime: datetime, Vec<u8>: bytes, Labels<'r>: set,
}

macro_rules! from_wider {
    ($($type:ident from $wide:ident),+ $(,)?) => {
        $(impl<'r> FromCell<'r> for $type {
            #[inline]
            fn from_cell(row: &Row<'r>, column: impl ColumnRef) -> Result<Option<Self>, Fail> {
                match row.$wide(column)?.map($type::try_from) {
                    None => Ok(None),
                    Some(Ok(value)) => Ok(Some(value)),
                    Some(Err(_)) => Err(row.wrong(column, concat!("the integer does not fit into ", stringify!($type)))),
                }
            }
        })+
    };
}

from_wider! { i8 from i64, i16 from i64, i32 from i64, u8 from u64, u16 from u64, u32 from u64 }

impl<'r> FromCell<'r> for f32 {
    #[inline]
    fn from_cell(row: &Row<'r>, column: impl ColumnRef) -> Result<Option<Self>, Fail> {
        Ok(row.f64(column)?.map(|value| value as f32))
    }
}

impl<'r> FromCell<'r> for String {
    #[inline]
    fn from_cell(row: &Row<'r>, column: impl ColumnRef) -> Result<Option<Self>, Fail> {
        Ok(row.text(column)?.map(Cow::into_owned))
    }
}

/// A field of a struct of columns: a type that a column can be read as, or an `Option` of one.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a column cannot be read as `{Self}`",
    label = "no type for a column",
    note = "integers, `f64`, `bool`, `String`, `Cow<'r, str>`, `Decimal<'r>`, `Date`, `Time`, `DateTime`, `Vec<u8>`, `Labels<'r>`, and an `Option` of each can be read; \
            `#[row(json)]` reads a JSON column as any type that serde reads"
)]
pub trait FromField<'r>: Sized {
    fn from_field(row: &Row<'r>, column: impl ColumnRef) -> Result<Self, Fail>;
}

impl<'r, T: FromCell<'r>> FromField<'r> for T {
    #[inline]
    fn from_field(row: &Row<'r>, column: impl ColumnRef) -> Result<Self, Fail> {
        T::from_cell(row, column)?.ok_or_else(|| no_value(row, column))
    }
}

impl<'r, T: FromCell<'r>> FromField<'r> for Option<T> {
    #[inline]
    fn from_field(row: &Row<'r>, column: impl ColumnRef) -> Result<Self, Fail> {
        T::from_cell(row, column)
    }
}

/// Values whose reader is selected by an attribute of the field. The field's type determines whether they are optional.
#[doc(hidden)]
pub trait MaybeOption<V>: Sized {
    fn from_option(value: Option<V>) -> Option<Self>;
}

impl<V> MaybeOption<V> for V {
    #[inline]
    fn from_option(value: Option<V>) -> Option<Self> {
        value
    }
}

impl<V> MaybeOption<V> for Option<V> {
    #[inline]
    fn from_option(value: Option<V>) -> Option<Self> {
        Some(value)
    }
}

#[cold]
fn no_value(row: &Row<'_>, column: impl ColumnRef) -> Fail {
    let what = if row.is_absent(column).unwrap_or(false) { "the source did not send it" } else { "it is NULL" };
    row.wrong(column, &format!("{what}; read a column that may have no value as an `Option`"))
}

/// The positions of a struct's columns in a table version, resolved once or found by name.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Slots(Option<u32>);

/// Readers as the derive macro calls them: a field by its number and its column's name.
#[doc(hidden)]
impl Slots {
    #[inline]
    pub fn of<'r, T: FromRow<'r>>(row: &Row<'r>) -> Self {
        Self(row.table.first_slot(T::KEY))
    }

    #[inline]
    fn at(self, number: u32, name: &str) -> At<'_> {
        At { slot: self.0.map(|first| Col::new(first + number)), name }
    }

    #[inline]
    pub fn field<'r, T: FromField<'r>>(self, row: &Row<'r>, number: u32, name: &str) -> Result<T, Fail> {
        T::from_field(row, self.at(number, name))
    }

    /// A handle of a column that is only passed on.
    #[inline]
    pub fn pass(self, row: &Row<'_>, number: u32, name: &str) -> Result<Col, Fail> {
        self.0.map(|first| Col::new(first + number)).ok_or_else(|| {
            row.wrong(
                name,
                "is passed on by a struct whose columns were not declared; return its `columns()` from the plugin's",
            )
        })
    }

    pub fn bit<'r, T: MaybeOption<u64>>(self, row: &Row<'r>, number: u32, name: &str) -> Result<T, Fail> {
        let column = self.at(number, name);
        T::from_option(row.bit(column)?).ok_or_else(|| no_value(row, column))
    }

    pub fn scalar<'r, T: MaybeOption<Cow<'r, str>>>(self, row: &Row<'r>, number: u32, name: &str) -> Result<T, Fail> {
        let column = self.at(number, name);
        T::from_option(row.scalar(column)?).ok_or_else(|| no_value(row, column))
    }

    pub fn json<T: DeserializeOwned>(self, row: &Row<'_>, number: u32, name: &str) -> Result<T, Fail> {
        let column = self.at(number, name);
        match row.json(column)? {
            Some(value) => Ok(value),
            // What serde makes of nothing: `None`, or no value at all.
            None => serde_json::from_slice(b"null").map_err(|_| no_value(row, column)),
        }
    }
}

/// A field's column: by its place where the struct's columns were declared, else by name.
#[derive(Clone, Copy, Debug)]
struct At<'n> {
    slot: Option<Col>,
    name: &'n str,
}

impl sealed::Sealed for At<'_> {}

impl ColumnRef for At<'_> {
    #[inline]
    fn place(self, table: &TableState) -> Option<Place> {
        match self.slot {
            Some(slot) => slot.place(table),
            None => self.name.place(table),
        }
    }

    #[cold]
    fn label(self, _: &TableState) -> String {
        self.name.to_owned()
    }
}
