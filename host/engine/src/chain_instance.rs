//! One chain with the instances of its plugins: runs rows through them and makes operations of the result.

use std::sync::Arc;

use rowmill_rows::{Row, TableVersion};
use rowmill_sandbox::{Limits, NameRules};

use crate::batch::Batch;
use crate::call::Call;
use crate::chain::{Chain, ChainPlugin};
use crate::images::{Images, Turn};
use crate::indices::Indices;
use crate::operation::{Operations, Producer};
use crate::pause::Pause;
use crate::plan::TablePlan;
use crate::plugin_instance::PluginInstance;
use crate::route::TruncatePolicy;
use crate::target::Target;

/// A chain with one instance of each of its plugins. Each worker has one for the published chain, and further ones while
/// a generation is on probation or on trial.
pub struct ChainInstance {
    pub(crate) chain: Arc<Chain>,
    pub(crate) plugins: Vec<PluginInstance>,
    pub(crate) images: Images,
    /// The chain's generations as a member of a JSON object; empty if documents do not name them.
    pub(crate) stamp: String,
    /// Whether documents outside of their table's index must name their table, so that a truncate finds them.
    pub(crate) marks_tables: bool,
    pub(crate) indices: Arc<Indices>,
    pub(crate) limits: Limits,
    pub(crate) rules: NameRules,
    /// Targets that the current row writes or deletes; kept for its memory.
    pub(crate) targets: Vec<Target>,
    /// By the decoder's number of the table version.
    plans: Vec<Option<Arc<TablePlan>>>,
    pub(crate) calls: Vec<Call>,
}

impl ChainInstance {
    /// An instance of the empty chain. Index names are numbered in `indices`; plugins are held to `limits`, and their IDs and
    /// index names to the `rules` of the sink.
    pub fn new(indices: Arc<Indices>, limits: Limits, rules: NameRules) -> Self {
        Self {
            chain: Arc::default(),
            plugins: Vec::new(),
            images: Images::default(),
            stamp: String::new(),
            marks_tables: false,
            indices,
            limits,
            rules,
            targets: Vec::new(),
            plans: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// The chain.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// The numbers of the index names.
    pub fn indices(&self) -> &Arc<Indices> {
        &self.indices
    }

    /// The plugin generation at this place in the chain.
    pub fn plugin(&self, place: usize) -> &Arc<ChainPlugin> {
        &self.plugins[place].plugin
    }

    /// The plugins, in their order.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<ChainPlugin>> {
        self.plugins.iter().map(|instance| &instance.plugin)
    }

    /// Hands over the plugin instances, to be given to [`ChainInstance::switch_to`] of this or another chain instance.
    pub fn take_plugins(&mut self) -> Vec<PluginInstance> {
        std::mem::take(&mut self.plugins)
    }

    /// Switches to another chain and returns the previous one. Instances of generations that stay in use are taken from
    /// `spare`; all plans are made anew. `has_fallback` says for a place in the chain whether another generation answers
    /// for rows that fail there.
    pub fn switch_to(
        &mut self,
        chain: Arc<Chain>,
        spare: &mut Vec<PluginInstance>,
        has_fallback: impl Fn(usize) -> bool,
    ) -> Arc<Chain> {
        self.plans.clear();
        self.plugins.clear();
        for (place, plugin) in chain.plugins.iter().enumerate() {
            let kept = spare.iter().position(|instance| instance.plugin.generation == plugin.generation);
            let mut instance =
                kept.map_or_else(|| PluginInstance::start(plugin.clone()), |place| spare.swap_remove(place));
            instance.has_fallback = has_fallback(place);
            self.plugins.push(instance);
        }
        self.marks_tables = chain.routes.iter().any(|route| route.truncate == TruncatePolicy::Apply);
        self.stamp.clear();
        if chain.stamp && !chain.plugins.is_empty() {
            let generations: Vec<String> = chain.plugins.iter().map(|plugin| plugin.stamp()).collect();
            self.stamp = format!("\"plugins\":{}", serde_json::Value::from(generations));
        }
        std::mem::replace(&mut self.chain, chain)
    }

    /// The plan for a table version.
    pub fn plan(&mut self, number: u32, table: &Arc<TableVersion>) -> Arc<TablePlan> {
        let number = number as usize;
        if self.plans.len() <= number {
            self.plans.resize_with(number + 1, || None);
        }
        if let Some(plan) = &self.plans[number] {
            return plan.clone();
        }
        let plugins = self.plugins.iter().map(|instance| &*instance.plugin).enumerate();
        let plan = Arc::new(TablePlan::new(table, &self.chain.routes, plugins, &self.indices, &self.rules));
        self.plans[number] = Some(plan.clone());
        plan
    }

    /// Runs the images of the rows that `takes` selects through the chain, table by table.
    pub fn run(&mut self, batch: &mut Batch<'_>, takes: impl Fn(usize) -> bool) {
        self.calls.clear();
        self.images.start(batch.rows, takes);
        for number in self.images.tables().to_vec() {
            let plan = self.plan(number, &batch.tables[number as usize]);
            self.images.select(number, batch.rows);
            let Self { images, plugins, limits, rules, calls, .. } = self;
            for &place in &plan.chain {
                let turn = Turn { place, table: number, plan: &plan, limits, rules };
                images.run(turn, &mut plugins[place], batch, calls);
            }
        }
    }

    /// What the calls of the last [`ChainInstance::run`] cost.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The time spent in `define-table` since the last call of this method.
    pub fn take_definition_time(&mut self) -> Pause {
        self.plugins.iter_mut().map(PluginInstance::take_definition_time).fold(Pause::default(), std::ops::Add::add)
    }

    /// Returns true if any row of the last run failed in a plugin that `at` selects by its place in the chain.
    pub fn has_failures(&self, at: impl Fn(usize) -> bool) -> bool {
        self.images.has_failures(at)
    }

    /// The place in the chain where a row of the last run failed, and the reason.
    pub fn failure_of(&self, row: usize) -> Option<(usize, &str)> {
        self.images.failure_of(row)
    }

    /// Appends the default ID of a row to `id`; `None` if the row has none.
    ///
    /// The ID is that of the before image if the source sends it whole, so a row whose key changes keeps its ID for this
    /// purpose.
    pub fn default_id(&mut self, batch: &Batch<'_>, row: Row, id: &mut Vec<u8>) -> Option<()> {
        let plan = self.plan(row.table, &batch.tables[row.table as usize]);
        let cells = row.before.filter(|_| row.before_is_complete).or(row.after)? as usize;
        plan.write_id(id, |column| batch.bytes_of(cells + column as usize)).ok()
    }

    /// Adds the chain's generations to the producers of `out`, and returns the number of the first.
    pub fn add_producers(&self, out: &mut Operations) -> usize {
        let first = out.producers.len();
        out.producers.extend(
            self.plugins.iter().map(|instance| Producer {
                plugin: instance.plugin.name.clone(),
                generation: instance.plugin.generation,
            }),
        );
        first
    }
}

impl std::fmt::Debug for ChainInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainInstance").field("plugins", &self.plugins).finish_non_exhaustive()
    }
}
