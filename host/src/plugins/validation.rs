//! The thread that proves: what may take seconds, or hang until its limit, happens here and not where rows are.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::VALIDATION_NICENESS;
use super::folder::PluginFile;
use super::generation::Generation;
use super::validator::Validator;
use crate::config::PluginConfig;
use crate::transform::Shared;
use crate::transform::probe::probe;
use crate::transform::retire::Retired;
use rowmill_engine::Chain;
use rowmill_engine::Route;

/// What is to be proven.
pub(super) enum ValidationJob {
    /// A file that was seen.
    File(Arc<Validator>, PluginFile),
    /// An earlier good file, out of the private folder.
    Earlier(Arc<Validator>, PathBuf, PluginFile),
    /// Generations with the settings of another configuration, all or none.
    Configuration(Box<Reconfiguration>),
}

/// Another configuration on its way.
pub(super) struct Reconfiguration {
    pub validator: Arc<Validator>,
    pub config: PluginConfig,
    pub routes: Arc<[Route]>,
    /// The plugins whose settings changed.
    pub generations: Vec<Generation>,
    pub reply: Sender<Result<Vec<String>, String>>,
}

/// What came of it.
pub(super) enum Validated {
    /// Of a file: its path and hash, and the generation; or why it is refused, with the generation if it is one.
    File(PathBuf, String, Result<Generation, (String, Option<Generation>)>),
    /// Of an earlier good file.
    Earlier(PathBuf, Result<Generation, String>),
    /// Of a configuration.
    Configuration(Box<Reconfiguration>, Result<Vec<Generation>, String>),
}

/// Proves until the jobs end, and drops what the workers have no more use for.
pub(super) fn run(
    jobs: &Receiver<ValidationJob>,
    retired: &Receiver<Retired>,
    proven: &Sender<Validated>,
    shared: &Shared,
) {
    // It is in no hurry, and the rows are. On Linux this is of this thread alone.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, VALIDATION_NICENESS) {
        tracing::debug!(%error, "plugins are proven at the same priority as rows");
    }
    loop {
        let job = crossbeam_channel::select! {
            recv(jobs) -> job => match job {
                Ok(job) => job,
                Err(_) => return,
            },
            recv(retired) -> retired => {
                drop(retired);
                continue;
            }
        };
        let result = match job {
            ValidationJob::File(validator, seen) => {
                let (path, hash) = (seen.path.clone(), seen.hash.clone());
                let result = validator
                    .validate(seen.bytes, &seen.hash, seen.signature)
                    .map_err(|reason| (reason, None))
                    .and_then(|generation| match run_probe(&validator, shared, &generation) {
                        Ok(()) => Ok(generation),
                        Err(reason) => Err((reason, Some(generation))),
                    });
                Validated::File(path, hash, result)
            }
            ValidationJob::Earlier(validator, path, seen) => {
                Validated::Earlier(path, validator.validate(seen.bytes, &seen.hash, seen.signature))
            }
            ValidationJob::Configuration(change) => {
                let configured = change.generations.iter().map(|generation| {
                    let name = &generation.plugin.name;
                    let configured =
                        change.validator.configure(generation).map_err(|reason| format!("{name}: {reason}"))?;
                    run_probe(&change.validator, shared, &configured).map_err(|reason| format!("{name}: {reason}"))?;
                    Ok(configured)
                });
                let configured = configured.collect();
                Validated::Configuration(change, configured)
            }
        };
        if proven.send(result).is_err() {
            return;
        }
    }
}

/// The probe: what the running chain takes, the chain with the new generation must take too.
fn run_probe(validator: &Validator, shared: &Shared, generation: &Generation) -> Result<(), String> {
    let running = shared.published.load().chain.clone();
    let candidate = Arc::new(with(&running, generation));
    let found = probe(shared, generation.number(), candidate, running);
    match found.first {
        // The probe took an instance of those that were made for the workers.
        None => validator.prepare_instances(generation),
        Some((table, reason)) => Err(format!(
            "probe: of the last {} real rows it fails {} that the running plugins take; the first is of {table}: {reason}",
            found.rows, found.regressed
        )),
    }
}

/// The chain with the generation in the place of its plugin, or at its end.
fn with(chain: &Chain, generation: &Generation) -> Chain {
    let mut plugins = chain.plugins.clone();
    match plugins.iter_mut().find(|plugin| plugin.name == generation.plugin.name) {
        Some(plugin) => *plugin = generation.plugin.clone(),
        None => plugins.push(generation.plugin.clone()),
    }
    Chain { plugins, ..chain.clone() }
}
