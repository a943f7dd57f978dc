//! Golden cases: an input, settings, and the expected outcomes, in a folder or embedded in a `.wasm` file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::input::{Input, Reading};
use crate::outcome::{Outcome, from_ndjson, to_ndjson};

/// The file of expected outcomes.
const EXPECTED: &str = "expected.ndjson";

/// A golden case: a folder, or the same files embedded in a `.wasm` file (see [`crate::embedded`]):
///
/// - `input.ndjson` (or another extension): rows, or captured records; see [`Input::read`];
/// - `types.toml`: column types of captured records, as in `[tables]` of the gateway's configuration; see [`Reading`];
/// - `settings.toml` or `settings.json`: the plugin's settings, by default `{}`;
/// - `expected.ndjson`: the outcomes; see [`Outcome`]. It is generated: review it before committing it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of the folder.
    pub name: String,
    input: File,
    types: Option<File>,
    settings: Option<File>,
    /// The file may not exist yet.
    expected: File,
}

/// A file of a case.
#[derive(Clone, Debug)]
enum File {
    OnDisk(PathBuf),
    Embedded { name: String, text: String },
}

impl File {
    fn name(&self) -> String {
        match self {
            Self::OnDisk(path) => file_name(path),
            Self::Embedded { name, .. } => name.clone(),
        }
    }

    /// Its name in messages.
    fn place(&self) -> String {
        match self {
            Self::OnDisk(path) => path.display().to_string(),
            Self::Embedded { name, .. } => format!("{name} (embedded)"),
        }
    }

    fn bytes(&self) -> anyhow::Result<Cow<'_, [u8]>> {
        match self {
            Self::OnDisk(path) => {
                fs::read(path).map(Cow::Owned).with_context(|| format!("cannot read {}", path.display()))
            }
            Self::Embedded { text, .. } => Ok(Cow::Borrowed(text.as_bytes())),
        }
    }

    fn text(&self) -> anyhow::Result<String> {
        String::from_utf8(self.bytes()?.into_owned()).with_context(|| self.place())
    }
}

impl Case {
    /// The cases in a folder, ordered by name; or the folder itself, if it is a case.
    ///
    /// # Errors
    /// There is no case, or a folder is not a valid case; the message says what is missing or must be removed.
    pub fn all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let cases = Self::any(folder)?;
        ensure!(
            !cases.is_empty(),
            "no case in {}; a case is a folder with an input.ndjson, for example {}/first/input.ndjson",
            folder.display(),
            folder.display()
        );
        Ok(cases)
    }

    /// As [`Case::all`], but there may be no cases.
    pub(crate) fn any(folder: &Path) -> anyhow::Result<Vec<Self>> {
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
                    "case {name}: the folder {} contains reference tables, which are not supported yet; remove it",
                    path.display()
                ),
                (_, "input") if !path.is_dir() => inputs.push(path),
                (other, _) if other.starts_with('.') || other.ends_with(".md") => {}
                (other, _) => bail!(
                    "case {name}: {other} is unknown; a case has input.ndjson, types.toml, settings.toml or settings.json, and {EXPECTED}"
                ),
            }
        }
        ensure!(settings.len() < 2, "case {name}: it has both settings.toml and settings.json; remove one");
        match inputs.len() {
            1 => Ok(Self {
                name,
                input: File::OnDisk(inputs.remove(0)),
                types: types.map(File::OnDisk),
                settings: settings.pop().map(File::OnDisk),
                expected: File::OnDisk(folder.join(EXPECTED)),
            }),
            0 => bail!("case {name}: there is no input.ndjson with rows in {}", folder.display()),
            _ => bail!("case {name}: it has several files input.*; make a separate case of each"),
        }
    }

    /// A case from embedded files, by name.
    pub(crate) fn embedded(name: &str, files: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let (mut input, mut types, mut settings, mut expected) = (None, None, None, None);
        for (name, text) in files {
            let slot = match name.as_str() {
                "types.toml" => &mut types,
                "settings.toml" | "settings.json" => &mut settings,
                EXPECTED => &mut expected,
                other if stem(Path::new(other)) == "input" => &mut input,
                other => bail!("the file {other:?} of a case is unknown"),
            };
            ensure!(slot.is_none(), "{name:?} duplicates another file of the case");
            *slot = Some(File::Embedded { name, text });
        }
        Ok(Self {
            name: name.into(),
            input: input.context("there is no input")?,
            types,
            settings,
            expected: expected.with_context(|| format!("there is no {EXPECTED}"))?,
        })
    }

    /// Its files by name, for [`Case::embedded`]; `None` if it has no expected outcomes yet.
    pub(crate) fn files(&self) -> anyhow::Result<Option<BTreeMap<String, String>>> {
        if matches!(&self.expected, File::OnDisk(path) if !path.exists()) {
            return Ok(None);
        }
        let files = [Some(&self.input), self.types.as_ref(), self.settings.as_ref(), Some(&self.expected)];
        files.into_iter().flatten().map(|file| Ok((file.name(), file.text()?))).collect::<anyhow::Result<_>>().map(Some)
    }

    /// The rows.
    ///
    /// # Errors
    /// The file cannot be read; see [`Input::read`].
    pub fn input(&self) -> anyhow::Result<Input> {
        let mut reading = Reading::default();
        if let Some(types) = &self.types {
            reading.declare_text(&types.text()?).with_context(|| types.place())?;
        }
        Input::parse(&self.input.bytes()?, &self.input.name(), &reading).with_context(|| self.input.place())
    }

    /// The settings as JSON.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let Some(file) = &self.settings else { return Ok(Settings::default()) };
        Settings::parse(&file.text()?, &file.name()).with_context(|| file.place())
    }

    /// The expected outcomes; `None` before the first blessing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn expected(&self) -> anyhow::Result<Option<Vec<Outcome>>> {
        if matches!(&self.expected, File::OnDisk(path) if !path.exists()) {
            return Ok(None);
        }
        from_ndjson(&self.expected.text()?).with_context(|| self.expected.place()).map(Some)
    }

    /// Makes these outcomes the expected ones. Returns true if they changed.
    ///
    /// # Errors
    /// The file cannot be written, or the case is embedded in a `.wasm` file.
    pub fn bless(&self, outcomes: &[Outcome]) -> anyhow::Result<bool> {
        let File::OnDisk(path) = &self.expected else {
            bail!("an embedded case cannot be blessed; bless it in the plugin's folder, and build again")
        };
        let text = to_ndjson(outcomes);
        if fs::read_to_string(path).is_ok_and(|known| known == text) {
            return Ok(false);
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
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
    /// The file cannot be read, or does not contain a table.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, &file_name(path)).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        if name.ends_with(".toml") {
            let table: toml::Table = toml::from_str(text)?;
            return Ok(Self(serde_json::to_string(&table)?));
        }
        let value: serde_json::Value = serde_json::from_str(text)?;
        ensure!(value.is_object(), "expected an object");
        Ok(Self(text.into()))
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
        refused(&[("a/input.ndjson", ""), ("a/setting.toml", "")], "case a: setting.toml is unknown");
        refused(&[("a/input.ndjson", ""), ("a/input.txt", "")], "several files input.*");
        refused(&[("a/input.ndjson", ""), ("a/settings.toml", ""), ("a/settings.json", "")], "remove one");
        refused(&[("a/input.ndjson", ""), ("a/reference/fx.csv", "")], "reference tables");
        assert!(Case::all(Path::new("/no/such/folder")).unwrap_err().to_string().contains("no folder of cases"));
    }
}
