//! The columns that a plugin declares, by name or handle, and their positions in each table version.

use crate::contract::{ColumnKind, Table};
use crate::from_row::FromRow;

/// A column by its position in the [`Columns`] that the plugin declared, so that no look-up is needed.
///
/// Usually made by [`columns!`](crate::columns!).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Col(u32);

impl Col {
    /// The `n`th declared column, from 0.
    pub const fn new(n: u32) -> Self {
        Self(n)
    }
}

/// The columns of a table that a plugin uses.
///
/// Only columns that are *read* are copied into the plugin. A column that is only *passed* on into documents is copied by
/// the host from the source. A column that the table lacks is an error, unless it is optional; then its cells
/// are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    all: bool,
    tag: u32,
    wanted: Vec<Wanted>,
    /// The structs with these columns: their identity, and the position of their first column.
    structs: Vec<(&'static str, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    read: bool,
    optional: bool,
}

impl Columns {
    /// All columns of the table are read.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// No column is read; documents may still copy any column by name.
    pub fn none() -> Self {
        Self::default()
    }

    /// These columns are read.
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        names.into_iter().fold(Self::none(), Self::read)
    }

    /// One more column that is read.
    pub fn read(self, name: impl Into<String>) -> Self {
        self.add(name.into(), true, false)
    }

    /// One more column that is read, if the table has it.
    pub fn read_optional(self, name: impl Into<String>) -> Self {
        self.add(name.into(), true, true)
    }

    /// One more column that is only passed on.
    pub fn pass(self, name: impl Into<String>) -> Self {
        self.add(name.into(), false, false)
    }

    /// One more column that is only passed on, if the table has it.
    pub fn pass_optional(self, name: impl Into<String>) -> Self {
        self.add(name.into(), false, true)
    }

    /// The columns of a struct with `#[derive(Row)]`, which are read.
    pub fn row<'r, T: FromRow<'r>>(mut self) -> Self {
        self.structs.push((T::KEY, self.wanted.len() as u32));
        T::add_columns(self)
    }

    /// Sets a number that the plugin can read from every row of this table version with [`Row::tag`](crate::Row::tag), for
    /// example to select its rules.
    pub fn tag(mut self, tag: u32) -> Self {
        self.tag = tag;
        self
    }

    fn add(mut self, name: String, read: bool, optional: bool) -> Self {
        self.wanted.push(Wanted { name, read, optional });
        self
    }
}

/// Declares the columns that a plugin uses once, as handles: `col::STATUS` for the hot path, `col::all()` for
/// [`Transform::columns`](crate::Transform::columns).
///
/// ```
/// rowmill_sdk::columns! {
///     mod col {
///         STATUS: read "status",
///         TAGS: read_optional "tags",
///         TITLE: pass "title",
///         DETAIL: pass_optional "detail",
///     }
/// }
/// assert_eq!(col::TAGS, rowmill_sdk::Col::new(1));
/// # let _ = col::all();
/// ```
#[macro_export]
macro_rules! columns {
    ($(#[$meta:meta])* $vis:vis mod $module:ident { $($name:ident: $how:ident $column:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[allow(dead_code, missing_docs, non_camel_case_types, clippy::upper_case_acronyms)]
        $vis mod $module {
            enum Place { $($name),+ }
            $(pub const $name: $crate::Col = $crate::Col::new(Place::$name as u32);)+
            pub fn all() -> $crate::Columns {
                $crate::Columns::none()$(.$how($column))+
            }
        }
    };
}

/// A column as [`Row`](struct@crate::Row) and [`Document`](crate::Document) take it: a name or a [`Col`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name a column",
    label = "not a column",
    note = "a column is named by a `&str`, or by a handle of `rowmill_sdk::columns!`; of a `String` give `name.as_str()`"
)]
pub trait ColumnRef: Copy + sealed::Sealed {
    #[doc(hidden)]
    fn place(self, table: &TableState) -> Option<Place>;
    #[doc(hidden)]
    fn label(self, table: &TableState) -> String;
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for super::Col {}
}

impl ColumnRef for Col {
    #[inline]
    fn place(self, table: &TableState) -> Option<Place> {
        table.slots.get(self.0 as usize).copied()
    }

    #[cold]
    fn label(self, table: &TableState) -> String {
        let name = table.slot_names.get(self.0 as usize);
        name.cloned().unwrap_or_else(|| format!("number {} of the named ones", self.0))
    }
}

impl ColumnRef for &str {
    #[inline]
    fn place(self, table: &TableState) -> Option<Place> {
        table.find(self)
    }

    #[cold]
    fn label(self, _: &TableState) -> String {
        self.to_owned()
    }
}

/// Where a column stands: its number in the table, and in the cells of an image.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(crate) number: u32,
    pub(crate) cell: u32,
    pub(crate) kind: ColumnKind,
}

/// No such column, or no such cell.
pub(crate) const NONE: u32 = u32::MAX;

