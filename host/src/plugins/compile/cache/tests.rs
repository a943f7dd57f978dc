use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rowmill_sandbox::{Limits, Sandbox};

use super::*;
use crate::config::CompileConfig;
use crate::plugins::compile::Compiler;

const ENGINE: &str = "e0";
const HASH: &str = "a1";

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(PrivateFolder::open(&folder.path().join("code")).unwrap());
    cache.put(ENGINE, HASH, b"compiled");
    (folder, cache)
}

fn file(cache: &Cache) -> PathBuf {
    cache.folder.path().join(name(ENGINE, HASH))
}

#[test]
fn cached_code_is_found_for_its_engine_and_plugin() {
    let (_folder, cache) = cache();
    assert_eq!(cache.get(ENGINE, HASH).unwrap(), b"compiled");
    assert_eq!(cache.get("e1", HASH), None);
    assert_eq!(cache.get(ENGINE, "a2"), None);
    assert_eq!(fs::metadata(file(&cache)).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Changes the cached file. It is then not used, and removed.
#[track_caller]
fn refused(change: impl FnOnce(&Path)) {
    let (_folder, cache) = cache();
    change(&file(&cache));
    assert_eq!(cache.get(ENGINE, HASH), None);
    assert!(fs::symlink_metadata(file(&cache)).is_err(), "an untrusted file is removed");
    cache.put(ENGINE, HASH, b"anew");
    assert_eq!(cache.get(ENGINE, HASH).unwrap(), b"anew");
}

#[test]
fn a_flipped_byte_is_detected_anywhere() {
    let (_folder, cache) = cache();
    for place in 0..fs::read(file(&cache)).unwrap().len() {
        refused(|path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[place] ^= 1;
            fs::write(path, bytes).unwrap();
        });
    }
}

#[test]
fn truncated_and_foreign_files_are_not_used() {
    refused(|path| fs::write(path, "").unwrap());
    refused(|path| fs::write(path, &fs::read(path).unwrap()[..40]).unwrap());
    refused(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap());
    // A file of another plugin or engine under this one's name.
    for (engine, hash) in [(ENGINE, "a2"), ("e1", HASH)] {
        refused(|path| {
            let (_other, other) = cache();
            other.put(engine, hash, b"other code");
            fs::copy(other.folder.path().join(name(engine, hash)), path).unwrap();
        });
    }
    refused(|path| {
        let elsewhere = path.with_extension("elsewhere");
        fs::rename(path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(elsewhere, path).unwrap();
    });
}

#[test]
fn the_least_recently_used_file_goes_first() {
    let (_folder, cache) = cache();
    cache.put(ENGINE, "a2", b"compiled");
    cache.put(ENGINE, "a3", b"compiled");
    for (hash, age) in [(HASH, 300), ("a2", 200), ("a3", 100)] {
        let file = File::options().append(true).open(cache.folder.path().join(name(ENGINE, hash))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    cache.get(ENGINE, HASH).unwrap();
    cache.shrink(2, u64::MAX);
    assert_eq!(cache.get(ENGINE, "a2"), None);
    assert!(cache.get(ENGINE, HASH).is_some() && cache.get(ENGINE, "a3").is_some());
    cache.shrink(64, 1);
    assert_eq!(cache.folder.names().len(), 1);
}

/// A program that does not exist shows whether it would have been started.
#[test]
fn a_cached_plugin_starts_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let kept = PrivateFolder::open(&folder.path().join("code")).unwrap();
    let sandbox = Arc::new(Sandbox::new(Limits::default()).unwrap());
    let none = folder.path().join("no-such-program");
    let config = |program: Option<&Path>| CompileConfig { program: program.map(Path::to_owned), ..Default::default() };
    let compiler = |program| Compiler::new(config(program), Some(kept.clone()), sandbox.clone());
    let bytes = wat::parse_file(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/wat/keep.wat")).unwrap();
    let load = |compiler: &Compiler| compiler.load(&bytes, "a1", |_| false);

    let refusal = load(&compiler(Some(&none))).unwrap_err();
    assert!(refusal.step == "compile" && refusal.reason.contains("cannot start the compiling process"), "{refusal}");
    load(&compiler(None)).unwrap();
    load(&compiler(Some(&none))).unwrap();

    // A valid cache file without code for this engine.
    Cache::new(kept.clone()).put(&sandbox.engine_id(), "a1", b"no code");
    assert!(load(&compiler(Some(&none))).is_err());
    load(&compiler(None)).unwrap();
    load(&compiler(Some(&none))).unwrap();
}
