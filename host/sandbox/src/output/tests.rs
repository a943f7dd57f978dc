//! Hand-encoded answers: each verdict and piece, each violation of the contract, and random bytes.

use proptest::prelude::*;

use super::verdict::{DOCUMENTS, DROP, EDIT, FAIL, KEEP};
use super::*;
use crate::document::{Cells, ColumnNames, Document};
use crate::pattern::Pattern;
use crate::rules::NameRules;

const COLUMNS: [&str; 3] = ["id", "say \"hi\"", "note"];
const CELLS: [&str; 3] = ["1", "\"two\"", ""];

/// An answer under construction.
#[derive(Clone, Default)]
struct Answer(RawOutput);

impl Answer {
    fn new(verdicts: &[u32]) -> Self {
        Self(RawOutput { verdicts: verdicts.to_vec(), ..RawOutput::default() })
    }

    /// Sets the bytes, so that tests can write ranges as numbers.
    fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.bytes = bytes.as_ref().to_vec();
        self
    }

    /// Sets the ranges of the names.
    fn names(mut self, names: &[u32]) -> Self {
        self.0.names = names.to_vec();
        self
    }
}

fn check_raw(raw: RawOutput, count: u32, change_mode: bool) -> Result<Output, String> {
    let indices = [Pattern::new("allowed-*")];
    Output::check(
        raw,
        Expect {
            count,
            columns: COLUMNS.len() as u32,
            indices: &indices,
            change_mode,
            documents_per_image: 3,
            rules: &NameRules::default(),
        },
    )
}

/// A verdict as text, with the bodies of its documents.
fn describe(output: &Output, image: u32) -> String {
    match output.verdict(image) {
        Verdict::Keep => "keep".into(),
        Verdict::Drop => "drop".into(),
        Verdict::Edit(edits) => edits
            .map(|(column, value)| format!("edit {column}={}", String::from_utf8_lossy(value)))
            .collect::<Vec<_>>()
            .join(" "),
        Verdict::Documents(documents) => {
            documents.map(|document| describe_document(&document)).collect::<Vec<_>>().join(" ")
        }
        Verdict::Fail(reason) => format!("fail: {reason}"),
        Verdict::Refused(reason) => format!("refused: {reason}"),
    }
}

fn describe_document(document: &Document<'_>) -> String {
    let mut body = Vec::new();
    document.write_body(&mut body, &ColumnNames::new(COLUMNS), |column: u32| CELLS[column as usize].as_bytes());
    let mut text = format!("{:?}", document.operation).to_lowercase();
    if let Some(item) = document.item {
        text += &format!(" {}[{}]", String::from_utf8_lossy(item.array()), item.key);
    }
    for (what, value) in [("index", document.index), ("id", document.id), ("routing", document.routing)] {
        if let Some(value) = value {
            text += &format!(" {what}={value}");
        }
    }
    format!("{text} {}", String::from_utf8(body).expect("a body is UTF-8"))
}

/// The verdicts of an answer that can be read.
#[track_caller]
fn check(answer: Answer, expected: &[&str]) {
    let output = check_raw(answer.0, expected.len() as u32, false).expect("it can be read");
    assert_eq!(output.len(), expected.len());
    let described: Vec<String> = (0..output.len() as u32).map(|image| describe(&output, image)).collect();
    assert_eq!(described, expected);
}

/// An answer of one verdict, the documents of which are these words.
#[track_caller]
fn check_pieces(pieces: &[u32], n: u32, expected: &str) {
    let words = [&[DOCUMENTS, 1, 0, 0, n], pieces].concat();
    // Names: 0 `a`, 1 `b"`, 2 empty, 3 not UTF-8.
    check(Answer::new(&words).bytes(b"ab\"\xff[1,{}]").names(&[0, 1, 1, 2, 0, 0, 3, 1]), &[expected]);
}

/// Expects an answer to be rejected as a whole.
#[track_caller]
fn unreadable(answer: Answer, count: u32, reason: &str) {
    let error = check_raw(answer.0, count, false).expect_err(reason);
    assert!(error.contains(reason), "{error}");
}

