//! Access to a Kafka cluster, shared by all its users: why a cluster refuses a client, in words that say what to do, and
//! which topics it has.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

/// How long one attempt to reach the brokers takes while topics are listed.
const ATTEMPT: Duration = Duration::from_millis(500);
/// How long the client's events are read after a failed attempt.
const EVENTS: Duration = Duration::from_millis(50);

/// What a client has reported about its connections.
///
/// One broker of several may be configured wrongly while the others work, so a refusal counts only once all brokers are
/// down.
#[derive(Debug, Default)]
pub(crate) struct Access(Mutex<ConnectionErrors>);

#[derive(Debug, Default)]
struct ConnectionErrors {
    refusal: Option<String>,
    is_refused: bool,
    /// Why the last connection failed. The client reports most failures only in its log.
    failure: String,
    /// The last error as a message.
    last: Option<String>,
}

impl Access {
    /// Records a line of the client's log.
    pub fn log(&self, facility: &str, message: &str) {
        tracing::debug!(facility, "librdkafka: {message}");
        if facility == "FAIL" {
            // The message follows the name of a thread.
            let message = message.split_once("]: ").map_or(message, |(_, message)| message);
            self.lock().failure = message.to_string();
        }
    }

    /// Records an error that the client reports, and returns it with everything known about its cause. `properties` names
    /// the section of the configuration to correct.
    pub fn note(&self, error: &KafkaError, reason: &str, properties: &str) -> String {
        let mut errors = self.lock();
        let mut message = reason.to_string();
        if let Some(refusal) = refusal(error, reason, properties) {
            errors.refusal = Some(refusal);
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            errors.is_refused |= errors.refusal.is_some();
            if !errors.failure.is_empty() {
                message = format!("{reason}: {}", errors.failure);
            }
            // A TLS listener closes the connection of a client that does not use TLS.
            if errors.failure.contains("APIVERSION_QUERY") {
                message = format!(
                    "{message}; does the listener require TLS or SASL? Check \"security.protocol\" in {properties}"
                );
            }
        }
        errors.last = Some(message.clone());
        message
    }

    /// Takes the message of the last error.
    pub fn take_message(&self) -> Option<String> {
        self.lock().last.take()
    }

    /// Why all brokers refuse the client, and what to do; `None` unless they do.
    pub fn refused(&self) -> Option<String> {
        let errors = self.lock();
        errors.refusal.clone().filter(|_| errors.is_refused)
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionErrors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do about an error; `None` if it may pass without anybody doing something.
fn refusal(error: &KafkaError, reason: &str, properties: &str) -> Option<String> {
    let remedy = match error.rdkafka_error_code()? {
        RDKafkaErrorCode::Authentication
        | RDKafkaErrorCode::SaslAuthenticationFailed
        | RDKafkaErrorCode::UnsupportedSASLMechanism => {
            format!("check \"sasl.mechanism\", \"sasl.username\" and \"sasl.password\" in {properties}")
        }
        RDKafkaErrorCode::SSL => format!(
            "check \"security.protocol\" in {properties}, and that \"ssl.ca.location\" there names a PEM file with the \
             authority that signed the brokers' certificates"
        ),
        _ => return None,
    };
    Some(format!("Kafka refuses the connection: {reason}; {remedy}"))
}

/// The names of a cluster's topics and their numbers of partitions. `properties` names the section of the configuration
/// that `client` was made from.
///
/// # Errors
/// The brokers cannot be reached or refuse the client, or a property is unknown; the message says what to do.
pub(crate) fn topics(
    client: &ClientConfig,
    properties: &str,
    brokers: &str,
    timeout: Duration,
) -> anyhow::Result<Vec<(String, usize)>> {
    let context = AccessContext::new(properties);
    let consumer: BaseConsumer<AccessContext> =
        client.create_with_context(context).with_context(|| format!("a property in {properties}"))?;
    let deadline = Instant::now() + timeout;
    loop {
        // Short attempts, so that a refusal is reported at once and not at the deadline.
        let error = match consumer.fetch_metadata(None, ATTEMPT) {
            Ok(metadata) => {
                let topics = metadata.topics().iter();
                return Ok(topics.map(|topic| (topic.name().to_string(), topic.partitions().len())).collect());
            }
            Err(error) => error,
        };
        // The client's events arrive only while it is polled, one per call.
        let begin = Instant::now();
        while begin.elapsed() < EVENTS {
            let _ = consumer.poll(Duration::from_millis(1));
        }
        let access = &consumer.context().access;
        if let Some(refused) = access.refused() {
            anyhow::bail!(refused);
        }
        if Instant::now() >= deadline {
            let cause = access.take_message().unwrap_or_else(|| error.to_string());
            anyhow::bail!(
                "no answer from the brokers {brokers}: {cause}; are the addresses right and the brokers running, and does \
                 {properties} contain what they require (TLS, SASL)?"
            );
        }
    }
}

/// Records why a client that only asks is refused.
pub(crate) struct AccessContext {
    access: Access,
    properties: String,
}

impl AccessContext {
    /// `properties` names the section of the configuration that the client is made from.
    pub fn new(properties: &str) -> Self {
        Self { access: Access::default(), properties: properties.into() }
    }

    /// Takes the message of the last error.
    pub fn take_message(&self) -> Option<String> {
        self.access.take_message()
    }
}

impl ClientContext for AccessContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.access.log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.access.note(&error, reason, &self.properties);
    }
}

impl ConsumerContext for AccessContext {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_when_no_broker_is_left() {
        let access = Access::default();
        access.note(
            &KafkaError::Global(RDKafkaErrorCode::Authentication),
            "invalid credentials",
            "[source.properties]",
        );
        assert_eq!(access.refused(), None);
        access.note(
            &KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
            "1/1 brokers are down",
            "[source.properties]",
        );
        let refused = access.refused().expect("a refusal");
        assert!(refused.contains("invalid credentials") && refused.contains("sasl.password"), "{refused}");
    }

    #[test]
    fn brokers_that_are_down_refuse_nothing() {
        let access = Access::default();
        access.log("FAIL", "[thrd:b:9092/bootstrap]: b:9092/bootstrap: Connect to 10.0.0.1:9092 failed: refused");
        let message = access.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down", "");
        assert_eq!(message, "1/1 brokers are down: b:9092/bootstrap: Connect to 10.0.0.1:9092 failed: refused");
        assert_eq!(access.refused(), None);
        // Nor does one wrongly configured broker that comes back, as long as others may work.
        access.note(&KafkaError::Global(RDKafkaErrorCode::SSL), "certificate verify failed", "");
        assert_eq!(access.refused(), None);
    }
}
