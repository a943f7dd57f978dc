//! Embeds a plugin's golden cases into its `.wasm` file, so that the gateway can run them.
//!
//! They are in a custom section, `rowmill:cases`, at the end of a core module or component: a JSON object of cases by name, each
//! an object with the text of its files by name. Engines ignore the section.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use crate::case::Case;

/// The name of the section.
const NAME: &[u8] = b"rowmill:cases";
/// The maximum size of the section, in bytes. Cases are loaded with the file each time.
const MAX_BYTES: usize = 4 << 20;
/// Magic number and version.
const PREAMBLE: usize = 8;
/// The ID of custom sections.
const CUSTOM: u8 = 0;

type Files = BTreeMap<String, BTreeMap<String, String>>;

/// Returns the file with the cases of a folder embedded, replacing existing ones. Cases without expected outcomes are left out.
/// The result is deterministic.
///
/// # Errors
/// A case is invalid, not UTF-8 or too large, or the bytes are not WebAssembly.
pub fn embed(wasm: &[u8], cases: &Path) -> anyhow::Result<Vec<u8>> {
    let mut files = Files::new();
    for case in Case::any(cases)? {
        if let Some(of_case) = case.files().with_context(|| format!("case {}", case.name))? {
            files.insert(case.name, of_case);
        }
    }
    let mut bytes = without_cases(wasm)?;
    if files.is_empty() {
        return Ok(bytes);
    }
    let data = serde_json::to_vec(&files)?;
    ensure!(
        data.len() <= MAX_BYTES,
        "the cases in {} have {} bytes, but at most {MAX_BYTES} can be embedded; remove rows, or build with --no-cases",
        cases.display(),
        data.len()
    );
    bytes.push(CUSTOM);
    write_number(&mut bytes, number_length(NAME.len()) + NAME.len() + data.len());
    write_number(&mut bytes, NAME.len());
    bytes.extend_from_slice(NAME);
    bytes.extend_from_slice(&data);
    Ok(bytes)
}

/// Returns the file without cases.
///
/// # Errors
/// The bytes are not WebAssembly.
pub fn without_cases(wasm: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = wasm.get(..PREAMBLE).context(NOT_WASM)?.to_vec();
    for section in Sections::of(wasm)? {
        let section = section?;
        if !section.is_of_cases(wasm) {
            bytes.extend_from_slice(&wasm[section.whole]);
        }
    }
    Ok(bytes)
}

/// The cases embedded in a file, ordered by name.
///
/// # Errors
/// The section is invalid or too large, or the bytes are not WebAssembly.
pub fn cases(wasm: &[u8]) -> anyhow::Result<Vec<Case>> {
    let mut found = None;
    for section in Sections::of(wasm)? {
        let section = section?;
        if section.is_of_cases(wasm) {
            ensure!(found.is_none(), "it has two sections of cases; build the file again");
            found = Some(section.data);
        }
    }
    let Some(data) = found else { return Ok(Vec::new()) };
    ensure!(data.len() <= MAX_BYTES, "its cases have {} bytes, more than {MAX_BYTES}", data.len());
    let files: Files = serde_json::from_slice(&wasm[data]).context("the section of cases cannot be read")?;
    files
        .into_iter()
        .map(|(name, files)| Case::embedded(&name, files).with_context(|| format!("embedded case {name}")))
        .collect()
}

const NOT_WASM: &str = "this is not a WebAssembly file, or it is truncated";

/// A top-level section. Those of modules and of components have the same encoding.
struct Section {
    whole: Range<usize>,
    /// The name of a custom section.
    name: Range<usize>,
    /// The content after the name.
    data: Range<usize>,
}

impl Section {
    fn is_of_cases(&self, wasm: &[u8]) -> bool {
        wasm[self.name.clone()] == *NAME
    }
}

struct Sections<'a> {
    wasm: &'a [u8],
    at: usize,
}

impl<'a> Sections<'a> {
    fn of(wasm: &'a [u8]) -> anyhow::Result<Self> {
        ensure!(wasm.len() >= PREAMBLE && wasm.starts_with(b"\0asm"), NOT_WASM);
        Ok(Self { wasm, at: PREAMBLE })
    }

    fn section(&mut self) -> anyhow::Result<Section> {
        let start = self.at;
        let is_custom = self.wasm[start] == CUSTOM;
        self.at += 1;
        let size = self.number(self.wasm.len())?;
        let end = self.at.checked_add(size).filter(|end| *end <= self.wasm.len()).context(NOT_WASM)?;
        let mut name = self.at..self.at;
        if is_custom {
            let length = self.number(end)?;
            let name_end = self.at.checked_add(length).filter(|name_end| *name_end <= end).context(NOT_WASM)?;
            name = self.at..name_end;
        }
        self.at = end;
        Ok(Section { whole: start..end, data: name.end..end, name })
    }

