//! One chain at work in a worker: its instances, what is decided for each table version, and the images of the batch.

use std::sync::Arc;

use rowmill_engine::Producer;
use rowmill_rows::{RowBatch, TableVersion};

use super::Shared;
use super::chain::{Chain, ChainPlugin};
use super::images::Images;
use super::plan::TablePlan;
use super::running::Running;

/// A chain at work. A worker has one for the published chain, and further ones while a generation is tried.
#[derive(Default)]
pub(super) struct Lane {
    pub chain: Arc<Chain>,
    pub running: Vec<Running>,
    pub images: Images,
    /// The chain's generations, as a member of a JSON object; empty where documents do not tell of them.
    pub stamp: String,
    /// By the decoder's number of the table version.
    plans: Vec<Option<Arc<TablePlan>>>,
}

impl Lane {
    /// Turns to another chain. Instances of generations that stay are taken from `spare`, where all lanes put theirs
    /// before; all decisions are made anew. `is_tried` tells of a place in the chain whether another lane answers for what
    /// fails there. Gives back the chain of before.
    pub fn turn_to(
        &mut self,
        chain: Arc<Chain>,
        spare: &mut Vec<Running>,
        is_tried: impl Fn(usize) -> bool,
    ) -> Arc<Chain> {
        self.plans.clear();
        self.running.clear();
        for (place, plugin) in chain.plugins.iter().enumerate() {
            let kept = spare.iter().position(|running| running.plugin.generation == plugin.generation);
            let mut running = kept.map_or_else(|| Running::start(plugin.clone()), |place| spare.swap_remove(place));
            running.is_tried = is_tried(place);
            self.running.push(running);
        }
        self.stamp.clear();
        if chain.stamp && !chain.plugins.is_empty() {
            let of = |plugin: &Arc<ChainPlugin>| {
                let hash = &plugin.hash[..plugin.hash.len().min(12)];
                format!("{}#{}@{hash}", plugin.name, plugin.generation)
            };
            let generations: Vec<String> = chain.plugins.iter().map(of).collect();
            self.stamp = format!("\"plugins\":{}", serde_json::Value::from(generations));
        }
        std::mem::replace(&mut self.chain, chain)
    }

    /// The decisions for a table version.
    pub fn plan(&mut self, number: u32, table: &Arc<TableVersion>, shared: &Shared) -> Arc<TablePlan> {
        let number = number as usize;
        if self.plans.len() <= number {
            self.plans.resize_with(number + 1, || None);
        }
        if let Some(plan) = &self.plans[number] {
            return plan.clone();
        }
        let plugins = self.running.iter().map(|running| &*running.plugin).enumerate();
        let plan = Arc::new(TablePlan::new(table, &self.chain.routes, plugins, &shared.indices));
        self.plans[number] = Some(plan.clone());
        plan
    }

    /// Sends the images of the rows that `takes` chooses through the chain, table by table.
    pub fn run(
        &mut self,
        tables: &[Arc<TableVersion>],
        rows: &mut RowBatch,
        records: &[u8],
        shared: &Shared,
        takes: impl Fn(usize) -> bool,
    ) {
        self.images.start(rows, takes);
        for number in self.images.tables().to_vec() {
            let plan = self.plan(number, &tables[number as usize], shared);
            self.images.select(number, rows);
            for &place in &plan.chain {
                self.images.run(place, &mut self.running[place], number, &plan, rows, shared, records);
            }
        }
    }

    /// Who makes the documents, by their place in the chain.
    pub fn producers(&self) -> impl Iterator<Item = Producer> + '_ {
        self.running
            .iter()
            .map(|running| Producer { plugin: running.plugin.name.clone(), generation: running.plugin.generation })
    }
}
