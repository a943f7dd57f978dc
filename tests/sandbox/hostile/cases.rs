//! The expected outcome of each guest of `tests/guests/README.md`: the README's tables as data.

/// A guest and its expected outcome.
pub struct Case {
    /// A deed of the hostile guest, or the name of a file.
    pub guest: &'static str,
    pub expect: Expect,
}

/// The expected outcome of a guest. Strings are parts of the reported reason.
pub enum Expect {
    /// Every row gets this verdict.
    Takes(Says),
    /// Every row gets a verdict or fails; the host must continue.
    Survives,
    /// The file is taken and every row is kept; or, on a busy machine, this step runs past its limit and refuses it.
    KeepsOrIsLate(&'static str),
    /// Every row fails, and that costs no instance.
    RowsFail(&'static str),
    /// Every call fails: alone, each row still does, with this reason.
    CallsFail(&'static str),
    /// The table is refused in the guest's own words.
    RefusesTable(&'static str),
    /// The guest traps over the table, or breaks the contract.
    FailsOnTable(&'static str),
    /// The file is not taken: the step that refuses it, and why.
    Refused(&'static str, &'static str),
}

/// A harmless verdict.
pub enum Says {
    Keep,
    Drop,
    /// The column `mark` becomes this.
    Edit(&'static [&'static str]),
    NoDocument,
    /// One document: index, id, routing, body; `{mark}` is replaced by the row's cell.
    Document(Option<&'static str>, Option<&'static str>, Option<&'static str>, &'static str),
}

use Expect::{CallsFail, FailsOnTable, KeepsOrIsLate, Refused, RefusesTable, RowsFail, Survives, Takes};

const fn case(guest: &'static str, expect: Expect) -> Case {
    Case { guest, expect }
}

const ID_OF_512: &str = {
    const BYTES: [u8; 512] = [b'i'; 512];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

/// Harmless, or strange and yet within the contract.
pub const TAKEN: &[Case] = &[
    case("keep", Takes(Says::Keep)),
    case("drop", Takes(Says::Drop)),
    case("one-document", Takes(Says::Document(None, None, None, r#"{"field":{mark}}"#))),
    case("index-allowed", Takes(Says::Document(Some("allowed-1"), None, None, "{}"))),
    case("id-of-512-bytes", Takes(Says::Document(None, Some(ID_OF_512), None, "{}"))),
    case("ask-nothing", Takes(Says::Keep)),
    case("no-documents", Takes(Says::NoDocument)),
    case("edit-twice", Takes(Says::Edit(&["1", "2"]))),
    case("literal-lone-surrogate", Takes(Says::Document(None, None, None, r#"{"field":"\ud800"}"#))),
    case(
        "name-with-quotes",
        Takes(Says::Document(None, None, None, r#"{"a\": 1}\n{\"delete\":{\"_id\":\"1\"}}\n{\"b":{mark}}"#)),
    ),
    // The sink writes ids and routing values as JSON strings; here they come through as they are.
    case("id-with-quotes", Takes(Says::Document(None, Some("1\"}}\n{\"delete\":{\"_id\":\"2"), None, "{}"))),
    case("routing-with-quotes", Takes(Says::Document(None, None, Some("1\"}}\n{\"delete\":{\"_id\":\"2"), "{}"))),
    // Which of two values a field has is for Elasticsearch to refuse; two columns under one name, one of them absent,
    // are no mistake.
    case("same-field-twice", Takes(Says::Document(None, None, None, r#"{"field":{mark},"field":{mark}}"#))),
];

/// An answer that can be read, of which each row is unacceptable.
pub const BAD_ROWS: &[Case] = &[
    case("fail", RowsFail("this plugin fails every row")),
    case("delete-in-image-mode", RowsFail("a delete by a plugin in `image` mode")),
    case("column-out-of-range", RowsFail("column 4294967295 of a table that has 3")),
    case("column-as-out-of-range", RowsFail("column 100000 of a table that has 3")),
    case("exception-out-of-range", RowsFail("column 100000 of a table that has 3")),
    case("edit-out-of-range", RowsFail("column 100000 of a table that has 3")),
    case("name-out-of-range", RowsFail("field name 100000")),
    case("name-not-utf8", RowsFail("a field name that is not UTF-8")),
    case("empty-name", RowsFail("an empty field name")),
    case("name-of-1-mb", RowsFail("a field name of 1048576 bytes")),
    case("object-not-ended", RowsFail("an unclosed object")),
    case("object-not-begun", RowsFail("an object ends that did not begin")),
    case("objects-10000-deep", RowsFail("nested more than 64 deep")),
    case("literal-10000-deep", RowsFail("nested more than")),
    case("literal-10000-deep-objects", RowsFail("nested more than")),
    case("literal-with-line-break", RowsFail("line break")),
    case("literal-with-carriage-return", RowsFail("line break")),
    case("literal-with-bulk-lines", RowsFail("line break")),
    case("edit-with-line-break", RowsFail("line break")),
    case("literal-with-two-values", RowsFail("not JSON")),
    case("literal-with-more-fields", RowsFail("not JSON")),
    case("literal-broken", RowsFail("not JSON")),
    case("literal-empty", RowsFail("not JSON")),
    case("literal-of-space", RowsFail("not JSON")),
    case("literal-nan", RowsFail("not JSON")),
    case("literal-bad-number", RowsFail("not JSON")),
    case("literal-bad-escape", RowsFail("not JSON")),
    case("literal-control-character", RowsFail("not JSON")),
    case("literal-not-utf8", RowsFail("UTF-8")),
    case("edit-broken-json", RowsFail("not JSON")),
    case("index-not-allowed", RowsFail("the index \"secrets\" is not among those that the plugin describes")),
    case("index-hidden", RowsFail("the index \".kibana\" is not among those that the plugin describes")),
    case("index-with-line-break", RowsFail("is not a valid index name")),
    case("index-in-capitals", RowsFail("\"allowed-X\" is not a valid index name")),
    case("index-with-comma", RowsFail("\"allowed-a,allowed-b\" is not a valid index name")),
    case("index-empty", RowsFail("the index \"\" is not among")),
    case("index-not-utf8", RowsFail("an index name that is not UTF-8")),
    case("index-of-300-bytes", RowsFail("is not a valid index name")),
    case("id-empty", RowsFail("an empty id")),
    case("id-of-513-bytes", RowsFail("an id of 513 bytes; the limit is 512")),
    case("id-not-utf8", RowsFail("an id that is not UTF-8")),
    case("routing-empty", RowsFail("an empty routing value")),
    case("reason-not-utf8", RowsFail("a reason that is not UTF-8")),
    case("reason-of-1-mb", RowsFail("rrrrrrrr")),
];

/// An answer that cannot be matched to rows, or cannot be read at all.
pub const UNREADABLE: &[Case] = &[
    case("fewer-verdicts", CallsFail("0 verdicts for 1 images")),
    case("no-verdicts", CallsFail("0 verdicts for 1 images")),
    case("more-verdicts", CallsFail("more verdicts than the 1 images")),
    case("a-million-verdicts", CallsFail("more verdicts than the 1 images")),
    case("trailing-words", CallsFail("more verdicts than the 1 images")),
    case("truncated-verdict", CallsFail("announces more than the answer holds")),
    case("unknown-verdict", CallsFail("unknown verdict 77")),
    case("unknown-operation", CallsFail("unknown document operation 9")),
    case("unknown-flags", CallsFail("unknown document flags")),
    case("unknown-piece", CallsFail("unknown piece 42")),
    case("huge-n-of-documents", CallsFail("announces more than the answer holds")),
    case("huge-n-of-pieces", CallsFail("announces more than the answer holds")),
    case("huge-n-of-edits", CallsFail("announces more than the answer holds")),
    case("huge-n-of-exceptions", CallsFail("announces more than the answer holds")),
    case("fail-range-near-2-32", CallsFail("outside of the answer's bytes")),
    case("fail-length-near-2-32", CallsFail("outside of the answer's bytes")),
    case("value-range-near-2-32", CallsFail("outside of the answer's bytes")),
    case("id-range-near-2-32", CallsFail("outside of the answer's bytes")),
    case("edit-range-near-2-32", CallsFail("outside of the answer's bytes")),
    case("names-of-odd-length", CallsFail("half a range")),
    case("names-out-of-range", CallsFail("outside of the answer's bytes")),
    case("a-million-names", CallsFail("longer than the limit")),
    case("unused-bytes-64-mb", CallsFail("memory than the limit")),
];

/// A call that ends in a trap or at a limit.
pub const TRAPS: &[Case] = &[
    case("trap", CallsFail("panicked or aborted")),
    case("panic", CallsFail("panicked or aborted")),
    case("deep-recursion", CallsFail("endless recursion")),
    case("grow-until-refused", CallsFail("more memory than the limit of 67108864 bytes")),
    case("allocate-1-gib", CallsFail("more memory than the limit of 67108864 bytes")),
    case("endless-loop-in-transform", CallsFail("ran longer than the limit of 300 ms")),
];

/// Guests that fail before the first row.
pub const BEFORE_ROWS: &[Case] = &[
    case("refuse", Refused("configure", "settings: this plugin refuses all settings")),
    case("refuse-at-length", Refused("configure", "answer")),
    case("trap-in-configure", Refused("configure", "panicked or aborted")),
    case("memory-in-configure", Refused("configure", "more memory than the limit")),
    case("endless-loop-in-configure", Refused("configure", "ran longer than the limit of 1000 ms")),
    case("refuse-table", RefusesTable("this plugin refuses all tables")),
    case("trap-in-define-table", FailsOnTable("panicked or aborted")),
    case("endless-loop-in-define-table", FailsOnTable("ran longer than the limit of 1000 ms")),
    case("ask-out-of-range", FailsOnTable("asked for column 3 of 3")),
    case("ask-twice", FailsOnTable("asked for column 0 twice")),
    case("ask-a-million", FailsOnTable("answer")),
];

/// Guests with a separate test in `hostile.rs`, since one batch does not show their behaviour.
pub const OWN_TEST: &[&str] = &[
    "trap-on-marker",
    "loop-on-marker",
    "leak-64-kib-a-call",
    "log-flood",
    "log-a-long-message",
    "slow",
    "counter",
    "first-call-only",
    "literal-64-mb",
    "many-documents",
];

/// The behaviour of the hostile guest in `describe`, chosen when it is built.
pub const DESCRIBES: &[Case] = &[
    case("endless-loop", Refused("describe", "ran longer than the limit of 1000 ms")),
    case("trap", Refused("describe", "panicked or aborted")),
    case("recursion", Refused("describe", "endless recursion")),
    case("memory", Refused("describe", "more memory than the limit")),
    case("log-flood", KeepsOrIsLate("describe")),
    case("bad-name", Refused("describe", "the name \"../../etc/passwd\\n\" is not")),
    case("empty-name", Refused("describe", "the name \"\" is not")),
    case("many-tables", Refused("describe", "limit")),
    case("many-indices", Refused("describe", "limit")),
    case("bad-mapping", Refused("describe", "is not a JSON object")),
];

/// Modules and components written by hand.
pub const WAT: &[Case] = &[
    case("keep", Takes(Says::Keep)),
    case("counter", Survives),
    case("start-loops", Refused("instantiate", "ran longer than the limit of 1000 ms")),
    case("start-traps", Refused("instantiate", "panicked or aborted")),
    case("start-grows", Takes(Says::Keep)),
    case("start-logs", Refused("instantiate", "")),
    case("describe-loops", Refused("describe", "ran longer than the limit of 1000 ms")),
    case("describe-traps", Refused("describe", "panicked or aborted")),
    case("describe-name-near-2-32", Refused("describe", "answer cannot be read")),
    case("describe-name-of-4-gib", Refused("describe", "answer")),
    case("describe-name-not-utf8", Refused("describe", "answer cannot be read")),
    case("describe-unknown-mode", Refused("describe", "answer cannot be read")),
    case("describe-amplified", Refused("describe", "longer than the limit")),
    case("configure-unknown-result", Refused("configure", "answer cannot be read")),
    case("configure-loops", Refused("configure", "ran longer than the limit of 1000 ms")),
    case("define-table-near-2-32", FailsOnTable("answer cannot be read")),
    case("transform-loops", CallsFail("ran longer than the limit of 300 ms")),
    case("log-flood", Survives),
    case("stack-overflow", CallsFail("stack overflowed")),
    case("transform-lists-near-2-32", CallsFail("answer cannot be read")),
    case("transform-length-wraps", CallsFail("answer cannot be read")),
    case("transform-list-unaligned", CallsFail("answer cannot be read")),
    case("transform-result-near-2-32", CallsFail("answer cannot be read")),
    case("transform-result-unaligned", CallsFail("answer cannot be read")),
    case("transform-whole-memory", CallsFail("")),
    case("realloc-loops", Refused("configure", "ran longer than the limit of 1000 ms")),
    case("realloc-traps", Refused("configure", "panicked or aborted")),
    case("realloc-near-2-32", Refused("configure", "cannot be")),
    case("realloc-unaligned", FailsOnTable("not aligned")),
    case("realloc-null", Takes(Says::Keep)),
    case("realloc-grows", Takes(Says::Keep)),
    case("realloc-logs", Refused("configure", "cannot")),
    case("post-return-loops", CallsFail("ran longer than the limit of 300 ms")),
    case("post-return-traps", CallsFail("panicked or aborted")),
    case("log-near-2-32", CallsFail("answer cannot be read")),
    case("log-not-utf8", CallsFail("answer cannot be read")),
    case("log-unknown-level", CallsFail("answer cannot be read")),
    case("memory-of-4-gib", Refused("instantiate", "memory than the limit")),
    case("table-of-100-million", Refused("instantiate", "more table elements than the limit")),
    case("memories", Refused("instantiate", "memory count too high")),
    case("memory-shared", Refused("compile", "shared")),
    case("memory-64", Refused("compile", "memory64")),
    case("data-out-of-bounds", Refused("instantiate", "it left its memory")),
    case("imports-wasi", Refused("imports", "there is no WASI in the sandbox")),
    case("imports-env", Refused("imports", "which is not part of the contract")),
    case("imports-newer", Refused("imports", "it was built for a newer one")),
    case("component-of-two", Refused("exports", "does not export")),
    case("component-imports-wasi", Refused("exports", "does not export")),
    case("exports-0.9", Refused("exports", "built for contract 0.9")),
    case("exports-1.7", Refused("exports", "built for contract 1.7")),
    case("exports-2.0", Refused("exports", "built for contract 2.0")),
    case("exports-no-version", Refused("exports", "does not export `rowmill:plugin/guest@1.0.0`")),
    case("exports-no-transform", Refused("format", "transform")),
    case("exports-nothing", Refused("exports", "it exports")),
    case("exports-no-memory", Refused("format", "memory")),
    case("exports-no-realloc", Refused("format", "realloc")),
    case("wrong-signature", Refused("format", "transform")),
    case("empty-module", Refused("exports", "it exports nothing")),
    case("empty-component", Refused("exports", "it exports nothing")),
    case("component-exports-other", Refused("exports", "does not have export `configure`")),
];

/// Files of the right name and the wrong content.
pub const NOT_WASM: &[Case] = &[
    case("empty", Refused("format", "the file is empty")),
    case("text", Refused("format", "not a WebAssembly file")),
    case("page", Refused("format", "not a WebAssembly file")),
    case("header", Refused("exports", "it exports nothing")),
    case("truncated", Refused("format", "broken WebAssembly")),
    case("version-99", Refused("format", "of an unsupported version")),
];
