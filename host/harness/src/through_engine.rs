//! Runs the rows of an input through the gateway's engine, and returns its operations as outcomes.

use std::sync::Arc;

use rowmill_engine::{
    Action, Batch, Chain, ChainInstance, ChainPlugin, Indices, Operation as DocumentOperation, Operations, RowToEmit,
};
use rowmill_rows::{
    Cell, Column, ColumnType, Format, Operation, Record, RecordBatch, Row as EngineRow, RowBatch, SourcePosition,
    TableVersion, TopicPartition,
};
use rowmill_sandbox::{ColumnKind, Limits, NameRules, Table};
use serde_json::value::RawValue;

use crate::input::{Image, Input, Row};
use crate::outcome::{ItemKey, Outcome};

/// Rows per batch, as many as the gateway's default.
const ROWS_PER_BATCH: usize = 512;

/// The outcomes of the rows of tables that the plugin processes, with only this plugin in the chain. The default route applies:
/// index and document ID come from the table.
pub(crate) fn run(plugin: ChainPlugin, input: &Input) -> Vec<Outcome> {
    let tables: Vec<Arc<TableVersion>> = input.tables.iter().map(|table| Arc::new(version_of(table))).collect();
    let wanted: Vec<bool> = tables.iter().map(|table| plugin.wants(table)).collect();
    let mut chain = ChainInstance::new(Arc::<Indices>::default(), Limits::default(), NameRules::default());
    chain
        .switch_to(Arc::new(Chain { plugins: vec![Arc::new(plugin)], ..Chain::default() }), &mut Vec::new(), |_| false);
    let rows = input.rows.iter().enumerate().filter_map(|(place, (_, row))| Some((place, row.as_ref().ok()?)));
    let rows: Vec<(usize, &Row)> = rows.filter(|(_, row)| wanted[row.table]).collect();
    let mut outcomes = Vec::new();
    for rows in rows.chunks(ROWS_PER_BATCH) {
        run_batch(&mut chain, &tables, rows, &mut outcomes);
    }
    outcomes
}

fn run_batch(
    chain: &mut ChainInstance,
    tables: &[Arc<TableVersion>],
    rows: &[(usize, &Row)],
    outcomes: &mut Vec<Outcome>,
) {
    let (mut engine_rows, records) = engine_rows(rows);
    let mut batch = Batch { tables, rows: &mut engine_rows, records: &records };
    chain.run(&mut batch, |_| true);
    let mut operations = Operations::default();
    for (place, &(number, row)) in rows.iter().enumerate() {
        let number = number + 1;
        operations.clear();
        let to_emit = RowToEmit { row: place, version: 1, first_producer: 0 };
        let emitted = match chain.emit_row(&batch, to_emit, &mut operations) {
            Ok(emitted) => emitted,
            Err(failure) => {
                outcomes.push(Outcome::because(number, "fail", failure.reason));
                continue;
            }
        };
        let outcome = |operation| outcome_of(number, operation, &operations, chain.indices());
        let (written, cleared) = operations.list.split_at(emitted.written);
        outcomes.extend(written.iter().map(outcome));
        if written.is_empty() && (row.after.is_some() || cleared.is_empty()) {
            outcomes.push(Outcome::new(number, "drop"));
        }
        outcomes.extend(cleared.iter().map(outcome));
    }
}

fn outcome_of(row: usize, operation: &DocumentOperation, of: &Operations, indices: &Indices) -> Outcome {
    let is_kept = operation.producer == u16::MAX && operation.action == Action::Index;
    let body = of.text(operation.body).to_string();
    Outcome {
        index: Some(indices.name(operation.index).to_string()),
        id: Some(of.text(operation.id).to_string()),
        routing: operation.routing.map(|routing| of.text(routing).to_string()),
        item: item_of(of.text(operation.item)),
        body: RawValue::from_string(body).ok(),
        ..Outcome::new(row, if is_kept { "keep" } else { operation.action.name() })
    }
}

/// The item of an operation, from its members of a JSON object; `None` if there are none.
fn item_of(members: &str) -> Option<ItemKey> {
    if members.is_empty() {
        return None;
    }
    serde_json::from_str(&format!("{{{members}}}")).ok()
}

/// The rows as a decoder returns them: all cells in the scratch arena, one record per row.
fn engine_rows(rows: &[(usize, &Row)]) -> (RowBatch, RecordBatch) {
    let mut batch = RowBatch::default();
    let mut records = RecordBatch::new(TopicPartition { topic: "input".into(), partition: 0 }, Format::Auto);
    for (place, &(number, row)) in rows.iter().enumerate() {
        let mut add = |image: &Image| {
            let first = batch.cells.len() as u32;
            for cell in image {
                let start = batch.scratch.len();
                batch.scratch.extend_from_slice(cell);
                let end = batch.scratch.len();
                batch.cells.push(if start == end { Cell::ABSENT } else { Cell::in_scratch(start, end) });
            }
            first
        };
        let (before, after) = (row.before.as_ref().map(&mut add), row.after.as_ref().map(&mut add));
        batch.rows.push(EngineRow {
            record: place as u32,
            table: row.table as u32,
            operation: row.operation,
            before,
            after,
            before_is_complete: before.is_some() || row.operation != Operation::Update,
            position: SourcePosition::Unknown,
        });
        records.records.push(Record { offset: number as i64, timestamp: -1, key: None, value: None, headers: (0, 0) });
    }
    (batch, records)
}

fn version_of(table: &Table) -> TableVersion {
    let column = |column: &rowmill_sandbox::Column| Column {
        name: column.name.as_str().into(),
        column_type: type_of(column.kind),
    };
    TableVersion {
        database: table.database.as_str().into(),
        name: table.name.as_str().into(),
        columns: table.columns.iter().map(column).collect(),
        key: table.key.clone(),
    }
}

/// A column type of this kind. The kind omits labels and scale, which plugins do not see.
fn type_of(kind: ColumnKind) -> ColumnType {
    match kind {
        ColumnKind::Unknown => ColumnType::Unknown,
        ColumnKind::Integer => ColumnType::Integer { unsigned: false },
        ColumnKind::UnsignedInteger => ColumnType::Integer { unsigned: true },
        ColumnKind::Boolean => ColumnType::Boolean,
        ColumnKind::Bit => ColumnType::Bit,
        ColumnKind::Float => ColumnType::Float,
        ColumnKind::Double => ColumnType::Double,
        ColumnKind::Decimal => ColumnType::Decimal { scale: None },
        ColumnKind::Date => ColumnType::Date,
        ColumnKind::Time => ColumnType::Time,
        ColumnKind::DateTime => ColumnType::DateTime,
        ColumnKind::Timestamp => ColumnType::Timestamp,
        ColumnKind::Text => ColumnType::Text,
        ColumnKind::Binary => ColumnType::Binary,
        ColumnKind::Enumeration => ColumnType::Enum { labels: Vec::new() },
        ColumnKind::Set => ColumnType::Set { labels: Vec::new() },
        ColumnKind::Json => ColumnType::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_keep_their_kind() {
        for (name, kind) in ColumnKind::NAMES {
            assert_eq!(type_of(kind).kind(), name);
        }
    }
}
