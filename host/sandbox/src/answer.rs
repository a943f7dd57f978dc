//! The words and bytes of a guest's answer, accessed by ranges that have been checked.

use crate::literal;

/// A guest's answer with its field names encoded as JSON.
#[derive(Debug, Default)]
pub(crate) struct AnswerData {
    pub(crate) words: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
    /// The range in `encoded_names` of each field name as JSON with its colon (`"name":`); empty for an invalid name.
    pub(crate) names: Vec<(u32, u32)>,
    pub(crate) encoded_names: Vec<u8>,
}

impl AnswerData {
    /// The bytes of a checked range.
    pub(crate) fn range(&self, start: u32, len: u32) -> &[u8] {
        &self.bytes[start as usize..start as usize + len as usize]
    }

    /// The text of a checked range.
    pub(crate) fn text(&self, start: u32, len: u32) -> &str {
        std::str::from_utf8(self.range(start, len)).unwrap_or_default()
    }

    /// `"name":` of a checked name.
    pub(crate) fn name(&self, name: u32) -> &[u8] {
        let (start, end) = self.names[name as usize];
        &self.encoded_names[start as usize..end as usize]
    }

    pub(crate) fn encode_names(&mut self, ranges: &[u32]) -> Result<(), String> {
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

pub(crate) fn field_name(bytes: &[u8]) -> Result<&str, String> {
    match std::str::from_utf8(bytes) {
        Err(_) => Err("a field name that is not UTF-8".into()),
        Ok("") => Err("an empty field name".into()),
        Ok(name) if name.len() > MAX_NAME => {
            Err(format!("a field name of {} bytes, more than the limit of {MAX_NAME}", name.len()))
        }
        Ok(name) => Ok(name),
    }
}

pub(crate) fn slice(bytes: &[u8], start: u32, len: u32) -> Option<&[u8]> {
    bytes.get(start as usize..(start as usize).checked_add(len as usize)?)
}
