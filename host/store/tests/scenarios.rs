//! One list of requests, the files in `scenarios/`, that the embedded store and a real Elasticsearch must answer alike.
//!
//! What the real server answered is recorded in `scenarios/recorded.json`, so the embedded half is held to it even where
//! no server runs. With `ROWMILL_TEST_ELASTICSEARCH` set the server is held to the recording too; with
//! `ROWMILL_RECORD=1` besides, the recording is made anew. A scenario file is read like this:
//!
//! ```text
//! ## the claim
//! @ignore error.reason       parts that may differ (dotted, `*` is any one name or place)
//! METHOD /path               `{{a*40}}` is forty times a, `{{name}}` something saved or known
//! body lines, to the blank line
//! ```
//!
//! Other words: `@only status` or paths (compare nothing else), `@unordered` (hits and templates in any order), `@bytes` (the body as it
//! is), `@raw` (`\n` and `\r` in the body are meant, nothing is added), `@gzip`, `@save name=field`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use rowmill_store::{ScriptContext, ScriptOp, Store};
use serde_json::{Map, Value, json};

use support::{Answer, send};

/// The script of the scenarios; [`merge_twin`] is its native twin.
const PAINLESS: &str = "if (params.drop == true) { ctx.op = 'delete'; return } \
    if (params.skip == true) { ctx.op = 'none'; return } \
    long seen = ctx._source._v == null ? -1 : ctx._source._v; \
    if (seen >= params.version) { ctx.op = 'none'; return } \
    ctx._source._v = params.version; \
    for (entry in params.fields.entrySet()) { ctx._source[entry.getKey()] = entry.getValue() }";

fn merge_twin(context: &mut ScriptContext<'_>) {
    let flag = |name: &str| context.params[name] == Value::Bool(true);
    if flag("drop") {
        context.op = ScriptOp::Delete;
        return;
    }
    let version = context.params["version"].as_i64().unwrap_or(0);
    let seen = context.source.get("_v").and_then(Value::as_i64).unwrap_or(-1);
    if flag("skip") || seen >= version {
        context.op = ScriptOp::None;
        return;
    }
    context.source.insert("_v".into(), version.into());
    if let Some(fields) = context.params["fields"].as_object() {
        context.source.extend(fields.clone());
    }
}

fn fail_twin(context: &mut ScriptContext<'_>) {
    context.failure = Some(format!("no {}", context.params["what"].as_str().unwrap_or_default()));
}

struct Scenario {
    file: String,
    name: String,
    steps: Vec<Step>,
}

struct Step {
    words: Vec<String>,
    method: String,
    path: String,
    body: String,
}

impl Step {
    fn word(&self, name: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(name)).map(str::trim)
    }

    fn paths(&self, name: &str) -> Vec<&str> {
        self.word(name).map(|paths| paths.split(',').map(str::trim).collect()).unwrap_or_default()
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn scenarios() -> Vec<Scenario> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "scenario"));
    files.sort();
    let mut scenarios = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let file = file.file_stem().unwrap().to_string_lossy().into_owned();
        for part in format!("\n{text}").split("\n## ").skip(1) {
            let (name, rest) = part.split_once('\n').unwrap();
            let steps = rest.split("\n\n").filter(|block| !block.trim().is_empty()).map(step).collect();
            scenarios.push(Scenario { file: file.clone(), name: name.into(), steps });
        }
    }
    assert!(scenarios.len() > 60, "only {} scenarios found", scenarios.len());
    scenarios
}

fn step(block: &str) -> Step {
    let mut lines = block.trim_matches('\n').lines();
    let mut words = Vec::new();
    let first = loop {
        match lines.next().unwrap_or_else(|| panic!("no request in {block}")) {
            word if word.starts_with('@') => words.push(word.to_owned()),
            line => break line,
        }
    };
    let (method, path) = first.split_once(' ').unwrap_or_else(|| panic!("no request line: {first}"));
    let body = lines.collect::<Vec<_>>().join("\n");
    Step { words, method: method.into(), path: path.into(), body }
}

/// Fills in `{{a*40}}` and `{{name}}`.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, behind) = behind.split_once("}}").unwrap_or_else(|| panic!("no end of {{{{ in {text}"));
        expanded.push_str(before);
        match name.rsplit_once('*') {
            Some((part, times)) => expanded.push_str(&part.repeat(times.parse().unwrap())),
            None => expanded.push_str(known.get(name).unwrap_or_else(|| panic!("nothing is called {name}"))),
        }
        rest = behind;
    }
    expanded + rest
}

