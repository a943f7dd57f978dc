//! Golden cases: folders with an input, settings, and what is expected to come out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::input::{Input, Reading};
use crate::outcome::{Outcome, from_ndjson, to_ndjson};

/// The file of expected outcomes.
const EXPECTED: &str = "expected.ndjson";

/// A golden case: a folder with
///
/// - `input.ndjson` (any other ending will do): rows, or captured records; see [`Input::read`];
/// - `types.toml`: column types of captured records, where the gateway's configuration declares some; see [`Reading`];
/// - `settings.toml` or `settings.json`: the plugin's settings; none is `{}`;
/// - `expected.ndjson`: the outcomes; see [`Outcome`]. It is written, not typed: look at it before it is kept.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    input: PathBuf,
    types: Option<PathBuf>,
    settings: Option<PathBuf>,
    expected: PathBuf,
}

impl Case {
    /// The cases of a folder in the order of their names; or the folder itself, if it is a case.
    ///
    /// # Errors
    /// There is no case, or a folder is none: the message says what is missing or too much.
    pub fn all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let mut cases = Vec::new();
        let mut entries = Vec::new();
        for entry in
            fs::read_dir(folder).with_context(|| format!("there is no folder of cases {}", folder.display()))?
        {
            entries.push(entry?.path());
        }
        entries.sort();
        if entries.iter().any(|path| !path.is_dir() && stem(path) == "input") {
            return Ok(vec![Self::read(folder)?]);
        }
        for path in entries.into_iter().filter(|path| path.is_dir() && !file_name(path).starts_with('.')) {
            cases.push(Self::read(&path)?);
        }
        ensure!(
            !cases.is_empty(),
            "no case in {}; a case is a folder with an input.ndjson, for example {}/first/input.ndjson",
            folder.display(),
            folder.display()
        );
        Ok(cases)
    }

    fn read(folder: &Path) -> anyhow::Result<Self> {
        let name = file_name(folder);
        let (mut inputs, mut types, mut settings) = (Vec::new(), None, Vec::new());
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            match (file_name(&path).as_str(), stem(&path).as_str()) {
                ("settings.toml" | "settings.json", _) => settings.push(path),
                ("types.toml", _) => types = Some(path),
                (EXPECTED, _) => {}
                ("reference" | "tables", _) => bail!(
                    "case {name}: the folder {} would be reference tables, which plugins cannot look into yet; remove it",
                    path.display()
                ),
                (_, "input") if !path.is_dir() => inputs.push(path),
                (other, _) if other.starts_with('.') || other.ends_with(".md") => {}
                (other, _) => bail!(
                    "case {name}: {other} is not known; a case has input.ndjson, types.toml, settings.toml or settings.json, and {EXPECTED}"
                ),
            }
        }
        ensure!(settings.len() < 2, "case {name}: settings.toml and settings.json are both there; remove one");
        match inputs.len() {
            1 => Ok(Self {
                name,
                input: inputs.remove(0),
                types,
                settings: settings.pop(),
                expected: folder.join(EXPECTED),
            }),
            0 => bail!("case {name}: there is no input.ndjson with its rows in {}", folder.display()),
            _ => bail!("case {name}: there are several files input.*; make each a case of its own"),
        }
    }

    /// The file of its rows.
    pub fn input_path(&self) -> &Path {
        &self.input
    }

    /// The rows.
    ///
    /// # Errors
    /// The file cannot be read; see [`Input::read`].
    pub fn input(&self) -> anyhow::Result<Input> {
        let mut reading = Reading::default();
        if let Some(types) = &self.types {
            reading.declare(types)?;
        }
        Input::read(&self.input, &reading)
    }

    /// The settings as JSON.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        self.settings.as_deref().map_or(Ok(Settings::default()), Settings::read)
    }

    /// What is expected; `None` before the first blessing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn expected(&self) -> anyhow::Result<Option<Vec<Outcome>>> {
        match fs::read_to_string(&self.expected) {
            Ok(text) => from_ndjson(&text).with_context(|| self.expected.display().to_string()).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| self.expected.display().to_string()),
        }
    }

    /// Makes these outcomes the expected ones. Tells whether anything changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn bless(&self, outcomes: &[Outcome]) -> anyhow::Result<bool> {
        let text = to_ndjson(outcomes);
        if fs::read_to_string(&self.expected).is_ok_and(|known| known == text) {
            return Ok(false);
        }
        fs::write(&self.expected, text).with_context(|| format!("cannot write {}", self.expected.display()))?;
        Ok(true)
    }
}

/// A plugin's settings: a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(pub String);

impl Default for Settings {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl Settings {
    /// Reads a `.toml` or `.json` file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no table.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if path.extension().is_some_and(|extension| extension == "toml") {
            let table: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
            return Ok(Self(serde_json::to_string(&table)?));
        }
        let value: serde_json::Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(value.is_object(), "{}: expected an object", path.display());
        Ok(Self(text))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[track_caller]
    fn refused(files: &[(&str, &str)], expect: &str) {
        let folder = folder(files);
        let error = format!("{:#}", Case::all(folder.path()).unwrap_err());
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn cases_are_folders_and_settings_are_toml_or_json() {
        let folder = folder(&[
            ("b/input.json", ""),
            ("b/settings.json", "{\"a\": 1.50}"),
            ("a/input.ndjson", ""),
            ("a/settings.toml", "a = [1]\n"),
            ("a/README.md", ""),
            ("README.md", ""),
        ]);
        let cases = Case::all(folder.path()).unwrap();
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cases[0].settings().unwrap().0, "{\"a\":[1]}");
        assert_eq!(cases[1].settings().unwrap().0, "{\"a\": 1.50}");
        assert_eq!(Case::all(&folder.path().join("a")).unwrap()[0].name, "a");
        assert!(cases[0].expected().unwrap().is_none());
        assert!(cases[0].bless(&[Outcome::new(1, "drop")]).unwrap());
        assert!(!cases[0].bless(&[Outcome::new(1, "drop")]).unwrap());
        assert_eq!(cases[0].expected().unwrap().unwrap(), [Outcome::new(1, "drop")]);
    }

    #[test]
    fn what_is_no_case_is_refused_with_what_to_do() {
        refused(&[("README.md", "")], "no case in");
        refused(&[("a/expected.ndjson", "")], "case a: there is no input.ndjson");
        refused(&[("a/input.ndjson", ""), ("a/setting.toml", "")], "case a: setting.toml is not known");
        refused(&[("a/input.ndjson", ""), ("a/input.txt", "")], "several files input.*");
        refused(&[("a/input.ndjson", ""), ("a/settings.toml", ""), ("a/settings.json", "")], "remove one");
        refused(&[("a/input.ndjson", ""), ("a/reference/fx.csv", "")], "reference tables");
        assert!(Case::all(Path::new("/no/such/folder")).unwrap_err().to_string().contains("no folder of cases"));
    }
}
