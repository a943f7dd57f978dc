//! Validates a guest's answer word by word.

use crate::answer::{AnswerData, field_name, slice};
use crate::encoding::{flag, operation, piece, verdict};
use crate::literal;
use crate::pattern::Pattern;
use crate::rules::NameRules;

/// The properties that an answer must have.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The number of verdicts.
    pub count: u32,
    /// The number of columns of the table version.
    pub columns: u32,
    /// The indices that documents may name.
    pub indices: &'a [Pattern],
    /// Whether the plugin runs in `change` mode, in which it may delete documents.
    pub change_mode: bool,
    /// Largest number of documents per image.
    pub documents_per_image: u32,
    /// The sink's rules for ids, routing values and index names.
    pub rules: &'a NameRules,
}

/// Reads the words once. An `Err` rejects the whole answer; `Ok(Some(reason))` rejects one image.
pub(super) struct Checker<'a> {
    answer: &'a AnswerData,
    /// The guest's names, needed to report why one is invalid.
    raw_names: &'a [u32],
    expect: Expect<'a>,
    pub(super) at: usize,
    /// The last range that was an allowed index. Most documents of a batch name the same index.
    allowed_index: Option<(u32, u32)>,
}

type Structure<T> = Result<T, String>;

impl<'a> Checker<'a> {
    pub(super) fn new(answer: &'a AnswerData, raw_names: &'a [u32], expect: Expect<'a>) -> Self {
        Self { answer, raw_names, expect, at: 0, allowed_index: None }
    }

    fn word(&mut self) -> Structure<u32> {
        let word = self.answer.words.get(self.at).copied().ok_or("its verdicts end in the middle of one")?;
        self.at += 1;
        Ok(word)
    }

    fn range(&mut self) -> Structure<(u32, u32)> {
        Ok((self.word()?, self.word()?))
    }

    fn bytes(&self, (start, len): (u32, u32)) -> Structure<&[u8]> {
        slice(&self.answer.bytes, start, len).ok_or_else(|| "a range lies outside of the answer's bytes".into())
    }

    /// Reads the number of items that follow, each of at least `words` words. Fails if the answer cannot hold so many.
    fn count(&mut self, words: usize) -> Structure<u32> {
        let n = self.word()?;
        if n as usize > (self.answer.words.len() - self.at) / words {
            return Err("a verdict announces more than the answer holds".into());
        }
        Ok(n)
    }

    pub(super) fn verdict(&mut self) -> Structure<Option<String>> {
        match self.word()? {
            verdict::KEEP | verdict::DROP => Ok(None),
            verdict::EDIT => {
                let mut refused = None;
                for _ in 0..self.count(3)? {
                    let column = self.word()?;
                    let value = self.range()?;
                    let bytes = self.bytes(value)?;
                    refused = refused.or_else(|| self.column(column)).or_else(|| match bytes {
                        [] => None,
                        bytes => literal::check(bytes).err().map(|error| format!("the new value of a cell is {error}")),
                    });
                }
                Ok(refused)
            }
            verdict::DOCUMENTS => {
                let n = self.count(3)?;
                let mut refused = (n > self.expect.documents_per_image).then(|| {
                    format!("{n} documents of one image, more than the limit of {}", self.expect.documents_per_image)
                });
                for _ in 0..n {
                    let document = self.document()?;
                    refused = refused.or(document);
                }
                Ok(refused)
            }
            verdict::FAIL => {
                let reason = self.range()?;
                let reason = self.bytes(reason)?;
                Ok(std::str::from_utf8(reason).err().map(|_| "it failed with a reason that is not UTF-8".to_string()))
            }
            tag => Err(format!("unknown verdict {tag}")),
        }
    }

