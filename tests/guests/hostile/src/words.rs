//! Outputs that break the contract, word by word.

use crate::bindings::exports::rowmill::plugin::guest::Output;

const KEEP: u32 = 0;
const EDIT: u32 = 2;
const DOCUMENTS: u32 = 3;
const FAIL: u32 = 4;
const NEAR_THE_END: u32 = u32::MAX - 2;

/// Collects an output.
#[derive(Default)]
struct Words {
    verdicts: Vec<u32>,
    names: Vec<u32>,
    bytes: Vec<u8>,
}

impl Words {
    fn put(&mut self, bytes: &[u8]) -> [u32; 2] {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        [start, bytes.len() as u32]
    }

    fn name(&mut self, bytes: &[u8]) -> u32 {
        let range = self.put(bytes);
        self.names.extend(range);
        self.names.len() as u32 / 2 - 1
    }

    /// A document of one literal under the name `field`.
    fn literal(&mut self, json: &[u8]) {
        let name = self.name(b"field");
        let [start, n] = self.put(json);
        self.verdicts.extend([DOCUMENTS, 1, 0, 0, 1, 2, name, start, n]);
    }

    /// A document whose only content is a part of its head: flag 1 index, 2 id, 4 routing.
    fn head(&mut self, flag: u32, bytes: &[u8]) {
        let [start, n] = self.put(bytes);
        self.verdicts.extend([DOCUMENTS, 1, 0, flag, start, n, 0]);
    }

    /// A document of these pieces, said to be `n`.
    fn pieces(&mut self, n: u32, words: &[u32]) {
        self.verdicts.extend([DOCUMENTS, 1, 0, 0, n]);
        self.verdicts.extend(words);
    }

    fn verdict(&mut self, words: &[u32]) {
        self.verdicts.extend(words);
    }
}

/// What the deed says of a batch of `count` images, in the instance's call number `calls`.
pub(crate) fn output(deed: &str, count: u32, calls: u32) -> Output {
    let mut w = Words::default();
    let rows = match deed {
        "fewer-verdicts" => count.saturating_sub(1),
        "more-verdicts" => count + 1,
        "no-verdicts" => 0,
        "a-million-verdicts" => 1_000_000,
        _ => count,
    };
    for row in 0..rows {
        say(&mut w, deed, row, calls);
    }
    match deed {
        "names-of-odd-length" => w.names.push(0),
        "names-out-of-range" => w.names.extend([NEAR_THE_END, 8]),
        "trailing-words" => w.verdicts.extend([9, 9, 9]),
        "unused-bytes-64-mb" => w.bytes.resize(64 << 20, b'x'),
        "a-million-names" => (0..1_000_000).for_each(|_| w.names.extend([0, 0])),
        _ => {}
    }
    Output { verdicts: w.verdicts, names: w.names, bytes: w.bytes }
}

