//! Publishing the chain.

use std::sync::Arc;

use rowmill_engine::{Chain, ChainPlugin};

use super::{Slot, Supervisor};
use crate::transform::{Candidate, Published};

/// The number of retired generations whose metrics are still exposed.
const MAX_RETIRED: usize = 8;

impl Supervisor {
    /// The enabled plugins in the order of the chain: first those in `plugins.order`, then the others by file name.
    pub(super) fn ordered(&self) -> Vec<&Slot> {
        let mut slots: Vec<&Slot> = self.slots.values().filter(|slot| !self.is_disabled(slot)).collect();
        slots.sort_by(|one, other| one.file.cmp(&other.file));
        let named = |slot: &&Slot| self.config.order.iter().position(|name| name == slot.name()).unwrap_or(usize::MAX);
        slots.sort_by_key(named);
        slots
    }

    /// Publishes the chain of the running generations. Workers switch to it with their next batch.
    pub fn publish(&mut self) {
        self.number += 1;
        let published = Published {
            number: self.number,
            chain: Arc::new(self.chain_of(|slot| slot.running.plugin.clone())),
            last_good: self.last_good_chain().map(Arc::new),
            candidate: self.trial.as_ref().map(|trial| Candidate {
                chain: Arc::new(self.chain_of(|slot| match slot.name() == trial.plugin {
                    true => trial.generation.plugin.clone(),
                    false => slot.running.plugin.clone(),
                })),
                trial: trial.trial.clone(),
            }),
            alarm: Some(self.alarm.clone()),
        };
        let previous = self.published.load_full();
        self.log_publication(&previous.chain, &published.chain);
        self.published.store(Arc::new(published));
        self.retire(&previous.chain);
    }

    fn chain_of(&self, choose: impl Fn(&Slot) -> Arc<ChainPlugin>) -> Chain {
        let plugins = self.ordered().into_iter().map(choose).collect();
        Chain { plugins, routes: self.routes.clone(), stamp: self.config.stamp }
    }

    /// The chain with the last good generation in place of each generation on probation; `None` if none is on probation.
    fn last_good_chain(&self) -> Option<Chain> {
        let is_on_probation = self.ordered().iter().any(|slot| slot.probation.is_some());
        is_on_probation.then(|| {
            self.chain_of(|slot| match (&slot.probation, &slot.last_good) {
                (Some(_), Some(good)) => good.plugin.clone(),
                _ => slot.running.plugin.clone(),
            })
        })
    }

    fn log_publication(&self, previous: &Chain, chain: &Chain) {
        let generations = |chain: &Chain| chain.plugins.iter().map(|plugin| plugin.generation).collect::<Vec<_>>();
        if self.number == 1 || generations(previous) == generations(chain) {
            return;
        }
        self.metrics.plugin_swaps.inc();
        if chain.plugins.is_empty() {
            tracing::warn!(
                chain = self.number,
                "no plugin is enabled: every row becomes a document of its columns; put a plugin into the folder, or enable one"
            );
        } else {
            let names: Vec<String> =
                chain.plugins.iter().map(|plugin| format!("{}#{}", plugin.name, plugin.generation)).collect();
            // The reason is logged where the publication is decided.
            tracing::debug!(chain = self.number, plugins = names.join(" → "), "chain published");
        }
    }

    /// Removes the metrics of generations that were retired long ago; otherwise they would grow with each swap.
    fn retire(&mut self, before: &Chain) {
        for plugin in &before.plugins {
            let is_used = self.slots.values().any(|slot| {
                slot.running.number() == plugin.generation
                    || slot.last_good.as_ref().is_some_and(|good| good.number() == plugin.generation)
            });
            let gone = (plugin.name.clone(), plugin.generation);
            if !is_used && !self.retired.contains(&gone) {
                self.retired.push(gone);
            }
        }
        while self.retired.len() > MAX_RETIRED {
            let (name, generation) = self.retired.remove(0);
            self.metrics.forget_plugin(&name, generation);
        }
    }
}
