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
    let (source, key) = (text(&part["source"]), text(&part["key"]));
    let (version, is_removal) = (part["version"].as_u64(), !part["item"].is_object());
    let meta = &document["_rowmill"];
    let mut known = match &meta["items"][array] {
        Value::Array(known) => known.clone(),
        _ => Vec::new(),
    };
    let order = |item: &Value| order(text(&item["k"]), key).then_with(|| order(text(&item["s"]), source));
    let place = known.binary_search_by(order);
    let gone = meta["gone"][array][source][key].as_u64();
    if let Some(old) = place.map_or(gone, |at| known[at]["v"].as_u64())
        && (Some(old) > version || Some(old) == version && (place.is_ok() || is_removal))
    {
        return Ok(false);
    }
    let mut items = match document.get(array) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(_) => return Err(not_ours()),
    };
    let (Ok(at) | Err(at)) = place;
    if at > items.len() || place.is_ok() && at == items.len() {
        return Err(not_ours());
    }
    if place.is_ok() {
        known.remove(at);
        items.remove(at);
    }
    if is_removal {
        document["_rowmill"]["gone"][array][source][key] = part["version"].clone();
    } else {
        known.insert(at, json!({ "s": source, "k": key, "v": part["version"] }));
        items.insert(at, part["item"].clone());
        remove(&mut document["_rowmill"], &["gone", array, source, key]);
    }
    put(document, array, items);
    if let Some(meta) = document["_rowmill"].as_object_mut() {
        let mut all = meta.remove("items").and_then(|all| all.as_object().cloned()).unwrap_or_default();
        put(&mut all, array, known);
        if !all.is_empty() {
            meta.insert("items".into(), all.into());
        }
    }
    Ok(true)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The order of keys. Painless compares UTF-16 units; so does this.
fn order(a: &str, b: &str) -> Ordering {
    let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let (a, b) = (units(a), units(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
}

/// Sets a field to this array, or removes it if the array is empty.
fn put(fields: &mut Map<String, Value>, name: &str, array: Vec<Value>) {
    if array.is_empty() {
        fields.remove(name);
    } else {
        fields.insert(name.into(), array.into());
    }
}

/// Removes the value at the end of a path, and the objects on the way that are then empty.
fn remove(from: &mut Value, path: &[&str]) {
    let (Some(fields), Some((name, rest))) = (from.as_object_mut(), path.split_first()) else { return };
    if let Some(child) = fields.get_mut(*name).filter(|_| !rest.is_empty()) {
        remove(child, rest);
        if child.as_object().is_some_and(|child| !child.is_empty()) {
            return;
        }
    }
    fields.remove(*name);
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
