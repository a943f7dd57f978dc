//! The cursor against `serde_json`: both accept the same texts and find the same members.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn ours(bytes: &[u8]) -> bool {
    Text::check(bytes).is_some() && Cursor::is_json(bytes)
}

fn theirs(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

#[track_caller]
fn check(text: &[u8]) {
    assert_eq!(ours(text), theirs(text), "{:?}", String::from_utf8_lossy(text));
    if theirs(text) {
        let members: Option<Vec<(String, Box<RawValue>)>> = members_of(text);
        let mut cursor = Cursor::new(text, 0, Text::check(text).unwrap());
        cursor.skip_whitespace();
        if let Some(members) = members {
            cursor.enter_object().unwrap();
            let mut first = true;
            for (name, value) in &members {
                let (start, end) = cursor.next_member(&mut first).unwrap().unwrap();
                let mut unescaped = Vec::new();
                unescape_into(&text[start..end], &mut unescaped);
                assert_eq!(unescaped, name.as_bytes());
                let (start, end) = cursor.skip_value().unwrap();
                assert_eq!(&text[start..end], value.get().as_bytes());
                let mut tight = text[start..end].to_vec();
                compact_tail(&mut tight, 0);
                assert!(!has_controls(&tight));
                let same = |b: &[u8]| serde_json::from_slice::<serde_json::Value>(b).unwrap();
                assert_eq!(same(&tight), same(value.get().as_bytes()));
            }
            assert_eq!(cursor.next_member(&mut first).unwrap(), None);
            cursor.expect_end().unwrap();
        }
    }
}

/// The members of an object in order, with repeated ones; `None` if the text is not an object.
fn members_of(text: &[u8]) -> Option<Vec<(String, Box<RawValue>)>> {
    struct Members(Vec<(String, Box<RawValue>)>);
    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Members, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            d.deserialize_map(Visitor)
        }
    }
    serde_json::from_slice::<Members>(text).ok().map(|m| m.0)
}

#[test]
fn accepts_the_same_texts_as_serde_json() {
    let texts: &[&[u8]] = &[
        b"",
        b" ",
        b"{}",
        b"[]",
        b"{ }",
        b"[ ]",
        b"[[]]",
        b"[{}]",
        b"{\"a\":[]}",
        b"{\"a\":{}}",
        b"[[],[]]",
        b"[{},{}]",
        b"[,]",
        b"{,}",
        b"[1,]",
        b"{\"a\":1,}",
        b"[1 2]",
        b"{\"a\" 1}",
        b"{\"a\":}",
        b"{a:1}",
        b"{'a':1}",
        b"[1}",
        b"{\"a\":1]",
        b"nul",
        b"null",
        b"nullx",
        b"true",
        b"false",
        b"True",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"0",
        b"-0",
        b"-",
        b"00",
        b"01",
        b"1.",
        b".1",
        b"1.0",
        b"1e",
        b"1e+",
        b"1e5",
        b"1E-5",
        b"1e999",
        b"1.5e400",
        b"+1",
        b"0x1",
        b"1_0",
        b"\"",
        b"\"a",
        b"\"\\",
        b"\"\\\"",
        b"\"\\x\"",
        b"\"\\u\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\\u1234\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\ud83d\"",
        b"\"\\ude00\"",
        b"\"\\ud83dx\"",
        b"\"\\ud83d\\n\"",
        b"\"\\ud83d\\ud83d\"",
        b"\"\\uD83D\\uDE80\"",
        b"\"a\nb\"",
        b"\"a\tb\"",
        b"\"a\x00b\"",
        b"\"\x7f\"",
        b"{\n\"a\"\n:\n1\n}\n",
        b"\t[\r\n]",
        b"\x0b1",
        b"1\x00",
        b"{}{}",
        b"{} x",
        b"\xff",
        b"\"\xc3\x28\"",
        b"\xef\xbb\xbf{}",
        b"{\"a\":1,\"a\":2}",
        b"[\"\\\\\",\"\"]",
        b"{\"a\":[{\"b\":[1,{\"c\":null}]}],\"d\":\"e\"}",
        b"{\"a\":\"\\\"\",\"b\":\"\\\\\"}",
    ];
    for text in texts {
        check(text);
    }
}

#[test]
fn nesting_limit_is_the_same() {
    for depth in [1, 126, 127, 128, 129, 100_000] {
        check(&[vec![b'['; depth], vec![b']'; depth]].concat());
        check(&[b"{\"a\":".repeat(depth), b"1".to_vec(), vec![b'}'; depth]].concat());
        check(&vec![b'['; depth]);
    }
}

fn messages() -> Vec<Vec<u8>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/");
    let mut messages = Vec::new();
    for file in ["debezium/plain", "debezium/full", "debezium/flat", "canal/flat", "maxwell/records"] {
        let text = std::fs::read_to_string(format!("{dir}{file}.ndjson")).unwrap();
        for line in text.lines().step_by(9) {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            messages.push(line.as_bytes().to_vec());
            if let Some(value) = record["value"].as_str() {
                messages.push(value.as_bytes().to_vec());
            }
        }
    }
    messages
}

#[test]
fn real_messages() {
    messages().iter().for_each(|message| check(message));
}

/// JSON-like bytes: tokens in any order.
fn tokens() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"",
        "\\",
        "1",
        "-",
        ".",
        "e",
        "0",
        "null",
        "true",
        " ",
        "\n",
        "\\u",
        "d83d",
        "\"\\n\"",
        "\u{1}",
        "é",
        "\"b\":",
        "\"\":",
        "1.5e3",
        "\"\\ud83d\\ude00\"",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|t| t.concat().into_bytes())
}

/// Any JSON value, with random whitespace.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|v| format!("[ {}\n]", v.join(" ,"))),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|v| {
                let members = v.iter().map(|(n, v)| format!("{}: {v}", serde_json::to_string(n).unwrap()));
                format!("{{\r\n{} }}", members.collect::<Vec<_>>().join(",\t"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&bytes);
    }

    #[test]
    fn any_tokens(bytes in tokens()) {
        check(&bytes);
    }

    #[test]
    fn any_value(text in value()) {
        check(text.as_bytes());
    }

    #[test]
    fn any_mutated_value(text in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check(&bytes);
        bytes.truncate(at);
        check(&bytes);
    }

    #[test]
    fn strings_round_trip(text in any::<String>()) {
        let mut json = Vec::new();
        push_string(text.as_bytes(), &mut json);
        let read: String = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&read, &text);
        let mut unescaped = Vec::new();
        unescape_into(&json[1..json.len() - 1], &mut unescaped);
        prop_assert_eq!(unescaped, text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn mutated_real_messages(which in any::<prop::sample::Index>(), edits in prop::collection::vec(
        (any::<prop::sample::Index>(), prop::sample::select(b"{}[],:\"\\ue0-. \n\x01\x80nt".to_vec()), 0..3u8), 1..4)) {
        static MESSAGES: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(messages);
        let mut message = which.get(&MESSAGES).clone();
        for (at, byte, how) in edits {
            let at = at.index(message.len());
            match how {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => { message.remove(at); }
            }
        }
        check(&message);
    }
}
