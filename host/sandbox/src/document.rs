//! The documents of a verdict: index, id, routing, and bodies assembled from pieces.

use crate::answer::AnswerData;
use crate::encoding::{flag, operation, piece};

/// One document of a verdict.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    answer: &'a AnswerData,
    /// The operation on it.
    pub operation: DocumentOperation,
    /// The index, if the plugin sets one.
    pub index: Option<&'a str>,
    /// The id, if the plugin sets one.
    pub id: Option<&'a str>,
    /// The routing value, if the plugin sets one.
    pub routing: Option<&'a str>,
    /// The array and item, for [`DocumentOperation::PutItem`] and [`DocumentOperation::RemoveItem`].
    pub item: Option<Item<'a>>,
    pieces: &'a [u32],
}

/// An operation on a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentOperation {
    /// Write the whole document.
    Index,
    /// Write this table's fields into a document that several tables contribute to.
    Merge,
    /// Delete it (`change` mode only).
    Delete,
    /// Write one item of an array, in a document that several rows contribute to.
    PutItem,
    /// Remove that item (`change` mode only).
    RemoveItem,
}

/// One item of an array, in a document that several rows contribute to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The name of the array's field as JSON with its colon (`"orders":`).
    array: &'a [u8],
    /// Identifies the item among those of the same table and array.
    pub key: &'a str,
}

impl<'a> Item<'a> {
    /// The name of the array's field as a JSON string.
    pub fn array(&self) -> &'a [u8] {
        &self.array[..self.array.len() - 1]
    }
}

impl Document<'_> {
    /// Appends the body, a JSON object on one line.
    ///
    /// `columns` are the table's column names as JSON with their colon.
    pub fn write_body<'c>(&self, out: &mut Vec<u8>, columns: &ColumnNames, cells: impl Cells<'c>) {
        out.push(b'{');
        let mut first = true;
        let mut pieces = self.pieces;
        // Every field of an object but the first has a comma before it.
        let name = |out: &mut Vec<u8>, first: &mut bool, name: &[u8]| {
            if !*first {
                out.push(b',');
            }
            *first = false;
            out.extend_from_slice(name);
        };
        loop {
            pieces = match *pieces {
                [piece::COLUMN, column, ref rest @ ..] => {
                    let value = cells.get(column);
                    if !value.is_empty() {
                        name(out, &mut first, columns.encoded(column));
                        out.extend_from_slice(value);
                    }
                    rest
                }
                [piece::COLUMN_AS, field, column, ref rest @ ..] => {
                    let value = cells.get(column);
                    if !value.is_empty() {
                        name(out, &mut first, self.name(field));
                        out.extend_from_slice(value);
                    }
                    rest
                }
                [piece::LITERAL, field, start, len, ref rest @ ..] => {
                    name(out, &mut first, self.name(field));
                    out.extend_from_slice(self.answer.range(start, len));
                    rest
                }
                [piece::ALL_EXCEPT, n, ref rest @ ..] => {
                    let (except, rest) = rest.split_at(n as usize);
                    let (mut from, end) = (0, columns.len() as u32);
                    while from < end {
                        let to = (from..end).find(|column| except.contains(column)).unwrap_or(end);
                        columns.write_fields(out, &mut first, from, to, &cells);
                        from = to + 1;
                    }
                    rest
                }
                [piece::BEGIN, field, ref rest @ ..] => {
                    name(out, &mut first, self.name(field));
                    out.push(b'{');
                    first = true;
                    rest
                }
                [piece::END, ref rest @ ..] => {
                    out.push(b'}');
                    first = false;
                    rest
                }
                _ => break,
            };
        }
        out.push(b'}');
    }

    fn name(&self, field: u32) -> &[u8] {
        self.answer.name(field)
    }
}

/// Iterates over the documents of one verdict.
#[derive(Clone, Debug)]
pub struct Documents<'a> {
    answer: &'a AnswerData,
    left: u32,
    words: &'a [u32],
}

impl<'a> Documents<'a> {
    pub(crate) fn new(answer: &'a AnswerData, left: u32, words: &'a [u32]) -> Self {
        Self { answer, left, words }
    }

    fn text(&mut self, present: bool) -> Option<&'a str> {
        if !present {
            return None;
        }
        let (range, rest) = self.words.split_first_chunk::<2>()?;
        self.words = rest;
        Some(self.answer.text(range[0], range[1]))
    }
}

impl<'a> Iterator for Documents<'a> {
    type Item = Document<'a>;

