//! Reads rows from messages of Canal, Debezium or Maxwell: captured records, or plain events.

use anyhow::bail;
use rowmill_rows::capture::Captures;
use rowmill_rows::{
    DeclaredTypes, Decoder, DecoderSettings, Format, Operation, RecordBatch, RowBatch, TableVersion, TopicPartition,
};
use rowmill_sandbox::Table;

use super::{Image, Input, Row};

pub(super) fn parse(bytes: &[u8], name: &str, declared: DeclaredTypes) -> anyhow::Result<Input> {
    let mut decoder = Decoder::new(DecoderSettings { declared, ..DecoderSettings::default() });
    let mut input = Input::default();
    let mut rows = RowBatch::default();
    for record in Captures::new(bytes, name) {
        let record = record?;
        let partition = TopicPartition { topic: record.topic.as_str().into(), partition: record.partition };
        let origin = format!("{partition} offset {}", record.offset);
        // Record by record, since a file may mix topics, and its order is the order of the rows.
        let mut records = RecordBatch::new(partition, Format::Auto);
        record.push_to(&mut records);
        decoder.decode(&records, &mut rows);
        for row in rows.rows.iter().filter(|row| row.operation != Operation::Truncate) {
            let width = decoder.tables()[row.table as usize].columns.len();
            let image = |cells: u32| -> Image {
                let cells = &rows.cells[cells as usize..cells as usize + width];
                cells.iter().map(|cell| cell.bytes(&records.bytes, &rows.scratch).to_vec()).collect()
            };
            let row = Row {
                table: row.table as usize,
                operation: row.operation,
                // An image with only the key is not a before image.
                before: row.before.filter(|_| row.before_is_complete).map(image),
                after: row.after.map(image),
            };
            input.push(origin.clone(), Ok(row));
        }
        for undecodable in &rows.undecodable {
            input.push(origin.clone(), Err(undecodable.error.to_string()));
        }
    }
    input.tables = decoder.tables().iter().enumerate().map(|(number, table)| contract_table(number, table)).collect();
    if let [(_, Err(reason)), ..] = &input.rows[..]
        && input.tables.is_empty()
    {
        bail!(
            "neither rows nor events. Rows start with a line that describes their table, such as \
             {{\"table\": \"shop.orders\", \"columns\": {{\"id\": \"bigint\", \"state\": \"varchar(20)\"}}}}; \
             read as an event of Canal, Debezium or Maxwell, the first record fails: {reason}"
        );
    }
    Ok(input)
}

fn contract_table(number: usize, table: &TableVersion) -> Table {
    let columns = table.columns.iter().map(|column| (&*column.name, column.column_type.kind()));
    Table::new(number as u32, &table.database, &table.name, columns, &table.key)
}
