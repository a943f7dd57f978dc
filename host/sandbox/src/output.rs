//! A guest's checked answer. Everything a plugin returns is validated here before it is used.

mod check;

pub use check::Expect;

use check::Checker;

use crate::answer::AnswerData;
use crate::contract::RawOutput;
use crate::document::Documents;
use crate::encoding::verdict;
use crate::single_line::cut;

/// A validated answer: one verdict per image.
#[derive(Debug, Default)]
pub struct Output {
    data: AnswerData,
    /// The index of each verdict's first word.
    starts: Vec<u32>,
    /// Images whose verdict is invalid, in ascending order, with the reason.
    refused: Vec<(u32, String)>,
}

/// A plugin's decision about one image.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// Pass the image to the next plugin.
    Keep,
    /// Filter the image out.
    Drop,
    /// Pass the image to the next plugin with these cells replaced.
    Edit(Edits<'a>),
    /// Write these documents. Further plugins do not see the image.
    Documents(Documents<'a>),
    /// The plugin reported an error for this image.
    Fail(&'a str),
    /// The verdict violates the contract, for this reason.
    Refused(&'a str),
}

/// Iterates over the cells to replace: column and JSON value, which is empty for an absent cell.
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

/// Longest error that a plugin reports for an image, in bytes; the rest is cut off.
const MAX_REASON: usize = 1024;

impl Output {
    /// Checks a raw answer.
    ///
    /// # Errors
    /// The answer as a whole is malformed: the wrong number of verdicts, or an encoding that is truncated or inconsistent. An
    /// error in one image's verdict does not affect the others; it becomes [`Verdict::Refused`].
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

    /// The number of images.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The verdict on `image`, an index less than [`Output::len`].
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
