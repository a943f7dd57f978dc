//! A real Kafka that tests write to and read from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::captures::Record;
use crate::given;

/// Names the brokers of a real Kafka.
pub const VARIABLE: &str = "ROWMILL_TEST_KAFKA";

/// Larger than the largest message of any test.
const LARGEST: &str = "90000000";
const PATIENCE: Duration = Duration::from_secs(60);

/// A real Kafka.
#[derive(Debug)]
pub struct Kafka {
    /// Its brokers.
    pub brokers: String,
}

impl Kafka {
    /// The real server that the environment names.
    ///
    /// # Panics
    /// The environment names none.
    pub fn real() -> Self {
        Self { brokers: given(VARIABLE) }
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).set("message.max.bytes", LARGEST);
        client
    }

    /// Creates a topic.
    ///
    /// # Panics
    /// Kafka does not create it.
    #[track_caller]
    pub fn create(&self, topic: &str, partitions: i32) {
        self.create_as(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)));
    }

    /// Creates a compacted topic with one partition.
    ///
    /// # Panics
    /// Kafka does not create it.
    #[track_caller]
    pub fn create_compacted(&self, topic: &str) {
        self.create_as(NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact"));
    }

    #[track_caller]
    fn create_as(&self, topic: NewTopic<'_>) {
        let topic = topic.set("max.message.bytes", LARGEST);
        let topics = self.administer(async |admin, options| admin.create_topics([&topic], options).await);
        topics.into_iter().for_each(|result| drop(result.expect("the topic is created")));
    }

    /// Creates a topic with this number of partitions, unless one that was deleted still exists. Returns true if it is created.
    ///
    /// # Panics
    /// Kafka does not answer.
    #[track_caller]
    pub fn try_create(&self, topic: &str, partitions: i32) -> bool {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let topics = self.administer(async |admin, options| admin.create_topics([&topic], options).await);
        topics.iter().all(Result::is_ok)
    }

    /// Raises the number of a topic's partitions.
    ///
    /// # Panics
    /// Kafka does not raise it.
    #[track_caller]
    pub fn raise_partitions(&self, topic: &str, count: usize) {
        let partitions = NewPartitions::new(topic, count);
        let topics = self.administer(async |admin, options| admin.create_partitions([&partitions], options).await);
        topics.into_iter().for_each(|result| drop(result.expect("there are more partitions")));
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// Kafka does not delete it.
    #[track_caller]
    pub fn delete(&self, topic: &str) {
        let topics = self.administer(async |admin, options| admin.delete_topics(&[topic], options).await);
        topics.into_iter().for_each(|result| drop(result.expect("the topic is deleted")));
    }

    /// Deletes the records of a partition below an offset, as retention does.
    ///
    /// # Panics
    /// Kafka does not delete them.
    #[track_caller]
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(below)).expect("an offset");
        let deleted = self.administer(async |admin, options| admin.delete_records(&list, options).await);
        deleted.elements().iter().for_each(|one| one.error().expect("the records are deleted"));
    }

    #[track_caller]
    fn administer<T>(
        &self,
        request: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<T>,
    ) -> T {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        runtime.block_on(request(&admin, &options)).expect("an answer")
    }

    /// How many members a group has. Only groups with the classic protocol are found.
    ///
    /// # Panics
    /// Kafka does not answer.
    #[track_caller]
    pub fn members(&self, group: &str) -> usize {
        let consumer: BaseConsumer = self.client().create().expect("a client");
        let groups = consumer.fetch_group_list(Some(group), PATIENCE).expect("the group");
        groups.groups().iter().filter(|one| one.name() == group).map(|one| one.members().len()).sum()
    }

    /// Creates the topics of these records, each with three partitions, and writes the records as they are: partition,
    /// key, headers, time stamp, tombstones, and each partition's order.
    ///
    /// # Panics
    /// Kafka does not take them.
    #[track_caller]
    pub fn load(&self, records: &[Record]) {
        for topic in records.iter().map(|record| record.topic.as_str()).collect::<BTreeSet<_>>() {
            self.create(topic, 3);
        }
        self.produce(records);
    }

    /// Writes records to topics that exist.
    ///
    /// # Panics
    /// Kafka does not take them.
    #[track_caller]
    pub fn produce(&self, records: &[Record]) {
        let mut client = self.client();
        client.set("enable.idempotence", "true").set("linger.ms", "5");
        let producer: ThreadedProducer<DefaultProducerContext> = client.create().expect("a producer");
        send(&producer, records);
        producer.flush(PATIENCE).expect("all records are acknowledged");
    }

    /// Writes records in one transaction, and commits it. The last offset of each partition then holds no record.
    ///
    /// # Panics
    /// Kafka does not take them.
    #[track_caller]
    pub fn produce_in_transaction(&self, records: &[Record]) {
        let mut client = self.client();
        client.set("transactional.id", crate::unique("transaction"));
        let producer: ThreadedProducer<DefaultProducerContext> = client.create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("a producer with transactions");
        producer.begin_transaction().expect("a transaction");
        send(&producer, records);
        producer.commit_transaction(PATIENCE).expect("the transaction is committed");
    }

    /// The committed offsets of a group, by topic and partition.
    ///
    /// # Panics
    /// Kafka does not answer.
    #[track_caller]
    pub fn committed(&self, group: &str, topics: &BTreeSet<String>) -> BTreeMap<(String, i32), i64> {
        let mut committed = BTreeMap::new();
        for topic in topics {
            for (partition, offset) in (0..).zip(self.committed_of(group, topic, 3)) {
                committed.insert((topic.clone(), partition), offset.unwrap_or(0));
            }
        }
        committed
    }

    /// The committed offset of each of a topic's partitions; `None` where nothing is committed.
    ///
    /// # Panics
    /// Kafka does not answer.
    #[track_caller]
    pub fn committed_of(&self, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(list, PATIENCE).expect("the offsets");
        let number = |partition| match committed.find_partition(topic, partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (0..partitions).map(number).collect()
    }

    /// The first `count` records of a topic, of whatever partition.
    ///
    /// # Panics
    /// There are not so many within a minute.
    #[track_caller]
    pub fn read(&self, topic: &str, count: usize) -> Vec<Record> {
        let consumer: BaseConsumer =
            self.client().set("group.id", "reads-without-committing").create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the topic's partitions");
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
        }
        consumer.assign(&list).expect("an assignment");
        let start = Instant::now();
        let mut records = Vec::new();
        while records.len() < count {
            assert!(start.elapsed() < PATIENCE, "{} of {count} records of {topic}", records.len());
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.expect("a record");
            let headers = message.headers().map(|headers| {
                headers.iter().map(|header| (header.key.to_string(), header.value.map(<[u8]>::to_vec))).collect()
            });
            records.push(Record {
                topic: message.topic().into(),
                partition: message.partition(),
                offset: message.offset(),
                timestamp: message.timestamp().to_millis().unwrap_or(-1),
                headers: headers.unwrap_or_default(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
            });
        }
        records
    }
}

#[track_caller]
fn send(producer: &ThreadedProducer<DefaultProducerContext>, records: &[Record]) {
    for record in records {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: value.as_ref() });
        }
        let mut message: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&record.topic).partition(record.partition).timestamp(record.timestamp).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        producer.send(message).map_err(|(error, _)| error).expect("the record is taken");
    }
}
