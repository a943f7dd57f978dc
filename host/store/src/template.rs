//! Index templates: what they hold, and what is refused of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::EsError;
use crate::json::{Cursor, Event};
use crate::mapping::Mapping;
use crate::names::{patterns_overlap, wildcard_matches};
use crate::settings::Settings;

/// A composable index template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) patterns: Vec<String>,
    pub(crate) priority: i64,
    pub(crate) settings: BTreeMap<String, Option<String>>,
    pub(crate) mapping: Mapping,
    pub(crate) aliases: BTreeMap<String, Value>,
    has_template: bool,
    has_priority: bool,
    shown: Map<String, Value>,
}

impl Template {
    /// Reads the body of `PUT /_index_template/{name}`.
    pub(crate) fn parse(text: &str) -> Result<Template, EsError> {
        let body: Value = serde_json::from_str(text).map_err(|error| EsError::malformed_body(&error))?;
        let known = [
            "index_patterns",
            "priority",
            "template",
            "version",
            "_meta",
            "composed_of",
            "data_stream",
            "allow_auto_create",
            "ignore_missing_component_templates",
            "deprecated",
        ];
        let mut cursor = Cursor::new(text);
        cursor.next();
        while let Event::Key(name) = cursor.next() {
            let (line, column) = cursor.token_place();
            if !known.contains(&name.as_ref()) {
                let reason = format!("[{line}:{column}] [index_template] unknown field [{name}]");
                return Err(EsError::new(400, "x_content_parse_exception", reason));
            }
            let event = cursor.next();
            cursor.skip(&event);
        }
        let patterns = match body.get("index_patterns") {
            Some(Value::Array(patterns)) => patterns.iter().filter_map(Value::as_str).map(Into::into).collect(),
            Some(Value::String(pattern)) => vec![pattern.clone()],
            _ => return Err(EsError::illegal_argument("Required [index_patterns]")),
        };
        let part = |name: &str| body.get("template").and_then(|template| template.get(name));
        let aliases = match part("aliases") {
            Some(Value::Object(aliases)) => aliases.clone().into_iter().collect(),
            _ => BTreeMap::new(),
        };
        let shown = ["version", "_meta"].iter().filter_map(|name| Some(((*name).into(), body.get(*name)?.clone())));
        Ok(Template {
            patterns,
            priority: body.get("priority").and_then(Value::as_i64).unwrap_or(0),
            settings: part("settings").map(Settings::parse).transpose()?.unwrap_or_default(),
            mapping: part("mappings").map(Mapping::parse).transpose()?.unwrap_or_default(),
            aliases,
            has_template: body.get("template").is_some(),
            has_priority: body.get("priority").is_some(),
            shown: shown.collect(),
        })
    }

    /// Whether the template is for an index of this name.
    pub(crate) fn fits(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| wildcard_matches(pattern, name))
    }

    /// Refuses a template beside which another of the same priority would fit the same names.
    pub(crate) fn check_against(&self, name: &str, others: &BTreeMap<String, Template>) -> Result<(), EsError> {
        let clashes: Vec<(&String, &Template)> = others
            .iter()
            .filter(|(other, template)| {
                let mut pairs =
                    self.patterns.iter().flat_map(|one| template.patterns.iter().map(move |two| (one, two)));
                *other != name
                    && template.priority == self.priority
                    && pairs.any(|(one, two)| patterns_overlap(one, two))
            })
            .collect();
        if clashes.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = clashes.iter().map(|(name, _)| name.as_str()).collect();
        let patterns: Vec<String> =
            clashes.iter().map(|(name, template)| format!("{name} => [{}]", template.patterns.join(", "))).collect();
        Err(EsError::illegal_argument(format!(
            "index template [{name}] has index patterns [{}] matching patterns from existing templates [{}] with patterns \
             ({}) that have the same priority [{}], multiple index templates may not match during index creation, please \
             use a different priority",
            self.patterns.join(", "),
            names.join(","),
            patterns.join(","),
            self.priority
        )))
    }

    /// The template as Elasticsearch shows it.
    pub(crate) fn to_json(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("index_patterns".into(), self.patterns.clone().into());
        if self.has_template {
            let mut inner = Map::new();
            let mut settings = Settings::default();
            settings.apply(self.settings.clone());
            if !self.settings.is_empty() {
                inner.insert("settings".into(), settings.to_json(false, |_| true));
            }
            let mapping = self.mapping.to_json();
            if mapping.as_object().is_some_and(|mapping| !mapping.is_empty()) {
                inner.insert("mappings".into(), mapping);
            }
            if !self.aliases.is_empty() {
                inner.insert("aliases".into(), Value::Object(self.aliases.clone().into_iter().collect()));
            }
            shown.insert("template".into(), Value::Object(inner));
        }
        shown.insert("composed_of".into(), Value::Array(Vec::new()));
        if self.has_priority {
            shown.insert("priority".into(), self.priority.into());
        }
        shown.extend(self.shown.clone());
        Value::Object(shown)
    }
}