fn say(w: &mut Words, deed: &str, row: u32, calls: u32) {
    match deed {
        // verdicts
        "unknown-verdict" => w.verdict(&[77]),
        "drop" => w.verdict(&[1]),
        "counter" => w.verdict(&[if (calls + row).is_multiple_of(2) { 0 } else { 1 }]),
        "first-call-only" => w.verdict(&[if calls == 0 { 0 } else { 1 }]),
        "truncated-verdict" => w.verdict(&[DOCUMENTS, 1, 0]),
        "huge-n-of-documents" => w.verdict(&[DOCUMENTS, u32::MAX]),
        "no-documents" => w.verdict(&[DOCUMENTS, 0]),
        "many-documents" => {
            w.verdict(&[DOCUMENTS, 100_000]);
            (0..100_000).for_each(|_| w.verdict(&[0, 0, 0]));
        }
        "huge-n-of-pieces" => w.pieces(u32::MAX, &[0, 0]),
        "huge-n-of-edits" => w.verdict(&[EDIT, u32::MAX, 0, 0, 0]),
        "huge-n-of-exceptions" => w.pieces(1, &[3, u32::MAX, 0]),
        "unknown-operation" => w.verdict(&[DOCUMENTS, 1, 9, 0, 0]),
        "unknown-flags" => w.verdict(&[DOCUMENTS, 1, 0, 0xFFFF_FFF8, 0]),
        "unknown-piece" => w.pieces(1, &[42]),
        "delete-in-image-mode" => w.verdict(&[DOCUMENTS, 1, 2, 0, 0]),
        // ranges
        "fail-range-near-2-32" => w.verdict(&[FAIL, NEAR_THE_END, 8]),
        "fail-length-near-2-32" => w.verdict(&[FAIL, 1, u32::MAX]),
        "value-range-near-2-32" => {
            let name = w.name(b"field");
            w.pieces(1, &[2, name, NEAR_THE_END, 8]);
        }
        "id-range-near-2-32" => w.verdict(&[DOCUMENTS, 1, 0, 2, NEAR_THE_END, 8, 0]),
        "edit-range-near-2-32" => w.verdict(&[EDIT, 1, 0, NEAR_THE_END, 8]),
        // columns and names
        "column-out-of-range" => w.pieces(1, &[0, u32::MAX]),
        "column-as-out-of-range" => {
            let name = w.name(b"field");
            w.pieces(1, &[1, name, 100_000]);
        }
        "exception-out-of-range" => w.pieces(1, &[3, 1, 100_000]),
        "edit-out-of-range" => w.verdict(&[EDIT, 1, 100_000, 0, 0]),
        "name-out-of-range" => w.pieces(1, &[1, 100_000, 0]),
        "name-not-utf8" => {
            let name = w.name(b"\xff\xfe");
            w.pieces(1, &[1, name, 0]);
        }
        "name-with-quotes" => {
            let name = w.name(b"a\": 1}\n{\"delete\":{\"_id\":\"1\"}}\n{\"b");
            w.pieces(1, &[1, name, 0]);
        }
        "empty-name" => {
            let name = w.name(b"");
            w.pieces(1, &[1, name, 0]);
        }
        "name-of-1-mb" => {
            let name = w.name(&vec![b'n'; 1 << 20]);
            w.pieces(1, &[1, name, 0]);
        }
        "same-field-twice" => {
            let name = w.name(b"field");
            w.pieces(2, &[1, name, 0, 1, name, 0]);
        }
        // objects
        "object-not-ended" => {
            let name = w.name(b"object");
            w.pieces(1, &[4, name]);
        }
        "object-not-begun" => w.pieces(1, &[5]),
        "objects-10000-deep" => {
            let name = w.name(b"o");
            let begin = [4, name].repeat(10_000);
            w.pieces(20_000, &[begin, vec![5; 10_000]].concat());
        }
        // literals
        "literal-with-line-break" => w.literal(b"{\"a\":\n1}"),
        "literal-with-carriage-return" => w.literal(b"{\"a\":\r1}"),
        "literal-with-bulk-lines" => {
            w.literal(b"1}\n{\"delete\":{\"_index\":\"allowed-1\",\"_id\":\"1\"}}\n{\"index\":{}}\n{\"b\":2");
        }
        "literal-with-two-values" => w.literal(b"1 2"),
        "literal-with-more-fields" => w.literal(b"1,\"other\":2"),
        "literal-broken" => w.literal(b"{\"a\":"),
        "literal-empty" => w.literal(b""),
        "literal-of-space" => w.literal(b"   "),
        "literal-nan" => w.literal(b"NaN"),
        "literal-bad-number" => w.literal(b"01"),
        "literal-bad-escape" => w.literal(b"\"\\x\""),
        "literal-control-character" => w.literal(b"\"a\x01b\""),
        "literal-not-utf8" => w.literal(b"\"\xff\xfe\""),
        "literal-lone-surrogate" => w.literal(b"\"\\ud800\""),
        "literal-10000-deep" => w.literal(&[vec![b'['; 10_000], vec![b']'; 10_000]].concat()),
        "literal-10000-deep-objects" => {
            w.literal(&[b"{\"a\":".repeat(10_000), b"1".to_vec(), vec![b'}'; 10_000]].concat());
        }
        "literal-64-mb" => {
            if row == 0 {
                w.literal(&[b"\"".to_vec(), vec![b'x'; 64 << 20], b"\"".to_vec()].concat());
            } else {
                w.verdict(&[KEEP]);
            }
        }
        "edit-broken-json" => {
            let [start, n] = w.put(b"{\"a\":");
            w.verdict(&[EDIT, 1, 0, start, n]);
        }
        "edit-with-line-break" => {
            let [start, n] = w.put(b"[1,\n2]");
            w.verdict(&[EDIT, 1, 0, start, n]);
        }
        "edit-twice" => {
            let [start, n] = w.put(b"12");
            w.verdict(&[EDIT, 2, 0, start, 1, 0, start + 1, n - 1]);
        }
        // index, id, routing
        "index-not-allowed" => w.head(1, b"secrets"),
        "index-hidden" => w.head(1, b".kibana"),
        "index-with-line-break" => w.head(1, b"allowed-\"}}\n{\"delete\":{}}"),
        "index-in-capitals" => w.head(1, b"allowed-X"),
        "index-with-comma" => w.head(1, b"allowed-a,allowed-b"),
        "index-empty" => w.head(1, b""),
        "index-not-utf8" => w.head(1, b"allowed-\xff"),
        "index-of-300-bytes" => w.head(1, &[b"allowed-".to_vec(), vec![b'x'; 292]].concat()),
        "index-allowed" => w.head(1, b"allowed-1"),
        "id-empty" => w.head(2, b""),
        "id-of-513-bytes" => w.head(2, &[b'i'; 513]),
        "id-of-512-bytes" => w.head(2, &[b'i'; 512]),
        "id-not-utf8" => w.head(2, b"\xff\xfe"),
        "id-with-quotes" => w.head(2, b"1\"}}\n{\"delete\":{\"_id\":\"2"),
        "routing-with-quotes" => w.head(4, b"1\"}}\n{\"delete\":{\"_id\":\"2"),
        "routing-empty" => w.head(4, b""),
        "reason-not-utf8" => {
            let [start, n] = w.put(b"\xff\xfe");
            w.verdict(&[FAIL, start, n]);
        }
        "reason-of-1-mb" => {
            let [start, n] = w.put(&vec![b'r'; 1 << 20]);
            w.verdict(&[FAIL, start, n]);
        }
        "fail" => {
            let [start, n] = w.put(b"this plugin fails every row");
            w.verdict(&[FAIL, start, n]);
        }
        "one-document" => {
            let name = w.name(b"field");
            w.pieces(1, &[1, name, 0]);
        }
        _ => w.verdict(&[KEEP]),
    }
}
