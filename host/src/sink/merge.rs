//! Documents that rows of several tables build together: the script that merges a part, guarded by a version per part.
//!
//! A merged document keeps, beside its fields, what each part (one source table) last wrote:
//! `"_rowmill": {"parts": {"shop.orders": {"v": 4611686018427387904, "f": ["state", "total"]}}}`. A part that is not
//! newer changes nothing; a newer one takes the place of all fields that the part had. So any order of arrival ends in
//! the same document. A part that was taken out stays behind as its version, without fields: an older write of it, still
//! on its way, must not bring it back.

use rowmill_store::{ScriptContext, ScriptOp};
use serde_json::{Map, Value, json};

/// The id of the stored script. The number changes with the script, so that two versions of Rowmill can share a cluster.
pub const SCRIPT_ID: &str = "rowmill-merge-1";

/// The script in Painless.
pub const SCRIPT: &str = r"
def meta = ctx._source._rowmill;
if (meta == null || meta.parts == null) {
  if (ctx.op != 'create' && !ctx._source.isEmpty()) {
    throw new IllegalArgumentException('the document is whole, it was not made by merges');
  }
  meta = ['parts': [:]];
  ctx._source._rowmill = meta;
}
boolean changed = false;
for (part in params.parts) {
  def old = meta.parts[part.source];
  if (old != null && ((Number) old.v).longValue() >= ((Number) part.version).longValue()) { continue; }
  if (old != null) { for (name in old.f) { ctx._source.remove(name); } }
  def names = new ArrayList();
  for (field in part.fields.entrySet()) { ctx._source[field.getKey()] = field.getValue(); names.add(field.getKey()); }
  meta.parts[part.source] = ['v': part.version, 'f': names];
  changed = true;
}
if (!changed) { ctx.op = 'none'; }
";

/// The same for the store in this process, which knows no Painless.
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
    for part in context.params["parts"].as_array().cloned().unwrap_or_default() {
        let Some(source) = part["source"].as_str() else { continue };
        let old = context.source["_rowmill"]["parts"].get(source).cloned();
        if let Some(old) = &old {
            if old["v"].as_u64() >= part["version"].as_u64() {
                continue;
            }
            for name in old["f"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                context.source.remove(name);
            }
        }
        let fields: Map<String, Value> = part["fields"].as_object().cloned().unwrap_or_default();
        let names: Vec<String> = fields.keys().cloned().collect();
        context.source.extend(fields);
        context.source["_rowmill"]["parts"][source] = json!({ "v": part["version"], "f": names });
        changed = true;
    }
    if !changed {
        context.op = ScriptOp::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document after these parts were merged, each `(table, version, fields)`.
    fn merged(parts: &[(&str, u64, Value)]) -> Map<String, Value> {
        let mut source = Map::new();
        for (place, (table, version, fields)) in parts.iter().enumerate() {
            let params = json!({ "parts": [{ "source": table, "version": version, "fields": fields }] });
            let mut context = ScriptContext {
                index: "orders",
                id: "1",
                source: &mut source,
                params: &params,
                is_new: place == 0,
                op: ScriptOp::Index,
                failure: None,
            };
            merge(&mut context);
            assert_eq!(context.failure, None);
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
        assert_eq!(expected.get("note"), None, "a field that the newer part lacks is gone");
        assert_eq!(expected.get("name"), None, "a part that was taken out stays out");
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

    #[test]
    fn a_whole_document_is_not_merged_into() {
        let mut source: Map<String, Value> = Map::new();
        source.insert("id".into(), json!(1));
        let params = json!({ "parts": [{ "source": "orders", "version": 1, "fields": {} }] });
        let mut context = ScriptContext {
            index: "orders",
            id: "1",
            source: &mut source,
            params: &params,
            is_new: false,
            op: ScriptOp::Index,
            failure: None,
        };
        merge(&mut context);
        assert!(context.failure.is_some());
    }
}
