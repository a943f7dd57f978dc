//! The identity of this gateway in its consumer group.
//!
//! A group hands the partitions of a member that comes back under the same identity back to it at once. Without an identity
//! a gateway that was killed is a new member, and its partitions wait until the session of the dead one has timed out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::Context;

/// How many gateways can share a state folder.
const MAX_INSTANCES: u32 = 64;

/// An identity.
#[derive(Debug)]
pub(super) struct Instance {
    /// `group.instance.id`.
    pub id: String,
    /// Keeps other gateways from using the identity of a state folder.
    _lock: Option<File>,
}

impl Instance {
    /// The identity with this name. Kafka makes sure that it is used once.
    pub fn named(name: &str) -> Self {
        Self { id: name.into(), _lock: None }
    }

    /// The first identity of a state folder that no running gateway uses. It is created if needed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for number in 1..=MAX_INSTANCES {
            let path = folder.join(if number == 1 { "instance".to_string() } else { format!("instance-{number}") });
            if let Some(instance) = Self::of_file(&path).with_context(|| format!("cannot use {}", path.display()))? {
                return Ok(instance);
            }
        }
        anyhow::bail!("{} is in use by {MAX_INSTANCES} gateways", folder.display())
    }

    /// The identity in a file; `None` if another gateway uses it.
    fn of_file(path: &Path) -> anyhow::Result<Option<Self>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut id = text.trim().to_string();
        if id.is_empty() {
            id = format!("rowmill-{:016x}", fastrand::u64(..));
            file.rewind()?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
        }
        Ok(Some(Self { id, _lock: Some(file) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_restarts_and_is_used_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Instance::of_folder(folder.path()).unwrap();
        let second = Instance::of_folder(folder.path()).unwrap();
        assert_ne!(first.id, second.id);
        let id = first.id.clone();
        drop(first);
        assert_eq!(Instance::of_folder(folder.path()).unwrap().id, id);
    }
}
