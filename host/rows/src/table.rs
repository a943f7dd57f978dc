//! Table versions and the shapes of messages that lead to them.
//!
//! A *shape* is how a tool writes the rows of one table version: the names in their order, and what each value needs
//! to come to its final spelling. A row is walked along the shape that the last one had. Where that does not fit, the
//! shape is looked up by its signature among all that were seen, so that shapes may alternate without new versions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::DecodeError;
use crate::json::unescape_into;
use crate::row::{Column, TableVersion};
use crate::settings::DeclaredTypes;
use crate::value::{Conversion, Dialect, Sent, choose};

/// A table whose rows come in more shapes than this is no table: each row has its own names.
const MAX_SHAPES: usize = 1000;

/// How a tool writes the rows of one table version.
#[derive(Debug)]
pub(crate) struct Shape {
    pub dialect: Dialect,
    /// The table version: an index into [`Tables::versions`].
    pub version: u32,
    /// As messages spell them.
    pub database: Vec<u8>,
    pub table: Vec<u8>,
    /// The message's own description of the key and the types, compared with that of the next message.
    pub key: Vec<u8>,
    pub types: Vec<u8>,
    /// `"name":` of all columns.
    literals: Vec<u8>,
    /// Where each column's literal ends.
    ends: Vec<u32>,
    pub conversions: Vec<Conversion>,
    /// The columns whose conversion is not [`Conversion::AsIs`].
    pub converted: Vec<u32>,
    pub key_columns: Vec<u32>,
}

impl Shape {
    pub fn n_columns(&self) -> usize {
        self.ends.len()
    }

    /// `"name":` of each column, in order.
    #[inline]
    pub fn literals(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let literal = &self.literals[start..end as usize];
            start = end as usize;
            literal
        })
    }

    /// A column's name as messages spell it, without quotes.
    pub fn raw_name(&self, column: usize) -> &[u8] {
        let start = if column == 0 { 0 } else { self.ends[column - 1] as usize };
        &self.literals[start + 1..self.ends[column] as usize - 2]
    }

    /// The column that a message spells so. Members mostly come in order, so the search begins at `from`.
    pub fn column(&self, raw_name: &[u8], from: usize) -> Option<usize> {
        let n = self.n_columns();
        (from..n).chain(0..from.min(n)).find(|&i| self.raw_name(i) == raw_name)
    }
}

/// A shape to be added. Names are as messages spell them.
pub(crate) struct NewShape<'a> {
    pub dialect: Dialect,
    pub database: &'a [u8],
    pub table: &'a [u8],
    pub columns: Vec<(Vec<u8>, Option<Sent>)>,
    pub key_columns: Vec<Vec<u8>>,
    pub key: &'a [u8],
    pub types: &'a [u8],
}

/// All table versions and shapes that a decoder has met.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub versions: Vec<Arc<TableVersion>>,
    pub shapes: Vec<Shape>,
    by_signature: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    /// By the table as messages spell it, with a 0 between database and name.
    by_table: HashMap<Box<[u8]>, OfTable, foldhash::fast::RandomState>,
    declared: DeclaredTypes,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct OfTable {
    n_shapes: usize,
    /// The shape and the version that were used last.
    shape: Option<u32>,
    version: Option<u32>,
}

impl Tables {
    pub fn new(declared: DeclaredTypes) -> Self {
        Self { declared, ..Self::default() }
    }

    /// The shape with these parts, if there was one.
    pub fn find(&self, signature: &[u8]) -> Option<u32> {
        self.by_signature.get(signature).copied()
    }

    /// The shape that the table's last message had.
    pub fn last_shape(&mut self, database: &[u8], table: &[u8]) -> Option<u32> {
        self.of_table(database, table).and_then(|t| t.shape)
    }

    /// Notes the shape that the table's messages have now.
    pub fn set_last(&mut self, shape: u32) {
        let Self { shapes, by_table, buffer, .. } = self;
        let of = &shapes[shape as usize];
        let key = table_key(&of.database, &of.table, buffer);
        let known = match by_table.get_mut(key) {
            Some(known) => known,
            None => by_table.entry(key.into()).or_default(),
        };
        (known.shape, known.version) = (Some(shape), Some(of.version));
    }

    fn of_table(&mut self, database: &[u8], table: &[u8]) -> Option<&mut OfTable> {
        self.by_table.get_mut(table_key(database, table, &mut self.buffer))
    }

    /// A version of the table for rows without images: the last one, or one without columns.
    pub fn any_version(&mut self, database: &[u8], table: &[u8]) -> u32 {
        if let Some(version) = self.of_table(database, table).and_then(|t| t.version) {
            return version;
        }
        let version = self.version(TableVersion {
            database: name(database),
            name: name(table),
            columns: Vec::new(),
            key: Vec::new(),
        });
        let key = table_key(database, table, &mut self.buffer);
        self.by_table.entry(key.into()).or_default().version = Some(version);
        version
    }

