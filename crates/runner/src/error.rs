//! What can go wrong before an attempt runs; what goes wrong inside one becomes the job's end.

use model::Advice;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("start the heartbeat's thread")]
    Thread(#[source] std::io::Error),
    #[error("register the runner's metrics")]
    Metrics(#[from] prometheus::Error),
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Thread(_) | Self::Metrics(_) => Advice::GiveUp,
        }
    }
}
