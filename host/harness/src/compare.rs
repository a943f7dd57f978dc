//! Compares two runs by row and field, and shows the differing lines with context.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::input::{Input, object_of};
use crate::outcome::Outcome;

/// The maximum number of rows that are shown; of the others, only the number is shown.
const MAX_SHOWN: usize = 10;

/// The maximum time for comparing the lines of one row, which usually takes microseconds.
const MAX_COMPARISON: Duration = Duration::from_millis(500);

/// The names of the two sides: `-` marks lines of the first, `+` lines of the second.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// The name of the first side.
    pub before: &'static str,
    /// The name of the second side.
    pub after: &'static str,
}

/// Compares two runs with the same input and describes the differences for users; `None` if they are equal.
pub fn compare(sides: Sides, before: &[Outcome], after: &[Outcome], input: &Input) -> Option<String> {
    let mut rows: BTreeMap<usize, (Vec<&Outcome>, Vec<&Outcome>)> = BTreeMap::new();
    for outcome in before {
        rows.entry(outcome.row).or_default().0.push(outcome);
    }
    for outcome in after {
        rows.entry(outcome.row).or_default().1.push(outcome);
    }
    rows.retain(|_, (before, after)| before != after);
    if rows.is_empty() {
        return None;
    }
    let mut text = String::new();
    let n_rows = rows.len();
    for (row, (before, after)) in rows.iter().take(MAX_SHOWN) {
        let mut fields = Vec::new();
        for place in 0..before.len().max(after.len()) {
            let of = |side: &[&Outcome]| side.get(place).map(|outcome| outcome.value()).unwrap_or_default();
            differing("", &of(before), &of(after), &mut fields);
        }
        let _ = writeln!(text, "{}: {}", place_of(*row, input), fields.join(", "));
        lines(&mut text, before, after);
    }
    if n_rows > MAX_SHOWN {
        let _ = writeln!(text, "… and {} more rows", n_rows - MAX_SHOWN);
    }
    let _ = writeln!(text, "(- {}, + {})", sides.before, sides.after);
    Some(text)
}

/// Describes the row so that users can find it.
fn place_of(row: usize, input: &Input) -> String {
    let Some((origin, change)) = row.checked_sub(1).and_then(|place| input.rows.get(place)) else {
        return if row == 0 { "settings".to_string() } else { format!("row {row}, which the input does not have") };
    };
    let Ok(change) = change else { return format!("row {row} ({origin})") };
    let table = &input.tables[change.table];
    let image = change.after.as_ref().or(change.before.as_ref());
    let object = image.map(|image| object_of(table, image)).unwrap_or_default();
    let key: Vec<String> = table
        .key
        .iter()
        .map(|column| &table.columns[*column as usize].name)
        .map(|name| format!("{name} {}", object.get(name).unwrap_or(&Value::Null)))
        .collect();
    let key = if key.is_empty() { String::new() } else { format!(" {}", key.join(", ")) };
    let origin = if origin.is_empty() { String::new() } else { format!("{origin}, ") };
    format!("row {row} ({origin}{:?} of {}{key})", change.operation, table.full_name())
}

/// Paths of the fields that differ: `body.total.cents`.
fn differing(path: &str, before: &Value, after: &Value, fields: &mut Vec<String>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(left), Value::Object(right)) => {
            let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let of = |side: &serde_json::Map<String, Value>| side.get(name).cloned();
                match (of(left), of(right)) {
                    (Some(before), Some(after)) => differing(&path, &before, &after, fields),
                    _ if !fields.contains(&path) => fields.push(path),
                    _ => {}
                }
            }
        }
        (Value::Null, Value::Object(_)) if path.is_empty() => fields.push("one more outcome".into()),
        (Value::Object(_), Value::Null) if path.is_empty() => fields.push("one outcome fewer".into()),
        _ if !fields.iter().any(|known| known == path) => fields.push(path.to_string()),
        _ => {}
    }
}

/// Writes the differing lines of the outcomes, with two lines of context.
fn lines(text: &mut String, before: &[&Outcome], after: &[&Outcome]) {
    let pretty = |side: &[&Outcome]| -> String { side.iter().map(|outcome| outcome.pretty() + "\n").collect() };
    let (before, after) = (pretty(before), pretty(after));
    // With a deadline, since documents may be slow to compare; after it, the differences are coarser.
    let diff = TextDiff::configure().timeout(MAX_COMPARISON).diff_lines(&before, &after);
    for (place, group) in diff.grouped_ops(2).iter().enumerate() {
        if place > 0 {
            text.push_str("      …\n");
        }
        for operation in group {
            for change in diff.iter_changes(operation) {
                let mark = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                let _ = writeln!(text, "    {mark} {}", change.value().trim_end_matches('\n'));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Rows;
    use serde_json::json;

    const SIDES: Sides = Sides { before: "expected", after: "the plugin" };

    fn input() -> Input {
        Rows::of("shop.orders", [("id", "int"), ("total", "decimal(10,2)")])
            .insert(json!({"id": 7, "total": "9.90"}))
            .delete(json!({"id": 8}))
            .input()
    }

    fn outcomes(lines: &[Value]) -> Vec<Outcome> {
        lines.iter().map(|line| serde_json::from_str(&line.to_string()).unwrap()).collect()
    }

    #[test]
    fn a_difference_names_row_and_field() {
        let of = |cents: i64| {
            outcomes(&[
                json!({"row": 1, "operation": "index", "index": "orders", "id": "7", "body": {"id": 7, "total": {"cents": cents, "currency": "CNY"}}}),
                json!({"row": 2, "operation": "drop"}),
            ])
        };
        assert_eq!(compare(SIDES, &of(990), &of(990), &input()), None);
        let text = compare(SIDES, &of(990), &of(991), &input()).unwrap();
        let expect = "row 1 (Insert of shop.orders id 7): body.total.cents
        \"id\": 7,
        \"total\": {
    -     \"cents\": 990,
    +     \"cents\": 991,
          \"currency\": \"CNY\"
        }
(- expected, + the plugin)
";
        assert_eq!(text, expect, "{text}");
    }

    #[test]
    fn rows_that_only_one_side_has() {
        let drop = outcomes(&[json!({"row": 2, "operation": "drop"})]);
        let text = compare(SIDES, &[], &drop, &input()).unwrap();
        assert!(text.starts_with("row 2 (Delete of shop.orders id 8): one more outcome\n    + drop\n"), "{text}");
        let refused = outcomes(&[json!({"row": 0, "operation": "refused", "reason": "no"})]);
        let text = compare(SIDES, &refused, &[], &input()).unwrap();
        assert!(text.starts_with("settings: one outcome fewer\n    - refused: no\n"), "{text}");
    }
}
