//! Searches: the body, the hits in order, and scrolls that keep what they saw.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::EsError;
use crate::filter::{SourceFilter, filter};
use crate::index::{Document, PRIMARY_TERM};
use crate::json::as_java_holds_it;
use crate::mapping::Mapping;
use crate::query::Query;
use crate::sort::{SortKey, compare, parse_sort, shard_refused};

/// A search.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) query: Query,
    pub(crate) from: u64,
    pub(crate) size: u64,
    pub(crate) sort: Vec<SortKey>,
    pub(crate) source: SourceFilter,
    version: bool,
    seq_no: bool,
    /// `None` is exact, `Some(0)` not counted at all.
    track_total: Option<u64>,
    search_after: Option<Vec<Value>>,
}

/// What a scroll still has to show.
#[derive(Debug)]
pub(crate) struct Scroll {
    pub(crate) expires_at: Duration,
    keep: Duration,
    hits: std::vec::IntoIter<Hit>,
    total: usize,
    shards: u64,
    search: Search,
}

#[derive(Debug, Clone)]
struct Hit {
    index: Arc<str>,
    document: Arc<Document>,
    sort: Vec<Value>,
}

/// What searches see of one index, taken out from under the lock.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) name: Arc<str>,
    pub(crate) uuid: String,
    shards: u64,
    largest_window: u64,
    pub(crate) mapping: Arc<Mapping>,
    documents: Vec<Arc<Document>>,
}

/// The views of these indices.
pub(crate) fn views(cluster: &mut Cluster, names: &[String], now: Duration) -> Vec<View> {
    let mut views = Vec::new();
    cluster.each(names, |index| {
        views.push(View {
            name: index.name.as_str().into(),
            uuid: index.uuid.clone(),
            shards: index.settings.shards(),
            largest_window: index.settings.number("index.max_result_window", 10_000),
            documents: index.searchable(now),
            mapping: Arc::clone(&index.mapping),
        });
    });
    views
}

/// The number of documents that match.
pub(crate) fn count(views: &[View], query: &Query) -> (usize, u64) {
    let matching = |view: &View| match query {
        Query::All => view.documents.len(),
        _ => view.documents.iter().filter(|document| query.matches(&view.mapping, document)).count(),
    };
    (views.iter().map(matching).sum(), views.iter().map(|view| view.shards).sum())
}

impl Search {
    /// Reads a search body.
    pub(crate) fn parse(body: &Value) -> Result<Search, EsError> {
        let mut search = Search {
            query: Query::All,
            from: 0,
            size: 10,
            sort: Vec::new(),
            source: SourceFilter::default(),
            version: false,
            seq_no: false,
            track_total: Some(10_000),
            search_after: None,
        };
        let Value::Object(body) = body else {
            return Ok(search);
        };
        for (name, value) in body {
            match name.as_str() {
                "query" => search.query = Query::parse(value)?,
                "from" => search.from = not_negative(name, value)?,
                "size" => search.size = not_negative(name, value)?,
                "sort" => search.sort = parse_sort(value),
                "_source" => search.source = SourceFilter::parse(value),
                "version" => search.version = value == &Value::Bool(true),
                "seq_no_primary_term" => search.seq_no = value == &Value::Bool(true),
                "track_total_hits" => {
                    search.track_total = match value {
                        Value::Bool(true) => None,
                        Value::Bool(false) => Some(0),
                        other => other.as_u64(),
                    }
                }
                "search_after" => search.search_after = value.as_array().cloned(),
                "timeout" | "track_scores" | "stored_fields" | "docvalue_fields" | "fields" | "explain"
                | "min_score" | "terminate_after" | "profile" | "stats" | "slice" | "pit" | "highlight" | "aggs"
                | "aggregations" | "runtime_mappings" | "indices_boost" | "collapse" | "ext" | "script_fields"
                | "post_filter" => {}
                other => {
                    let reason = format!("Unknown key for a START_OBJECT in [{other}].");
                    return Err(EsError::new(400, "parsing_exception", reason).with("line", 1).with("col", 1));
                }
            }
        }
        Ok(search)
    }

    /// Runs the search; a scroll gets the time for which it is kept.
    pub(crate) fn run(
        self,
        views: &[View],
        scroll: Option<(Duration, Duration)>,
    ) -> Result<(SearchAnswer, Option<Scroll>), EsError> {
        let shards = views.iter().map(|view| view.shards).sum();
        if views.is_empty() {
            return Ok((SearchAnswer::new(0, 0, &self, Some(0.0), Vec::new()), None));
        }
        if let Some(view) = views.iter().find(|view| self.from + self.size > view.largest_window) {
            return Err(self.window_error(view, scroll.is_some()));
        }
        let mut hits = Vec::new();
        let mut total = 0;
        for view in views {
            let keys = self.sort.iter().map(|key| key.resolve(view)).collect::<Result<Vec<_>, EsError>>()?;
            for (position, document) in view.documents.iter().enumerate() {
                if !self.query.matches(&view.mapping, document) {
                    continue;
                }
                total += 1;
                let sort: Vec<Value> = keys.iter().map(|key| key.value(position, document)).collect();
                hits.push(Hit { index: Arc::clone(&view.name), document: Arc::clone(document), sort });
            }
        }
        if !self.sort.is_empty() {
            hits.sort_by(|one, other| compare(&self.sort, &one.sort, &other.sort));
            if let Some(after) = &self.search_after {
                hits.retain(|hit| compare(&self.sort, &hit.sort, after) == Ordering::Greater);
            }
        }
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let max_score = (self.sort.is_empty() && !hits.is_empty() && size > 0).then_some(1.0);
        let from = usize::try_from(self.from).unwrap_or(usize::MAX);
        let mut hits = hits.into_iter();
        let page: Vec<Hit> = hits.by_ref().skip(from).take(size).collect();
        let shown = page.iter().map(|hit| self.show(hit)).collect();
        let mut search = self;
        if scroll.is_some() {
            search.track_total = None;
        }
        let answer = SearchAnswer::new(total, shards, &search, max_score, shown);
        let scroll = scroll.map(|(now, keep)| Scroll { expires_at: now + keep, keep, hits, total, shards, search });
        Ok((answer, scroll))
    }

