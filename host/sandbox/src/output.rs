//! A guest's answer, checked: nothing that a plugin says is believed before it has gone through here.

use crate::contract::RawOutput;
use crate::document::{Document, Documents};
use crate::literal;
use crate::pattern::Pattern;
use crate::reason::cut;

/// What an answer is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// How many verdicts there must be.
    pub count: u32,
    /// How many columns the table version has.
    pub columns: u32,
    /// The indices that documents may name.
    pub indices: &'a [Pattern],
    /// Whether the plugin has the mode `change`, in which it may delete.
    pub change_mode: bool,
    /// Documents that one image may become.
    pub documents_per_image: u32,
}

/// A checked answer: every image has a verdict that can be read without surprises.
#[derive(Debug, Default)]
pub struct Output {
    pub(crate) words: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
    /// Each field name as JSON with its colon (`"name":`), ready to be copied; nothing for a name that cannot be used.
    pub(crate) names: Vec<(u32, u32)>,
    pub(crate) encoded_names: Vec<u8>,
    /// Where each verdict starts in `words`.
    starts: Vec<u32>,
    /// Images whose verdict is not acceptable, ascending, with the reason.
    refused: Vec<(u32, String)>,
}

/// What a plugin says of one image.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// On to the next plugin.
    Keep,
    /// Filtered.
    Drop,
    /// On to the next plugin with changed cells.
    Edit(Edits<'a>),
    /// These documents.
    Documents(Documents<'a>),
    /// The plugin failed this image on purpose, with a reason.
    Fail(&'a str),
    /// The verdict breaks the contract, with a reason.
    Refused(&'a str),
}

/// Cells to replace: column and JSON value, empty for absent.
#[derive(Clone, Debug)]
pub struct Edits<'a> {
    output: &'a Output,
    words: &'a [u32],
}

impl<'a> Iterator for Edits<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (edit, rest) = self.words.split_first_chunk::<3>()?;
        self.words = rest;
        Some((edit[0], self.output.range(edit[1], edit[2])))
    }
}

/// Longest reason with which a plugin fails an image, in bytes; more is cut.
const MAX_REASON: usize = 1024;

const KEEP: u32 = 0;
const DROP: u32 = 1;
const EDIT: u32 = 2;
const DOCUMENTS: u32 = 3;
const FAIL: u32 = 4;

impl Output {
    /// Checks a raw answer.
    ///
    /// # Errors
    /// The answer as a whole cannot be read: wrong number of verdicts, an encoding that ends early or says more than
    /// there is. What is wrong with a single image does not fail the others; it becomes [`Verdict::Refused`].
    pub fn check(raw: RawOutput, expect: Expect<'_>) -> Result<Self, String> {
        let mut output = Self {
            words: raw.verdicts,
            bytes: raw.bytes,
            starts: Vec::with_capacity(expect.count as usize),
            ..Self::default()
        };
        output.encode_names(&raw.names)?;
        let mut checker = Checker { output: &output, raw_names: &raw.names, expect, at: 0, allowed_index: None };
        let mut starts = Vec::with_capacity(expect.count as usize);
        let mut refused = Vec::new();
        for image in 0..expect.count {
            if checker.at == output.words.len() {
                return Err(format!("it answered {image} verdicts for {} images", expect.count));
            }
            starts.push(checker.at as u32);
            if let Some(reason) = checker.verdict()? {
                refused.push((image, reason));
            }
        }
        if checker.at != output.words.len() {
            return Err(format!("it answered more verdicts than the {} images it was shown", expect.count));
        }
        output.starts = starts;
        output.refused = refused;
        Ok(output)
    }

