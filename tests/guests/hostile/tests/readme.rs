//! The README of the guests lists every action and every file, and no others.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn guests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The text in backquotes in the first cells of the tables of a section.
fn listed(section: &str) -> BTreeSet<String> {
    let readme = fs::read_to_string(guests().join("README.md")).unwrap();
    let text = readme.split("\n## ").find(|s| s.starts_with(section)).unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_deed() {
    let mut deeds = BTreeSet::new();
    for file in ["lib.rs", "words.rs"] {
        let source = fs::read_to_string(guests().join("hostile/src").join(file)).unwrap();
        let settings = source.split("fn configure").last().unwrap();
        for line in settings.lines().map(str::trim_start).filter(|l| l.starts_with('"')) {
            if line.contains("=>") {
                deeds.insert(line.split('"').nth(1).unwrap().to_owned());
            }
        }
    }
    deeds.insert("keep".to_owned());
    assert!(deeds.len() > 90, "{}", deeds.len());
    assert_eq!(listed("`hostile/`"), deeds);
}

#[test]
fn every_file() {
    let files = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(guests().join(folder)).unwrap();
        entries.map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("`wat/`"), files("wat"));
    assert_eq!(files("not-wasm").len(), 6);
}
