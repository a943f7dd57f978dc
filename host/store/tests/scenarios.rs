//! A list of requests, the files in `scenarios/`, to which the embedded store and a real Elasticsearch have to give the
//! same answers: the same status codes, results, documents and error types. The texts of errors may differ.
//!
//! `scenarios/recorded.json` holds the answers of the real server, so the embedded store is compared with it even where
//! no server runs. If `ROWMILL_TEST_ELASTICSEARCH` is set, that server is compared with the recording as well; if
//! `ROWMILL_RECORD=1` is set too, its answers replace the recording. The format of a scenario file:
//!
//! ```text
//! ## the claim
//! @ignore items.*._id        parts not to compare (dotted; `*` is any name or position)
//! METHOD /path               `{{a*40}}` is forty times a, `{{name}}` a saved or known value
//! lines of the body, up to an empty line
//! ```
//!
//! Other annotations of a request: `@only status` or `@only` with paths (compares nothing else), `@unordered` (the order
//! of hits does not matter), `@numbers` (compares decimals by value and not as they are written), `@bytes` (compares the
//! bytes of the body), `@raw` (`\n` and `\r` in the body are escapes, and no newline is added), `@gzip`,
//! `@save name=field`.

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

/// The script of the scenarios; [`merge`] does the same natively.
const PAINLESS: &str = "if (params.drop == true) { ctx.op = 'delete'; return } \
    if (params.skip == true) { ctx.op = 'none'; return } \
    long seen = ctx._source._v == null ? -1 : ctx._source._v; \
    if (seen >= params.version) { ctx.op = 'none'; return } \
    ctx._source._v = params.version; \
    for (entry in params.fields.entrySet()) { ctx._source[entry.getKey()] = entry.getValue() }";

