//! The file with the HTTP server's address, in the private folder while the gateway runs. `rowmill plugins` reads it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use crate::plugins::private::PrivateFolder;

/// The file in the private folder.
const FILE: &str = "http";

/// The address file. Dropping this removes the file, unless another gateway has replaced it.
#[derive(Debug)]
pub struct AddressFile {
    folder: PrivateFolder,
    address: SocketAddr,
}

impl AddressFile {
    /// Writes the address to the private folder.
    ///
    /// # Errors
    /// The folder cannot be used, or the file cannot be written.
    pub fn write(state: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let folder = PrivateFolder::open(state).context("plugins.state")?;
        folder.write(FILE, format!("{address}\n").as_bytes())?;
        Ok(Self { folder, address })
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if read(self.folder.path()).is_ok_and(|found| found == Some(self.address)) {
            let _ = self.folder.remove(FILE);
        }
    }
}

/// The address that a gateway wrote into this folder; `None` if there is none. Does not create the folder.
///
/// # Errors
/// The folder or the file cannot be read, is writable for others, or holds no address.
pub fn read(state: &Path) -> anyhow::Result<Option<SocketAddr>> {
    if !state.exists() {
        return Ok(None);
    }
    let folder = PrivateFolder::open(state).context("plugins.state")?;
    let Some(bytes) = folder.read(FILE)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    text.trim()
        .parse()
        .map(Some)
        .with_context(|| format!("{} holds no address; restart the gateway", folder.path().join(FILE).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_until_its_gateway_ends() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert_eq!(read(&state).unwrap(), None);
        assert!(!state.exists());
        let (first, second) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let ending = AddressFile::write(&state, first).unwrap();
        assert_eq!(read(&state).unwrap(), Some(first));
        // The file of a gateway that started meanwhile stays.
        let running = AddressFile::write(&state, second).unwrap();
        drop(ending);
        assert_eq!(read(&state).unwrap(), Some(second));
        drop(running);
        assert_eq!(read(&state).unwrap(), None);
        std::fs::write(state.join("http"), "nonsense").unwrap();
        assert!(read(&state).unwrap_err().to_string().contains("holds no address"));
    }
}