    fn window_error(&self, view: &View, scroll: bool) -> EsError {
        let asked = self.from + self.size;
        let most = view.largest_window;
        let reason = match scroll {
            true => format!(
                "Batch size is too large, size must be less than or equal to: [{most}] but was [{asked}]. Scroll batch \
                 sizes cost as much memory as result windows so they are controlled by the [index.max_result_window] \
                 index level setting."
            ),
            false => format!(
                "Result window is too large, from + size must be less than or equal to: [{most}] but was [{asked}]. See \
                 the scroll api for a more efficient way to request large data sets. This limit can be set by changing \
                 the [index.max_result_window] index level setting."
            ),
        };
        shard_refused(&view.name, EsError::illegal_argument(reason))
    }

    fn show(&self, hit: &Hit) -> ShownHit {
        let document = &hit.document;
        ShownHit {
            index: hit.index.to_string(),
            id: document.id.clone(),
            version: self.version.then_some(document.version),
            seq_no: self.seq_no.then_some(document.seq_no),
            primary_term: self.seq_no.then_some(PRIMARY_TERM),
            score: self.sort.is_empty().then_some(1.0),
            routing: document.routing.clone(),
            source: shown_source(document, &self.source),
            sort: (!self.sort.is_empty()).then(|| hit.sort.clone()),
        }
    }
}

impl Scroll {
    /// The next page.
    pub(crate) fn next(&mut self, now: Duration, keep: Option<Duration>) -> SearchAnswer {
        self.keep = keep.unwrap_or(self.keep);
        self.expires_at = now + self.keep;
        let size = usize::try_from(self.search.size).unwrap_or(usize::MAX);
        let page: Vec<Hit> = self.hits.by_ref().take(size).collect();
        let max_score = (self.search.sort.is_empty() && !page.is_empty()).then_some(1.0);
        let shown = page.iter().map(|hit| self.search.show(hit)).collect();
        SearchAnswer::new(self.total, self.shards, &self.search, max_score, shown)
    }
}

/// The source of a document as a filter leaves it; its bytes untouched where nothing is filtered.
pub(crate) fn shown_source(document: &Document, wanted: &SourceFilter) -> Option<Box<RawValue>> {
    if wanted.hidden {
        return None;
    }
    if wanted.is_all() {
        return Some(document.source.clone());
    }
    let mut filtered = filter(document.tree().clone(), &wanted.include, &wanted.exclude);
    as_java_holds_it(&mut filtered);
    serde_json::value::to_raw_value(&filtered).ok()
}

fn not_negative(name: &str, value: &Value) -> Result<u64, EsError> {
    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap_or(0);
    u64::try_from(number)
        .map_err(|_| EsError::illegal_argument(format!("[{name}] parameter cannot be negative, found [{number}]")))
}

/// The answer to a search.
#[derive(Debug, Serialize)]
pub(crate) struct SearchAnswer {
    #[serde(rename = "_scroll_id", skip_serializing_if = "Option::is_none")]
    pub(crate) scroll_id: Option<String>,
    pub(crate) took: u64,
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Value,
    pub(crate) hits: Hits,
}

/// The hits of a search.
#[derive(Debug, Serialize)]
pub(crate) struct Hits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<Value>,
    max_score: Option<f64>,
    hits: Vec<ShownHit>,
}

#[derive(Debug, Serialize)]
struct ShownHit {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_version", skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(rename = "_seq_no", skip_serializing_if = "Option::is_none")]
    seq_no: Option<i64>,
    #[serde(rename = "_primary_term", skip_serializing_if = "Option::is_none")]
    primary_term: Option<i64>,
    #[serde(rename = "_score")]
    score: Option<f64>,
    #[serde(rename = "_routing", skip_serializing_if = "Option::is_none")]
    routing: Option<String>,
    #[serde(rename = "_source", skip_serializing_if = "Option::is_none")]
    source: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<Vec<Value>>,
}

impl SearchAnswer {
    fn new(total: usize, shards: u64, search: &Search, max_score: Option<f64>, hits: Vec<ShownHit>) -> SearchAnswer {
        let total = total as u64;
        let total = match search.track_total {
            None => Some(json!({ "value": total, "relation": "eq" })),
            Some(0) => None,
            Some(limit) if total > limit => Some(json!({ "value": limit, "relation": "gte" })),
            Some(_) => Some(json!({ "value": total, "relation": "eq" })),
        };
        SearchAnswer {
            scroll_id: None,
            took: 0,
            timed_out: false,
            shards: json!({ "total": shards, "successful": shards, "skipped": 0, "failed": 0 }),
            hits: Hits { total, max_score, hits },
        }
    }
}
