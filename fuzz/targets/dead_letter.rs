//! Lines of dead letters and captured records: never a panic, and a record that is read can be decoded or rejected.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rowmill_rows::capture::Captures;
use rowmill_rows::{Decoder, DecoderSettings, Format, RecordBatch, RowBatch, TopicPartition};

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(DecoderSettings::default());
    let mut rows = RowBatch::default();
    for record in Captures::new(data, "letters") {
        let Ok(record) = record else { return };
        let partition = TopicPartition { topic: record.topic.as_str().into(), partition: record.partition };
        let mut records = RecordBatch::new(partition, Format::Auto);
        record.push_to(&mut records);
        decoder.decode(&records, &mut rows);
    }
});
