//! `rowmill dead-letters list`.

use std::collections::VecDeque;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::ListArgs;
use crate::command::run::print_line;
use crate::command::text;
use crate::dead_letter::stored::StoredLetter;

/// How many letters are listed for people unless they ask for more.
const LIMIT: usize = 100;
/// The columns before the reason.
const COLUMNS: usize = 7;
/// How many characters of an ID are listed; enough to tell millions of letters apart.
const ID_LENGTH: usize = 12;

pub(super) fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let (store, filter) = (args.select.store()?, args.select.filter());
    let replayed = store.replayed().read()?;
    let limit = args.limit.unwrap_or(if args.json { 0 } else { LIMIT });
    // Only what is printed is kept: values may be large.
    let mut lines = VecDeque::new();
    let (mut n_listed, mut n_replayed) = (0_u64, 0_u64);
    store.read(|letter| {
        if !filter.selects(&letter) {
            return Ok(true);
        }
        let is_replayed = replayed.contains(&letter.id);
        n_replayed += u64::from(is_replayed);
        if is_replayed && !args.all {
            return Ok(true);
        }
        n_listed += 1;
        if args.json && limit == 0 {
            print_line(&object(&letter, is_replayed).to_string());
            return Ok(true);
        }
        lines.push_back(match args.json {
            true => Line::Json(object(&letter, is_replayed).to_string()),
            false => Line::Row(row(&letter, is_replayed), letter.field("reason")),
        });
        if limit > 0 && lines.len() > limit {
            lines.pop_front();
        }
        Ok(true)
    })?;
    let n_lines = lines.len() as u64;
    print(lines);
    if !args.json {
        summarize(n_listed, n_lines, n_replayed, args.all);
    }
    Ok(ExitCode::SUCCESS)
}

enum Line {
    Json(String),
    /// The columns, and the reason.
    Row([String; COLUMNS], String),
}

fn print(lines: VecDeque<Line>) {
    let mut rows = vec![["ID", "TIME", "STAGE", "PLUGIN", "TABLE", "INDEX", "RECORD"].map(String::from)];
    let mut reasons = vec!["REASON".to_string()];
    for line in lines {
        match line {
            Line::Json(line) => print_line(&line),
            Line::Row(row, reason) => {
                rows.push(row);
                reasons.push(reason);
            }
        }
    }
    if rows.len() < 2 {
        return;
    }
    let width = text::width();
    for (row, reason) in text::table(&rows, [false; COLUMNS]).iter().zip(reasons) {
        let line = format!("{row}  {}", text::plain(&reason));
        print_line(&text::cut(&line, width));
    }
}

fn summarize(n_listed: u64, n_lines: u64, n_replayed: u64, all: bool) {
    let number = text::number;
    let older = match n_listed - n_lines {
        0 => String::new(),
        n => format!("; {} older ones are not shown (--limit 0 shows all)", number(n)),
    };
    let replayed = match n_replayed {
        0 => String::new(),
        n if all => format!("; {} of them replayed (*)", number(n)),
        n => format!("; {} more have been replayed (--all shows them)", number(n)),
    };
    print_line(&format!("{} dead letters{older}{replayed}", number(n_listed)));
}

fn row(letter: &StoredLetter, is_replayed: bool) -> [String; COLUMNS] {
    let field = |name| text::plain(&letter.field(name));
    let dash = |text: String| if text.is_empty() { "–".into() } else { text };
    let record = &letter.record;
    let mark = if is_replayed { "*" } else { "" };
    [
        format!("{}{mark}", &letter.id.to_string()[..ID_LENGTH]),
        letter.time().map_or("–".into(), |time| format!("{time:.0}")),
        field("stage"),
        dash(field("plugin")),
        dash(field("table")),
        dash(field("index")),
        text::plain(&format!("{}[{}]@{}", record.topic, record.partition, record.offset)),
    ]
}

/// A letter without its record's content, as one JSON object.
pub(super) fn object(letter: &StoredLetter, is_replayed: bool) -> Value {
    let error: Map<String, Value> =
        letter.record.error.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "letter": letter.id.to_string(),
        "place": letter.place,
        "replayed": is_replayed,
        "topic": letter.record.topic,
        "partition": letter.record.partition,
        "offset": letter.record.offset,
        "timestamp": letter.record.timestamp,
        "error": error,
    })
}
