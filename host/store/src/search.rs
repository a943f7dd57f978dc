//! Searches: their body, the order and page of hits, and scrolls that keep the hits of a search.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::EsError;
use crate::filter::{SourceFilter, document_json};
use crate::index::{Document, Index};
use crate::json::{as_list, scalar_text};
use crate::mapping::Mapping;
use crate::query::Query;
use crate::sort::{SortKey, compare, parse_search_after, parse_sort, search_failed};
use crate::values::SortValue;
use crate::version::PRIMARY_TERM;

/// The largest `from + size`; Elasticsearch's default.
const MAX_RESULT_WINDOW: usize = 10_000;

/// A search.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) query: Query,
    from: usize,
    pub(crate) size: usize,
    sort: Vec<SortKey>,
    source: SourceFilter,
    shows_version: bool,
    shows_seq_no: bool,
    /// The number up to which hits are counted; 0 shows no total.
    max_total: usize,
    search_after: Option<Vec<Option<SortValue>>>,
}

/// The hits that a scroll has not shown yet.
#[derive(Debug)]
pub(crate) struct Scroll {
    pub(crate) expires_at: Duration,
    keep_alive: Duration,
    hits: std::vec::IntoIter<Hit>,
    total: usize,
    shards: Value,
    search: Search,
}

#[derive(Debug, Clone)]
struct Hit {
    index: Arc<str>,
    document: Arc<Document>,
    sort: Vec<Option<SortValue>>,
}

/// The part of one index that searches see, so that they run without the store's lock.
#[derive(Debug)]
pub(crate) struct View {
    name: Arc<str>,
    n_shards: u64,
    mapping: Arc<Mapping>,
    documents: Vec<Arc<Document>>,
}

impl View {
    /// The view of an index, which is refreshed if its interval has passed.
    pub(crate) fn new(index: &mut Index, now: Duration) -> View {
        View {
            name: index.name.as_str().into(),
            n_shards: index.settings.shards(),
            documents: index.searchable(now),
            mapping: Arc::clone(&index.mapping),
        }
    }
}

/// The member `_shards` of the answer to a search.
pub(crate) fn shards_json(views: &[View]) -> Value {
    let n_shards: u64 = views.iter().map(|view| view.n_shards).sum();
    json!({ "total": n_shards, "successful": n_shards, "skipped": 0, "failed": 0 })
}

/// Returns the number of documents that match.
pub(crate) fn count(views: &[View], query: &Query) -> usize {
    let matching =
        |view: &View| view.documents.iter().filter(|document| query.matches(&view.mapping, document)).count();
    views.iter().map(matching).sum()
}

impl Search {
    /// Reads a search body; `null` searches for everything.
    pub(crate) fn parse(body: &Value) -> Result<Search, EsError> {
        let mut search = Search {
            query: Query::All,
            from: 0,
            size: 10,
            sort: Vec::new(),
            source: SourceFilter::default(),
            shows_version: false,
            shows_seq_no: false,
            max_total: 10_000,
            search_after: None,
        };
        for (name, value) in body.as_object().into_iter().flatten() {
            match name.as_str() {
                "query" => search.query = Query::parse(value)?,
                "from" => search.from = not_negative(name, value)?,
                "size" => search.size = not_negative(name, value)?,
                "sort" => search.sort = parse_sort(value),
                "_source" => search.source = SourceFilter::parse(value),
                "version" => search.shows_version = *value == Value::Bool(true),
                "seq_no_primary_term" => search.shows_seq_no = *value == Value::Bool(true),
                "track_total_hits" if *value == Value::Bool(true) => search.max_total = usize::MAX,
                "track_total_hits" if *value == Value::Bool(false) => search.max_total = 0,
                "search_after" => search.search_after = Some(as_list(value).iter().map(parse_search_after).collect()),
                other => {
                    let reason = format!("[{other}] is unknown, or a key that the embedded store does not support");
                    return Err(EsError::new(400, "parsing_exception", reason));
                }
            }
        }
        Ok(search)
    }

    /// Runs the search and returns its answer.
    pub(crate) fn run(self, views: &[View]) -> Result<String, EsError> {
        let (page, scroll) = self.start(views, Duration::ZERO, Duration::ZERO)?;
        Ok(scroll.render(&page, None))
    }

