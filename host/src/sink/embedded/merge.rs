//! The merge script of [`super::super::elasticsearch::merge`] in Rust, for the embedded store, which does not run Painless.

use std::cmp::Ordering;

use rowmill_store::{ScriptContext, ScriptOp};
use serde_json::{Map, Value, json};

/// Merges the parts of `context.params` into its document.
pub fn merge(context: &mut ScriptContext<'_>) {
    let known = context.source.get("_rowmill").is_some_and(|meta| meta.get("parts").is_some_and(Value::is_object));
    if !known {
        if !context.is_new && !context.source.is_empty() {
            context.failure = Some("the document is whole, it was not made by merges".into());
            return;
        }
        context.source.insert("_rowmill".into(), json!({ "parts": {} }));
    }
    let mut changed = false;
    for part in context.params["parts"].as_array().into_iter().flatten() {
        changed |= match part["array"].as_str() {
            None => merge_fields(context.source, part),
            Some(array) => match merge_item(context.source, array, part) {
                Ok(changed) => changed,
                // In Elasticsearch the script throws an exception, which leaves the document unchanged.
                Err(failure) => {
                    context.failure = Some(failure);
                    return;
                }
            },
        };
    }
    if !changed {
        context.op = ScriptOp::None;
    }
}

/// Merges the fields of one table. Returns false if they are not newer.
fn merge_fields(document: &mut Map<String, Value>, part: &Value) -> bool {
    let Some(source) = part["source"].as_str() else { return false };
    let old = document["_rowmill"]["parts"].get(source).cloned();
    if let Some(old) = &old {
        let is_empty = |fields: &Value, count: Option<usize>| fields.is_null() || count == Some(0);
        let was_removed = is_empty(&old["f"], old["f"].as_array().map(Vec::len));
        let is_removal = is_empty(&part["fields"], part["fields"].as_object().map(Map::len));
        match old["v"].as_u64().cmp(&part["version"].as_u64()) {
            Ordering::Greater => return false,
            Ordering::Equal if !was_removed || is_removal => return false,
            _ => {}
        }
        for name in old["f"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            document.remove(name);
        }
    }
    let fields: Map<String, Value> = part["fields"].as_object().cloned().unwrap_or_default();
    let names: Vec<String> = fields.keys().cloned().collect();
    document.extend(fields);
    document["_rowmill"]["parts"][source] = json!({ "v": part["version"], "f": names });
    true
}