fn percent_encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Runs a scenario and returns what of its answers is to be compared.
fn run(url: &str, scenario: &Scenario) -> Vec<Value> {
    clear(url);
    let mut known = BTreeMap::from([("painless".to_owned(), PAINLESS.to_owned())]);
    let mut answers = Vec::new();
    for step in &scenario.steps {
        let path = percent_encoded(&expand(&step.path, &known));
        let mut body = expand(&step.body, &known);
        if step.word("@raw").is_some() {
            body = body.replace("\\r", "\r").replace("\\n", "\n");
        } else if path.contains("_bulk") && !body.is_empty() {
            body.push('\n');
        }
        let mut body = body.into_bytes();
        let mut headers = Vec::new();
        if step.word("@gzip").is_some() {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&body).unwrap();
            body = packed.finish().unwrap();
            headers.push(("content-encoding", "gzip"));
        }
        let answer = send(url, &step.method, &path, &headers, &body)
            .unwrap_or_else(|error| panic!("{}: {} {path}: {error}", scenario.name, step.method));
        assert!(answer.head.contains("x-elastic-product: elasticsearch"), "{}", answer.head);
        if let Some((name, field)) = step.word("@save").and_then(|word| word.split_once('=')) {
            known.insert(name.into(), answer.json()[field].as_str().unwrap().into());
        }
        answers.push(compared(step, &answer));
    }
    clear(url);
    answers
}

/// Removes what scenarios make, and nothing else: the server may be in use by others.
fn clear(url: &str) {
    let indices = send(url, "GET", "/_cat/indices/s-*?format=json&expand_wildcards=all", &[], b"").unwrap();
    for index in indices.json().as_array().into_iter().flatten() {
        let name = percent_encoded(index["index"].as_str().unwrap());
        send(url, "DELETE", &format!("/{name}"), &[], b"").unwrap();
    }
    send(url, "DELETE", "/_index_template/s-*", &[], b"").unwrap();
    for script in ["s-merge", "s-fail", "s-bad"] {
        send(url, "DELETE", &format!("/_scripts/{script}"), &[], b"").unwrap();
    }
    let settings = br#"{"persistent":{"action.auto_create_index":null}}"#;
    send(url, "PUT", "/_cluster/settings", &[], settings).unwrap();
}

fn compared(step: &Step, answer: &Answer) -> Value {
    let status = Value::from(answer.status);
    if step.word("@bytes").is_some() {
        return json!({ "status": status, "bytes": answer.text() });
    }
    if answer.body.is_empty() {
        return json!({ "status": status });
    }
    let mut body = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) => Value::String(answer.text()),
    };
    if step.word("@unordered").is_some() {
        for list in ["/hits/hits", "/index_templates"] {
            if let Some(items) = body.pointer_mut(list).and_then(Value::as_array_mut) {
                items.sort_by_key(|item| [&item["_index"], &item["_id"], &item["name"]].map(Value::to_string));
            }
        }
    }
    let only = step.paths("@only");
    if !only.is_empty() {
        let picked: Map<String, Value> = only.iter().map(|path| ((*path).to_owned(), pick(&body, path))).collect();
        return json!({ "status": status, "only": normal(Value::Object(picked)) });
    }
    for path in step.paths("@ignore") {
        remove(&mut body, path);
    }
    json!({ "status": status, "body": normal(body) })
}

fn pick(value: &Value, path: &str) -> Value {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        _ if path.is_empty() => value.clone(),
        Value::Array(items) if first == "*" => items.iter().map(|item| pick(item, rest)).collect(),
        Value::Object(object) if object.contains_key(path) => object[path].clone(),
        Value::Object(object) => object.get(first).map_or(Value::Null, |value| pick(value, rest)),
        _ => Value::Null,
    }
}

fn remove(value: &mut Value, path: &str) {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        Value::Array(items) if first == "*" => items.iter_mut().for_each(|item| remove(item, rest)),
        Value::Object(object) if rest.is_empty() => drop(object.remove(first)),
        Value::Object(object) if first == "*" => object.values_mut().for_each(|value| remove(value, rest)),
        Value::Object(object) => {
            if let Some(value) = object.get_mut(first) {
                remove(value, rest);
            }
        }
        _ => {}
    }
}

/// Names whose values differ from run to run, and `line` and `col`, which some errors give apart from their reason.
const VOLATILE: [&str; 12] = [
    "took",
    "index_uuid",
    "uuid",
    "creation_date",
    "cluster_uuid",
    "cluster_name",
    "_scroll_id",
    "node",
    "line",
    "col",
    "created",
    "terminated_early",
];

