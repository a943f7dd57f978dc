//! Malformed input: no record makes the decoder panic, and every record has exactly one outcome.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use rowmill_rows::capture::CapturedRecord;
use rowmill_rows::{DecodeError, Decoder, DecoderSettings, Format, RowBatch};
use support::*;

const FORMATS: [Format; 4] = [Format::Auto, Format::Canal, Format::Debezium, Format::Maxwell];

/// A sample of the records of each capture.
fn samples() -> Vec<CapturedRecord> {
    let mut samples = Vec::new();
    for capture in CAPTURES {
        let records = captured(capture).into_iter().filter(|r| r.value.is_some());
        samples.extend(records.enumerate().filter(|(n, _)| n % 23 == 5).map(|(_, r)| r));
    }
    samples
}

fn one(decoder: &mut Decoder, record: &CapturedRecord, value: &[u8]) -> Decoded {
    let mut records = batch(Format::Auto, &record.topic, record.partition);
    records.push(0, -1, record.key.as_deref(), Some(value), []);
    let mut decoded = Decoded::default();
    decode_batch(decoder, &records, &mut decoded);
    decoded
}

#[test]
fn a_message_cut_at_any_byte_is_undecodable() {
    for record in samples() {
        let value = record.value.clone().unwrap();
        let mut decoder = decoder(declared());
        one(&mut decoder, &record, &value);
        // In long messages: every position near both ends, and some in between.
        let near = |at: &usize| *at < 300 || at + 300 > value.len() || at.is_multiple_of(37);
        for at in (0..value.len()).filter(near) {
            let decoded = one(&mut decoder, &record, &value[..at]);
            assert_eq!((decoded.rows.len(), decoded.errors.len()), (0, 1), "{} cut at {at}", record.topic);
        }
        assert_eq!(one(&mut decoder, &record, &value).errors, [""; 0]);
    }
}

#[test]
fn a_long_message() {
    let long = "x".repeat(50 << 20);
    let value = format!(
        r#"{{"database":"shop","table":"t","type":"insert","ts":5,"data":{{"id":1,"a":"{long}","b":[{}1]}}}}"#,
        "1,".repeat(100_000)
    );
    let mut records = batch(Format::Auto, "maxwell", 0);
    records.push(0, -1, None, Some(value.as_bytes()), []);
    let mut out = RowBatch::default();
    let mut decoder = decoder(declared());
    decoder.decode(&records, &mut out);
    assert_eq!(out.rows.len(), 1);
    let a = out.cells[out.rows[0].after.unwrap() as usize + 1];
    assert_eq!(a.bytes(&records.bytes, &out.scratch).len(), long.len() + 2);
    let settings = DecoderSettings { max_message_bytes: 1 << 20, ..DecoderSettings::default() };
    Decoder::new(settings).decode(&records, &mut out);
    assert_eq!(out.undecodable[0].error, DecodeError::TooLong { bytes: value.len(), limit: 1 << 20 });
}

#[test]
fn deep_nesting() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for (depth, fits) in [(100, true), (200, false), (1_000_000, false)] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for value in [
                deep.clone(),
                format!(r#"{{"database":"d","table":"t","type":"insert","data":{{"a":{deep}}}}}"#),
                format!(
                    r#"{{"data":[{{"a":{deep}}}],"isDdl":false,"type":"INSERT","table":"t","mysqlType":{{"a":"json"}}}}"#
                ),
                format!(r#"{{"before":null,"after":{{"a":{deep}}},"source":{{"db":"d","table":"t"}},"op":"c"}}"#),
                format!(r#"{{"a":{deep},"__op":"c"}}"#),
            ] {
                let whole = value == deep;
                let mut records = batch(Format::Auto, "p.d.t", 0);
                records.push(0, -1, None, Some(value.as_bytes()), []);
                let mut out = RowBatch::default();
                decoder(declared()).decode(&records, &mut out);
                assert_eq!(out.rows.len(), usize::from(fits && !whole), "{depth}");
                if !fits {
                    let text = out.undecodable[0].error.to_string();
                    assert!(text.ends_with("expected less nesting (at most 127 levels)"), "{text}");
                }
            }
        }
    }
}

#[test]
fn no_error_contains_a_value() {
    let secret = "s3cr3t";
    for (key, column_type) in
        [("int", "int"), ("date", "date"), ("bits", "bit(3)"), ("money", "decimal(9,2)"), ("time", "time")]
    {
        let mut declared = rowmill_rows::DeclaredTypes::default();
        declared.declare("t", key, column_type).unwrap();
        let value = format!(r#"{{"database":"d","table":"t","type":"insert","data":{{"{key}":"{secret}"}}}}"#);
        let mut records = batch(Format::Auto, "maxwell", 0);
        records.push(0, -1, None, Some(value.as_bytes()), []);
        let mut out = RowBatch::default();
        decoder(declared).decode(&records, &mut out);
        let error = &out.undecodable[0].error;
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        assert!(error.to_string().starts_with(&format!("table d.t: column {key} does not hold ")), "{error}");
    }
}

#[test]
fn invalid_utf8_is_reported() {
    let mut records = batch(Format::Auto, "t", 0);
    records.push(0, -1, Some(b"\xff"), Some(b"\x00\x01\xff"), []);
    records.push(1, -1, Some(b"\xff"), Some(b""), []);
    let mut decoded = Decoded::default();
    decode_batch(&mut decoder(declared()), &records, &mut decoded);
    assert!(decoded.errors[0].starts_with("not UTF-8 text: "), "{}", decoded.errors[0]);
    assert_eq!(decoded.errors[1], "not JSON at byte 0: expected a value");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// One decoder reads messages in which bytes were changed, inserted or removed, and pieces of other messages inserted.
    #[test]
    fn mutated_messages(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..5u8), 1..6),
        other in any::<prop::sample::Index>(),
        format in prop::sample::select(FORMATS.to_vec()),
    ) {
        static SAMPLES: std::sync::LazyLock<Vec<CapturedRecord>> = std::sync::LazyLock::new(samples);
        let record = which.get(&SAMPLES);
        let whole = record.value.clone().unwrap();
        let mut value = whole.clone();
        for (at, byte, how) in edits {
            let at = at.index(value.len());
            match how {
                0 => value[at] = byte,
                1 => value.insert(at, b"{}[],:\"\\ 0nul"[byte as usize % 13]),
                2 => { value.remove(at); }
                3 => value[at] = b"{}[],:\"\\ 0nul-1.e"[byte as usize % 17],
                _ => {
                    let piece = other.get(&SAMPLES).value.clone().unwrap();
                    let from = other.index(piece.len());
                    let to = piece.len().min(from + byte as usize);
                    value.splice(at..at, piece[from..to].iter().copied());
                }
            }
            if value.is_empty() {
                break;
            }
        }
        let mut decoder = decoder(declared());
        for value in [&value, &whole, &value] {
            let mut records = batch(format, &record.topic, 0);
            records.push(0, -1, record.key.as_deref(), Some(value), []);
            // With a malformed key, too.
            records.push(1, -1, Some(value), Some(value), []);
            let mut decoded = Decoded::default();
            decode_batch(&mut decoder, &records, &mut decoded);
        }
    }
}