    /// Runs the search as a scroll of this ID and returns the first page and the scroll.
    pub(crate) fn scroll(
        mut self,
        views: &[View],
        id: &str,
        now: Duration,
        keep_alive: Duration,
    ) -> Result<(String, Scroll), EsError> {
        self.max_total = usize::MAX;
        let (page, scroll) = self.start(views, now, keep_alive)?;
        Ok((scroll.render(&page, Some(id)), scroll))
    }

    fn start(self, views: &[View], now: Duration, keep_alive: Duration) -> Result<(Vec<Hit>, Scroll), EsError> {
        if self.from.saturating_add(self.size) > MAX_RESULT_WINDOW && !views.is_empty() {
            return Err(search_failed(format!("from + size must be less than or equal to [{MAX_RESULT_WINDOW}]")));
        }
        let mut hits = Vec::new();
        for view in views {
            let keys = self.sort.iter().map(|key| key.resolve(&view.mapping)).collect::<Result<Vec<_>, EsError>>()?;
            for (position, document) in view.documents.iter().enumerate() {
                if self.query.matches(&view.mapping, document) {
                    let sort = keys.iter().map(|key| key.value(position, document)).collect();
                    hits.push(Hit { index: Arc::clone(&view.name), document: Arc::clone(document), sort });
                }
            }
        }
        let total = hits.len();
        if !self.sort.is_empty() {
            hits.sort_by(|one, other| compare(&self.sort, &one.sort, &other.sort));
            if let Some(after) = &self.search_after {
                hits.retain(|hit| compare(&self.sort, &hit.sort, after).is_gt());
            }
        }
        let (from, size) = (self.from, self.size);
        let mut hits = hits.into_iter();
        let page = hits.by_ref().skip(from).take(size).collect();
        let shards = shards_json(views);
        Ok((page, Scroll { expires_at: now + keep_alive, keep_alive, hits, total, shards, search: self }))
    }

    fn render_hit(&self, hit: &Hit) -> String {
        let document = &hit.document;
        let mut frame = json!({ "_index": &*hit.index, "_id": document.id, "_score": null });
        if self.shows_version {
            frame["_version"] = document.version.into();
        }
        if self.shows_seq_no {
            frame["_seq_no"] = document.seq_no.into();
            frame["_primary_term"] = PRIMARY_TERM.into();
        }
        if let Some(routing) = &document.routing {
            frame["_routing"] = routing.as_str().into();
        }
        match self.sort.is_empty() {
            true => frame["_score"] = 1.0.into(),
            false => frame["sort"] = hit.sort.iter().map(|value| value.as_ref().map(SortValue::to_json)).collect(),
        }
        document_json(&frame, document, &self.source)
    }
}

impl Scroll {
    /// Returns the next page, and keeps the scroll for `keep_alive`, by default as long as before.
    pub(crate) fn next(&mut self, id: &str, now: Duration, keep_alive: Option<Duration>) -> String {
        self.keep_alive = keep_alive.unwrap_or(self.keep_alive);
        self.expires_at = now + self.keep_alive;
        let page: Vec<Hit> = self.hits.by_ref().take(self.search.size).collect();
        self.render(&page, Some(id))
    }

    /// Renders the answer with this page. The sources keep their bytes, so hits are text and not a tree.
    fn render(&self, page: &[Hit], id: Option<&str>) -> String {
        let mut frame = json!({ "took": 0, "timed_out": false, "_shards": self.shards });
        if let Some(id) = id {
            frame["_scroll_id"] = id.into();
        }
        // Elasticsearch reports 0 and not null if it searched no index at all.
        let is_scored = self.search.sort.is_empty() && !page.is_empty();
        let searched_none = self.shards["total"] == 0;
        let max_score = if searched_none { Some(0.0) } else { is_scored.then_some(1.0) };
        let mut hits = json!({ "max_score": max_score });
        match self.search.max_total {
            0 => {}
            most if self.total > most => hits["total"] = json!({ "value": most, "relation": "gte" }),
            _ => hits["total"] = json!({ "value": self.total, "relation": "eq" }),
        }
        let page: Vec<String> = page.iter().map(|hit| self.search.render_hit(hit)).collect();
        let (mut frame, mut hits) = (frame.to_string(), hits.to_string());
        hits.pop();
        frame.pop();
        format!("{frame},\"hits\":{hits},\"hits\":[{}]}}}}", page.join(","))
    }
}

fn not_negative(name: &str, value: &Value) -> Result<usize, EsError> {
    let text = scalar_text(value).unwrap_or_default();
    let refused =
        || EsError::illegal_argument(format!("[{name}] has to be a number that is not negative, not [{text}]"));
    text.parse().map_err(|_| refused())
}
