//! A private folder: only this user can write to it, so its files can be trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// A private folder. Files in it are written atomically, and read only if no other user could have written them.
#[derive(Clone, Debug)]
pub struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Opens the folder, or creates it with mode 0700.
    ///
    /// # Errors
    /// It cannot be created, is a link, belongs to another user, or is writable for others. The message says what to do.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create the private folder {}", path.display()));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
        ensure!(found.is_dir(), "{} is not a folder (links are not followed); remove it", path.display());
        ensure!(
            found.uid() == rustix::process::geteuid().as_raw(),
            "{} belongs to another user; remove it, or set plugins.state to another folder",
            path.display()
        );
        if found.permissions().mode() & 0o077 != 0 {
            ensure!(
                found.permissions().mode() & 0o022 == 0,
                "{} is writable for other users, so its files are not trusted; remove it, or empty it and run chmod 700",
                path.display()
            );
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .with_context(|| format!("cannot restrict {} to its owner", path.display()))?;
        }
        Ok(Self { path: path.into() })
    }

    /// Opens or creates a private subfolder.
    ///
    /// # Errors
    /// As [`PrivateFolder::open`].
    pub fn folder(&self, name: &str) -> anyhow::Result<Self> {
        Self::open(&self.path.join(name))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file; `None` if it does not exist.
    ///
    /// # Errors
    /// It cannot be read, is not a regular file, or another user could have written it.
    pub fn read(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let found = file.metadata()?;
        let is_ours = found.is_file()
            && found.uid() == rustix::process::geteuid().as_raw()
            && found.permissions().mode() & 0o022 == 0;
        ensure!(is_ours, "{} is ignored: another user could have written it", path.display());
        let mut bytes = Vec::with_capacity(found.len() as usize);
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(bytes))
    }

    /// Writes a file atomically: a reader sees either the old or the new bytes, even after a crash.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let part = self.path.join(format!(".{name}.{}.part", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes a file. It need not exist.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(name.to_string()),
            _ => Ok(()),
        }
    }

    /// The names of its files without the hidden ones, in no particular order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_that_others_could_have_written_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let private = PrivateFolder::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(private.read("x").unwrap(), None);
        private.write("x", b"one").unwrap();
        private.write("x", b"two").unwrap();
        assert_eq!(private.read("x").unwrap().unwrap(), b"two");
        assert_eq!(private.names(), ["x"]);
        fs::set_permissions(private.path().join("x"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(private.read("x").unwrap_err().to_string().contains("another user could have written"));
        symlink("/etc/passwd", private.path().join("link")).unwrap();
        assert!(private.read("link").is_err());
        private.remove("x").unwrap();
        private.remove("x").unwrap();
        assert!(private.names().is_empty());
    }

    #[test]
    fn a_folder_writable_for_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(PrivateFolder::open(&open).unwrap_err().to_string().contains("writable for other users"));
        // Only readable by others: the mode is restricted, and the folder is used.
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        PrivateFolder::open(&open).unwrap();
        assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o700);
        symlink(&open, folder.path().join("link")).unwrap();
        assert!(PrivateFolder::open(&folder.path().join("link")).is_err());
    }
}
