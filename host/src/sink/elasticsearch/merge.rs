//! Documents that rows of several tables build together: the script that merges a part, guarded by a version per part.
//!
//! A part is the fields that one source table contributes, or one item of an array. Beside its fields a merged document
//! records what each part wrote last:
//!
//! ```json
//! "_rowmill": {
//!   "parts": { "shop.orders": { "v": 4611686018427387904, "f": ["state", "total"] } },
//!   "items": { "lines": [ { "s": "shop.lines", "k": "17", "v": 4611686018427387905, "p": true } ] }
//! }
//! ```
//!
//! A part that is not newer changes nothing; a newer one replaces all fields that the part had. At equal versions a part
//! that is written beats one that is removed. The items of an array are in the order of their keys. So any order of arrival ends in the same document. A removed part leaves its version
//! behind, without fields (an item with `"p": false`): an older write of it that arrives late must not bring it back.

/// The ID of the stored script. Its number changes with the script, so that two versions of Rowmill can share a cluster.
pub const SCRIPT_ID: &str = "rowmill-merge-3";

/// The script in Painless.
pub const SCRIPT: &str = r"
int order(def a, def b) {
  if (a.length() != b.length()) { return a.length() - b.length(); }
  return a.compareTo(b);
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
    if (meta.items == null) { meta.items = [:]; }
    if (meta.items[part.array] == null) { meta.items[part.array] = new ArrayList(); }
    List known = meta.items[part.array];
    int at = 0;
    int place = 0;
    int compared = 1;
    while (at < known.size()) {
      compared = order(known.get(at).k, part.key);
      if (compared == 0) { compared = order(known.get(at).s, part.source); }
      if (compared >= 0) { break; }
      if (known.get(at).p) { place++; }
      at++;
    }
    boolean found = at < known.size() && compared == 0;
    if (found) {
      long v = ((Number) known.get(at).v).longValue();
      long n = ((Number) part.version).longValue();
      if (v > n || v == n && (known.get(at).p || part.item == null)) { continue; }
    }
    List items = ctx._source[part.array];
    if (items == null) { items = new ArrayList(); ctx._source[part.array] = items; }
    if (found) {
      if (known.get(at).p) { items.remove(place); }
    } else {
      known.add(at, ['s': part.source, 'k': part.key]);
    }
    known.get(at).v = part.version;
    known.get(at).p = part.item != null;
    if (part.item != null) { items.add(place, part.item); }
    if (items.isEmpty()) { ctx._source.remove(part.array); }
    changed = true;
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
