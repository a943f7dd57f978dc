//! The lines that gateways have written, read as they grow.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use rowmill_tests::gateway::Gateway;
use serde_json::Value;

/// The lines of one gateway.
pub struct Lines {
    path: PathBuf,
    position: u64,
    /// The first version of each change, by the change's number.
    pub versions: BTreeMap<u64, u64>,
    /// The numbers in the order in which they were first written.
    pub order: Vec<u64>,
}

impl Lines {
    pub fn of(gateway: &Gateway) -> Self {
        Self { path: super::lines_path(gateway), position: 0, versions: BTreeMap::new(), order: Vec::new() }
    }

    /// Reads what was written since the last call; returns how many changes are written.
    pub fn read(&mut self) -> usize {
        let Ok(mut file) = File::open(&self.path) else { return 0 };
        file.seek(SeekFrom::Start(self.position)).expect("the file can be read from there");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("the file can be read");
        // The last line may not be complete.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.position += end as u64;
        for line in bytes[..end].split_inclusive(|byte| *byte == b'\n') {
            let line: Value = serde_json::from_slice(line).expect("a line of JSON");
            let number = line["document"]["id"].as_u64().expect("a number");
            let version = line["version"].as_u64().expect("a version");
            match self.versions.insert(number, version) {
                Some(earlier) => assert_eq!(version, earlier, "change {number} is written with another version"),
                None => self.order.push(number),
            }
        }
        self.versions.len()
    }
}
