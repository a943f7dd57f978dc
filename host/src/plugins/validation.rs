//! The validation thread. Work that may take seconds, or hang until it hits a limit, runs here and not on a worker.

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

/// A request to validate something.
pub(super) enum ValidationJob {
    /// A file of the plugin folder.
    File(Arc<Validator>, PluginFile),
    /// An earlier good file from the private folder.
    Earlier(Arc<Validator>, PathBuf, PluginFile),
    /// Generations with the settings of a new configuration: all of them or none.
    Configuration(Box<Reconfiguration>),
}

/// A new configuration that is not applied yet.
pub(super) struct Reconfiguration {
    pub validator: Arc<Validator>,
    pub config: PluginConfig,
    pub routes: Arc<[Route]>,
    /// The plugins whose settings changed.
    pub generations: Vec<Generation>,
    pub reply: Sender<Result<Vec<String>, String>>,
}

/// The result of a validation.
pub(super) enum Validated {
    /// A file: its path and hash, and the generation. If it was refused: the reason, and the generation if there is one.
    File(PathBuf, String, Result<Generation, (String, Option<Generation>)>),
    /// An earlier good file.
    Earlier(PathBuf, Result<Generation, String>),
    /// A new configuration.
    Configuration(Box<Reconfiguration>, Result<Vec<Generation>, String>),
}

/// Validates until the jobs end, and drops the instances that the workers no longer use.
pub(super) fn run(
    jobs: &Receiver<ValidationJob>,
    retired: &Receiver<Retired>,
    validated: &Sender<Validated>,
    shared: &Shared,
) {
    // Rows come first. On Linux this changes the priority of this thread only.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, VALIDATION_NICENESS) {
        tracing::debug!(%error, "cannot lower the priority of the validation thread");
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
        if validated.send(validate(job, shared)).is_err() {
            return;
        }
    }
}

fn validate(job: ValidationJob, shared: &Shared) -> Validated {
    match job {
        ValidationJob::File(validator, file) => {
            let (path, hash) = (file.path.clone(), file.hash.clone());
            let result = validator
                .validate(file.bytes, &file.hash, file.signature)
                .map_err(|reason| (reason, None))
                .and_then(|generation| match run_probe(&validator, shared, &generation) {
                    Ok(()) => Ok(generation),
                    Err(reason) => Err((reason, Some(generation))),
                });
            Validated::File(path, hash, result)
        }
        ValidationJob::Earlier(validator, path, file) => {
            Validated::Earlier(path, validator.validate(file.bytes, &file.hash, file.signature))
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
    }
}

/// The probe: the chain with the new generation must accept every recent row that the running chain accepts.
fn run_probe(validator: &Validator, shared: &Shared, generation: &Generation) -> Result<(), String> {
    let running = shared.published.load().chain.clone();
    let candidate = Arc::new(with(&running, generation));
    let found = probe(shared, generation.number(), candidate, running);
    match found.first {
        // The probe used one of the instances that were created for the workers.
        None => validator.prepare_instances(generation),
        Some((table, reason)) => Err(format!(
            "probe: of the last {} real rows it fails on {} that the running plugins accept; the first is of {table}: {reason}",
            found.rows, found.regressed
        )),
    }
}

/// Returns the chain with the generation in place of the running one of its plugin, or at the end.
fn with(chain: &Chain, generation: &Generation) -> Chain {
    let mut plugins = chain.plugins.clone();
    match plugins.iter_mut().find(|plugin| plugin.name == generation.plugin.name) {
        Some(plugin) => *plugin = generation.plugin.clone(),
        None => plugins.push(generation.plugin.clone()),
    }
    Chain { plugins, ..chain.clone() }
}
