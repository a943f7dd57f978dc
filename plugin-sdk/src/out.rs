//! A plugin's verdicts on rows, encoded directly as the contract's words.

use std::fmt;

use serde::Serialize;

use crate::contract::Output;
use crate::document::Document;
use crate::encode;
use crate::fail::Fail;
use crate::names::{FieldName, Names};
use crate::table::{ColumnRef, NONE, TableState};

/// The words of verdicts, documents and pieces.
pub(crate) mod word {
    pub(crate) const KEEP: u32 = 0;
    pub(crate) const DROP: u32 = 1;
    pub(crate) const EDIT: u32 = 2;
    pub(crate) const DOCUMENTS: u32 = 3;
    pub(crate) const FAIL: u32 = 4;
    pub(crate) const INDEX: u32 = 0;
    pub(crate) const MERGE: u32 = 1;
    pub(crate) const DELETE: u32 = 2;
    pub(crate) const PUT_ITEM: u32 = 3;
    pub(crate) const REMOVE_ITEM: u32 = 4;
    pub(crate) const COLUMN: u32 = 0;
    pub(crate) const COLUMN_AS: u32 = 1;
    pub(crate) const VALUE: u32 = 2;
    pub(crate) const ALL_EXCEPT: u32 = 3;
    pub(crate) const BEGIN: u32 = 4;
    pub(crate) const END: u32 = 5;
}

/// Collects a plugin's verdict on one row. The default is to keep the row; if calls contradict, the last one counts.
///
/// An error (a column that does not exist, an empty id) does not interrupt the plugin: it is recorded, and the row fails
/// with it when the plugin returns.
#[derive(Debug)]
pub struct Out<'t> {
    pub(crate) table: &'t TableState,
    pub(crate) words: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) names: Names,
    /// Where this row's words and bytes begin.
    first_word: usize,
    first_byte: usize,
    said: Said,
    pub(crate) mistake: Option<Fail>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Documents,
    Done,
}

impl Hint {
    pub(crate) const EMPTY: Self = Self { words: 0, bytes: 0 };
}

impl<'t> Out<'t> {
    pub(crate) fn new(table: &'t TableState, hint: &Hint) -> Self {
        Self {
            table,
            words: Vec::with_capacity(hint.words),
            bytes: Vec::with_capacity(hint.bytes),
            names: Names::default(),
            first_word: 0,
            first_byte: 0,
            said: Said::Nothing,
            mistake: None,
        }
    }

    pub(crate) fn begin(&mut self) {
        self.first_word = self.words.len();
        self.first_byte = self.bytes.len();
        self.said = Said::Nothing;
    }

    #[inline]
    pub(crate) fn end(&mut self, result: Result<(), Fail>) {
        let mistake = self.mistake.take();
        if let Some(fail) = result.err().or(mistake) {
            self.rewind();
            self.words.push(word::FAIL);
            self.bytes.extend_from_slice(fail.reason().as_bytes());
            let n = self.bytes.len() - self.first_byte;
            self.words.extend([self.first_byte as u32, n as u32]);
        } else if self.said == Said::Nothing {
            self.words.push(word::KEEP);
        }
    }

    pub(crate) fn finish(self, hint: &mut Hint) -> Output {
        let Self { words, mut bytes, names, .. } = self;
        let base = bytes.len() as u32;
        let ranges = names.append_to(&mut bytes, base);
        *hint = Hint { words: words.len() + words.len() / 8, bytes: bytes.len() + bytes.len() / 8 };
        Output { verdicts: words, names: ranges, bytes }
    }

    fn rewind(&mut self) {
        self.words.truncate(self.first_word);
        self.bytes.truncate(self.first_byte);
    }

    fn only(&mut self, verdict: u32) {
        self.rewind();
        self.words.push(verdict);
        self.said = Said::Done;
    }

    /// Passes the row to the next plugin; after the last one it becomes a document of its columns.
    pub fn keep(&mut self) {
        self.only(word::KEEP);
    }

    /// Filters the row out: it gives no document.
    #[allow(clippy::should_implement_trait, reason = "the contract's word")]
    pub fn drop(&mut self) {
        self.only(word::DROP);
    }

