//! A folder that is ours alone: what lies in it was put there by this user, and by nobody else.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// A private folder. Files in it are written in one step, and read only if nobody else could have written them.
#[derive(Clone, Debug)]
pub struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Opens the folder, or makes it with the mode 0700.
    ///
    /// # Errors
    /// It cannot be made, is a link, belongs to another user, or others may write there. The message says what to do.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make the private folder {}", path.display()));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
        ensure!(found.is_dir(), "{} is not a folder (a link is not followed); remove it", path.display());
        ensure!(
            found.uid() == rustix::process::geteuid().as_raw(),
            "{} belongs to another user; remove it, or choose another place by plugins.state",
            path.display()
        );
        if found.permissions().mode() & 0o077 != 0 {
            ensure!(
                found.permissions().mode() & 0o022 == 0,
                "others may write into {}, so what lies there is not trusted: remove the folder, or empty it and chmod 700",
                path.display()
            );
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .with_context(|| format!("cannot make {} private", path.display()))?;
        }
        Ok(Self { path: path.into() })
    }

    /// A private folder in this one.
    ///
    /// # Errors
    /// As [`PrivateFolder::open`].
    pub fn folder(&self, name: &str) -> anyhow::Result<Self> {
        Self::open(&self.path.join(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file's bytes; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, is no plain file, or others could have written it.
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
        ensure!(is_ours, "others could have written {}; it is not used", path.display());
        let mut bytes = Vec::with_capacity(found.len() as usize);
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(bytes))
    }

    /// Writes a file in one step: whoever reads it finds the bytes of before or these, whole, also after a crash.
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

    /// Removes a file; it is no error if there is none.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(name.to_string()),
            _ => Ok(()),
        }
    }

    /// The names of its files, in no order; hidden ones are left out.
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
    fn what_others_could_have_written_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let private = PrivateFolder::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(private.read("x").unwrap(), None);
        private.write("x", b"one").unwrap();
        private.write("x", b"two").unwrap();
        assert_eq!(private.read("x").unwrap().unwrap(), b"two");
        assert_eq!(private.names(), ["x"]);
        fs::set_permissions(private.path().join("x"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(private.read("x").unwrap_err().to_string().contains("others could have written"));
        symlink("/etc/passwd", private.path().join("link")).unwrap();
        assert!(private.read("link").is_err());
        private.remove("x").unwrap();
        private.remove("x").unwrap();
        assert!(private.names().is_empty());
    }

    #[test]
    fn a_folder_of_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(PrivateFolder::open(&open).unwrap_err().to_string().contains("others may write"));
        // Readable by others alone: closed, and used.
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        PrivateFolder::open(&open).unwrap();
        assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o700);
        symlink(&open, folder.path().join("link")).unwrap();
        assert!(PrivateFolder::open(&folder.path().join("link")).is_err());
    }
}