/// Merges one item of an array. Returns false if it is not newer, and an error if the field holds something other than the
/// items because another part writes it.
fn merge_item(document: &mut Map<String, Value>, array: &str, part: &Value) -> Result<bool, String> {
    let not_ours = || format!("the field {array:?} is not the array that items made; another part writes it");
    // Painless compares UTF-16 units; so does this.
    let order = |a: &Value, b: &Value| {
        let units = |text: &Value| text.as_str().unwrap_or_default().encode_utf16().collect::<Vec<u16>>();
        let (a, b) = (units(a), units(b));
        a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
    };
    let known = &mut document["_rowmill"]["items"][array];
    if known.is_null() {
        *known = json!([]);
    }
    let known = known.as_array_mut().ok_or_else(not_ours)?;
    let compare = |item: &Value| order(&item["k"], &part["key"]).then_with(|| order(&item["s"], &part["source"]));
    let at = known.partition_point(|item| compare(item) == Ordering::Less);
    let place = known[..at].iter().filter(|item| item["p"] == true).count();
    let found = known.get(at).is_some_and(|item| compare(item) == Ordering::Equal);
    if found {
        match known[at]["v"].as_u64().cmp(&part["version"].as_u64()) {
            Ordering::Greater => return Ok(false),
            Ordering::Equal if known[at]["p"] == true || !part["item"].is_object() => return Ok(false),
            _ => {}
        }
    }
    let was_there = found && known[at]["p"] == true;
    if !found {
        known.insert(at, json!({ "s": part["source"], "k": part["key"] }));
    }
    known[at]["v"] = part["version"].clone();
    known[at]["p"] = part["item"].is_object().into();
    if document.get(array).is_some_and(Value::is_null) {
        document.remove(array);
    }
    let items = document.entry(array).or_insert_with(|| json!([])).as_array_mut().ok_or_else(not_ours)?;
    if was_there {
        if place >= items.len() {
            return Err(not_ours());
        }
        items.remove(place);
    }
    if part["item"].is_object() {
        if place > items.len() {
            return Err(not_ours());
        }
        items.insert(place, part["item"].clone());
    }
    if items.is_empty() {
        document.remove(array);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the script with one part; returns why it failed, if it did.
    fn run(source: &mut Map<String, Value>, part: Value, is_new: bool) -> Option<String> {
        let params = json!({ "parts": [part] });
        let mut context = ScriptContext {
            index: "orders",
            id: "1",
            source,
            params: &params,
            is_new,
            op: ScriptOp::Index,
            failure: None,
        };
        merge(&mut context);
        context.failure
    }

    /// The document that these parts make, each `(table, version, fields)`.
    fn merged(parts: &[(&str, u64, Value)]) -> Map<String, Value> {
        let mut source = Map::new();
        for (place, (table, version, fields)) in parts.iter().enumerate() {
            let part = json!({ "source": table, "version": version, "fields": fields });
            assert_eq!(run(&mut source, part, place == 0), None);
        }
        source
    }

    #[test]
    fn any_order_of_arrival_ends_in_the_same_document() {
        let parts = [
            ("orders", 1, json!({ "state": "open", "note": "x" })),
            ("orders", 4, json!({ "state": "paid" })),
            ("customers", 2, json!({ "name": "Ana" })),
            ("customers", 3, json!({})),
        ];
        let expected = merged(&parts);
        assert_eq!(expected.get("state"), Some(&json!("paid")));
        assert_eq!(expected.get("note"), None, "a field that the newer part lacks is removed");
        assert_eq!(expected.get("name"), None, "a removed part stays removed");
        for first in 0..4 {
            for second in 0..4 {
                for third in 0..4 {
                    let order = [first, second, third, 6_usize.wrapping_sub(first + second + third)];
                    if order.iter().copied().collect::<std::collections::HashSet<_>>().len() == 4 && order[3] < 4 {
                        assert_eq!(merged(&order.map(|place| parts[place].clone())), expected, "{order:?}");
                    }
                }
            }
        }
    }

    /// The document that these items make, each `(table, key, version, item)`.
    fn with_items(items: &[(&str, &str, u64, Option<Value>)]) -> Map<String, Value> {
        let mut source = Map::new();
        for (place, (table, key, version, item)) in items.iter().enumerate() {
            let part = json!({ "source": table, "version": version, "array": "lines", "key": key, "item": item });
            assert_eq!(run(&mut source, part, place == 0), None);
        }
        source
    }

    #[test]
    fn items_arrive_in_any_order() {
        let item = |n: u64| Some(json!({ "n": n }));
        let items = [
            ("a", "9", 1, item(1)),
            ("a", "10", 2, item(2)),
            ("b", "9", 3, item(3)),
            ("a", "9", 4, None),
            ("a", "10", 5, item(5)),
        ];
        let expected = with_items(&items);
        assert_eq!(expected["lines"], json!([{ "n": 3 }, { "n": 5 }]), "in the order of keys, without removed items");
        // Every order of five.
        for code in 0..120 {
            let (mut left, mut code) = (items.to_vec(), code);
            let order: Vec<_> = (1..=5)
                .rev()
                .map(|n| {
                    let at = code % n;
                    code /= n;
                    left.remove(at)
                })
                .collect();
            assert_eq!(with_items(&order), expected, "{order:?}");
        }
        let emptied = with_items(&[items[0].clone(), items[3].clone()]);
        assert_eq!(emptied.get("lines"), None);
    }

    #[test]
    fn a_field_that_another_part_writes_is_not_an_array_of_items() {
        let item = |array: &str| json!({ "source": "lines", "version": 9, "array": array, "key": "9", "item": {} });
        for value in [json!("text"), json!({})] {
            let mut source = merged(&[("orders", 1, json!({ "lines": value }))]);
            assert!(run(&mut source, item("lines"), false).is_some_and(|failure| failure.contains("\"lines\"")));
        }
        assert!(run(&mut merged(&[]), item("_rowmill"), true).is_some());
        let mut null = merged(&[("orders", 1, json!({ "lines": null }))]);
        assert_eq!(run(&mut null, item("lines"), false), None, "null counts as no field");
        // A part that writes a field of the array's name leaves fewer elements than there are items.
        let mut source = with_items(&[("a", "1", 1, Some(json!({}))), ("a", "2", 2, Some(json!({})))]);
        let part = json!({ "source": "orders", "version": 3, "fields": { "lines": [] } });
        assert_eq!(run(&mut source, part, false), None);
        let again = json!({ "source": "a", "version": 4, "array": "lines", "key": "2", "item": {} });
        assert!(run(&mut source, again, false).is_some());
    }

    #[test]
    fn a_whole_document_is_not_merged_into() {
        let mut source: Map<String, Value> = Map::new();
        source.insert("id".into(), json!(1));
        let part = json!({ "source": "orders", "version": 1, "fields": {} });
        assert!(run(&mut source, part, false).is_some());
    }
}
