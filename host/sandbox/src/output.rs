//! A guest's answer, checked: nothing that a plugin says is believed before it has gone through here.

mod check;

pub use check::Expect;

use check::Checker;

use crate::answer::AnswerData;
use crate::contract::RawOutput;
use crate::document::Documents;
use crate::encoding::verdict;
use crate::reason::cut;

/// A checked answer: every image has a verdict that can be read without surprises.
#[derive(Debug, Default)]
pub struct Output {
    data: AnswerData,
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
    answer: &'a AnswerData,
    words: &'a [u32],
}

impl<'a> Iterator for Edits<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (edit, rest) = self.words.split_first_chunk::<3>()?;
        self.words = rest;
        Some((edit[0], self.answer.range(edit[1], edit[2])))
    }
}

/// Longest reason with which a plugin fails an image, in bytes; more is cut.
const MAX_REASON: usize = 1024;

impl Output {
    /// Checks a raw answer.
    ///
    /// # Errors
    /// The answer as a whole cannot be read: wrong number of verdicts, an encoding that ends early or says more than
    /// there is. What is wrong with a single image does not fail the others; it becomes [`Verdict::Refused`].
    pub fn check(raw: RawOutput, expect: Expect<'_>) -> Result<Self, String> {
        let mut data = AnswerData { words: raw.verdicts, bytes: raw.bytes, ..AnswerData::default() };
        data.encode_names(&raw.names)?;
        let mut checker = Checker::new(&data, &raw.names, expect);
        let mut starts = Vec::with_capacity(expect.count as usize);
        let mut refused = Vec::new();
        for image in 0..expect.count {
            if checker.at == data.words.len() {
                return Err(format!("it answered {image} verdicts for {} images", expect.count));
            }
            starts.push(checker.at as u32);
            if let Some(reason) = checker.verdict()? {
                refused.push((image, reason));
            }
        }
        if checker.at != data.words.len() {
            return Err(format!("it answered more verdicts than the {} images it was shown", expect.count));
        }
        Ok(Self { data, starts, refused })
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
        let words = &self.data.words[self.starts[image as usize] as usize..];
        match words[0] {
            verdict::KEEP => Verdict::Keep,
            verdict::DROP => Verdict::Drop,
            verdict::EDIT => Verdict::Edit(Edits { answer: &self.data, words: &words[2..2 + 3 * words[1] as usize] }),
            verdict::DOCUMENTS => Verdict::Documents(Documents::new(&self.data, words[1], &words[2..])),
            _ => Verdict::Fail(cut(self.data.text(words[1], words[2]), MAX_REASON)),
        }
    }
}

#[cfg(test)]
mod tests;
