//! Faults on demand: what a test makes go wrong, for which requests or items, and how often.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::EsError;

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultEffect {
    /// 429 `es_rejected_execution_exception`.
    TooManyRequests,
    /// 503 `unavailable_shards_exception` for an item, `cluster_block_exception` for a request.
    Unavailable,
    /// 413 without a body; of a whole request only.
    TooLarge,
    /// 401 `security_exception`.
    Unauthorized,
    /// 403 `security_exception`.
    Forbidden,
    /// An error of any other status, type and reason.
    Error(u16, &'static str, String),
    /// The request is answered later by this time; of a whole request only.
    Delay(Duration),
    /// The connection is reset and nothing has been applied; of a whole request only.
    ResetBefore,
    /// The connection is reset after everything has been applied; of a whole request only.
    ResetAfter,
}

/// What a fault's predicate is asked about: an item's index and id, or a request's path.
#[derive(Debug, Clone, Copy)]
pub struct FaultTarget<'a> {
    /// The path of the request.
    pub path: &'a str,
    /// The index that the item names; `None` for a whole request.
    pub index: Option<&'a str>,
    /// The item's id; `None` for a whole request.
    pub id: Option<&'a str>,
}

type Predicate = Arc<dyn Fn(&FaultTarget<'_>) -> bool + Send + Sync>;

/// A fault, whom it meets and how often.
///
/// ```
/// use rowmill_store::{FaultEffect, FaultRule};
/// // the first two bulk items for document 7 are rejected
/// let rule = FaultRule::item(FaultEffect::TooManyRequests).times(2).when(|target| target.id == Some("7"));
/// # let _ = rule;
/// ```
#[derive(Clone)]
pub struct FaultRule {
    effect: FaultEffect,
    per_item: bool,
    skip: u64,
    left: Option<u64>,
    any_path: bool,
    predicate: Option<Predicate>,
}

impl FaultRule {
    /// A fault of whole bulk requests.
    pub fn request(effect: FaultEffect) -> FaultRule {
        FaultRule { effect, per_item: false, skip: 0, left: None, any_path: false, predicate: None }
    }

    /// A fault of single bulk items; the others of the request go on.
    pub fn item(effect: FaultEffect) -> FaultRule {
        FaultRule { per_item: true, ..FaultRule::request(effect) }
    }

    /// Meets only so many, then never again. Without it, all.
    pub fn times(mut self, times: u64) -> FaultRule {
        self.left = Some(times);
        self
    }

    /// Lets the first so many pass.
    pub fn after(mut self, skipped: u64) -> FaultRule {
        self.skip = skipped;
        self
    }

    /// Meets every request, not bulk requests alone.
    pub fn on_any_request(mut self) -> FaultRule {
        self.any_path = true;
        self
    }

    /// Meets only what the predicate accepts.
    pub fn when(mut self, predicate: impl Fn(&FaultTarget<'_>) -> bool + Send + Sync + 'static) -> FaultRule {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Meets only items for this index.
    pub fn on_index(self, index: &str) -> FaultRule {
        let index = index.to_owned();
        self.when(move |target| target.index == Some(index.as_str()))
    }

    fn strikes(&mut self, target: &FaultTarget<'_>) -> bool {
        let bulk = self.any_path || target.path.ends_with("/_bulk");
        if self.per_item != target.index.is_some() || !bulk || self.left == Some(0) {
            return false;
        }
        if self.predicate.as_ref().is_some_and(|predicate| !predicate(target)) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

impl fmt::Debug for FaultRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FaultRule")
            .field("effect", &self.effect)
            .field("per_item", &self.per_item)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// The error that an item gets instead of being applied.
#[derive(Debug)]
pub(crate) struct ItemFault(pub(crate) EsError);

/// All rules in the order in which they were given.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<FaultRule>,
    struck: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// How often any rule has struck.
    pub(crate) fn struck(&self) -> u64 {
        self.struck
    }

    pub(crate) fn request(&mut self, path: &str) -> Option<FaultEffect> {
        self.first(&FaultTarget { path, index: None, id: None })
    }

    pub(crate) fn item(&mut self, path: &str, index: &str, id: &str) -> Option<ItemFault> {
        if self.rules.is_empty() {
            return None;
        }
        let effect = self.first(&FaultTarget { path, index: Some(index), id: Some(id) })?;
        effect_error(&effect, true).map(ItemFault)
    }

    fn first(&mut self, target: &FaultTarget<'_>) -> Option<FaultEffect> {
        let rule = self.rules.iter_mut().find_map(|rule| rule.strikes(target).then(|| rule.effect.clone()))?;
        self.struck += 1;
        Some(rule)
    }
}

/// The error in Elasticsearch's words; `None` for what is no error.
pub(crate) fn effect_error(effect: &FaultEffect, item: bool) -> Option<EsError> {
    Some(match effect {
        FaultEffect::TooManyRequests if item => EsError::new(
            429,
            "es_rejected_execution_exception",
            "rejected execution of TimedRunnable on EsThreadPoolExecutor[name = node-1/write, queue capacity = 1]",
        ),
        FaultEffect::TooManyRequests => EsError::new(
            429,
            "es_rejected_execution_exception",
            "rejected execution of coordinating operation [coordinating_and_primary_bytes=0, replica_bytes=0, \
             all_bytes=0, coordinating_operation_bytes=1, max_coordinating_bytes=0]",
        ),
        FaultEffect::Unavailable if item => EsError::new(
            503,
            "unavailable_shards_exception",
            "primary shard is not active Timeout: [1m], request: [BulkShardRequest]",
        ),
        FaultEffect::Unavailable => EsError::new(
            503,
            "cluster_block_exception",
            "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];",
        ),
        FaultEffect::TooLarge => EsError::new(413, "content_too_long_exception", "request entity too large"),
        FaultEffect::Unauthorized => {
            EsError::new(401, "security_exception", "missing authentication credentials for REST request [/_bulk]")
        }
        FaultEffect::Forbidden => EsError::new(
            403,
            "security_exception",
            "action [indices:data/write/bulk[s]] is unauthorized for user [rowmill]",
        ),
        FaultEffect::Error(status, kind, reason) => EsError::new(*status, kind, reason.clone()),
        FaultEffect::Delay(_) | FaultEffect::ResetBefore | FaultEffect::ResetAfter => return None,
    })
}
