//! Documents that rows of several tables build together: the script that merges a part, guarded by a version per part.
//!
//! A part is the fields that one source table contributes, or one item of an array. Beside its fields a merged document
//! records what each part wrote last:
//!
//! ```json
//! "_rowmill": {
//!   "parts": { "shop.orders": { "v": 4611686018427387904, "f": ["state", "total"] } },
//!   "items": { "lines": [ { "s": "shop.lines", "k": "17", "v": 4611686018427387905 } ] },
//!   "gone": { "lines": { "shop.lines": { "18": 4611686018427387906 } } }
//! }
//! ```
//!
//! A part that is not newer changes nothing; a newer one replaces all fields that the part had. At equal versions a part
//! that is written beats one that is removed. The items of an array are in the order of their keys. So any order of arrival ends
//! in the same document.
//!
//! A removed part leaves its version behind, without fields, and a removed item its version under `gone`: an older write that
//! arrives late must not bring it back. How late it can be, nobody knows (a dead letter may be replayed after months), so these
//! versions are never dropped. Two things keep them cheap: only the array's present items have a place in `items`, where they
//! are found by halves; and removed ones are found by their key. A linear search would reach the number of steps that
//! Painless allows in a script (1,000,000) with a batch of 100 items and 10,000 removed ones.

/// The ID of the stored script. Its number changes with the script, so that two versions of Rowmill can share a cluster.
pub const SCRIPT_ID: &str = "rowmill-merge-4";

/// The script in Painless.
pub const SCRIPT: &str = r"
int order(def a, def b) {
  if (a.length() != b.length()) { return a.length() - b.length(); }
  return a.compareTo(b);
}
int place(List items, def part) {
  int low = 0;
  int high = items.size();
  while (low < high) {
    int middle = (low + high) / 2;
    int compared = order(items.get(middle).k, part.key);
    if (compared == 0) { compared = order(items.get(middle).s, part.source); }
    if (compared == 0) { return middle; }
    if (compared < 0) { low = middle + 1; } else { high = middle; }
  }
  return -1 - low;
}
Map child(Map parent, String name) {
  if (parent[name] == null) { parent[name] = [:]; }
  return parent[name];
}
void forget(Map meta, def part) {
  Map array = meta.gone[part.array];
  array[part.source].remove(part.key);
  if (array[part.source].isEmpty()) { array.remove(part.source); }
  if (array.isEmpty()) { meta.gone.remove(part.array); }
  if (meta.gone.isEmpty()) { meta.remove('gone'); }
}
boolean merge_item(Map document, Map meta, def part) {
  List known = meta.items == null || meta.items[part.array] == null ? new ArrayList() : meta.items[part.array];
  int at = place(known, part);
  boolean found = at >= 0;
  def gone = meta.gone == null || meta.gone[part.array] == null ? null : meta.gone[part.array][part.source];
  def old = found ? known.get(at).v : gone == null ? null : gone[part.key];
  if (old != null) {
    long v = ((Number) old).longValue();
    long n = ((Number) part.version).longValue();
    if (v > n || v == n && (found || part.item == null)) { return false; }
  }
  List items = document[part.array] == null ? new ArrayList() : document[part.array];
  if (found) { known.remove(at); items.remove(at); } else { at = -1 - at; }
  if (part.item != null) {
    known.add(at, ['s': part.source, 'k': part.key, 'v': part.version]);
    items.add(at, part.item);
    if (!found && old != null) { forget(meta, part); }
  } else {
    child(child(child(meta, 'gone'), part.array), part.source)[part.key] = part.version;
  }
  if (items.isEmpty()) { document.remove(part.array); } else { document[part.array] = items; }
  if (!known.isEmpty()) {
    child(meta, 'items')[part.array] = known;
  } else if (meta.items != null) {
    meta.items.remove(part.array);
    if (meta.items.isEmpty()) { meta.remove('items'); }
  }
  return true;
}
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
  if (part.array != null) {
    if (merge_item(ctx._source, meta, part)) { changed = true; }
    continue;
  }
  def old = meta.parts[part.source];
  if (old != null) {
    long v = ((Number) old.v).longValue();
    long n = ((Number) part.version).longValue();
    if (v > n || v == n && (!old.f.isEmpty() || part.fields.isEmpty())) { continue; }
  }
  if (old != null) { for (name in old.f) { ctx._source.remove(name); } }
  def names = new ArrayList();
  for (field in part.fields.entrySet()) { ctx._source[field.getKey()] = field.getValue(); names.add(field.getKey()); }
  meta.parts[part.source] = ['v': part.version, 'f': names];
  changed = true;
}
if (!changed) { ctx.op = 'none'; }
";
