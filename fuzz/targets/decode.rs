//! Change events of all formats: decoding never panics, and whatever it accepts is JSON to serde_json as well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rowmill_rows::{Decoder, DecoderSettings, Format, RecordBatch, RowBatch, TopicPartition};

fuzz_target!(|data: &[u8]| {
    let Some((&first, message)) = data.split_first() else { return };
    let format = [Format::Auto, Format::Canal, Format::Debezium, Format::Maxwell][usize::from(first % 4)];
    let partition = TopicPartition { topic: "shop.trade".into(), partition: 0 };
    let mut records = RecordBatch::new(partition, format);
    // Twice, because the second record meets the shape that the first one left.
    for offset in 0..2 {
        records.push(offset, -1, None, Some(message), std::iter::empty());
    }
    let mut decoder = Decoder::new(DecoderSettings::default());
    let mut rows = RowBatch::default();
    decoder.decode(&records, &mut rows);
    if rows.undecodable.is_empty() {
        serde_json::from_slice::<serde_json::Value>(message).expect("an accepted message is JSON");
    }
    for row in &rows.rows {
        let width = decoder.tables()[row.table as usize].columns.len();
        for first_cell in [row.before, row.after].into_iter().flatten() {
            for cell in &rows.cells[first_cell as usize..first_cell as usize + width] {
                let bytes = cell.bytes(&records.bytes, &rows.scratch);
                if !bytes.is_empty() {
                    serde_json::from_slice::<serde_json::Value>(bytes).expect("a cell is a JSON value");
                }
            }
        }
    }
});