#[test]
fn verdicts() {
    let words = [KEEP, DROP, EDIT, 2, 0, 0, 1, 2, 0, 0, FAIL, 1, 3, DOCUMENTS, 0, EDIT, 0, KEEP];
    check(Answer::new(&words).bytes("7why"), &["keep", "drop", "edit 0=7 edit 2=", "fail: why", "", "", "keep"]);
    check(Answer::default(), &[]);
}

#[test]
fn documents() {
    let head = [DOCUMENTS, 3, 0, 0, 0, 1, 7, 0, 9, 9, 2, 11, 1, 0, 0, 2, 9, 2, 1, 0, 0];
    check(
        Answer::new(&head).bytes("allowed-xidr"),
        &["index {} merge index=allowed-x id=id routing=r {} index id=id {\"id\":1}"],
    );
}

/// Cells that are ranges of one text.
struct Source<'a>(&'a str, Vec<std::ops::Range<usize>>);

impl<'a> Cells<'a> for Source<'a> {
    fn get(&self, column: u32) -> &'a [u8] {
        self.0[self.1[column as usize].clone()].as_bytes()
    }

    fn joined(&self, first: u32, last: u32, gap: usize) -> Option<&'a [u8]> {
        let (before, end) = (&self.1[last as usize - 1], &self.1[last as usize]);
        (!before.is_empty() && !end.is_empty() && before.end + gap == end.start)
            .then(|| &self.0.as_bytes()[self.1[first as usize].start..end.end])
    }
}