    /// How many images it speaks of.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether it speaks of no image.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The verdict on `image`, which is below [`Output::len`].
    pub fn verdict(&self, image: u32) -> Verdict<'_> {
        if !self.refused.is_empty()
            && let Ok(at) = self.refused.binary_search_by_key(&image, |(refused, _)| *refused)
        {
            return Verdict::Refused(&self.refused[at].1);
        }
        let words = &self.words[self.starts[image as usize] as usize..];
        match words[0] {
            KEEP => Verdict::Keep,
            DROP => Verdict::Drop,
            EDIT => Verdict::Edit(Edits { output: self, words: &words[2..2 + 3 * words[1] as usize] }),
            DOCUMENTS => Verdict::Documents(Documents::new(self, words[1], &words[2..])),
            _ => Verdict::Fail(cut(self.text(words[1], words[2]), MAX_REASON)),
        }
    }

    /// Bytes of a range that was checked before.
    pub(crate) fn range(&self, start: u32, len: u32) -> &[u8] {
        &self.bytes[start as usize..start as usize + len as usize]
    }

    /// Text of a range that was checked before.
    pub(crate) fn text(&self, start: u32, len: u32) -> &str {
        std::str::from_utf8(self.range(start, len)).unwrap_or_default()
    }

    /// `"name":` of a name that was checked before.
    pub(crate) fn name(&self, name: u32) -> &[u8] {
        let (start, end) = self.names[name as usize];
        &self.encoded_names[start as usize..end as usize]
    }

    fn encode_names(&mut self, ranges: &[u32]) -> Result<(), String> {
        if !ranges.len().is_multiple_of(2) {
            return Err("the list of names has half a range at its end".into());
        }
        for range in ranges.chunks_exact(2) {
            let bytes = slice(&self.bytes, range[0], range[1]).ok_or("a name lies outside of the answer's bytes")?;
            let start = self.encoded_names.len() as u32;
            if let Ok(name) = field_name(bytes) {
                literal::write_string(&mut self.encoded_names, name);
                self.encoded_names.push(b':');
            }
            self.names.push((start, self.encoded_names.len() as u32));
        }
        Ok(())
    }
}

/// Longest name of a field, in bytes.
const MAX_NAME: usize = 1024;

fn field_name(bytes: &[u8]) -> Result<&str, String> {
    match std::str::from_utf8(bytes) {
        Err(_) => Err("a field name that is not UTF-8".into()),
        Ok("") => Err("an empty field name".into()),
        Ok(name) if name.len() > MAX_NAME => {
            Err(format!("a field name of {} bytes, more than the limit of {MAX_NAME}", name.len()))
        }
        Ok(name) => Ok(name),
    }
}

fn slice(bytes: &[u8], start: u32, len: u32) -> Option<&[u8]> {
    bytes.get(start as usize..(start as usize).checked_add(len as usize)?)
}

/// Walks the words once. An `Err` is the end of the whole answer; `Ok(Some(reason))` refuses one image.
struct Checker<'a> {
    output: &'a Output,
    /// The names as the guest told them, for the reason why one cannot be used.
    raw_names: &'a [u32],
    expect: Expect<'a>,
    at: usize,
    /// The range that last passed the list of allowed indices: most documents of a batch name the same.
    allowed_index: Option<(u32, u32)>,
}

type Structure<T> = Result<T, String>;