/// The columns of a table version, resolved once from names to indexes.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct TableState {
    pub(crate) id: u32,
    pub(crate) full_name: String,
    pub(crate) name: String,
    pub(crate) tag: u32,
    /// The columns that the host copies in, in the order of an image's cells.
    pub(crate) asked: Vec<u32>,
    /// The declared columns, by [`Col`].
    slots: Vec<Place>,
    slot_names: Vec<String>,
    /// The positions of structs in `slots`.
    structs: Vec<(&'static str, u32)>,
    /// All columns by name, with optional ones that the table lacks.
    named: Vec<(String, Place)>,
    /// Numbers of `named`, from 1, found by [`spread`] and then by linear probing; a power of two long.
    index: Vec<u16>,
}

impl TableState {
    /// Finds the wanted columns in the table.
    pub(crate) fn new(table: &Table, columns: &Columns) -> Result<Self, String> {
        let full_name = table.full_name().into_owned();
        let n_columns = u32::try_from(table.columns.len()).map_err(|_| "too many columns")?;
        let mut named: Vec<(String, Place)> = (0..n_columns)
            .zip(&table.columns)
            .map(|(number, c)| {
                let cell = if columns.all { number } else { NONE };
                (c.name.clone(), Place { number, cell, kind: c.kind })
            })
            .collect();
        let mut asked: Vec<u32> = if columns.all { (0..n_columns).collect() } else { Vec::new() };
        let mut missing = Vec::new();
        let mut found = Vec::with_capacity(columns.wanted.len());
        for wanted in &columns.wanted {
            let at = match named.iter().position(|(name, _)| *name == wanted.name) {
                Some(at) => at,
                None => {
                    if !wanted.optional {
                        missing.push(wanted.name.as_str());
                    }
                    let nowhere = Place { number: NONE, cell: NONE, kind: ColumnKind::Unknown };
                    named.push((wanted.name.clone(), nowhere));
                    named.len() - 1
                }
            };
            let place = &mut named[at].1;
            if wanted.read && place.number != NONE && place.cell == NONE {
                place.cell = asked.len() as u32;
                asked.push(place.number);
            }
            found.push(at);
        }
        if !missing.is_empty() {
            let columns = if missing.len() == 1 { "column" } else { "columns" };
            return Err(format!("table {full_name} has no {columns} '{}'", missing.join("', '")));
        }
        Ok(Self {
            id: table.id,
            full_name,
            name: table.name.clone(),
            tag: columns.tag,
            asked,
            slots: found.iter().map(|&at| named[at].1).collect(),
            slot_names: columns.wanted.iter().map(|w| w.name.clone()).collect(),
            structs: columns.structs.clone(),
            index: index_of(&named)?,
            named,
        })
    }

    /// The names of the table's columns, in its order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().filter(|(_, place)| place.number != NONE).map(|(name, _)| name.as_str())
    }

    /// The position of a struct's first column in `slots`; `None` if its columns were not declared.
    #[inline]
    pub(crate) fn first_slot(&self, key: &'static str) -> Option<u32> {
        // The same literal: an address is enough, the text only where two crates have one each.
        let same = |known: &str| std::ptr::eq(known, key) || known == key;
        self.structs.iter().find(|(known, _)| same(known)).map(|(_, first)| *first)
    }

    #[inline]
    fn find(&self, name: &str) -> Option<Place> {
        let mask = self.index.len() - 1;
        let mut at = spread(name.as_bytes()) as usize & mask;
        loop {
            let number = self.index[at];
            if number == 0 {
                return None;
            }
            let (found, place) = &self.named[number as usize - 1];
            if is_same(found.as_bytes(), name.as_bytes()) {
                return Some(*place);
            }
            at = (at + 1) & mask;
        }
    }
}

fn index_of(named: &[(String, Place)]) -> Result<Vec<u16>, String> {
    let mut index = vec![0_u16; (named.len() * 4).next_power_of_two().max(8)];
    let mask = index.len() - 1;
    for (i, (name, _)) in named.iter().enumerate() {
        let mut at = spread(name.as_bytes()) as usize & mask;
        while index[at] != 0 {
            at = (at + 1) & mask;
        }
        index[at] = u16::try_from(i + 1).map_err(|_| "too many columns")?;
    }
    Ok(index)
}

/// Whether two names are equal, word by word: in the sandbox the library's comparison goes byte by byte.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (mut a, mut b) = (a, b);
    while let (Some((x, more_a)), Some((y, more_b))) = (a.split_first_chunk::<8>(), b.split_first_chunk::<8>()) {
        if u64::from_le_bytes(*x) != u64::from_le_bytes(*y) {
            return false;
        }
        (a, b) = (more_a, more_b);
    }
    a.iter().zip(b).all(|(x, y)| x == y)
}

/// A quick hash of short names: length and three bytes of it.
#[inline]
pub(crate) fn spread(name: &[u8]) -> u32 {
    let n = name.len();
    if n == 0 {
        return 0;
    }
    let mix = u32::from(name[0]) | u32::from(name[n / 2]) << 8 | u32::from(name[n - 1]) << 16 | (n as u32) << 24;
    mix.wrapping_mul(0x9E37_79B1) >> 16
}