/// The answer without what cannot be the same twice.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, normal(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::String(text) => Value::String(normal_text(&text)),
        other => other,
    }
}

/// Cuts the parser's own word on where it was, index uuids, and long runs of one character.
fn normal_text(text: &str) -> String {
    let text = text.split("\n at [Source").next().unwrap_or_default();
    let mut kept = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let mut run = 1;
        while characters.next_if_eq(&character).is_some() {
            run += 1;
        }
        match run {
            1..32 => kept.extend(std::iter::repeat_n(character, run)),
            _ => kept.push_str(&format!("<{character}*{run}>")),
        }
    }
    // `[s-a/m3nqH3iFR0ePp_n71E-ZhQ]`
    if let Some(start) = kept.find("[s-").filter(|start| kept[*start..].contains('/'))
        && let Some(slash) = kept[start..].find('/')
        && let Some(end) = kept[start + slash..].find(']')
        && end > 18
    {
        kept.replace_range(start + slash + 1..start + slash + end, "<uuid>");
    }
    kept
}

type Recording = BTreeMap<String, BTreeMap<String, Vec<Value>>>;

fn recording() -> Recording {
    let text = fs::read_to_string(folder().join("recorded.json")).unwrap_or_else(|_| "{}".into());
    serde_json::from_str(&text).unwrap()
}

/// Compares every answer with the recorded one and fails with all differences.
fn check_all(url: &str, whose: &str) {
    let recording = recording();
    let wanted = std::env::var("ROWMILL_SCENARIO").unwrap_or_default();
    let (mut differences, mut compared) = (Vec::new(), 0);
    for scenario in scenarios() {
        if !scenario.name.contains(&wanted) && scenario.file != wanted {
            continue;
        }
        let recorded = recording.get(&scenario.file).and_then(|file| file.get(&scenario.name));
        let recorded =
            recorded.unwrap_or_else(|| panic!("'{}' is not recorded: see the head of this file", scenario.name));
        let answers = run(url, &scenario);
        assert_eq!(answers.len(), recorded.len(), "'{}' has other steps than were recorded", scenario.name);
        for ((step, answer), recorded) in scenario.steps.iter().zip(&answers).zip(recorded) {
            compared += 1;
            if answer != recorded {
                let mut found = Vec::new();
                describe("", recorded, answer, &mut found);
                differences.push(format!(
                    "{} / {}\n  {} {}\n    {}",
                    scenario.file,
                    scenario.name,
                    step.method,
                    normal_text(&step.path),
                    found.join("\n    ")
                ));
            }
        }
    }
    println!("{whose}: {compared} answers compared");
    assert!(differences.is_empty(), "{whose} differs in {} answers:\n{}", differences.len(), differences.join("\n"));
}

/// The places in which two answers differ.
fn describe(path: &str, recorded: &Value, answer: &Value, into: &mut Vec<String>) {
    match (recorded, answer) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let missing = json!("<missing>");
                let (one, other) = (one.get(name).unwrap_or(&missing), other.get(name).unwrap_or(&missing));
                describe(&format!("{path}.{name}"), one, other, into);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (position, (one, other)) in one.iter().zip(other).enumerate() {
                describe(&format!("{path}.{position}"), one, other, into);
            }
        }
        (one, other) if one != other => {
            into.push(format!("{path}\n      real:     {one}\n      here:     {other}"));
        }
        _ => {}
    }
}

#[test]
fn the_embedded_store_answers_like_elasticsearch() {
    let store = Store::builder().script("s-merge", merge_twin).script("s-fail", fail_twin).start().unwrap();
    check_all(&store.url(), "the embedded store");
}

#[test]
fn elasticsearch_answers_as_recorded() {
    let Ok(url) = std::env::var("ROWMILL_TEST_ELASTICSEARCH") else {
        println!("skipped: ROWMILL_TEST_ELASTICSEARCH is not set; `make test` starts a real Elasticsearch for this");
        return;
    };
    if std::env::var("ROWMILL_RECORD").is_err() {
        check_all(&url, "the real server");
        return;
    }
    let mut recording = Recording::new();
    for scenario in scenarios() {
        let answers = run(&url, &scenario);
        recording.entry(scenario.file.clone()).or_default().insert(scenario.name.clone(), answers);
    }
    let text = serde_json::to_string_pretty(&recording).unwrap() + "\n";
    fs::write(folder().join("recorded.json"), text).unwrap();
}
