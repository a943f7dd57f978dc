//! What is counted, and how Prometheus reads it.

use rowmill_engine::Action;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A label set of one name.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Kind {
    /// The name's value.
    pub kind: String,
}

/// A plugin and its generation.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PluginLabel {
    /// The plugin's name.
    pub plugin: String,
    /// Its generation.
    pub generation: u64,
}

/// A partition.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PartitionLabel {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// All figures. Counters are added to once a batch, not once a row.
#[derive(Debug)]
pub struct Metrics {
    /// Records that were read.
    pub events: Counter,
    /// Bytes of their keys and values.
    pub bytes: Counter,
    /// Rows that were decoded.
    pub rows: Counter,
    /// Records without a row, by kind.
    pub ignored: Family<Kind, Counter>,
    /// Rows that became no document and deleted none.
    pub filtered: Counter,
    /// Operations that were settled as written, by kind.
    pub documents: Family<Kind, Counter>,
    /// Operations that were overtaken by a newer one of the same document before they were sent.
    pub folded: Counter,
    /// Operations that Elasticsearch refused because it has a newer version.
    pub stale: Counter,
    /// Records that became dead letters, by the stage that refused them.
    pub dead_letters: Family<Kind, Counter>,
    /// Truncates, by what was done.
    pub truncates: Family<Kind, Counter>,
    /// Operations that were sent again, by reason.
    pub retries: Family<Kind, Counter>,
    /// Bulk requests.
    pub bulk_requests: Counter,
    /// Seconds of a bulk request.
    pub bulk_seconds: Histogram,
    /// Bulk requests under way now.
    pub bulk_in_flight: Gauge,
    /// Rows that a plugin saw.
    pub plugin_rows: Family<PluginLabel, Counter>,
    /// Seconds spent in a plugin.
    pub plugin_seconds: Family<PluginLabel, Counter<f64, AtomicU64>>,
    /// Traps and answers that could not be read.
    pub plugin_faults: Family<PluginLabel, Counter>,
    /// Files that were refused as plugins.
    pub plugins_refused: Counter,
    /// Publications of the chain.
    pub plugin_swaps: Counter,
    /// Changes of the configuration while it runs, by what became of them: `applied`, `refused`.
    pub config_changes: Family<Kind, Counter>,
    /// Seconds that a batch waited for a newly published chain.
    pub plugin_swap_seconds: Histogram,
    /// Generations that were taken back, on their own or by a person.
    pub plugin_rollbacks: Counter,
    /// Bytes of records on their way.
    pub bytes_in_flight: Gauge,
    /// Records between the watermark and the partition's end.
    pub lag: Family<PartitionLabel, Gauge>,
    /// Whether the source is paused by back-pressure.
    pub paused: Gauge,
    registry: Mutex<Registry>,
    by_action: [AtomicU64; Action::COUNT],
}

impl Metrics {
    /// All figures at zero.
    pub fn new() -> Arc<Self> {
        let metrics = Self {
            events: Counter::default(),
            bytes: Counter::default(),
            rows: Counter::default(),
            ignored: Family::default(),
            filtered: Counter::default(),
            documents: Family::default(),
            folded: Counter::default(),
            stale: Counter::default(),
            dead_letters: Family::default(),
            truncates: Family::default(),
            retries: Family::default(),
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
            paused: Gauge::default(),
            registry: Mutex::new(Registry::with_prefix("rowmill")),
            by_action: Default::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = &mut *registry;
        registry.register("events", "Records that were read", self.events.clone());
        registry.register_with_unit(
            "source",
            "Bytes of keys and values that were read",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register("rows", "Rows that were decoded", self.rows.clone());
        registry.register("ignored", "Records without a row", self.ignored.clone());
        registry.register("filtered", "Rows that became no document and deleted none", self.filtered.clone());
        registry.register("documents", "Operations that were written", self.documents.clone());
        registry.register("folded", "Operations overtaken by a newer one before they were sent", self.folded.clone());
        registry.register("stale", "Operations refused because the index has a newer version", self.stale.clone());
        registry.register("dead_letters", "Records that became dead letters, by stage", self.dead_letters.clone());
        registry.register("truncates", "Truncates, by what was done", self.truncates.clone());
        registry.register("retries", "Operations that were sent again, by reason", self.retries.clone());
        registry.register("bulk_requests", "Bulk requests", self.bulk_requests.clone());
        registry.register_with_unit("bulk", "Duration of bulk requests", Unit::Seconds, self.bulk_seconds.clone());
        registry.register("bulk_in_flight", "Bulk requests under way", self.bulk_in_flight.clone());
        registry.register("plugin_rows", "Images that a plugin saw", self.plugin_rows.clone());
        registry.register_with_unit("plugin", "Time spent in a plugin", Unit::Seconds, self.plugin_seconds.clone());
        registry.register("plugin_faults", "Traps and unreadable answers of a plugin", self.plugin_faults.clone());
        registry.register("plugins_refused", "Files that were refused as plugins", self.plugins_refused.clone());
        registry.register("plugin_swaps", "Publications of the plugin chain", self.plugin_swaps.clone());
        registry.register("config_changes", "Changes of the configuration", self.config_changes.clone());
        registry.register_with_unit(
            "plugin_swap",
            "Time that a batch waited for a newly published chain",
            Unit::Seconds,
            self.plugin_swap_seconds.clone(),
        );
        registry.register("plugin_rollbacks", "Generations that were taken back", self.plugin_rollbacks.clone());
        registry.register_with_unit("in_flight", "Records on their way", Unit::Bytes, self.bytes_in_flight.clone());
        registry.register("lag", "Records between the watermark and the partition's end", self.lag.clone());
        registry.register("paused", "Whether back-pressure pauses the source", self.paused.clone());
    }

    /// Counts settled operations.
    pub fn written(&self, action: Action, n: u64) {
        self.documents.get_or_create(&Kind { kind: action.name().into() }).inc_by(n);
        self.by_action[action as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Settled operations of a kind.
    pub fn written_of(&self, action: Action) -> u64 {
        self.by_action[action as usize].load(Ordering::Relaxed)
    }

    /// Settled operations of all kinds.
    pub fn written_total(&self) -> u64 {
        self.by_action.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Dead letters of all stages.
    pub fn dead_letters_total(&self) -> u64 {
        ["source", "decode", "plugin", "document", "sink"]
            .iter()
            .map(|stage| self.dead_letters.get_or_create(&Kind { kind: (*stage).into() }).get())
            .sum()
    }

    /// Counts a plugin's work on a batch.
    pub fn plugin(&self, plugin: &str, generation: u64, rows: u64, time: Duration, faults: u32) {
        let label = PluginLabel { plugin: plugin.into(), generation };
        self.plugin_rows.get_or_create(&label).inc_by(rows);
        self.plugin_seconds.get_or_create(&label).inc_by(time.as_secs_f64());
        if faults > 0 {
            self.plugin_faults.get_or_create(&label).inc_by(u64::from(faults));
        }
    }

    /// Forgets the figures of a generation that is gone.
    pub fn forget_plugin(&self, plugin: &str, generation: u64) {
        let label = PluginLabel { plugin: plugin.into(), generation };
        self.plugin_rows.remove(&label);
        self.plugin_seconds.remove(&label);
        self.plugin_faults.remove(&label);
    }

    /// The figures in the text form of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}
