//! Building a document: pieces that copy columns, and values that the plugin computed.

use std::fmt::{Display, Write as _};

use serde::Serialize;

use crate::decimal::Decimal;
use crate::encode;
use crate::names::FieldName;
use crate::out::{Out, Plain, word};
use crate::table::ColumnRef;
use crate::time::DateTime;

/// Builds one document. Fields, index, id and routing may be set in any order. The document is complete when the builder goes
/// out of scope.
///
/// The host copies columns from the source, so a column costs the plugin three words, however long it is. The field is
/// omitted if the cell is absent.
#[derive(Debug)]
pub struct Document<'o, 't> {
    out: &'o mut Out<'t>,
    operation: u32,
    /// Where the document's words begin.
    first: usize,
    /// Where the number of its pieces stands, before index, id and routing are put in.
    count: usize,
    n_pieces: u32,
    head: Head,
}

/// Index, id and routing: ranges.
type Head = [Option<(u32, u32)>; 3];
const INDEX: usize = 0;
const ID: usize = 1;
const ROUTING: usize = 2;
/// Longest document id and item key in bytes, as defined by the contract.
const MAX_ID: usize = 512;

impl<'o, 't> Document<'o, 't> {
    #[inline]
    pub(crate) fn begin(out: &'o mut Out<'t>, operation: u32) -> Self {
        let first = out.words.len();
        out.words.extend([operation, 0, 0]);
        Self { out, operation, first, count: first + 2, n_pieces: 0, head: [None; 3] }
    }

    /// A document that is an item of an array.
    pub(crate) fn begin_item(out: &'o mut Out<'t>, operation: u32, array: impl FieldName, key: impl Display) -> Self {
        let first = out.words.len();
        let array = array.number(&mut out.names);
        out.words.extend([operation, 0, array]);
        let mut document = Self { out, operation, first, count: first + 5, n_pieces: 0, head: [None; 3] };
        let (start, n) = document.display("item key", MAX_ID, key);
        document.out.words.extend([start, n, 0]);
        document
    }

    /// Sets the index, which the plugin's description must allow. The default is the table's index from the host's
    /// configuration.
    pub fn index(&mut self, name: impl Display) -> &mut Self {
        self.head(INDEX, "index", usize::MAX, name)
    }

    /// Sets the document's id, 1 to 512 bytes. The default is the id from the configuration, usually the primary key. It must
    /// depend on the row alone. `format_args!("{a}-{b}")` builds one without allocating.
    pub fn id(&mut self, id: impl Display) -> &mut Self {
        self.head(ID, "id", MAX_ID, id)
    }

    /// The document's routing value.
    pub fn routing(&mut self, value: impl Display) -> &mut Self {
        self.head(ROUTING, "routing", MAX_ID, value)
    }

    fn head(&mut self, part: usize, what: &str, limit: usize, value: impl Display) -> &mut Self {
        self.head[part] = Some(self.display(what, limit, value));
        self
    }

    fn display(&mut self, what: &str, limit: usize, value: impl Display) -> (u32, u32) {
        let start = self.out.bytes.len();
        if write!(Plain(&mut self.out.bytes), "{value}").is_err() {
            self.out.note(format!("the document's {what} cannot be displayed"));
        }
        let n = self.out.bytes.len() - start;
        if n == 0 {
            self.out.note(format!("the document's {what} is empty"));
        } else if n > limit {
            self.out.note(format!("the document's {what} has {n} bytes, more than {limit}"));
        }
        (start as u32, n as u32)
    }

    /// A column under its own name.
    #[inline]
    pub fn column(&mut self, column: impl ColumnRef) -> &mut Self {
        if let Some(number) = self.out.column(column) {
            self.piece([word::COLUMN, number]);
        }
        self
    }

    /// A column under another name.
    #[inline]
    pub fn column_as(&mut self, column: impl ColumnRef, name: impl FieldName) -> &mut Self {
        if let Some(number) = self.out.column(column) {
            let name = name.number(&mut self.out.names);
            self.piece([word::COLUMN_AS, name, number]);
        }
        self
    }

    /// All columns under their own names.
    pub fn all(&mut self) -> &mut Self {
        self.piece([word::ALL_EXCEPT, 0])
    }

    /// All columns under their own names, except these.
    pub fn all_except<C: ColumnRef>(&mut self, columns: impl IntoIterator<Item = C>) -> &mut Self {
        self.piece([word::ALL_EXCEPT, 0]);
        let count = self.out.words.len() - 1;
        for column in columns {
            if let Some(number) = self.out.column(column) {
                self.out.words.push(number);
                self.out.words[count] += 1;
            }
        }
        self
    }