    /// Adds a shape, and a table version if no shape led to an equal one.
    pub fn add(&mut self, signature: &[u8], new: NewShape<'_>) -> Result<u32, DecodeError> {
        let (database, table) = (name(new.database), name(new.table));
        let full_name = || full_name(new.database, new.table);
        let n_shapes = self.of_table(new.database, new.table).map_or(0, |t| t.n_shapes);
        if n_shapes >= MAX_SHAPES {
            return Err(DecodeError::TooManyShapes { table: full_name(), limit: MAX_SHAPES });
        }
        let mut shape = Shape {
            dialect: new.dialect,
            version: 0,
            database: new.database.to_vec(),
            table: new.table.to_vec(),
            key: new.key.to_vec(),
            types: new.types.to_vec(),
            literals: Vec::new(),
            ends: Vec::new(),
            conversions: Vec::new(),
            converted: Vec::new(),
            key_columns: Vec::new(),
        };
        let mut columns: Vec<Column> = Vec::with_capacity(new.columns.len());
        for (raw, sent) in &new.columns {
            let column = name(raw);
            if columns.iter().any(|c| c.name == column) {
                let column = column.to_string();
                return Err(DecodeError::Column { table: full_name(), column, what: "in the row twice" });
            }
            let declared = self.declared.of(&database, &table, &column);
            let (column_type, conversion) = choose(new.dialect, sent.as_ref(), declared);
            if conversion != Conversion::AsIs {
                shape.converted.push(columns.len() as u32);
            }
            shape.conversions.push(conversion);
            shape.literals.push(b'"');
            shape.literals.extend_from_slice(raw);
            shape.literals.extend_from_slice(b"\":");
            shape.ends.push(shape.literals.len() as u32);
            columns.push(Column { name: column, column_type });
        }
        for raw in &new.key_columns {
            let column = name(raw);
            let Some(at) = columns.iter().position(|c| c.name == column) else {
                return Err(DecodeError::KeyColumn { table: full_name(), column: column.to_string() });
            };
            shape.key_columns.push(at as u32);
        }
        let version = TableVersion { database, name: table, columns, key: shape.key_columns.clone() };
        shape.version = self.version(version);
        let number = self.shapes.len() as u32;
        self.shapes.push(shape);
        self.by_signature.insert(signature.into(), number);
        self.set_last(number);
        if let Some(known) = self.of_table(new.database, new.table) {
            known.n_shapes += 1;
        }
        Ok(number)
    }

    fn version(&mut self, version: TableVersion) -> u32 {
        let known = self.versions.iter().rposition(|v| **v == version);
        known.unwrap_or_else(|| {
            self.versions.push(Arc::new(version));
            self.versions.len() - 1
        }) as u32
    }

    /// The table of a shape, for a message to a person.
    pub fn table_name(&self, shape: u32) -> String {
        self.versions[self.shapes[shape as usize].version as usize].full_name()
    }

    /// A column's name, for a message to a person.
    pub fn column_name(&self, shape: u32, column: usize) -> String {
        let version = &self.versions[self.shapes[shape as usize].version as usize];
        version.columns.get(column).map_or_else(String::new, |c| c.name.to_string())
    }

    /// The shape to which a row with these names belongs as one that lacks columns; for tables whose rows come with
    /// ever other columns (row image MINIMAL), so that not every set of columns is a version.
    pub fn find_wider(&mut self, like: &NewShape<'_>) -> Option<u32> {
        const ENOUGH: usize = 16;
        if self.of_table(like.database, like.table).is_none_or(|t| t.n_shapes < ENOUGH) {
            return None;
        }
        let fits = |shape: &Shape| {
            shape.dialect == like.dialect
                && (&shape.database[..], &shape.table[..]) == (like.database, like.table)
                && shape.key == like.key
                && like.columns.iter().all(|(name, _)| shape.column(name, 0).is_some())
        };
        self.shapes.iter().position(fits).map(|n| n as u32)
    }
}

/// A name as a person writes it: escapes resolved, and the backticks away that some messages have around it.
pub(crate) fn name(raw: &[u8]) -> Arc<str> {
    let mut said = Vec::with_capacity(raw.len());
    unescape_into(raw, &mut said);
    let text = String::from_utf8_lossy(&said);
    let bare = text.strip_prefix('`').and_then(|t| t.strip_suffix('`'));
    match bare {
        Some(bare) => bare.replace("``", "`").into(),
        None => text.into(),
    }
}

/// The database and the table with a 0 between them.
fn table_key<'a>(database: &[u8], table: &[u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    for part in [database, &[0], table] {
        buffer.extend_from_slice(part);
    }
    buffer
}

/// `database.table` of names as messages spell them.
pub(crate) fn full_name(database: &[u8], table: &[u8]) -> String {
    let (database, table) = (name(database), name(table));
    if database.is_empty() { table.to_string() } else { format!("{database}.{table}") }
}