    fn next(&mut self) -> Option<Document<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (head, rest) = self.words.split_first_chunk::<2>()?;
        self.words = rest;
        let index = self.text(head[1] & flag::INDEX != 0);
        let id = self.text(head[1] & flag::ID != 0);
        let routing = self.text(head[1] & flag::ROUTING != 0);
        let item = match head[0] {
            operation::PUT_ITEM | operation::REMOVE_ITEM => {
                let (words, rest) = self.words.split_first_chunk::<3>()?;
                self.words = rest;
                Some(Item { array: self.answer.name(words[0]), key: self.answer.text(words[1], words[2]) })
            }
            _ => None,
        };
        let (&n, rest) = self.words.split_first()?;
        let mut len = 0;
        for _ in 0..n {
            len += match rest[len] {
                piece::COLUMN | piece::BEGIN => 2,
                piece::COLUMN_AS => 3,
                piece::LITERAL => 4,
                piece::ALL_EXCEPT => 2 + rest[len + 1] as usize,
                _ => 1,
            };
        }
        let (pieces, rest) = rest.split_at(len);
        self.words = rest;
        let operation = match head[0] {
            operation::INDEX => DocumentOperation::Index,
            operation::MERGE => DocumentOperation::Merge,
            operation::PUT_ITEM => DocumentOperation::PutItem,
            operation::REMOVE_ITEM => DocumentOperation::RemoveItem,
            _ => DocumentOperation::Delete,
        };
        Some(Document { answer: self.answer, operation, index, id, routing, item, pieces })
    }
}

/// The column names of a table version as JSON with their colon (`"name":`), encoded once.
#[derive(Clone, Debug, Default)]
pub struct ColumnNames {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Whether the name has no escapes, so that there is only one way to write it as short.
    plain: Vec<bool>,
}

/// The cells of one image, by column.
pub trait Cells<'c> {
    /// A column's JSON value on one line, empty if absent.
    fn get(&self, column: u32) -> &'c [u8];

    /// The bytes from the start of the value of `first` to the end of that of `last`, if the value of `last` begins `gap`
    /// bytes behind the end of the value before it, in the same buffer. A gap exactly as long as a comma and the column's
    /// name with quotes and colon contains nothing else.
    fn joined(&self, first: u32, last: u32, gap: usize) -> Option<&'c [u8]>;
}

impl<'c, F: Fn(u32) -> &'c [u8]> Cells<'c> for F {
    fn get(&self, column: u32) -> &'c [u8] {
        self(column)
    }

    fn joined(&self, _: u32, _: u32, _: usize) -> Option<&'c [u8]> {
        None
    }
}

impl ColumnNames {
    /// Encodes these names.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut encoded = Self::default();
        for name in names {
            crate::literal::write_string(&mut encoded.bytes, name);
            encoded.bytes.push(b':');
            let start = encoded.ends.last().map_or(0, |end| *end as usize);
            encoded.plain.push(encoded.bytes.len() - start == name.len() + 3);
            encoded.ends.push(encoded.bytes.len() as u32);
        }
        encoded
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// `"name":` of a column.
    pub fn encoded(&self, column: u32) -> &[u8] {
        let start = match column {
            0 => 0,
            column => self.ends[column as usize - 1],
        };
        &self.bytes[start as usize..self.ends[column as usize] as usize]
    }

    /// Appends a body of all columns, a JSON object on one line. Absent cells are omitted.
    pub fn write_body<'c>(&self, out: &mut Vec<u8>, cells: impl Cells<'c>) {
        out.push(b'{');
        self.write_fields(out, &mut true, 0, self.len() as u32, &cells);
        out.push(b'}');
    }

    /// Appends the columns `from..to`, with a comma before each but the object's first field.
    fn write_fields<'c>(&self, out: &mut Vec<u8>, first: &mut bool, from: u32, to: u32, cells: &impl Cells<'c>) {
        let mut column = from;
        while column < to {
            let mut value = cells.get(column);
            if value.is_empty() {
                column += 1;
                continue;
            }
            if !std::mem::take(first) {
                out.push(b',');
            }
            out.extend_from_slice(self.encoded(column));
            // Most sources write a row exactly as the body needs it, and one long copy is cheaper than many short ones.
            let begin = column;
            column += 1;
            while column < to && self.plain[column as usize] {
                match cells.joined(begin, column, self.encoded(column).len() + 1) {
                    Some(joined) => value = joined,
                    None => break,
                }
                column += 1;
            }
            out.extend_from_slice(value);
        }
    }
}
