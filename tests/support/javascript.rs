//! Plugins in JavaScript, built as their authors build them: with npm, in a folder that the template was filled into.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{report_skipped, root};

/// What was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The project that the template became, with its packages installed.
    pub project: PathBuf,
    /// The template's plugin, which calls itself `hello-js`.
    pub template: PathBuf,
    /// `examples/plugins/trade-document-js`.
    pub trade_document: PathBuf,
    /// `tests/guests/javascript/hostile.js`.
    pub hostile: PathBuf,
}

/// What goes into the files that are built, besides the contract.
const SOURCES: [&str; 4] =
    ["plugin-sdk/js", "host/templates/js", "examples/plugins/trade-document-js", "tests/guests/javascript"];

/// Builds the plugins, or finds that they are up to date; `None` where there is no node or no npm.
///
/// # Panics
/// They cannot be built; the message says why. The first build downloads packages of 90 MB, which npm keeps.
pub fn built() -> Option<&'static Built> {
    static BUILT: OnceLock<Option<Built>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref()
}

fn build() -> Option<Built> {
    for tool in ["node", "npm"] {
        if !Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success()) {
            report_skipped(&format!("tests of plugins in JavaScript: they need {tool}, version 20 or newer"));
            return None;
        }
    }
    let folder = root().join("target/javascript");
    fs::create_dir_all(&folder).expect("target/javascript can be made");
    let lock = fs::File::create(folder.join("lock")).expect("the lock file can be made");
    lock.lock().expect("the lock can be waited for");

    let project = folder.join("hello-js");
    let built = Built {
        template: project.join("hello-js.wasm"),
        trade_document: project.join("trade-document-js.wasm"),
        hostile: project.join("hostile.wasm"),
        project,
    };
    // Named after the sources: what is there is of these.
    let stamp = folder.join(format!("{:016x}.built", hash_of_sources()));
    if !stamp.exists() {
        let _ = fs::remove_dir_all(&built.project);
        fill_template(&built.project);
        let project = built.project.as_path();
        run("npm", &["install", "--no-save", "--prefer-offline", "--ignore-scripts", &typescript()], project);
        run("npm", &["run", "build"], project);
        // Below the project, where the packages are found.
        copy_folder(&root().join("examples/plugins/trade-document-js"), &project.join("example"));
        copy_folder(&root().join("tests/guests/javascript"), &project.join("hostile"));
        let tool = "node_modules/.bin/rowmill-plugin";
        run(tool, &["build", "example/plugin.js", "-o", "trade-document-js.wasm"], project);
        run(tool, &["build", "hostile/hostile.js", "-o", "hostile.wasm"], project);
        fs::write(stamp, "").expect("the stamp can be written");
    }
    Some(built)
}

/// Runs a command in a folder.
///
/// # Panics
/// It fails; the message is all that it said.
#[track_caller]
pub fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let program = if program.contains('/') { folder.join(program) } else { program.into() };
    let output = Command::new(&program).args(arguments).current_dir(folder).output().expect("the program can be run");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{} {} fails:\n{said}", program.display(), arguments.join(" "));
    said
}

/// The template as the command makes it in a checkout.
fn fill_template(to: &Path) {
    let folder = to.parent().expect("the project lies in a folder");
    let name = to.file_name().expect("the project has a name").to_string_lossy();
    let binary = crate::gateway::binary().display().to_string();
    run(&binary, &["plugin", "new", &name, "--language", "js"], folder);
}

fn copy_folder(from: &Path, to: &Path) {
    for (path, name) in files(from) {
        let target = to.join(name);
        fs::create_dir_all(target.parent().expect("a file lies in a folder")).expect("the folder can be made");
        fs::copy(path, target).expect("a file can be copied");
    }
}

/// The compiler that checks the types, of the version that the SDK names.
fn typescript() -> String {
    let text = fs::read_to_string(root().join("plugin-sdk/js/package.json")).expect("the SDK's package.json");
    let package: serde_json::Value = serde_json::from_str(&text).expect("package.json is JSON");
    let version = package["devDependencies"]["typescript"].as_str().expect("the SDK names its compiler");
    format!("typescript@{version}")
}

/// All files below a folder with their paths in it, but for what npm put there.
fn files(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.expect("a folder can be read").path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "node_modules" {
                open.push(path);
            } else if path.is_file() && name != "package-lock.json" {
                let inner = path.strip_prefix(folder).expect("it is below the folder").to_path_buf();
                found.push((path, inner));
            }
        }
    }
    found.sort();
    found
}

fn hash_of_sources() -> u64 {
    let mut hasher = DefaultHasher::new();
    for (path, _) in SOURCES.iter().flat_map(|source| files(&root().join(source))) {
        path.hash(&mut hasher);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).hash(&mut hasher);
    }
    hasher.finish()
}
