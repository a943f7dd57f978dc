//! The chain as it is published.

use std::sync::Arc;

use super::{Beside, Chain, ChainPlugin, Slot, Supervisor};

/// Generations whose figures are told after they are gone.
const MOST_RETIRED: usize = 8;

impl Supervisor {
    /// The plugins in the order in which rows go through them: those that the configuration names first, then the others
    /// by their files.
    pub(super) fn ordered(&self) -> Vec<&Slot> {
        let mut slots: Vec<&Slot> = self.slots.values().filter(|slot| !self.is_disabled(slot)).collect();
        slots.sort_by(|one, other| one.file.cmp(&other.file));
        let named = |slot: &&Slot| self.config.order.iter().position(|name| name == slot.name()).unwrap_or(usize::MAX);
        slots.sort_by_key(named);
        slots
    }

    /// Publishes the chain of what there is now. Workers take it up with their next batch.
    pub fn publish(&mut self) {
        self.number += 1;
        let of = |choose: &dyn Fn(&Slot) -> Arc<ChainPlugin>, number: u64| Chain {
            number,
            plugins: self.ordered().into_iter().map(choose).collect(),
            routes: self.routes.clone(),
            stamp: self.config.stamp,
            ..Chain::default()
        };
        let mut chain = of(&|slot| slot.running.plugin.clone(), self.number);
        if self.ordered().iter().any(|slot| slot.probation.is_some()) {
            let last_good = of(
                &|slot| match (&slot.probation, &slot.last_good) {
                    (Some(_), Some(good)) => good.plugin.clone(),
                    _ => slot.running.plugin.clone(),
                },
                self.number,
            );
            chain.last_good = Some(Arc::new(last_good));
        }
        if let Some(trial) = &self.trial {
            let candidate = of(
                &|slot| match slot.name() == trial.plugin {
                    true => trial.generation.plugin.clone(),
                    false => slot.running.plugin.clone(),
                },
                self.number,
            );
            chain.trial = Some(Beside { chain: Arc::new(candidate), trial: trial.trial.clone() });
        }
        chain.alarm = Some(self.alarm.clone());
        let before = self.chain.load_full();
        let generations = |chain: &Chain| chain.plugins.iter().map(|plugin| plugin.generation).collect::<Vec<_>>();
        if self.number > 1 && generations(&before) != generations(&chain) {
            self.metrics.plugin_swaps.inc();
            if chain.plugins.is_empty() {
                tracing::warn!(
                    chain = chain.number,
                    "no plugin is left: rows now pass unshaped, each a document of its own columns; put a plugin into the folder, or enable one, to change that"
                );
            } else {
                let names: Vec<String> =
                    chain.plugins.iter().map(|plugin| format!("{}#{}", plugin.name, plugin.generation)).collect();
                // Why it was published is told where it was decided.
                tracing::debug!(chain = chain.number, plugins = names.join(" → "), "chain published");
            }
        }
        self.chain.store(Arc::new(chain));
        self.retire(&before);
    }

    /// Forgets the figures of generations that were long gone: each swap would leave some behind.
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
        while self.retired.len() > MOST_RETIRED {
            let (name, generation) = self.retired.remove(0);
            self.metrics.forget_plugin(&name, generation);
        }
    }
}
