//! A plugin's answer, through the writing of its documents: never a panic, and every body is one JSON value on one line.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rowmill_sandbox::{ColumnNames, Expect, NameRules, Output, Pattern, RawOutput, Verdict};

#[derive(Arbitrary, Debug)]
struct Answer {
    verdicts: Vec<u32>,
    names: Vec<u32>,
    bytes: Vec<u8>,
    count: u8,
    columns: u8,
    change_mode: bool,
}

fuzz_target!(|answer: Answer| {
    let Answer { verdicts, names, bytes, count, columns, change_mode } = answer;
    let columns = u32::from(columns % 16);
    let indices = [Pattern::new("orders-*")];
    let expect = Expect {
        count: u32::from(count % 8),
        columns,
        indices: &indices,
        change_mode,
        documents_per_image: 16,
        rules: &NameRules::default(),
    };
    let Ok(output) = Output::check(RawOutput { verdicts, names, bytes }, expect) else { return };
    let column_names: Vec<String> = (0..columns).map(|column| format!("c{column}")).collect();
    let column_names = ColumnNames::new(column_names.iter().map(String::as_str));
    for image in 0..u32::from(count % 8) {
        match output.verdict(image) {
            Verdict::Documents(documents) => {
                for document in documents {
                    let mut body = Vec::new();
                    document.write_body(&mut body, &column_names, |_: u32| &b"1"[..]);
                    assert!(!body.contains(&b'\n'), "a body is one line");
                    serde_json::from_slice::<serde_json::Value>(&body).expect("a body is JSON");
                }
            }
            Verdict::Edit(edits) => edits.for_each(|(column, _)| assert!(column < columns)),
            _ => {}
        }
    }
});
