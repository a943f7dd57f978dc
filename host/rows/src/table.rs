//! Table versions, and the shapes of messages from which they are derived.
//!
//! A *shape* describes how a tool writes the rows of one table version: the order of the columns, and the conversion of
//! each value. A row is first read with the shape of the row before it. If that does not match, the shape is looked up by
//! its signature among all known ones, so that alternating shapes do not create new versions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::DecodeError;
use crate::json::unescape_into;
use crate::partial::Completeness;
use crate::row::{Column, TableVersion};
use crate::settings::DeclaredTypes;
use crate::value::{Conversion, Dialect, SourceType, choose};

/// Most shapes per table. With more, each row has its own column names, and this is not a table.
const MAX_SHAPES: usize = 1000;

/// How a tool writes the rows of one table version: column order and conversions.
#[derive(Debug)]
pub(crate) struct Shape {
    pub dialect: Dialect,
    /// The table version: an index into [`Tables::versions`].
    pub version: u32,
    /// Names as messages write them, with JSON escapes.
    pub database: Vec<u8>,
    pub table: Vec<u8>,
    /// The message's description of key and types, to be compared with that of the next message.
    pub key: Vec<u8>,
    pub types: Vec<u8>,
    /// `"name":` of all columns.
    literals: Vec<u8>,
    /// The end of each column's literal.
    ends: Vec<u32>,
    pub conversions: Vec<Conversion>,
    /// The columns whose conversion is not [`Conversion::AsIs`].
    pub converted: Vec<u32>,
    pub key_columns: Vec<u32>,
    pub completeness: Completeness,
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

    /// A column's name as messages write it, without quotes.
    pub fn raw_name(&self, column: usize) -> &[u8] {
        let start = if column == 0 { 0 } else { self.ends[column - 1] as usize };
        &self.literals[start + 1..self.ends[column] as usize - 2]
    }

    /// The column with this name. Members mostly come in order, so the search begins at `from`.
    pub fn column(&self, raw_name: &[u8], from: usize) -> Option<usize> {
        let n = self.n_columns();
        (from..n).chain(0..from.min(n)).find(|&i| self.raw_name(i) == raw_name)
    }
}

/// A shape to be added. Names are as messages write them.
pub(crate) struct NewShape<'a> {
    pub dialect: Dialect,
    pub database: &'a [u8],
    pub table: &'a [u8],
    pub columns: Vec<(Vec<u8>, Option<SourceType>)>,
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
    /// By database and table as messages write them, with a 0 between.
    by_table: HashMap<Box<[u8]>, TableState, foldhash::fast::RandomState>,
    declared: DeclaredTypes,
    /// How many shapes were found to be complete.
    pub n_complete: usize,
    /// Whether updates may lack columns.
    pub allows_partial: bool,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct TableState {
    n_shapes: usize,
    /// The shape and version of the table's last message.
    shape: Option<u32>,
    version: Option<u32>,
}

impl Tables {
    pub fn new(declared: DeclaredTypes, allows_partial: bool) -> Self {
        Self { declared, allows_partial, ..Self::default() }
    }

    /// The shape with this signature, if it is known.
    pub fn find(&self, signature: &[u8]) -> Option<u32> {
        self.by_signature.get(signature).copied()
    }

    /// The shape of the table's last message.
    pub fn last_shape(&mut self, database: &[u8], table: &[u8]) -> Option<u32> {
        self.table_state(database, table).and_then(|t| t.shape)
    }

    /// Records the shape of the table's last message.
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

    fn table_state(&mut self, database: &[u8], table: &[u8]) -> Option<&mut TableState> {
        self.by_table.get_mut(table_key(database, table, &mut self.buffer))
    }

    /// The table's latest version, for rows without images. If there is none, a version without columns is added.
    pub fn latest_version(&mut self, database: &[u8], table: &[u8]) -> u32 {
        if let Some(version) = self.table_state(database, table).and_then(|t| t.version) {
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

    /// Adds a shape, and its table version unless an equal one exists.
    pub fn add(&mut self, signature: &[u8], new: NewShape<'_>) -> Result<u32, DecodeError> {
        let (database, table) = (name(new.database), name(new.table));
        let full_name = || full_name(new.database, new.table);
        let n_shapes = self.table_state(new.database, new.table).map_or(0, |t| t.n_shapes);
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
            completeness: Completeness::default(),
        };
        let mut columns: Vec<Column> = Vec::with_capacity(new.columns.len());
        for (raw, source) in &new.columns {
            let column = name(raw);
            if columns.iter().any(|c| c.name == column) {
                let column = column.to_string();
                return Err(DecodeError::Column { table: full_name(), column, what: "in the row twice" });
            }
            let declared = self.declared.of(&database, &table, &column);
            let (column_type, conversion) = choose(new.dialect, source.as_ref(), declared);
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
        if let Some(known) = self.table_state(new.database, new.table) {
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

    /// The full name of a shape's table, for error messages.
    pub fn table_name(&self, shape: u32) -> String {
        self.versions[self.shapes[shape as usize].version as usize].full_name()
    }

    /// A column's name, for error messages.
    pub fn column_name(&self, shape: u32, column: usize) -> String {
        let version = &self.versions[self.shapes[shape as usize].version as usize];
        version.columns.get(column).map_or_else(String::new, |c| c.name.to_string())
    }

    /// A known shape that has all columns of `like` and more. With row image MINIMAL every row may have other columns; this
    /// keeps every set of columns from becoming a version.
    pub fn find_superset(&mut self, like: &NewShape<'_>) -> Option<u32> {
        const ENOUGH: usize = 16;
        if self.table_state(like.database, like.table).is_none_or(|t| t.n_shapes < ENOUGH) {
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

/// A name with JSON escapes resolved, and without the backticks that some messages put around it.
pub(crate) fn name(raw: &[u8]) -> Arc<str> {
    let mut unescaped = Vec::with_capacity(raw.len());
    unescape_into(raw, &mut unescaped);
    let text = String::from_utf8_lossy(&unescaped);
    let bare = text.strip_prefix('`').and_then(|t| t.strip_suffix('`'));
    match bare {
        Some(bare) => bare.replace("``", "`").into(),
        None => text.into(),
    }
}

/// Database and table with a 0 between them.
fn table_key<'a>(database: &[u8], table: &[u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    for part in [database, &[0], table] {
        buffer.extend_from_slice(part);
    }
    buffer
}

/// `database.table`, from names as messages write them.
pub(crate) fn full_name(database: &[u8], table: &[u8]) -> String {
    let (database, table) = (name(database), name(table));
    if database.is_empty() { table.to_string() } else { format!("{database}.{table}") }
}
