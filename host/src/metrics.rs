//! The metrics, and their text form for Prometheus.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use rowmill_engine::Action;

/// Labels: a kind.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Kind {
    /// The kind.
    pub kind: String,
}

/// Labels: a plugin and its generation.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PluginLabel {
    /// The plugin's name.
    pub plugin: String,
    /// Its generation.
    pub generation: u64,
}

/// Labels: an index.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct IndexLabel {
    /// The index.
    pub index: String,
}

/// Labels: a partition.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PartitionLabel {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    /// Records read.
    pub events: Counter,
    /// Bytes of their keys and values.
    pub bytes: Counter,
    /// Rows decoded.
    pub rows: Counter,
    /// Records without a row, by kind.
    pub ignored: Family<Kind, Counter>,
    /// Rows that wrote no document and deleted none.
    pub filtered: Counter,
    /// Rows that were written although a plugin failed on their before image.
    pub failed_before_images: Counter,
    /// Operations written, by action.
    pub documents: Family<Kind, Counter>,
    /// Operations that a newer one on the same document replaced before they were sent.
    pub folded: Counter,
    /// Operations that changed nothing because the sink has a newer version.
    pub stale: Counter,
    /// Records that became dead letters, by the stage that rejected them.
    pub dead_letters: Family<Kind, Counter>,
    /// Truncates, by what was done: `applied`, `ignored`.
    pub truncates: Family<Kind, Counter>,
    /// Operations sent again, by reason.
    pub retries: Family<Kind, Counter>,
    /// Documents that were rejected for a reason that Rowmill does not know.
    pub unknown_errors: Counter,
    /// 1 for an index that accepts no writes at present.
    pub index_blocked: Family<IndexLabel, Gauge>,
    /// Bulk requests.
    pub bulk_requests: Counter,
    /// Duration of bulk requests in seconds.
    pub bulk_seconds: Histogram,
    /// Bulk requests in flight.
    pub bulk_in_flight: Gauge,
    /// Images that a plugin processed.
    pub plugin_rows: Family<PluginLabel, Counter>,
    /// Seconds spent in a plugin.
    pub plugin_seconds: Family<PluginLabel, Counter<f64, AtomicU64>>,
    /// Traps and invalid answers of a plugin.
    pub plugin_faults: Family<PluginLabel, Counter>,
    /// Files that were rejected as plugins.
    pub plugins_refused: Counter,
    /// Publications of the chain.
    pub plugin_swaps: Counter,
    /// Changes of the configuration at run time, by result: `applied`, `refused`.
    pub config_changes: Family<Kind, Counter>,
    /// Seconds that a batch waited for a newly published chain to be ready.
    pub plugin_swap_seconds: Histogram,
    /// Generations that were rolled back, automatically or by an operator.
    pub plugin_rollbacks: Counter,
    /// Bytes of records in flight.
    pub bytes_in_flight: Gauge,
    /// Records between the watermark and the partition's end.
    pub lag: Family<PartitionLabel, Gauge>,
    /// Seconds for which a partition's oldest record that is not settled has been in the pipeline.
    pub oldest_unsettled: Family<PartitionLabel, Gauge<f64, AtomicU64>>,
    /// Records that no longer existed when they were to be read.
    pub missing_records: Family<PartitionLabel, Counter>,
    /// 1 while the source waits for room, otherwise 0.
    pub paused: Gauge,
    registry: Mutex<Registry>,
    /// The counters of `documents` by action, so that counting looks nothing up and allocates nothing.
    by_action: [Counter; Action::COUNT],
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Arc<Self> {
        let documents = Family::<Kind, Counter>::default();
        let counter = |action: Action| documents.get_or_create(&Kind { kind: action.name().into() }).clone();
        let metrics = Self {
            events: Counter::default(),
            bytes: Counter::default(),
            rows: Counter::default(),
            ignored: Family::default(),
            filtered: Counter::default(),
            failed_before_images: Counter::default(),
            folded: Counter::default(),
            stale: Counter::default(),
            dead_letters: Family::default(),
            truncates: Family::default(),
            retries: Family::default(),
            unknown_errors: Counter::default(),
            index_blocked: Family::default(),
            bulk_requests: Counter::default(),
            bulk_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            bulk_in_flight: Gauge::default(),
            plugin_rows: Family::default(),
            plugin_seconds: Family::default(),
            plugin_faults: Family::default(),
            plugins_refused: Counter::default(),
            plugin_swaps: Counter::default(),
            config_changes: Family::default(),
            plugin_swap_seconds: Histogram::new(exponential_buckets(5e-6, 2.0, 16)),
            plugin_rollbacks: Counter::default(),
            bytes_in_flight: Gauge::default(),
            lag: Family::default(),
            oldest_unsettled: Family::default(),
            missing_records: Family::default(),
            paused: Gauge::default(),
            registry: Mutex::new(Registry::with_prefix("rowmill")),
            by_action: Action::ALL.map(counter),
            documents,
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = &mut *registry;
        registry.register("events", "Records read", self.events.clone());
        registry.register_with_unit("source", "Bytes of keys and values read", Unit::Bytes, self.bytes.clone());
        registry.register("rows", "Rows decoded", self.rows.clone());
        registry.register("ignored", "Records without a row", self.ignored.clone());
        registry.register(
            "failed_before_images",
            "Rows that were written although a plugin failed on their before image",
            self.failed_before_images.clone(),
        );
        registry.register("filtered", "Rows that wrote no document and deleted none", self.filtered.clone());
        registry.register("documents", "Operations written", self.documents.clone());
        registry.register("folded", "Operations that a newer one replaced before they were sent", self.folded.clone());
        registry.register(
            "stale",
            "Operations that changed nothing because the sink has a newer version",
            self.stale.clone(),
        );
        registry.register("dead_letters", "Records that became dead letters, by stage", self.dead_letters.clone());
        registry.register("truncates", "Truncates, by what was done", self.truncates.clone());
        registry.register("retries", "Operations sent again, by reason", self.retries.clone());
        registry.register(
            "unknown_errors",
            "Documents that were rejected for a reason that Rowmill does not know",
            self.unknown_errors.clone(),
        );
        registry.register("index_blocked", "1 while an index accepts no writes", self.index_blocked.clone());
        registry.register("bulk_requests", "Bulk requests", self.bulk_requests.clone());
        registry.register_with_unit("bulk", "Duration of bulk requests", Unit::Seconds, self.bulk_seconds.clone());
        registry.register("bulk_in_flight", "Bulk requests in flight", self.bulk_in_flight.clone());
        registry.register("plugin_rows", "Images that a plugin processed", self.plugin_rows.clone());
        registry.register_with_unit("plugin", "Time spent in a plugin", Unit::Seconds, self.plugin_seconds.clone());
        registry.register("plugin_faults", "Traps and invalid answers of a plugin", self.plugin_faults.clone());
        registry.register("plugins_refused", "Files that were rejected as plugins", self.plugins_refused.clone());
        registry.register("plugin_swaps", "Publications of the plugin chain", self.plugin_swaps.clone());
        registry.register(
            "config_changes",
            "Changes of the configuration at run time, by result",
            self.config_changes.clone(),
        );
        registry.register_with_unit(
            "plugin_swap",
            "Time that a batch waited for a newly published chain to be ready",
            Unit::Seconds,
            self.plugin_swap_seconds.clone(),
        );
        registry.register("plugin_rollbacks", "Generations that were rolled back", self.plugin_rollbacks.clone());
        registry.register_with_unit(
            "in_flight",
            "Records, documents and requests that are held",
            Unit::Bytes,
            self.bytes_in_flight.clone(),
        );
        registry.register_with_unit(
            "oldest_unsettled",
            "For how long the oldest record that is not settled has been in the pipeline",
            Unit::Seconds,
            self.oldest_unsettled.clone(),
        );
        registry.register(
            "missing_records",
            "Records that no longer existed when they were to be read",
            self.missing_records.clone(),
        );
        registry.register("lag", "Records between the watermark and the partition's end", self.lag.clone());
        registry.register("paused", "1 while the source waits for room", self.paused.clone());
    }

    /// Counts written operations.
    pub fn written(&self, action: Action, n: u64) {
        self.by_action[action as usize].inc_by(n);
    }

    /// Written operations with this action.
    pub fn written_of(&self, action: Action) -> u64 {
        self.by_action[action as usize].get()
    }

    /// Written operations with any action.
    pub fn written_total(&self) -> u64 {
        self.by_action.iter().map(|counter| counter.get()).sum()
    }

    /// Dead letters of all stages.
    pub fn dead_letters_total(&self) -> u64 {
        ["decode", "plugin", "document", "sink"]
            .iter()
            .map(|stage| self.dead_letters.get_or_create(&Kind { kind: (*stage).into() }).get())
            .sum()
    }

    /// Counts a plugin's work on one batch.
    pub fn plugin(&self, plugin: &str, generation: u64, rows: u64, time: Duration, faults: u32) {
        let label = PluginLabel { plugin: plugin.into(), generation };
        self.plugin_rows.get_or_create(&label).inc_by(rows);
        self.plugin_seconds.get_or_create(&label).inc_by(time.as_secs_f64());
        if faults > 0 {
            self.plugin_faults.get_or_create(&label).inc_by(u64::from(faults));
        }
    }

    /// Removes the metrics of a generation that is no longer used.
    pub fn forget_plugin(&self, plugin: &str, generation: u64) {
        let label = PluginLabel { plugin: plugin.into(), generation };
        self.plugin_rows.remove(&label);
        self.plugin_seconds.remove(&label);
        self.plugin_faults.remove(&label);
    }

    /// The metrics in the text form of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}
