//! A plugin that is replaced while rows flow: each record of the table `shop.mark` in the stream has the next chain
//! published, at exactly that place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use rowmill::pipeline::Pipeline;
use rowmill::transform::Published;
use rowmill_engine::{Chain, ChainPlugin};
use rowmill_sandbox::{Batch, CallError, Guest, Instance, Limits, Plugin, RawOutput, Sandbox, Table};
use rowmill_tests::captures::Record;
use rowmill_tests::guests;
use serde_json::json;

/// The table of marks, and the index that stays empty.
pub const TABLE: &str = "mark";
/// Higher than the number of any chain that the pipeline publishes itself.
const FIRST: u64 = 1_000;
/// The contract's code for a filtered image.
const DROP: u32 = 1;

/// The settings of the n-th chain's plugin, a JSON object.
type Settings = Box<dyn Fn(u64) -> String + Send + Sync>;

/// Publishes chains one after the other. They have the same plugin, alternately from the built file and from another build with
/// different bytes and the same behaviour.
pub struct Swapper {
    publish: Box<dyn Fn(u64, Chain) + Send + Sync>,
    settings: Settings,
    published: AtomicU64,
}

impl Swapper {
    /// Publishes the first chain, in place of the pipeline's own.
    pub fn start(pipeline: &Pipeline, settings: Settings) -> Arc<Self> {
        let published = pipeline.published();
        let publish = Box::new(move |number: u64, next: Chain| {
            let routes = published.load().chain.routes.clone();
            published.store(Arc::new(Published::new(number, Chain { routes, ..next })));
        });
        let swapper = Arc::new(Self { publish, settings, published: AtomicU64::new(0) });
        swapper.publish_next();
        swapper
    }

    /// How often a chain replaced another.
    pub fn swaps(&self) -> u64 {
        self.published.load(Ordering::Relaxed) - 1
    }

    fn publish_next(self: &Arc<Self>) {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let plugin = plugins()[number as usize % 2].clone();
        let (description, hash) = (plugin.description().clone(), plugin.hash().to_string());
        let settings = (self.settings)(number);
        // Weak: the chain that holds this belongs to the pipeline, which this one holds.
        let swapper = Arc::downgrade(self);
        let make = move || match plugin.instantiate(&settings) {
            Ok(guest) => Ok(Box::new(Marked { guest, swapper: swapper.clone(), marks: None }) as Box<dyn Guest>),
            Err(refusal) => Err(refusal.to_string()),
        };
        let plugin = ChainPlugin::new(description, hash, FIRST + number, Box::new(make));
        (self.publish)(FIRST + number, Chain { plugins: vec![Arc::new(plugin)], ..Chain::default() });
    }
}

/// The shaper from its file, and from a different file with the same behaviour.
fn plugins() -> &'static [Arc<Plugin>; 2] {
    static LOADED: OnceLock<[Arc<Plugin>; 2]> = OnceLock::new();
    LOADED.get_or_init(|| {
        let sandbox = Arc::new(Sandbox::new(Limits::default()).expect("the sandbox starts"));
        let bytes = std::fs::read(guests::shaper().join("shaper.wasm")).expect("the shaper is built");
        let load = |bytes: &[u8]| Arc::new(Plugin::load(&sandbox, bytes).expect("the shaper is taken"));
        let both = [load(&bytes), load(&guests::rebuilt(&bytes))];
        assert_ne!(both[0].hash(), both[1].hash(), "they are two files");
        both
    })
}

/// A sandboxed guest that hands marks to the swapper, and everything else to the plugin.
struct Marked {
    guest: Instance,
    swapper: Weak<Swapper>,
    /// The number of the table of marks.
    marks: Option<u32>,
}

impl Guest for Marked {
    fn define_table(&mut self, table: &Table) -> Result<Vec<u32>, CallError> {
        if table.name == TABLE {
            self.marks = Some(table.id);
            return Ok(Vec::new());
        }
        self.guest.define_table(table)
    }

    fn transform(&mut self, batch: &Batch) -> Result<RawOutput, CallError> {
        if self.marks != Some(batch.table) {
            return self.guest.transform(batch);
        }
        if let Some(swapper) = self.swapper.upgrade() {
            swapper.publish_next();
        }
        Ok(RawOutput { verdicts: vec![DROP; batch.count as usize], ..RawOutput::default() })
    }
}

/// The records with this number of marks among them, and the positions of the marks.
pub fn marked(mut records: Vec<Record>, marks: usize, random: &mut fastrand::Rng) -> (Vec<Record>, Vec<usize>) {
    for number in 0..marks {
        let value = json!({
            "database": "shop", "table": TABLE, "type": "insert", "ts": 1_795_216_000, "xid": number, "commit": true,
            "position": format!("binlog.000001:{}", 4 + number), "primary_key_columns": ["id"], "data": { "id": number },
        });
        // Each has its own partition, so that only the order of arrival counts.
        let mut mark = Record::new("marks", 0, value.to_string());
        mark.partition = number as i32;
        records.insert(random.usize(..=records.len()), mark);
    }
    let places = records.iter().enumerate().filter(|(_, record)| record.topic == "marks").map(|(place, _)| place);
    let places = places.collect();
    (records, places)
}
