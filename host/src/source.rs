//! Where records come from. A source reads records and passes them to its [`Intake`], which batches them by partition for
//! the workers; it commits what is settled. While the pipeline holds as much as it may, the source reads nothing.

pub(crate) mod config;
mod file;
mod intake;
mod kafka;
mod replay;

pub use intake::Intake;
pub use replay::ReplayConfig;

use crate::config::SourceConfig;
use crate::report::Report;

/// A source of records. [`SourceConfig::build`] makes one.
pub trait Source: Send {
    /// Reports whether records could be read now. Commits nothing and joins no group.
    fn check(&self, report: &mut Report);

    /// Reads until the run is to end or, in a run until caught up, until everything that existed at the start is settled.
    ///
    /// # Errors
    /// Reading is impossible until somebody changes something.
    fn run(self: Box<Self>, intake: Intake) -> anyhow::Result<()>;
}

impl SourceConfig {
    /// The source that the configuration names. Opens and connects to nothing yet.
    pub fn build(&self) -> Box<dyn Source> {
        match self {
            Self::Kafka(kafka) => Box::new(kafka::KafkaSource::new(kafka.clone())),
            Self::File { path } => Box::new(file::FileSource::new(path)),
            Self::Replay(replay) => Box::new(replay::ReplaySource::new(replay.clone())),
        }
    }
}