    /// Reads a number in LEB128, the encoding of all numbers in WebAssembly.
    fn number(&mut self, end: usize) -> anyhow::Result<usize> {
        let mut number = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = *self.wasm[..end].get(self.at).context(NOT_WASM)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(usize::try_from(number)?);
            }
        }
        bail!(NOT_WASM)
    }
}

impl Iterator for Sections<'_> {
    type Item = anyhow::Result<Section>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.wasm.len() {
            return None;
        }
        let section = self.section();
        if section.is_err() {
            // The length is wrong, so the next section cannot be found.
            self.at = self.wasm.len();
        }
        Some(section)
    }
}

fn write_number(to: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn number_length(number: usize) -> usize {
    let mut bytes = Vec::new();
    write_number(&mut bytes, number);
    bytes.len()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::outcome::Outcome;

    /// A module with a type section, and a component with a section of its own.
    const FILES: [&[u8]; 2] =
        [b"\0asm\x01\0\0\0\x01\x04\x01\x60\x00\x00", b"\0asm\x0d\0\x01\0\x00\x05\x04name\x07\x01\x00"];
    const ROWS: &str = "{\"table\": \"t\", \"columns\": {\"id\": \"int\"}}\n{\"id\": 1}\n";
    const EXPECTED: &str = "{\"row\":1,\"operation\":\"drop\"}\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn what_is_embedded_is_read_again() {
        let folder = folder(&[
            ("b/input.json", ROWS),
            ("b/settings.toml", "a = 1\n"),
            ("b/expected.ndjson", EXPECTED),
            ("a/input.ndjson", ROWS),
            ("a/expected.ndjson", EXPECTED),
            ("not-blessed/input.ndjson", ROWS),
        ]);
        for file in FILES {
            assert!(cases(file).unwrap().is_empty());
            let bytes = embed(file, folder.path()).unwrap();
            assert_eq!(&bytes[..file.len()], file);
            let found = cases(&bytes).unwrap();
            assert_eq!(found.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(found[1].settings().unwrap().0, "{\"a\":1}");
            assert_eq!(found[0].settings().unwrap().0, "{}");
            assert_eq!(found[1].input().unwrap().rows.len(), 1);
            assert_eq!(found[0].expected().unwrap().unwrap(), [Outcome::new(1, "drop")]);
            assert!(found[0].bless(&[]).unwrap_err().to_string().contains("build again"));
            // Embedding again replaces the section.
            assert_eq!(embed(&bytes, folder.path()).unwrap(), bytes);
            assert_eq!(without_cases(&bytes).unwrap(), file);
        }
    }

    #[test]
    fn without_expectations_nothing_is_embedded() {
        for files in [[("a/input.ndjson", ROWS)], [("README.md", "none yet")]] {
            assert_eq!(embed(FILES[0], folder(&files).path()).unwrap(), FILES[0]);
        }
    }

    #[test]
    fn what_is_too_large_says_so() {
        let folder = folder(&[("a/input.ndjson", &"x".repeat(MAX_BYTES)), ("a/expected.ndjson", "")]);
        let error = embed(FILES[0], folder.path()).unwrap_err().to_string();
        assert!(error.contains("--no-cases") && error.contains("4194304"), "{error}");
    }

    /// A file with this text in the section.
    fn with_section(text: &[u8]) -> Vec<u8> {
        let mut bytes = FILES[0].to_vec();
        bytes.push(CUSTOM);
        write_number(&mut bytes, 1 + NAME.len() + text.len());
        bytes.push(NAME.len() as u8);
        [&bytes[..], NAME, text].concat()
    }

    #[track_caller]
    fn broken(wasm: &[u8], expect: &str) {
        let error = format!("{:#}", cases(wasm).unwrap_err());
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn a_broken_section_is_told() {
        assert!(cases(&with_section(b"{}")).unwrap().is_empty());
        broken(&with_section(b"[]"), "cannot be read");
        broken(&with_section(br#"{"a": {}}"#), "embedded case a: there is no input");
        broken(&with_section(br#"{"a": {"input.ndjson": ""}}"#), "there is no expected.ndjson");
        broken(&with_section(br#"{"a": {"../x": ""}}"#), "\"../x\" of a case is unknown");
        broken(&with_section(br#"{"a": {"input.a": "", "input.b": ""}}"#), "duplicates another file");
        broken(&[&with_section(b"{}")[..], &with_section(b"{}")[FILES[0].len()..]].concat(), "two sections");
        broken(b"<html>", NOT_WASM);
        let whole = with_section(b"{}");
        for end in FILES[0].len() + 1..whole.len() {
            broken(&whole[..end], NOT_WASM);
        }
        broken(&[FILES[0], b"\x00\xff\xff\xff\xff\xff\xff"].concat(), NOT_WASM);
    }
}
