//! What is in the store, and the replay of dead letters into it.

use std::path::Path;

use rowmill::config::{Overrides, read_text};
use rowmill::pipeline::Pipeline;
use rowmill_store::StoreHandle;
use rowmill_tests::history::Documents;

use crate::plugin;
use crate::workload::Workload;

/// Everything in the store except Rowmill's own indices.
pub fn documents(store: &StoreHandle) -> Documents {
    let indices = store.indices().into_iter().filter(|index| !index.starts_with("rowmill-"));
    let of_index = |index: String| {
        let documents = store.documents(&index).into_iter();
        documents.map(move |one| {
            let source = serde_json::from_str(&one.source).expect("a source is JSON");
            ((index.clone(), one.id), source)
        })
    };
    indices.flat_map(of_index).collect()
}

/// The lines of a file of dead letters; none if there is no file.
pub fn letters(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}

/// Replays dead letters, with a plugin that is fixed.
pub fn replay(folder: &Path, url: &str, workload: &Workload, letters: Vec<String>) -> Result<(), String> {
    if letters.is_empty() {
        return Ok(());
    }
    let (path, again) = (folder.join("replay.ndjson"), folder.join("again.ndjson"));
    std::fs::write(&path, letters.join("\n") + "\n").map_err(|error| error.to_string())?;
    let text = format!(
        "[source]\nkind = \"file\"\npath = {path:?}\n[sink]\nurls = [{url:?}]\nlinger = \"1ms\"\n\
         [dead_letter]\npath = {again:?}\n[pipeline]\nworkers = 2\nbatch_rows = 10\n{}",
        workload.routes(),
    );
    let config = read_text(&text, "chaos", &Overrides::default()).map_err(|error| error.to_string())?;
    let pipeline = Pipeline::new(config).map_err(|error| format!("{error:#}"))?;
    plugin::publish(&pipeline, workload.settings(true).to_string());
    let (summary, _) = pipeline.run(true).map_err(|error| format!("the replay failed: {error:#}"))?;
    if summary.dead_letters > 0 {
        return Err(format!("the replay has dead letters: {}", std::fs::read_to_string(again).unwrap_or_default()));
    }
    Ok(())
}
