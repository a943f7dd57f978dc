//! Injected faults: which requests or bulk items fail, how, and how often.

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
    /// 413: without a body for a request, `content_too_long_exception` for an item.
    TooLarge,
    /// 401 `security_exception`.
    Unauthorized,
    /// 403 `security_exception`.
    Forbidden,
    /// An error with this status, type and reason.
    Error(u16, &'static str, String),
    /// The answer to the request is delayed by this time. Has no effect on items.
    Delay(Duration),
    /// Nothing is applied or answered before the faults are cleared. Has no effect on items.
    Hold,
    /// The connection is reset before anything is applied. Has no effect on items.
    ResetBefore,
    /// The connection is reset after everything is applied. Has no effect on items.
    ResetAfter,
}

impl FaultEffect {
    /// The error that this effect causes for an item or a request; `None` if it causes none.
    pub(crate) fn error(&self, of_item: bool) -> Option<EsError> {
        let (status, kind, reason) = match self {
            FaultEffect::TooManyRequests => (429, "es_rejected_execution_exception", "rejected execution"),
            FaultEffect::Unavailable if of_item => (503, "unavailable_shards_exception", "primary shard is not active"),
            FaultEffect::Unavailable => (503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1]"),
            FaultEffect::TooLarge => (413, "content_too_long_exception", "request entity too large"),
            FaultEffect::Unauthorized => (401, "security_exception", "missing authentication credentials"),
            FaultEffect::Forbidden => (403, "security_exception", "action is unauthorized for this user"),
            FaultEffect::Error(status, kind, reason) => (*status, *kind, reason.as_str()),
            FaultEffect::Delay(_) | FaultEffect::Hold | FaultEffect::ResetBefore | FaultEffect::ResetAfter => {
                return None;
            }
        };
        Some(EsError::new(status, kind, reason))
    }
}

/// A request or a bulk item that a fault may affect.
#[derive(Debug, Clone, Copy)]
pub struct FaultTarget<'a> {
    /// The path of the request.
    pub path: &'a str,
    /// The index that the item names; `None` for a whole request.
    pub index: Option<&'a str>,
    /// The ID of the item's document; `None` for a whole request.
    pub id: Option<&'a str>,
    /// The body of the request; empty for an item.
    pub body: &'a [u8],
}

impl FaultTarget<'_> {
    /// Returns true if the request names this index: in its path, or in a line of a bulk request.
    pub fn names_index(&self, index: &str) -> bool {
        let line = format!("\"_index\":\"{index}\"");
        let is_in_body = self.body.windows(line.len()).any(|window| window == line.as_bytes());
        is_in_body || self.path.trim_start_matches('/').split('/').next() == Some(index)
    }
}

type Predicate = Arc<dyn Fn(&FaultTarget<'_>) -> bool + Send + Sync>;

/// A fault, the targets that it affects, and how often.
///
/// ```
/// use rowmill_store::{FaultEffect, FaultRule};
/// // reject the first two bulk items for document 7
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

    /// A fault of single bulk items; the other items of the request are applied.
    pub fn item(effect: FaultEffect) -> FaultRule {
        FaultRule { per_item: true, ..FaultRule::request(effect) }
    }

    /// Affects only this many targets. Without it, the rule affects all.
    pub fn times(mut self, times: u64) -> FaultRule {
        self.left = Some(times);
        self
    }

    /// Spares the first `skipped` targets.
    pub fn after(mut self, skipped: u64) -> FaultRule {
        self.skip = skipped;
        self
    }

    /// Affects all requests, not only bulk requests.
    pub fn on_any_request(mut self) -> FaultRule {
        self.any_path = true;
        self
    }

    /// Affects only targets that the predicate accepts.
    pub fn when(mut self, predicate: impl Fn(&FaultTarget<'_>) -> bool + Send + Sync + 'static) -> FaultRule {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Affects only items for this index.
    pub fn on_index(self, index: &str) -> FaultRule {
        let index = index.to_owned();
        self.when(move |target| target.index == Some(index.as_str()))
    }

    /// Returns true if the rule affects the target, and counts it.
    fn takes_effect(&mut self, target: &FaultTarget<'_>) -> bool {
        let path_fits = self.any_path || target.path.ends_with("/_bulk");
        if self.per_item != target.index.is_some() || !path_fits || self.left == Some(0) {
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

/// All rules, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) rules: Vec<FaultRule>,
    /// How many targets any rule has affected.
    pub(crate) n_effects: u64,
}

impl Faults {
    /// Returns the effect on a whole request, if any.
    pub(crate) fn on_request(&mut self, path: &str, body: &[u8]) -> Option<FaultEffect> {
        self.first(&FaultTarget { path, index: None, id: None, body })
    }

    /// Returns the error of a bulk item, if a rule affects it.
    pub(crate) fn on_item(&mut self, path: &str, index: &str, id: &str) -> Option<EsError> {
        self.first(&FaultTarget { path, index: Some(index), id: Some(id), body: &[] })?.error(true)
    }

    fn first(&mut self, target: &FaultTarget<'_>) -> Option<FaultEffect> {
        let rule = self.rules.iter_mut().find_map(|rule| rule.takes_effect(target).then(|| rule.effect.clone()))?;
        self.n_effects += 1;
        Some(rule)
    }
}