impl Checker<'_> {
    fn word(&mut self) -> Structure<u32> {
        let word = self.output.words.get(self.at).copied().ok_or("its verdicts end in the middle of one")?;
        self.at += 1;
        Ok(word)
    }

    fn range(&mut self) -> Structure<(u32, u32)> {
        Ok((self.word()?, self.word()?))
    }

    fn bytes(&self, (start, len): (u32, u32)) -> Structure<&[u8]> {
        slice(&self.output.bytes, start, len).ok_or_else(|| "a range lies outside of the answer's bytes".into())
    }

    /// How many things of at least `words` words follow; never more than there can be.
    fn count(&mut self, words: usize) -> Structure<u32> {
        let n = self.word()?;
        if n as usize > (self.output.words.len() - self.at) / words {
            return Err("a verdict announces more than the answer holds".into());
        }
        Ok(n)
    }

    fn verdict(&mut self) -> Structure<Option<String>> {
        match self.word()? {
            KEEP | DROP => Ok(None),
            EDIT => {
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
            DOCUMENTS => {
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
            FAIL => {
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
            Document::INDEX | Document::MERGE | Document::PUT_ITEM => None,
            Document::DELETE | Document::REMOVE_ITEM if self.expect.change_mode => None,
            Document::DELETE | Document::REMOVE_ITEM => Some(
                "a delete by a plugin of the mode `image`: the host deletes what no longer comes out of a row".into(),
            ),
            other => return Err(format!("unknown document operation {other}")),
        };
        if flags & !7 != 0 {
            return Err(format!("unknown document flags {flags}"));
        }
        if flags & Document::HAS_INDEX != 0 {
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            if Some(range) != self.allowed_index {
                match self.index(bytes) {
                    None => self.allowed_index = Some(range),
                    reason => refused = refused.or(reason),
                }
            }
        }
        if flags & Document::HAS_ID != 0 {
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            refused = refused.or_else(|| short_text("id", bytes));
        }
        if flags & Document::HAS_ROUTING != 0 {
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            refused = refused.or_else(|| short_text("routing value", bytes));
        }
        if matches!(operation, Document::PUT_ITEM | Document::REMOVE_ITEM) {
            let array = self.name()?;
            let range = self.range()?;
            let bytes = self.bytes(range)?;
            refused = refused.or(array).or_else(|| short_text("item key", bytes));
        }
        let mut depth = 0_u32;
        for _ in 0..self.count(1)? {
            let piece = self.piece(&mut depth)?;
            refused = refused.or(piece);
        }
        if depth != 0 {
            refused = refused.or_else(|| Some("a document with an object that does not end".into()));
        }
        Ok(refused)
    }

    fn piece(&mut self, depth: &mut u32) -> Structure<Option<String>> {
        Ok(match self.word()? {
            Document::COLUMN => {
                let column = self.word()?;
                self.column(column)
            }
            Document::COLUMN_AS => {
                let name = self.name()?;
                let column = self.word()?;
                name.or_else(|| self.column(column))
            }
            Document::LITERAL => {
                let name = self.name()?;
                let range = self.range()?;
                let bytes = self.bytes(range)?;
                name.or_else(|| literal::check(bytes).err().map(|error| format!("a field's value is {error}")))
            }
            Document::ALL_EXCEPT => {
                let mut refused = None;
                for _ in 0..self.count(1)? {
                    let column = self.word()?;
                    refused = refused.or_else(|| self.column(column));
                }
                refused
            }
            Document::BEGIN => {
                let name = self.name()?;
                *depth += 1;
                name.or_else(|| {
                    (*depth > literal::MAX_DEPTH)
                        .then(|| format!("objects nested more than {} deep", literal::MAX_DEPTH))
                })
            }
            Document::END => match depth.checked_sub(1) {
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
        Ok(match self.output.names.get(name as usize) {
            Some((start, end)) if start < end => None,
            Some(_) => self.bad_name(name),
            None => Some(format!("field name {name} of {}", self.output.names.len())),
        })
    }

    #[cold]
    fn bad_name(&self, name: u32) -> Option<String> {
        let range = self.raw_names.get(2 * name as usize..)?.first_chunk::<2>()?;
        field_name(slice(&self.output.bytes, range[0], range[1])?).err()
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
            Ok(name) if !crate::names::is_index_name(name) => {
                Some(format!("{name:?} is no index name that Elasticsearch takes"))
            }
            Ok(_) => None,
        }
    }
}

fn short_text(what: &str, bytes: &[u8]) -> Option<String> {
    match std::str::from_utf8(bytes) {
        Err(_) => Some(format!("an {what} that is not UTF-8").replace("an r", "a r")),
        Ok("") => Some(format!("an empty {what}")),
        Ok(text) if text.len() > 512 => {
            let limit = if what == "item key" { "512 is the limit" } else { "Elasticsearch takes 512" };
            Some(format!("an {what} of {} bytes; {limit}", text.len()).replace("an r", "a r"))
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests;
