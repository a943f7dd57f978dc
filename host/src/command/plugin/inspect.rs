//! `rowmill plugin inspect`: describes a `.wasm` file.

use std::sync::Arc;

use std::process::ExitCode;

use anyhow::Context;
use rowmill_harness::{Case, Input, Subject, embedded};
use rowmill_sandbox::{Description, FileKind, FileSummary, Mode, Plugin, Table};
use serde::Serialize;
use serde_json::Value;

use super::load::{load_bytes, read, reading, settings, subject};
use super::{InspectArgs, count_of_cases};
use crate::command::run::print_line;

/// The description of a file.
#[derive(Serialize)]
struct FileReport {
    file: String,
    size: usize,
    sha256: String,
    kind: &'static str,
    contract: Option<String>,
    imports: Vec<String>,
    name: String,
    version: String,
    mode: &'static str,
    /// Patterns; empty means all.
    tables: Vec<String>,
    indices: Vec<IndexReport>,
    settings_schema: Option<Value>,
    /// The number of embedded golden cases.
    cases: usize,
    /// For each table of the input: the columns that the plugin reads, or why it refuses the table.
    columns: Vec<ColumnsReport>,
}

#[derive(Serialize)]
struct IndexReport {
    /// Empty for the default index of the table.
    name: String,
    mapping: Option<Value>,
}

#[derive(Serialize)]
struct ColumnsReport {
    table: String,
    of: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let bytes = read(&args.file)?;
    let summary = FileSummary::read(&bytes)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("{} is refused", args.file.display()))?;
    let cases = embedded::cases(&bytes).with_context(|| format!("the cases embedded in {}", args.file.display()))?;
    let plugin = load_bytes(&args.file, &bytes).with_context(|| match &summary.imports[..] {
        [] => "it imports nothing".to_string(),
        imports => format!("it imports {}", imports.join(", ")),
    })?;
    let report = report(args, &plugin, summary, cases.len())?;
    if args.json {
        print_line(&serde_json::to_string(&report)?);
    } else {
        show(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn report(args: &InspectArgs, plugin: &Arc<Plugin>, summary: FileSummary, cases: usize) -> anyhow::Result<FileReport> {
    let Description { name, version, tables, mode, indices, settings_schema } = plugin.description().clone();
    let json = |text: Option<String>| text.map(|text| serde_json::from_str::<Value>(&text)).transpose();
    let subject = subject(plugin);
    let mut columns = Vec::new();
    let fixed = settings(args.settings.as_deref())?;
    let mut ask = |settings: &str, input: &Input| {
        for table in input.tables.iter().filter(|table| subject.wants(table)) {
            let asked = ask(&subject, settings, table);
            if !columns.iter().any(|known: &ColumnsReport| known.table == asked.table && known.reads == asked.reads) {
                columns.push(asked);
            }
        }
    };
    if let Some(input) = &args.input {
        ask(&fixed.0, &Input::read(input, &reading(None, args.types.as_deref())?)?);
    }
    if let Some(folder) = &args.cases {
        for case in Case::all(folder)? {
            let settings = if args.settings.is_some() { fixed.clone() } else { case.settings()? };
            ask(&settings.0, &case.input().with_context(|| format!("case {}", case.name))?);
        }
    }
    Ok(FileReport {
        file: args.file.display().to_string(),
        size: plugin.size(),
        sha256: plugin.hash().to_string(),
        kind: match summary.kind {
            FileKind::CoreModule => "core module",
            FileKind::Component => "component",
        },
        contract: summary.contract,
        imports: summary.imports,
        name,
        version,
        mode: match mode {
            Mode::Image => "image",
            Mode::Change => "change",
        },
        tables,
        indices: indices
            .into_iter()
            .map(|index| Ok(IndexReport { name: index.name, mapping: json(index.mapping)? }))
            .collect::<serde_json::Result<_>>()?,
        settings_schema: json(settings_schema)?,
        cases,
        columns,
    })
}

fn ask(subject: &Subject, settings: &str, table: &Table) -> ColumnsReport {
    let answer = subject.columns(settings, table);
    let names = |places: Vec<u32>| places.iter().map(|place| table.columns[*place as usize].name.clone()).collect();
    let (reads, refused) = match answer {
        Ok(places) => (Some(names(places)), None),
        Err(reason) => (None, Some(reason)),
    };
    ColumnsReport { table: table.full_name(), of: table.columns.len(), reads, refused }
}

fn show(report: &FileReport) {
    let line = |what: &str, text: &str| print_line(&format!("{what:10} {text}"));
    let or_none = |names: &[String], none: &str| if names.is_empty() { none.to_string() } else { names.join(", ") };
    line("plugin", &format!("{} {}", report.name, report.version));
    line("file", &format!("{}, {:.1} KiB, a {}", report.file, report.size as f64 / 1024.0, report.kind));
    line("SHA-256", &report.sha256);
    line("contract", report.contract.as_deref().unwrap_or("none"));
    line("imports", &or_none(&report.imports, "nothing"));
    line(
        "mode",
        match report.mode {
            "change" => "change: it gets whole changes and handles deletes itself",
            _ => "image: it maps a row image to documents",
        },
    );
    line("tables", &or_none(&report.tables, "all"));
    if report.columns.is_empty() {
        line("reads", "depends on table and settings; pass rows with --input or --cases");
    }
    for asked in &report.columns {
        let text = match (&asked.reads, &asked.refused) {
            (_, Some(reason)) => format!("refuses {}: {reason}", asked.table),
            (Some(reads), _) => {
                format!("{} of {} columns of {}: {}", reads.len(), asked.of, asked.table, or_none(reads, "none"))
            }
            (None, None) => continue,
        };
        line("reads", &text);
    }
    for index in &report.indices {
        let name = if index.name.is_empty() { "the table's default index" } else { &index.name };
        line("index", &format!("{name}{}", if index.mapping.is_some() { ", with a mapping" } else { "" }));
    }
    if report.indices.is_empty() {
        line("index", "the table's default index");
    }
    line("cases", &format!("{} embedded", count_of_cases(report.cases)));
    match &report.settings_schema {
        Some(schema) => line("settings", &format!("JSON Schema\n{schema:#}")),
        None => line("settings", "no schema"),
    }
}
