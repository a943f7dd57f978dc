//! Dead letters that are read back: from files with their rotated predecessors, and from a topic.

mod file;
mod filter;
mod replayed;
mod topic;

use std::path::{Path, PathBuf};

use rowmill_rows::capture::CapturedRecord;
use sha2::{Digest, Sha256};

use crate::config::DeadLetterConfig;
use crate::dead_letter::config::KafkaLetters;
use crate::record_versions::RecordVersions;

pub use filter::{Condition, LetterFilter};
pub use replayed::{ReplayNotes, Replayed};

/// A dead letter that was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLetter {
    /// What it is known by: two letters with the same content have the same ID.
    pub id: LetterId,
    /// The record as it was read from the source. Its `error` describes the failure, by the names of the metadata.
    pub record: CapturedRecord,
    /// Where the letter is: a file and its line, or a topic, partition and offset.
    pub place: String,
}

/// The identity of a letter: a part of the hash of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId(u128);

impl std::fmt::Display for LetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for LetterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

impl StoredLetter {
    fn new(record: CapturedRecord, place: String) -> Self {
        Self { id: id_of(&record), record, place }
    }

    /// A detail of the failure, or of the record: `stage`, `reason`, `table`, `plugin`, `index`, `id`, `topic`, `key`, … Empty
    /// if the letter does not have it.
    pub fn field(&self, name: &str) -> String {
        let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        match name {
            "key" => text(&self.record.key),
            "value" => text(&self.record.value),
            _ => self.record.error.get(name).cloned().unwrap_or_default(),
        }
    }

    /// When the letter was written, if it says so.
    pub fn time(&self) -> Option<jiff::Timestamp> {
        self.record.error.get("time")?.parse().ok()
    }

    /// The versions that a replay uses again, and how often the record has been replayed.
    ///
    /// # Errors
    /// The letter is damaged.
    pub fn versions(&self) -> anyhow::Result<RecordVersions> {
        RecordVersions::of_letter(&self.record)
    }
}

/// The hash of everything that makes a letter; each part begins with its length.
fn id_of(record: &CapturedRecord) -> LetterId {
    let mut hash = Sha256::new();
    let mut add = |part: Option<&[u8]>| {
        hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hash.update(part.unwrap_or_default());
    };
    add(Some(record.topic.as_bytes()));
    add(Some(&record.partition.to_le_bytes()));
    add(Some(&record.offset.to_le_bytes()));
    add(record.key.as_deref());
    add(record.value.as_deref());
    for (name, value) in &record.error {
        add(Some(name.as_bytes()));
        add(Some(value.as_bytes()));
    }
    let hash = hash.finalize();
    LetterId(hash.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

/// Where letters are stored, and what has been replayed of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LetterStore {
    topic: Option<KafkaLetters>,
    /// The file; its rotated predecessors belong to it.
    path: PathBuf,
}

impl LetterStore {
    /// The letters of this file.
    pub fn file(path: &Path) -> Self {
        Self { topic: None, path: path.into() }
    }

    /// Where these settings store letters: a file, or a topic and the file for those that are too large for it.
    pub fn configured(config: &DeadLetterConfig) -> Self {
        match config {
            DeadLetterConfig::File { path, .. } => Self::file(path),
            DeadLetterConfig::Kafka(kafka) => Self { topic: Some(kafka.clone()), path: kafka.path.clone() },
        }
    }

    /// What to call the store in messages.
    pub fn name(&self) -> String {
        let file = self.path.display();
        self.topic.as_ref().map_or(file.to_string(), |kafka| format!("the topic {} and {file}", kafka.topic))
    }

    /// Passes on every letter that exists now, in the order in which they were written, until `each` returns false.
    ///
    /// # Errors
    /// A file cannot be read, the brokers do not answer, or `each` fails.
    pub fn read(&self, mut each: impl FnMut(StoredLetter) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        if let Some(kafka) = &self.topic
            && !topic::read(kafka, &mut each)?
        {
            return Ok(());
        }
        file::read(&self.path, self.topic.is_some(), &mut each)
    }

    /// Which letters have been replayed.
    pub fn replayed(&self) -> Replayed {
        Replayed::new(&with_suffix(&self.path, ".replayed"))
    }

    /// Where letters go that fail again: beside the file that is read, or to the same topic. They may be any number, since a
    /// person reads how many they are.
    pub fn again(&self) -> DeadLetterConfig {
        let path = again_path(&self.path);
        match &self.topic {
            None => DeadLetterConfig::File { path, rotate_at: None, max_per_minute: None },
            Some(kafka) => DeadLetterConfig::Kafka(KafkaLetters { path, max_per_minute: None, ..kafka.clone() }),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// `letters` becomes `letters.again-1`, and that becomes `letters.again-2`.
fn again_path(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let earlier = text.rsplit_once(".again-").and_then(|(base, number)| Some((base, number.parse::<u32>().ok()?)));
    match earlier {
        Some((base, number)) => format!("{base}.again-{}", number.saturating_add(1)).into(),
        None => with_suffix(path, ".again-1"),
    }
}

#[cfg(test)]
mod tests;