    /// Fails the row, which becomes a dead letter with this reason. The same as returning a [`Fail`].
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.mistake = Some(Fail::new(reason));
    }

    /// Passes the row to the next plugin with changed cells.
    pub fn edit(&mut self) -> Edit<'_, 't> {
        self.only(word::EDIT);
        self.words.push(0);
        Edit { out: self }
    }

    /// Adds a document. Further plugins then do not see the row.
    ///
    /// The document is complete when the builder goes out of scope.
    #[inline]
    pub fn document(&mut self) -> Document<'_, 't> {
        self.add_document();
        Document::begin(self, word::INDEX)
    }

    /// Adds this table's fields to a document that rows of several tables contribute to. Set its [`id`](Document::id) unless
    /// the default id is right.
    pub fn merge(&mut self) -> Document<'_, 't> {
        self.add_document();
        Document::begin(self, word::MERGE)
    }

    /// Deletes a document. Only for a [`ChangeTransform`](crate::ChangeTransform): for a [`Transform`](crate::Transform)
    /// the host derives the deletes.
    pub fn delete(&mut self) -> Document<'_, 't> {
        self.add_document();
        Document::begin(self, word::DELETE)
    }

    /// Adds an item to the array `array` of a document that several rows contribute to, such as a line to its order. `key`
    /// identifies the item among those that rows of this table put there; usually it is the row's key. The items are sorted by
    /// key, shorter keys first. The builder's fields are the item's; [`id`](Document::id) is that of the document with the
    /// array. As with [`Out::merge`], all documents of the index must be merged ones.
    ///
    /// ```
    /// # use rowmill_sdk::{Fail, Out, Row};
    /// fn line(row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
    ///     let (Some(order), Some(line)) = (row.u64("order_id")?, row.u64("id")?) else { return Ok(()) };
    ///     out.put_item("lines", line).index("order-full").id(order).column("sku").column("quantity");
    ///     Ok(())
    /// }
    /// ```
    pub fn put_item(&mut self, array: impl FieldName, key: impl fmt::Display) -> Document<'_, 't> {
        self.add_document();
        Document::begin_item(self, word::PUT_ITEM, array, key)
    }

    /// Removes such an item. Only for a [`ChangeTransform`](crate::ChangeTransform), like [`Out::delete`].
    pub fn remove_item(&mut self, array: impl FieldName, key: impl fmt::Display) -> Document<'_, 't> {
        self.add_document();
        Document::begin_item(self, word::REMOVE_ITEM, array, key)
    }

    #[inline]
    fn add_document(&mut self) {
        if self.said != Said::Documents {
            self.rewind();
            self.words.extend([word::DOCUMENTS, 0]);
            self.said = Said::Documents;
        }
        self.words[self.first_word + 1] += 1;
    }

    /// The index of a column in the table; `None` for an optional one that the table lacks. Records an error.
    #[inline]
    pub(crate) fn column(&mut self, column: impl ColumnRef) -> Option<u32> {
        match column.place(self.table) {
            Some(place) => (place.number != NONE).then_some(place.number),
            None => {
                self.no_column(&column.label(self.table));
                None
            }
        }
    }

    #[cold]
    fn no_column(&mut self, name: &str) {
        let reason = format!("table {} has no column '{name}'", self.table.full_name);
        self.mistake.get_or_insert(Fail::new(reason));
    }

    #[cold]
    pub(crate) fn note(&mut self, reason: String) {
        self.mistake.get_or_insert(Fail::new(reason));
    }

    /// Writes bytes by `write` and pushes their range.
    #[inline]
    pub(crate) fn range(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        if end > u32::MAX as usize {
            self.note("the documents of this batch exceed 4 GiB".to_owned());
        }
        self.words.extend([start as u32, (end - start) as u32]);
    }

    /// Pushes the range of a value that serde writes.
    pub(crate) fn range_of(&mut self, what: &str, value: &(impl Serialize + ?Sized)) {
        let start = self.bytes.len();
        if let Err(error) = encode::value(&mut self.bytes, value) {
            self.bytes.truncate(start);
            self.note(format!("'{what}' cannot be written as JSON: {error}"));
        }
        let n = self.bytes.len() - start;
        self.words.extend([start as u32, n as u32]);
    }
}

/// Changes cells of a row that goes on to the next plugin. The last change of a cell holds.
#[derive(Debug)]
pub struct Edit<'o, 't> {
    out: &'o mut Out<'t>,
}

impl Edit<'_, '_> {
    /// Sets a column to any value that serde can write.
    pub fn set(&mut self, column: impl ColumnRef, value: &(impl Serialize + ?Sized)) -> &mut Self {
        if self.cell(column) {
            let label = column.label(self.out.table);
            self.out.range_of(&label, value);
        }
        self
    }

    /// Sets a column to a text.
    pub fn text(&mut self, column: impl ColumnRef, text: &str) -> &mut Self {
        if self.cell(column) {
            self.out.range(|bytes| encode::text(bytes, text));
        }
        self
    }

    /// Sets a column to NULL.
    pub fn null(&mut self, column: impl ColumnRef) -> &mut Self {
        if self.cell(column) {
            self.out.range(|bytes| bytes.extend_from_slice(b"null"));
        }
        self
    }

    /// Takes the column out of the row, as if the source had not sent it.
    pub fn absent(&mut self, column: impl ColumnRef) -> &mut Self {
        if self.cell(column) {
            self.out.range(|_| {});
        }
        self
    }

    /// Begins the edit of a cell, in the place of an earlier one of the same cell.
    fn cell(&mut self, column: impl ColumnRef) -> bool {
        let Some(number) = self.out.column(column) else {
            return false;
        };
        let cells = self.out.first_word + 2;
        let earlier = (cells..self.out.words.len()).step_by(3).find(|&at| self.out.words[at] == number);
        match earlier {
            Some(at) => drop(self.out.words.drain(at..at + 3)),
            None => self.out.words[cells - 1] += 1,
        }
        self.out.words.push(number);
        true
    }
}

/// How large the output of the batch before was, so that the next one allocates once.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    words: usize,
    bytes: usize,
}

/// Writes a displayed value as the bytes of a range.
pub(crate) struct Plain<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        encode::bytes(self.0, s.as_bytes());
        Ok(())
    }
}