#[test]
fn adjacent_cells_are_copied_together_without_other_members() {
    let body = |names: &[&str], source: &str, cells: &[&str]| {
        let mut from = 0;
        let ranges = cells.iter().map(|cell| {
            let start = from + source[from..].find(cell).expect("the cell is there");
            if !cell.is_empty() {
                from = start + cell.len();
            }
            start..start + cell.len()
        });
        let mut out = Vec::new();
        ColumnNames::new(names.iter().copied()).write_body(&mut out, Source(source, ranges.collect()));
        String::from_utf8(out).expect("UTF-8")
    };
    let unchanged = r#"{"a":1,"b":"x","c":null}"#;
    assert_eq!(body(&["a", "b", "c"], unchanged, &["1", "\"x\"", "null"]), unchanged);
    // Another member in between, whitespace, an absent cell, an escaped name.
    assert_eq!(body(&["a", "b"], r#"{"a":1,"no":7,"b":2}"#, &["1", "2"]), r#"{"a":1,"b":2}"#);
    assert_eq!(body(&["a", "b"], "{\"a\":1,\n\"b\":2}", &["1", "2"]), r#"{"a":1,"b":2}"#);
    assert_eq!(body(&["a", "b", "c"], r#"{"a":1,"c":3}"#, &["1", "", "3"]), r#"{"a":1,"c":3}"#);
    let escaped = "{\"a\":1,\n\n\n\n\"\\n\":2}";
    assert_eq!(body(&["a", "\n"], escaped, &["1", "2"]).matches('\n').count(), 0, "no line break of the source");
}

#[test]
fn items_of_an_array() {
    let put = |words: &[u32], expected: &str| {
        let words = [&[DOCUMENTS, 1, 3], words].concat();
        check(
            Answer::new(&words).bytes([b"items17i".as_slice(), &[b'k'; 513]].concat()).names(&[0, 5, 0, 0]),
            &[expected],
        );
    };
    put(&[0, 0, 5, 2, 1, 0, 0], r#"putitem "items"[17] {"id":1}"#);
    put(&[2, 7, 1, 0, 5, 2, 1, 0, 0], r#"putitem "items"[17] id=i {"id":1}"#);
    put(&[0, 0, 5, 0, 0], "refused: an empty item key");
    put(&[0, 0, 8, 513, 0], "refused: an item key of 513 bytes; the limit is 512");
    put(&[0, 1, 5, 2, 0], "refused: an empty field name");
    put(&[0, 7, 5, 2, 0], "refused: field name 7 of 2");
    unreadable(Answer::new(&[DOCUMENTS, 1, 3, 0, 0, 5, 900, 0]), 1, "outside of the answer's bytes");
    let remove = Answer::new(&[DOCUMENTS, 1, 4, 0, 0, 5, 2, 0]).bytes("items17").names(&[0, 5]);
    check(
        remove.clone(),
        &[
            "refused: a delete by a plugin in `image` mode: the host itself deletes the documents that a row no longer produces",
        ],
    );
    let output = check_raw(remove.0, 1, true).expect("it can be read");
    assert_eq!(describe(&output, 0), r#"removeitem "items"[17] {}"#);
}

#[test]
fn pieces() {
    check_pieces(&[0, 0, 0, 1, 0, 2], 3, r#"index {"id":1,"say \"hi\"":"two"}"#);
    check_pieces(&[1, 0, 1, 1, 1, 2], 2, r#"index {"a":"two"}"#);
    check_pieces(&[2, 1, 4, 6], 1, r#"index {"b\"":[1,{}]}"#);
    check_pieces(&[3, 0], 1, r#"index {"id":1,"say \"hi\"":"two"}"#);
    check_pieces(&[3, 2, 0, 2], 1, r#"index {"say \"hi\"":"two"}"#);
    check_pieces(
        &[4, 0, 5, 4, 0, 4, 0, 0, 0, 5, 0, 0, 5, 0, 0],
        9,
        r#"index {"a":{},"a":{"a":{"id":1},"id":1},"id":1}"#,
    );
}

#[test]
fn an_invalid_piece_rejects_its_image() {
    check_pieces(&[0, 3], 1, "refused: column 3 of a table that has 3");
    check_pieces(&[1, 0, 3], 1, "refused: column 3 of a table that has 3");
    check_pieces(&[1, 4, 0], 1, "refused: field name 4 of 4");
    check_pieces(&[1, 2, 0], 1, "refused: an empty field name");
    check_pieces(&[4, 3, 5], 2, "refused: a field name that is not UTF-8");
    check_pieces(&[2, 0, 4, 5], 1, "refused: a field's value is not JSON: EOF while parsing a list at line 1 column 5");
    check_pieces(
        &[2, 0, 0, 0],
        1,
        "refused: a field's value is not JSON: EOF while parsing a value at line 1 column 0",
    );
    check_pieces(&[3, 1, 3], 1, "refused: column 3 of a table that has 3");
    check_pieces(&[4, 0], 1, "refused: a document with an unclosed object");
    check_pieces(&[5], 1, "refused: an object ends that did not begin");
    check_pieces(&[5, 4, 0], 2, "refused: an object ends that did not begin");
    check_pieces(&[4, 0].repeat(65), 65, "refused: objects nested more than 64 deep");
}

#[test]
fn an_invalid_verdict_does_not_affect_others() {
    let words = [KEEP, EDIT, 1, 3, 0, 0, DROP, DOCUMENTS, 1, 2, 0, 0, KEEP, EDIT, 1, 0, 0, 2, KEEP];
    let deleted = "refused: a delete by a plugin in `image` mode: the host itself deletes the documents that a row no longer produces";
    let not_json = "refused: the new value of a cell is not JSON: trailing characters at line 1 column 2";
    let expected = ["keep", "refused: column 3 of a table that has 3", "drop", deleted, "keep", not_json, "keep"];
    check(Answer::new(&words).bytes("1]"), &expected);
    check(
        Answer::new(&[DOCUMENTS, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        &["refused: 4 documents of one image, more than the limit of 3"],
    );
    check(
        Answer::new(&[FAIL, 0, 1, KEEP]).bytes(b"\xff"),
        &["refused: it failed with a reason that is not UTF-8", "keep"],
    );
}

#[test]
fn heads() {
    let head = |flag: u32, text: &[u8]| Answer::new(&[DOCUMENTS, 1, 0, flag, 0, text.len() as u32, 0]).bytes(text);
    check(head(1, b""), &["refused: the index \"\" is not among those that the plugin describes"]);
    check(head(1, b"other"), &["refused: the index \"other\" is not among those that the plugin describes"]);
    check(head(1, b"allowed-X"), &["refused: \"allowed-X\" is not a valid index name"]);
    check(head(1, b"allowed-\xff"), &["refused: an index name that is not UTF-8"]);
    check(head(2, b""), &["refused: an empty id"]);
    check(head(2, &[b'i'; 513]), &["refused: an id of 513 bytes; the limit is 512"]);
    check(head(2, b"\xff"), &["refused: an id that is not UTF-8"]);
    check(head(4, b""), &["refused: an empty routing value"]);
    check(head(4, &[b'r'; 513]), &["refused: a routing value of 513 bytes; the limit is 512"]);
    // An allowed range is remembered; another range is checked.
    let words = [DOCUMENTS, 3, 0, 1, 0, 9, 0, 0, 1, 0, 9, 0, 0, 1, 0, 8, 0];
    check(
        Answer::new(&words).bytes("allowed-x"),
        &["index index=allowed-x {} index index=allowed-x {} index index=allowed- {}"],
    );
    let words = [DOCUMENTS, 2, 0, 1, 0, 9, 0, 0, 1, 0, 7, 0];
    check(
        Answer::new(&words).bytes("allowed-x"),
        &["refused: the index \"allowed\" is not among those that the plugin describes"],
    );
}

#[test]
fn a_plugin_in_change_mode_may_delete() {
    let raw = Answer::new(&[DOCUMENTS, 1, 2, 2, 0, 2, 0]).bytes("id").0;
    let output = check_raw(raw, 1, true).expect("it can be read");
    assert_eq!(describe(&output, 0), "delete id=id {}");
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let text = "中".repeat(1000);
    let raw = Answer::new(&[FAIL, 0, text.len() as u32]).bytes(&text).0;
    let output = check_raw(raw, 1, false).expect("it can be read");
    assert_eq!(describe(&output, 0), format!("fail: {}", "中".repeat(341)));
}

#[test]
fn a_malformed_answer_is_rejected() {
    unreadable(Answer::new(&[]), 1, "it answered 0 verdicts for 1 images");
    unreadable(Answer::new(&[KEEP]), 2, "it answered 1 verdicts for 2 images");
    unreadable(Answer::new(&[KEEP, KEEP]), 1, "more verdicts than the 1 images");
    unreadable(Answer::new(&[5]), 1, "unknown verdict 5");
    for words in [
        &[EDIT][..],
        &[DOCUMENTS],
        &[FAIL],
        &[FAIL, 0],
        &[DOCUMENTS, 1, 0, 2, 0],
        &[DOCUMENTS, 1, 0, 0, 1, 1, 0],
        &[DOCUMENTS, 1, 0, 0, 2, 3, 0],
    ] {
        unreadable(Answer::new(words).names(&[0, 0]), 1, "its verdicts end in the middle of one");
    }
    for words in
        [&[EDIT, 1, 0, 0][..], &[DOCUMENTS, u32::MAX], &[DOCUMENTS, 1, 0, 0, 1], &[DOCUMENTS, 1, 0, 0, 1, 3, 2, 0]]
    {
        unreadable(Answer::new(words), 1, "announces more than the answer holds");
    }
    unreadable(Answer::new(&[DOCUMENTS, 1, 5, 0, 0]), 1, "unknown document operation 5");
    unreadable(Answer::new(&[DOCUMENTS, 1, 0, 8, 0]), 1, "unknown document flags 8");
    unreadable(Answer::new(&[DOCUMENTS, 1, 0, 0, 1, 6]), 1, "unknown piece 6");
    for range in [[0, 3], [3, 0], [1, u32::MAX], [u32::MAX, 1], [u32::MAX, u32::MAX]] {
        unreadable(Answer::new(&[FAIL, range[0], range[1]]).bytes("ab"), 1, "outside of the answer's bytes");
        unreadable(Answer::new(&[KEEP]).names(&range).bytes("ab"), 1, "outside of the answer's bytes");
    }
    unreadable(Answer::new(&[KEEP]).names(&[0]), 1, "half a range");
}

/// Mostly small numbers, as a guest would send, with a few random ones.
fn words() -> impl Strategy<Value = Vec<u32>> {
    let word = prop_oneof![20 => 0_u32..6, 5 => 0_u32..40, 1 => any::<u32>()];
    prop::collection::vec(word, 0..120)
}

/// Bytes in which many ranges are JSON, index names, or malformed.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["1", "0", "-1.5", "\"a\"", "null", "[]", "{}", "[1,", "\"\\", "allowed-", "\n", "\r", "\u{2028}", " ", "中"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Mostly valid documents with random pieces, so that many answers pass.
fn plausible() -> impl Strategy<Value = Vec<u32>> {
    let n = 0_u32..8;
    let piece = prop_oneof![
        (0_u32..4).prop_map(|column| vec![0, column]),
        (n.clone(), 0_u32..3).prop_map(|(name, column)| vec![1, name, column]),
        (n.clone(), 0_u32..30, 1_u32..4).prop_map(|(name, start, len)| vec![2, name, start, len]),
        (0_u32..3).prop_map(|column| vec![3, 1, column]),
        (n.clone(), n).prop_map(|(outer, inner)| vec![4, outer, 1, inner, 0, 5]),
    ];
    let document = prop::collection::vec(piece, 0..6).prop_map(|pieces| {
        // `4 name, 1 name column, 5` above are three pieces.
        let n: usize = pieces.iter().map(|piece| if piece[0] == 4 { 3 } else { 1 }).sum();
        [vec![DOCUMENTS, 1, 0, 0, n as u32], pieces.concat()].concat()
    });
    prop::collection::vec(document, 0..6).prop_map(|documents| documents.concat())
}

/// An accepted answer can be written: bodies are JSON objects on one line, cells are JSON values, texts are in bounds.
fn assert_writable(output: &Output) {
    let names = ColumnNames::new(COLUMNS);
    for image in 0..output.len() as u32 {
        match output.verdict(image) {
            Verdict::Documents(documents) => {
                for document in documents {
                    let mut body = Vec::new();
                    document.write_body(&mut body, &names, |column: u32| CELLS[column as usize].as_bytes());
                    assert!(!body.contains(&b'\n') && !body.contains(&b'\r'), "{}", String::from_utf8_lossy(&body));
                    let parsed: serde_json::Value = serde_json::from_slice(&body)
                        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)));
                    assert!(parsed.is_object());
                    assert!(document.id.is_none_or(|id| (1..=512).contains(&id.len())));
                    assert!(document.index.is_none_or(|index| index.starts_with("allowed-")));
                }
            }
            Verdict::Edit(edits) => {
                for (column, value) in edits {
                    assert!((column as usize) < COLUMNS.len());
                    assert!(value.is_empty() || serde_json::from_slice::<serde_json::Value>(value).is_ok());
                }
            }
            Verdict::Keep | Verdict::Drop | Verdict::Fail(_) | Verdict::Refused(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_accepted_or_rejected(verdicts in words(), names in words(), bytes in bytes(), count in 0_u32..20) {
        if let Ok(output) = check_raw(RawOutput { verdicts, names, bytes }, count, true) {
            assert_writable(&output);
        }
    }

    #[test]
    fn plausible_documents_are_writable(verdicts in plausible(), bytes in bytes(), starts in prop::collection::vec(0_u32..20, 8)) {
        let count = count_documents(&verdicts);
        let names = starts.iter().flat_map(|&start| [start, 1]).collect();
        if let Ok(output) = check_raw(RawOutput { verdicts, names, bytes }, count, false) {
            assert_writable(&output);
        }
    }
}

/// The number of verdicts that `plausible` generated.
fn count_documents(words: &[u32]) -> u32 {
    let (mut at, mut n) = (0, 0);
    while at < words.len() {
        let pieces = words[at + 4];
        at += 5;
        for _ in 0..pieces {
            at += match words[at] {
                0 | 4 => 2,
                1 | 3 => 3,
                2 => 4,
                _ => 1,
            };
        }
        n += 1;
    }
    n
}
