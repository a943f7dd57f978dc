//! Why a Kafka cluster does not let us in, in words that say what to do: for the consumer, for dead letters, for `check`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

/// How long one try to reach the brokers takes when a configuration is checked.
const STEP: Duration = Duration::from_millis(500);
/// How long the client's reports of itself are then read.
const REPORTS: Duration = Duration::from_millis(50);

/// What a client has been told of why it is not let in.
///
/// One broker of many may be set up wrongly while the others serve us, so a refusal counts only when no broker is left.
#[derive(Debug, Default)]
pub(crate) struct Access(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    refusal: Option<String>,
    is_refused: bool,
    /// Why the last connection failed. Of most failures the client tells only in its log.
    failure: String,
    told: Option<String>,
}

impl Access {
    /// Takes in a line of the client's log.
    pub fn log(&self, facility: &str, message: &str) {
        tracing::debug!(facility, "librdkafka: {message}");
        if facility == "FAIL" {
            // Behind the name of the thread.
            let message = message.split_once("]: ").map_or(message, |(_, message)| message);
            self.lock().failure = message.to_string();
        }
    }

    /// Takes in an error that the client reports; returns all that is known of it. `properties` names the section of the
    /// configuration to look into.
    pub fn note(&self, error: &KafkaError, reason: &str, properties: &str) -> String {
        let mut state = self.lock();
        let mut told = reason.to_string();
        if let Some(refusal) = refusal(error, reason, properties) {
            state.refusal = Some(refusal);
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            state.is_refused |= state.refusal.is_some();
            if !state.failure.is_empty() {
                told = format!("{reason}: {}", state.failure);
            }
            // A listener with TLS hangs up on whoever does not speak it.
            if state.failure.contains("APIVERSION_QUERY") {
                told =
                    format!("{told}; does the listener want TLS or SASL? Check \"security.protocol\" in {properties}");
            }
        }
        state.told = Some(told.clone());
        told
    }

    /// What is known of the last error.
    pub fn take_told(&self) -> Option<String> {
        self.lock().told.take()
    }

    /// Why no broker lets us in and what to do, if it is so.
    pub fn refused(&self) -> Option<String> {
        let state = self.lock();
        state.refusal.clone().filter(|_| state.is_refused)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do about an error; `None` if it may end by itself.
fn refusal(error: &KafkaError, reason: &str, properties: &str) -> Option<String> {
    let todo = match error.rdkafka_error_code()? {
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
    Some(format!("Kafka does not let us in: {reason}; {todo}"))
}

/// Names of a cluster's topics and their numbers of partitions, with whatever `client` logs in with; `properties` names
/// the section that says how.
///
/// # Errors
/// The brokers cannot be reached or do not let us in, or a property is not known; the message says what to do.
pub(crate) fn topics(
    client: &ClientConfig,
    properties: &str,
    brokers: &str,
    timeout: Duration,
) -> anyhow::Result<Vec<(String, usize)>> {
    let asking = Asking::new(properties);
    let consumer: BaseConsumer<Asking> =
        client.create_with_context(asking).with_context(|| format!("a property in {properties}"))?;
    let deadline = Instant::now() + timeout;
    loop {
        // In short steps, so that a refusal is told at once and not at the deadline.
        let error = match consumer.fetch_metadata(None, STEP) {
            Ok(metadata) => {
                let topics = metadata.topics().iter();
                return Ok(topics.map(|topic| (topic.name().to_string(), topic.partitions().len())).collect());
            }
            Err(error) => error,
        };
        // What the client reports of itself comes by polling alone, an event a call.
        let begin = Instant::now();
        while begin.elapsed() < REPORTS {
            let _ = consumer.poll(Duration::from_millis(1));
        }
        let access = &consumer.context().access;
        if let Some(refused) = access.refused() {
            anyhow::bail!(refused);
        }
        if Instant::now() >= deadline {
            let told = access.take_told().unwrap_or_else(|| error.to_string());
            anyhow::bail!(
                "no answer from the brokers {brokers}: {told}; are they right and running, and does {properties} have what \
                 they ask for (TLS, SASL)?"
            );
        }
    }
}

/// Remembers why a client that only asks is not let in.
pub(crate) struct Asking {
    access: Access,
    properties: String,
}

impl Asking {
    /// `properties` names the section that says how to log in.
    pub fn new(properties: &str) -> Self {
        Self { access: Access::default(), properties: properties.into() }
    }

    /// What is known of the last error.
    pub fn take_told(&self) -> Option<String> {
        self.access.take_told()
    }
}

impl ClientContext for Asking {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.access.log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.access.note(&error, reason, &self.properties);
    }
}

impl ConsumerContext for Asking {}

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
    fn brokers_that_are_away_refuse_nothing() {
        let access = Access::default();
        access.log("FAIL", "[thrd:b:9092/bootstrap]: b:9092/bootstrap: Connect to 10.0.0.1:9092 failed: refused");
        let told = access.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down", "");
        assert_eq!(told, "1/1 brokers are down: b:9092/bootstrap: Connect to 10.0.0.1:9092 failed: refused");
        assert_eq!(access.refused(), None);
        // Nor do they when one that comes back is set up wrongly, as long as others may serve us.
        access.note(&KafkaError::Global(RDKafkaErrorCode::SSL), "certificate verify failed", "");
        assert_eq!(access.refused(), None);
    }
}
