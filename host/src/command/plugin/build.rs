//! `rowmill plugin build`: builds a plugin's `.wasm` file and embeds its cases.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use rowmill_harness::embedded;
use rowmill_sandbox::FileSummary;

use super::BuildArgs;
use super::load::{load_bytes, read};
use super::{count_of_cases, project};
use crate::command::run::print_line;

pub(super) fn build(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let built = project::build(&args.dir)?;
    let name = built.place.file_name().context("the built file has a name")?;
    let place = match &args.into {
        None => built.place.clone(),
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
            folder.join(name)
        }
    };
    let read = read(&built.file)?;
    let folder = args.dir.join("cases");
    let bytes = match !args.no_cases && folder.is_dir() {
        true => embedded::embed(&read, &folder)?,
        false => read.clone(),
    };
    // Load it before writing it anywhere, to report here what the gateway would refuse.
    let plugin = load_bytes(&built.file, &bytes)?;
    if place != built.file || bytes != read {
        publish(&bytes, &place)?;
    }
    let contract = FileSummary::read(&bytes).ok().and_then(|summary| summary.contract).unwrap_or_default();
    let description = plugin.description();
    print_line(&format!(
        "{}: {} {}, {:.1} KiB, contract {contract}, {} embedded",
        place.display(),
        description.name,
        description.version,
        plugin.size() as f64 / 1024.0,
        count_of_cases(embedded::cases(&bytes)?.len())
    ));
    Ok(ExitCode::SUCCESS)
}

/// Writes a file atomically: under a hidden name first, so that a gateway watching the folder never sees a partial file.
fn publish(bytes: &[u8], place: &Path) -> anyhow::Result<()> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let part = place.with_file_name(format!(".{name}.{}", std::process::id()));
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, place))
        .inspect_err(|_| drop(fs::remove_file(&part)))
        .with_context(|| format!("cannot write {}", place.display()))
}