    fn document(&mut self) -> Structure<Option<String>> {
        let operation = self.word()?;
        let flags = self.word()?;
        let mut refused = match operation {
            operation::INDEX | operation::MERGE | operation::PUT_ITEM => None,
            operation::DELETE | operation::REMOVE_ITEM if self.expect.change_mode => None,
            operation::DELETE | operation::REMOVE_ITEM => Some(
                "a delete by a plugin in `image` mode: the host itself deletes the documents that a row no longer produces".into(),
            ),
            other => return Err(format!("unknown document operation {other}")),
        };
        if flags & !7 != 0 {
            return Err(format!("unknown document flags {flags}"));
        }
        if flags & flag::INDEX != 0 {
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            if Some(range) != self.allowed_index {
                match self.index(bytes) {
                    None => self.allowed_index = Some(range),
                    reason => refused = refused.or(reason),
                }
            }
        }
        if flags & flag::ID != 0 {
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            refused = refused.or_else(|| short_text("id", bytes, self.expect.rules.max_id_bytes));
        }
        if flags & flag::ROUTING != 0 {
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            refused = refused.or_else(|| short_text("routing value", bytes, self.expect.rules.max_routing_bytes));
        }
        if matches!(operation, operation::PUT_ITEM | operation::REMOVE_ITEM) {
            let array = self.name()?;
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            refused = refused.or(array).or_else(|| short_text("item key", bytes, MAX_ITEM_KEY));
        }
        let mut depth = 0_u32;
        for _ in 0..self.count(1)? {
            let piece = self.piece(&mut depth)?;
            refused = refused.or(piece);
        }
        if depth != 0 {
            refused = refused.or_else(|| Some("a document with an unclosed object".into()));
        }
        Ok(refused)
    }

    fn piece(&mut self, depth: &mut u32) -> Structure<Option<String>> {
        Ok(match self.word()? {
            piece::COLUMN => {
                let column = self.word()?;
                self.column(column)
            }
            piece::COLUMN_AS => {
                let name = self.name()?;
                let column = self.word()?;
                name.or_else(|| self.column(column))
            }
            piece::LITERAL => {
                let name = self.name()?;
                let range = self.range()?;
                let bytes = self.bytes(range)?;
                name.or_else(|| literal::check(bytes).err().map(|error| format!("a field's value is {error}")))
            }
            piece::ALL_EXCEPT => {
                let mut refused = None;
                for _ in 0..self.count(1)? {
                    let column = self.word()?;
                    refused = refused.or_else(|| self.column(column));
                }
                refused
            }
            piece::BEGIN => {
                let name = self.name()?;
                *depth += 1;
                name.or_else(|| {
                    (*depth > literal::MAX_DEPTH)
                        .then(|| format!("objects nested more than {} deep", literal::MAX_DEPTH))
                })
            }
            piece::END => match depth.checked_sub(1) {
                Some(less) => {
                    *depth = less;
                    None
                }
                None => Some("an object ends that did not begin".into()),
            },
            piece => return Err(format!("unknown piece {piece} of a document")),
        })
    }

    fn name(&mut self) -> Structure<Option<String>> {
        let name = self.word()?;
        Ok(match self.answer.names.get(name as usize) {
            Some((start, end)) if start < end => None,
            Some(_) => self.bad_name(name),
            None => Some(format!("field name {name} of {}", self.answer.names.len())),
        })
    }

    #[cold]
    fn bad_name(&self, name: u32) -> Option<String> {
        let range = self.raw_names.get(2 * name as usize..)?.first_chunk::<2>()?;
        field_name(slice(&self.answer.bytes, range[0], range[1])?).err()
    }

    fn column(&self, column: u32) -> Option<String> {
        (column >= self.expect.columns).then(|| format!("column {column} of a table that has {}", self.expect.columns))
    }

    fn index(&self, bytes: &[u8]) -> Option<String> {
        match std::str::from_utf8(bytes) {
            Err(_) => Some("an index name that is not UTF-8".into()),
            Ok(name) if !self.expect.indices.iter().any(|pattern| pattern.matches(name)) => {
                Some(format!("the index {name:?} is not among those that the plugin describes"))
            }
            Ok(name) if !self.expect.rules.is_index_name(name) => Some(format!("{name:?} is not a valid index name")),
            Ok(_) => None,
        }
    }
}

/// Longest key of an item of an array, in bytes.
const MAX_ITEM_KEY: usize = 512;

/// Checks a text of 1 to `max_bytes` bytes.
fn short_text(what: &str, bytes: &[u8], max_bytes: usize) -> Option<String> {
    let article = if what.starts_with('r') { "a" } else { "an" };
    match std::str::from_utf8(bytes) {
        Err(_) => Some(format!("{article} {what} that is not UTF-8")),
        Ok("") => Some(format!("an empty {what}")),
        Ok(text) if text.len() > max_bytes => {
            Some(format!("{article} {what} of {} bytes; the limit is {max_bytes}", text.len()))
        }
        Ok(_) => None,
    }
}
