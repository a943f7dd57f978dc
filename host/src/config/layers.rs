//! A layer that overrides the configuration file: keys that may change at run time, from a topic that many gateways share.

use super::live::is_live;
use super::raw::RawConfig;
use super::read::explain;
use super::{ConfigError, Result, error};

/// A text that overrides the configuration file: its tables are merged with those of the file, its arrays and values replace
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// TOML with keys that may change at run time.
    pub text: String,
    /// Its name in messages.
    pub name: String,
}

/// Keys that a layer may not contain: write access to the topic must not decide which plugins are trusted.
const TRUST: [&str; 3] = ["hashes", "trusted_keys", "wasi"];

/// The text of the file, overridden by the layer.
pub(super) fn merged(text: &str, layer: &Layer) -> Result<String> {
    // Parsed as a configuration first, since its errors name unknown keys and their lines.
    let _: RawConfig =
        toml::from_str(&layer.text).map_err(|error| ConfigError(explain(&error, &layer.text, &layer.name)))?;
    let layer: toml::Table = layer.table()?;
    let mut root: toml::Table = toml::from_str(text).map_err(|error| ConfigError(error.to_string()))?;
    merge(&mut root, layer);
    toml::to_string(&root).map_err(|error| ConfigError(error.to_string()))
}

impl Layer {
    /// Its keys and values.
    ///
    /// # Errors
    /// It is not TOML, or has a key that a layer may not contain.
    pub fn table(&self) -> Result<toml::Table> {
        let table: toml::Table =
            toml::from_str(&self.text).map_err(|error| ConfigError(explain(&error, &self.text, &self.name)))?;
        for (section, value) in &table {
            let keys = value.as_table().into_iter().flat_map(toml::Table::keys);
            for key in keys.map(String::as_str) {
                if section == "plugins" && TRUST.contains(&key) {
                    return error(format!(
                        "{}: plugins.{key} decides which plugins are trusted and can be set in the configuration file only",
                        self.name
                    ));
                }
                if !is_live(&format!("{section}.{key}")) {
                    return error(format!(
                        "{}: a change of {section}.{key} needs a restart; set it in the configuration file",
                        self.name
                    ));
                }
            }
        }
        Ok(table)
    }
}

fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => merge(base, over),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, read_layers};
    use super::*;

    const FILE: &str = "[source]\nkind = \"file\"\npath = \"x\"\n[sink]\nkind = \"embedded\"\nlinger = \"1s\"\nin_flight = 3\n\
        [plugins]\ndir = \"p\"\norder = [\"a\", \"b\"]\n[plugins.settings.a]\nx = 1\ny = [1, 2]\n[[routes]]\ntable = \"t\"\n";

    fn read(text: &str) -> std::result::Result<crate::config::Config, String> {
        let layer = Layer { text: text.into(), name: "the record".into() };
        let overrides = Overrides { plugins: None, set: vec!["sink.in_flight=9".into()] };
        read_layers(FILE, "rowmill.toml", Some(&layer), &overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_are_merged_and_arrays_replaced() {
        let config = read(
            "[sink]\nlinger = \"2s\"\nin_flight = 4\n[plugins]\norder = [\"b\"]\n[plugins.settings.a]\ny = [3]\n[plugins.settings.b]\n\
             [[routes]]\ntable = \"u\"\n[[routes]]\ntable = \"v\"\n",
        )
        .unwrap();
        assert_eq!(config.sink.bulk().linger.as_secs(), 2);
        assert_eq!(config.sink.bulk().in_flight, 9, "the command line overrides all layers");
        assert_eq!(config.plugins.order, ["b"]);
        assert_eq!(config.plugins.dir.as_deref(), Some(std::path::Path::new("p")));
        assert_eq!(config.plugins.settings["a"], "{\"x\":1,\"y\":[3]}");
        assert_eq!(config.plugins.settings["b"], "{}");
        assert_eq!(config.routes.len(), 2);
    }

    #[test]
    fn a_layer_has_live_keys_only() {
        for (text, expected) in [
            ("[pipeline]\nworkers = 3\n", "the record: a change of pipeline.workers needs a restart"),
            ("[sink]\nurls = []\n", "the record: a change of sink.urls needs a restart"),
            ("[plugins]\ndir = \"q\"\n", "the record: a change of plugins.dir needs a restart"),
            ("[plugins]\ntrusted_keys = []\n", "the record: plugins.trusted_keys decides which plugins are trusted"),
            ("[sink]\n\nlingr = \"1s\"\n", "the record line 3: unknown key `lingr`; did you mean `linger`?"),
            ("[sink\n", "the record line 1"),
            ("[sink]\nlinger = \"fast\"\n", "the record"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}\ndoes not contain\n{expected}");
        }
    }
}
