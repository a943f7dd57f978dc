//! Plugins for tests, built from source once per run: the bundled ones and the hostile one.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{report_skipped, root};

/// The built plugins.
#[derive(Clone, Debug)]
pub struct Guests {
    /// `tests/guests/hostile`.
    pub hostile: PathBuf,
    /// `plugins/row-filter`.
    pub row_filter: PathBuf,
    /// `plugins/trade-document`.
    pub trade_document: PathBuf,
}

/// Builds the plugins, or finds that they are up to date.
///
/// # Panics
/// They cannot be built; the message says what to do.
pub fn built() -> &'static Guests {
    static BUILT: OnceLock<Guests> = OnceLock::new();
    BUILT.get_or_init(|| {
        let _lock = lock();
        build(&["-p", "hostile", "-p", "row-filter", "-p", "trade-document"], None);
        // A variant of the hostile guest is built in the same place, so this one is put aside.
        let hostile = folder().join("hostile.wasm");
        replace(&output("hostile"), &hostile);
        Guests { hostile, row_filter: output("row_filter"), trade_document: output("trade_document") }
    })
}

/// A folder with the two bundled plugins, as `make plugins` leaves it.
///
/// # Panics
/// They cannot be built; the message says what to do.
pub fn bundled() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let _lock = lock();
        build(&["-p", "row-filter", "-p", "trade-document"], None);
        folder_of("bundled", &[("row_filter", "10-row-filter"), ("trade_document", "20-trade-document")])
    });
    folder.clone()
}

/// A folder with `tests/guests/shaper` alone.
///
/// # Panics
/// It cannot be built; the message says what to do.
pub fn shaper() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let _lock = lock();
        build(&["-p", "shaper"], None);
        folder_of("shaper", &[("shaper", "shaper")])
    });
    folder.clone()
}

/// A folder with `tests/guests/bench-shape` alone.
///
/// # Panics
/// It cannot be built; the message says what to do.
pub fn bench_shape() -> PathBuf {
    let _lock = lock();
    build(&["-p", "bench-shape"], None);
    folder_of("bench-shape", &[("bench_shape", "bench-shape")])
}

/// The bytes of `tests/guests/variant` with these deeds, which its source lists.
///
/// # Panics
/// It cannot be built; the message says what to do.
pub fn variant(deeds: &str) -> Vec<u8> {
    const BUILT_WITH: &[u8] = b"deeds: by=built ";
    /// The room that the guest has for them.
    const ROOM: usize = 80;
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let _lock = lock();
        build(&["-p", "variant"], None);
        fs::read(output("variant")).expect("the variant is built")
    });
    let places: Vec<usize> = (0..built.len() - ROOM).filter(|place| built[*place..].starts_with(BUILT_WITH)).collect();
    assert_eq!(places.len(), 1, "its deeds are in one place of the file");
    let text = format!("{:ROOM$}", format!("deeds: {deeds}"));
    assert_eq!(text.len(), ROOM, "{deeds:?} is too long");
    let mut bytes = built.clone();
    bytes[places[0]..places[0] + ROOM].copy_from_slice(text.as_bytes());
    bytes
}

/// `tests/guests/shapes`.
///
/// # Panics
/// It cannot be built; the message says what to do.
pub fn shapes() -> PathBuf {
    let _lock = lock();
    build(&["-p", "shapes"], None);
    output("shapes")
}

/// A folder with one plugin of `examples/plugins` alone.
///
/// # Panics
/// It cannot be built; the message says what to do.
pub fn example(name: &str) -> PathBuf {
    let _lock = lock();
    build(&["-p", name], None);
    folder_of(name, &[(&name.replace('-', "_"), name)])
}

/// A plugin's bytes like those of another build: a different file with the same behaviour. It has an additional custom section
/// without meaning.
pub fn rebuilt(core_module: &[u8]) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    const NAME: &[u8] = b"rebuilt";
    let mut bytes = core_module.to_vec();
    bytes.extend_from_slice(&[CUSTOM, NAME.len() as u8 + 1, NAME.len() as u8]);
    bytes.extend_from_slice(NAME);
    bytes
}

