//! `rowmill dead-letters show`.

use std::process::ExitCode;

use serde_json::Value;

use super::ShowArgs;
use super::list::object;
use crate::command::Usage;
use crate::command::run::print_line;
use crate::command::text;
use crate::dead_letter::stored::{LetterFilter, StoredLetter};

/// The details that have a line of their own, in this order.
const DETAILS: [&str; 10] =
    ["stage", "table", "plugin", "generation", "index", "id", "time", "attempt", "versions", "clock"];

pub(super) fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let store = args.select.store()?;
    let filter = LetterFilter { id: Some(args.id.clone()), ..args.select.filter() };
    let mut found: Vec<StoredLetter> = Vec::new();
    store.read(|letter| {
        if filter.selects(&letter) && found.iter().all(|known| known.id != letter.id) {
            found.push(letter);
        }
        Ok(found.len() < 2)
    })?;
    let letter = match found.as_slice() {
        [letter] => letter,
        [] => anyhow::bail!(Usage(format!("no letter in {} has an ID that begins with {}", store.name(), args.id))),
        _ => anyhow::bail!(Usage(format!("several letters have an ID that begins with {}; give more of it", args.id))),
    };
    let is_replayed = store.replayed().read()?.contains(&letter.id);
    if args.json {
        let mut object = object(letter, is_replayed);
        object["headers"] = letter.record.headers.iter().map(|(name, value)| (name.as_str(), json(value))).collect();
        object["key"] = json(&letter.record.key);
        object["value"] = json(&letter.record.value);
        print_line(&object.to_string());
    } else {
        print_letter(letter, is_replayed);
    }
    Ok(ExitCode::SUCCESS)
}

fn json(bytes: &Option<Vec<u8>>) -> Value {
    bytes.as_ref().map_or(Value::Null, |bytes| String::from_utf8_lossy(bytes).into())
}

fn print_letter(letter: &StoredLetter, is_replayed: bool) {
    let record = &letter.record;
    let line = |name: &str, value: &str| print_line(&format!("{name:<11} {}", text::plain(value)));
    line("letter", &format!("{}{}", letter.id, if is_replayed { ", replayed" } else { "" }));
    line("stored at", &letter.place);
    for name in DETAILS {
        let value = letter.field(name);
        if !value.is_empty() {
            line(name, &value);
        }
    }
    line("record", &format!("offset {} of {}[{}]", record.offset, record.topic, record.partition));
    if let Ok(time) = jiff::Timestamp::from_millisecond(record.timestamp)
        && record.timestamp >= 0
    {
        line("written at", &time.to_string());
    }
    print_line(&format!("reason\n{}", text::wrapped(&letter.field("reason"), "  ", text::width()).trim_end()));
    for (name, value) in &record.headers {
        print_line(&format!("header {}\n{}", text::plain(name), content(value)));
    }
    print_line(&format!("key\n{}", content(&record.key)));
    print_line(&format!("value\n{}", content(&record.value)));
}

/// Keys and values for people: JSON with one member per line.
fn content(bytes: &Option<Vec<u8>>) -> String {
    let Some(bytes) = bytes else { return "  (none)".into() };
    let pretty = serde_json::from_slice::<Value>(bytes).and_then(|value| serde_json::to_string_pretty(&value));
    let shown = pretty.unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned());
    let lines: Vec<String> = shown.lines().map(|line| format!("  {}", text::plain(line))).collect();
    lines.join("\n")
}