fn merge(context: &mut ScriptContext<'_>) {
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

fn fail(context: &mut ScriptContext<'_>) {
    context.failure = Some(format!("no {}", context.params["what"].as_str().unwrap_or_default()));
}

struct Scenario {
    file: String,
    name: String,
    steps: Vec<Step>,
}

struct Step {
    annotations: Vec<String>,
    method: String,
    path: String,
    body: String,
}

impl Step {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find_map(|annotation| annotation.strip_prefix(name)).map(str::trim)
    }

    fn has(&self, name: &str) -> bool {
        self.annotation(name).is_some()
    }

    fn paths(&self, name: &str) -> Vec<&str> {
        self.annotation(name).map(|paths| paths.split(',').map(str::trim).collect()).unwrap_or_default()
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
    assert!(scenarios.len() > 50, "only {} scenarios found", scenarios.len());
    scenarios
}

fn step(block: &str) -> Step {
    let mut lines = block.trim_matches('\n').lines();
    let mut annotations = Vec::new();
    let first = loop {
        match lines.next().unwrap_or_else(|| panic!("no request in {block}")) {
            line if line.starts_with('@') => annotations.push(line.to_owned()),
            line => break line,
        }
    };
    let (method, path) = first.split_once(' ').unwrap_or_else(|| panic!("no request line: {first}"));
    let body = lines.collect::<Vec<_>>().join("\n");
    Step { annotations, method: method.into(), path: path.into(), body }
}

/// Replaces `{{a*40}}` and `{{name}}`.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, behind) = behind.split_once("}}").unwrap_or_else(|| panic!("no end of {{{{ in {text}"));
        expanded.push_str(before);
        match name.rsplit_once('*') {
            Some((part, times)) => expanded.push_str(&part.repeat(times.parse().unwrap())),
            None => expanded.push_str(known.get(name).unwrap_or_else(|| panic!("there is no value named {name}"))),
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

/// Runs a scenario and returns the compared part of each answer.
fn run(url: &str, scenario: &Scenario) -> Vec<Value> {
    clear(url);
    let mut known = BTreeMap::from([("painless".to_owned(), PAINLESS.to_owned())]);
    let mut answers = Vec::new();
    for step in &scenario.steps {
        let path = percent_encoded(&expand(&step.path, &known));
        let mut body = expand(&step.body, &known);
        if step.has("@raw") {
            body = body.replace("\\r", "\r").replace("\\n", "\n");
        } else if path.contains("_bulk") && !body.is_empty() {
            body.push('\n');
        }
        let mut body = body.into_bytes();
        let mut headers = Vec::new();
        if step.has("@gzip") {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&body).unwrap();
            body = packed.finish().unwrap();
            headers.push(("content-encoding", "gzip"));
        }
        let answer = send(url, &step.method, &path, &headers, &body)
            .unwrap_or_else(|error| panic!("{}: {} {path}: {error}", scenario.name, step.method));
        assert!(answer.head.contains("x-elastic-product: elasticsearch"), "{}", answer.head);
        if let Some((name, field)) = step.annotation("@save").and_then(|save| save.split_once('=')) {
            known.insert(name.into(), answer.json()[field].as_str().unwrap().into());
        }
        answers.push(compared(step, &answer));
    }
    clear(url);
    answers
}

/// Removes what scenarios create, and nothing else: the server may have other users.
fn clear(url: &str) {
    let indices = send(url, "GET", "/s-*", &[], b"").unwrap();
    for name in indices.json().as_object().unwrap().keys() {
        send(url, "DELETE", &format!("/{}", percent_encoded(name)), &[], b"").unwrap();
    }
    // The embedded store refuses this, and no scenario depends on it there.
    for script in ["s-merge", "s-fail", "s-bad"] {
        send(url, "DELETE", &format!("/_scripts/{script}"), &[], b"").unwrap();
    }
}

/// The part of an answer that is compared.
fn compared(step: &Step, answer: &Answer) -> Value {
    let status = Value::from(answer.status);
    if step.has("@bytes") {
        return json!({ "status": status, "bytes": answer.text() });
    }
    if answer.body.is_empty() {
        return json!({ "status": status });
    }
    let mut body = answer.json();
    if step.has("@unordered")
        && let Some(hits) = body.pointer_mut("/hits/hits").and_then(Value::as_array_mut)
    {
        hits.sort_by_key(|hit| [&hit["_index"], &hit["_id"]].map(Value::to_string));
    }
    let only = step.paths("@only");
    if !only.is_empty() {
        body = only.iter().map(|path| ((*path).to_owned(), pick(&body, path))).collect::<Map<_, _>>().into();
    }
    for path in step.paths("@ignore") {
        remove(&mut body, path);
    }
    normalize(&mut body, step.has("@numbers"));
    json!({ "status": status, "body": body })
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

/// Members whose values differ from run to run.
const VOLATILE: [&str; 3] = ["took", "_scroll_id", "terminated_early"];

/// Removes what differs from run to run; of an error all but its type; of a written document what depends on the
/// number of nodes.
fn normalize(value: &mut Value, rounds_decimals: bool) {
    match value {
        Value::Object(object) => {
            match object.get_mut("error") {
                Some(Value::Object(error)) => error.retain(|name, _| name == "type"),
                Some(Value::String(_)) => object.retain(|name, _| name == "status"),
                _ => {}
            }
            object.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            if object.contains_key("result") {
                object.retain(|name, _| !matches!(name.as_str(), "_shards" | "forced_refresh"));
            }
            object.values_mut().for_each(|value| normalize(value, rounds_decimals));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| normalize(value, rounds_decimals)),
        Value::String(text) if text.len() > 100 => {
            *text = format!("{} bytes: {}…", text.len(), text.chars().take(3).collect::<String>())
        }
        Value::Number(number) if rounds_decimals => {
            let text = number.to_string();
            if text.contains(['.', 'E', 'e']) {
                *value = text.parse::<f64>().unwrap().into();
            }
        }
        _ => {}
    }
}

type Recording = BTreeMap<String, BTreeMap<String, Vec<Value>>>;

/// Writes a line per answer, so that a change of one shows as such.
fn write_recording(recording: &Recording) {
    let mut files = Vec::new();
    for (file, scenarios) in recording {
        let mut texts = Vec::new();
        for (name, answers) in scenarios {
            let lines: Vec<String> = answers.iter().map(Value::to_string).collect();
            texts.push(format!("{}: [\n{}\n]", Value::from(name.as_str()), lines.join(",\n")));
        }
        files.push(format!("{}: {{\n{}\n}}", Value::from(file.as_str()), texts.join(",\n")));
    }
    fs::write(folder().join("recorded.json"), format!("{{\n{}\n}}\n", files.join(",\n"))).unwrap();
}

fn recording() -> Recording {
    let text = fs::read_to_string(folder().join("recorded.json")).unwrap_or_else(|_| "{}".into());
    serde_json::from_str(&text).unwrap()
}

/// Compares every answer with the recorded one and fails with all differences.
fn check_all(url: &str, server: &str) {
    let recording = recording();
    let wanted = std::env::var("ROWMILL_SCENARIO").unwrap_or_default();
    let (mut differences, mut compared) = (Vec::new(), 0);
    for scenario in scenarios() {
        if !scenario.name.contains(&wanted) && scenario.file != wanted {
            continue;
        }
        let recorded = recording.get(&scenario.file).and_then(|file| file.get(&scenario.name));
        let recorded =
            recorded.unwrap_or_else(|| panic!("'{}' is not recorded: see the beginning of this file", scenario.name));
        let answers = run(url, &scenario);
        assert_eq!(answers.len(), recorded.len(), "'{}' has another number of steps than the recording", scenario.name);
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
                    step.path,
                    found.join("\n    ")
                ));
            }
        }
    }
    println!("{server}: {compared} answers compared");
    assert!(differences.is_empty(), "{server} differs in {} answers:\n{}", differences.len(), differences.join("\n"));
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
            into.push(format!("{path}\n      recorded: {one}\n      answered: {other}"));
        }
        _ => {}
    }
}

#[test]
fn the_embedded_store_answers_like_elasticsearch() {
    let store = Store::builder().script("s-merge", merge).script("s-fail", fail).start().unwrap();
    check_all(&store.url(), "the embedded store");
}

#[test]
#[ignore = "needs an Elasticsearch: make test"]
fn elasticsearch_answers_as_recorded() {
    let url = std::env::var("ROWMILL_TEST_ELASTICSEARCH").expect("ROWMILL_TEST_ELASTICSEARCH names a server");
    if std::env::var("ROWMILL_RECORD").is_err() {
        check_all(&url, "the real server");
        return;
    }
    let mut recording = Recording::new();
    for scenario in scenarios() {
        let answers = run(&url, &scenario);
        recording.entry(scenario.file.clone()).or_default().insert(scenario.name.clone(), answers);
    }
    write_recording(&recording);
}