    /// Any value that serde can write.
    pub fn set(&mut self, name: impl FieldName, value: &(impl Serialize + ?Sized)) -> &mut Self {
        self.named(name);
        self.out.range_of(name.as_str(), value);
        self
    }

    /// A text.
    #[inline]
    pub fn text(&mut self, name: impl FieldName, text: &str) -> &mut Self {
        self.value(name, |bytes| encode::text(bytes, text))
    }

    /// An array of texts.
    pub fn texts<'s>(&mut self, name: impl FieldName, texts: impl IntoIterator<Item = &'s str>) -> &mut Self {
        self.value(name, |bytes| {
            bytes.push(b'[');
            for (i, text) in texts.into_iter().enumerate() {
                if i > 0 {
                    bytes.push(b',');
                }
                encode::text(bytes, text);
            }
            bytes.push(b']');
        })
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, name: impl FieldName, value: impl Into<i128>) -> &mut Self {
        let value = value.into();
        self.value(name, |bytes| encode::integer(bytes, value))
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: impl FieldName, value: bool) -> &mut Self {
        self.value(name, |bytes| encode::bytes(bytes, if value { b"true" } else { b"false" }))
    }

    /// `null`.
    pub fn null(&mut self, name: impl FieldName) -> &mut Self {
        self.value(name, |bytes| bytes.extend_from_slice(b"null"))
    }

    /// A decimal with all its digits, as a text.
    pub fn decimal(&mut self, name: impl FieldName, value: &Decimal<'_>) -> &mut Self {
        self.text(name, value.as_str())
    }

    /// A date and time as ISO-8601 without a zone.
    pub fn datetime(&mut self, name: impl FieldName, value: DateTime) -> &mut Self {
        self.time(name, value, b"\"")
    }

    /// A date and time that is in UTC: ISO-8601 with a `Z`.
    pub fn datetime_utc(&mut self, name: impl FieldName, value: DateTime) -> &mut Self {
        self.time(name, value, b"Z\"")
    }

    #[inline]
    fn time(&mut self, name: impl FieldName, value: DateTime, end: &[u8]) -> &mut Self {
        let mut buffer = [0; 32];
        let n = value.spell(&mut buffer);
        self.value(name, |bytes| {
            bytes.push(b'"');
            encode::bytes(bytes, &buffer[..n]);
            encode::bytes(bytes, end);
        })
    }

    /// One JSON value in encoded form. The host validates it.
    pub fn raw(&mut self, name: impl FieldName, json: &[u8]) -> &mut Self {
        self.value(name, |bytes| {
            let start = bytes.len();
            bytes.extend_from_slice(json);
            encode::one_line(&mut bytes[start..]);
        })
    }

    /// An object under a name, with the fields that `build` adds.
    #[inline]
    pub fn object<R>(&mut self, name: impl FieldName, build: impl FnOnce(&mut Self) -> R) -> R {
        let name = name.number(&mut self.out.names);
        self.piece([word::BEGIN, name]);
        let result = build(self);
        self.piece([word::END]);
        result
    }

    #[inline]
    fn named(&mut self, name: impl FieldName) {
        let name = name.number(&mut self.out.names);
        self.piece([word::VALUE, name]);
    }

    #[inline]
    fn value(&mut self, name: impl FieldName, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.named(name);
        self.out.range(write);
        self
    }

    #[inline]
    fn piece<const N: usize>(&mut self, words: [u32; N]) -> &mut Self {
        self.out.words.extend_from_slice(&words);
        self.n_pieces += 1;
        self
    }
}

impl Drop for Document<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.operation, word::DELETE | word::REMOVE_ITEM) && self.n_pieces != 0 {
            self.out.note("a delete has no fields".to_owned());
        }
        self.out.words[self.count] = self.n_pieces;
        let mut flags = 0;
        let mut words = [0; 6];
        let mut n = 0;
        for (i, part) in self.head.iter().enumerate() {
            if let Some((start, length)) = *part {
                flags |= 1 << i;
                words[n] = start;
                words[n + 1] = length;
                n += 2;
            }
        }
        if flags != 0 {
            self.out.words[self.first + 1] = flags;
            let at = self.first + 2;
            self.out.words.splice(at..at, words[..n].iter().copied());
        }
    }
}
