//! The committed offsets of a group, with what their metadata says.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use rowmill_engine::version::PartitionClock;
use rowmill_rows::TopicPartition;

use crate::checkpoint::Watermark;

/// The partition's clock in the metadata of a committed offset.
const CLOCK: &str = "rowmill:clock=";
/// The time of the group's first start in the same metadata.
const BEGAN: &str = ";began=";

/// What a group has committed for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub watermark: Watermark,
    /// When the group first started with `start = "latest"`, in milliseconds since 1970.
    pub began: Option<i64>,
}

/// The committed offset of each partition; `None` where nothing is committed.
///
/// # Errors
/// The group's coordinator does not answer within `timeout`, or refuses.
pub(super) fn load<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<Vec<Option<Committed>>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    let list = client.committed_offsets(list, timeout)?;
    let mut committed = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let element = list.find_partition(&partition.topic, partition.partition);
        element.as_ref().map_or(Ok(()), TopicPartitionListElem::error)?;
        committed.push(element.as_ref().and_then(read));
    }
    Ok(committed)
}

fn read(element: &TopicPartitionListElem<'_>) -> Option<Committed> {
    let Offset::Offset(position) = element.offset() else { return None };
    let (clock, began) = read_metadata(element.metadata());
    Some(Committed { watermark: Watermark { position, clock }, began })
}

/// The clock and the first start; 0 and `None` where the metadata says nothing of them.
fn read_metadata(metadata: &str) -> (u64, Option<i64>) {
    let Some(rest) = metadata.strip_prefix(CLOCK) else { return (0, None) };
    let (clock, began) = rest.split_once(BEGAN).map_or((rest, None), |(clock, began)| (clock, Some(began)));
    (PartitionClock::parse_time(clock).unwrap_or(0), began.and_then(|began| began.parse().ok()))
}

fn write_metadata(committed: &Committed) -> String {
    let clock = PartitionClock::from_time(committed.watermark.clock).time_text();
    match committed.began {
        Some(began) => format!("{CLOCK}{clock}{BEGAN}{began}"),
        None => format!("{CLOCK}{clock}"),
    }
}

/// A list of offsets to be committed, with their metadata.
///
/// # Errors
/// An offset is negative.
pub(super) fn list(offsets: &[(TopicPartition, Committed)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, committed) in offsets {
        let mut element = list.add_partition(&partition.topic, partition.partition);
        element.set_offset(Offset::Offset(committed.watermark.position))?;
        element.set_metadata(write_metadata(committed));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_as_it_was_written() {
        let time = (300_000_000 << 28) + 7;
        for began in [None, Some(1_795_000_000_000)] {
            let committed = Committed { watermark: Watermark { position: 5, clock: time }, began };
            assert_eq!(read_metadata(&write_metadata(&committed)), (time, began));
        }
        assert_eq!(read_metadata(""), (0, None), "committed by somebody else");
        let seconds = read_metadata("rowmill:clock=1795216549").0;
        assert_eq!(seconds, (1_795_216_549 - 1_500_000_000) << 28, "committed by a version that kept whole seconds");
    }
}