/// The plugin of `tests/guests/wasi`, a component that imports WASI; `None` where the compiler cannot build for it.
///
/// # Panics
/// It cannot be built; the message says what to do.
pub fn wasi() -> Option<PathBuf> {
    const TARGET: &str = "wasm32-wasip2";
    let rustc =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).current_dir(root()).output();
    let library = PathBuf::from(String::from_utf8_lossy(&rustc.ok()?.stdout).trim());
    if !library.is_dir() {
        report_skipped(&format!(
            "tests of WASI: the compiler has no target {TARGET}; run `rustup target add {TARGET}`"
        ));
        return None;
    }
    let _lock = lock();
    build_for(TARGET, &["-p", "wasi-guest"], None);
    Some(target().join(TARGET).join("plugin/wasi_guest.wasm"))
}

fn folder_of(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let to = folder().join(name);
    fs::create_dir_all(&to).expect("a folder of plugins can be made");
    for (built, file) in files {
        replace(&output(built), &to.join(format!("{file}.wasm")));
    }
    to
}

/// The hostile guest built with `HOSTILE_DESCRIBE`, for what it does before it knows any settings.
///
/// # Panics
/// It cannot be built; the message says what to do.
pub fn hostile_describing(deed: &str) -> PathBuf {
    let _lock = lock();
    // Named after its sources: a variant is built again only when they change.
    let variant = folder().join(format!("hostile-{deed}-{:016x}.wasm", hash_of_hostile_sources()));
    if !variant.exists() {
        build(&["-p", "hostile"], Some(deed));
        replace(&output("hostile"), &variant);
    }
    variant
}

/// The folder of the guests' sources, `tests/guests`.
pub fn sources() -> PathBuf {
    root().join("tests/guests")
}

fn target() -> PathBuf {
    root().join("target/guests")
}

fn folder() -> PathBuf {
    target().join("variants")
}

fn output(name: &str) -> PathBuf {
    target().join(format!("wasm32-unknown-unknown/plugin/{name}.wasm"))
}

/// Held while building: test programs run side by side, and a variant must not be taken for another.
fn lock() -> File {
    fs::create_dir_all(folder()).expect("target/guests can be made");
    let lock = File::create(target().join("tests.lock")).expect("the lock file can be made");
    lock.lock().expect("the lock can be waited for");
    lock
}

fn build(packages: &[&str], describe: Option<&str>) {
    build_for("wasm32-unknown-unknown", packages, describe);
}

fn build_for(wasm: &str, packages: &[&str], describe: Option<&str>) {
    // The script knows which compiler has the wasm target.
    let mut cargo = Command::new(root().join("scripts/with-wasm.sh"));
    cargo
        .current_dir(root())
        .arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--profile", "plugin", "--target", wasm, "--target-dir"])
        .arg(target())
        .args(packages)
        // Flags for the host (such as coverage) must not apply to a plugin.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("HOSTILE_DESCRIBE");
    if let Some(deed) = describe {
        cargo.env("HOSTILE_DESCRIBE", deed);
    }
    let result = cargo.output().expect("cargo can be run");
    let said = String::from_utf8_lossy(&result.stderr);
    let hint = if said.contains("target may not be installed") {
        "\nthe compiler has no wasm target: run `make setup` once"
    } else {
        ""
    };
    assert!(result.status.success(), "the guests cannot be built:\n{said}{hint}");
}

fn replace(from: &Path, to: &Path) {
    let part = to.with_extension("part");
    fs::copy(from, &part).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    fs::rename(&part, to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}

fn hash_of_hostile_sources() -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in
        ["tests/guests/hostile/src/lib.rs", "tests/guests/hostile/src/words.rs", "wit/rowmill-plugin.wit", "Cargo.lock"]
    {
        fs::read(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).hash(&mut hasher);
    }
    hasher.finish()
}
