//! The state of a consumer and of its messages, as adapters report it.

use std::fmt;

use super::Stage;

/// The phase of a consumer's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It has not been run.
    #[default]
    NotStarted,
    /// It waits for the broker, for a topic, or for its first assignment.
    Starting,
    /// It takes messages in. A Kafka consumer stays in this phase while its brokers are away, for its driver connects again.
    Consuming,
    /// Its connection, channel or queue is gone, and it tries to get that back.
    Away,
    /// It lets running handlers finish.
    Stopping,
    /// It was shut down.
    Ended,
    /// It ended, or ends, by an error, which its report has.
    Failed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStarted => "not started",
            Self::Starting => "starting",
            Self::Consuming => "consuming",
            Self::Away => "not consuming, trying again",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
            Self::Failed => "failed",
        })
    }
}

/// The step that an unsettled message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waits {
    /// A free handler, or the message before it in its order.
    Turn,
    /// The store's answer to its claim.
    Store,
    /// Its handler, which runs.
    Handler,
    /// Another worker, which holds the same message.
    Busy,
    /// Its next attempt, after a back-off.
    Retry,
    /// The dead-letter place.
    Burial,
    /// A retry topic or a delay queue that takes it; or its next attempt, because none does.
    Delay,
    /// Its next delivery, because it was handed back.
    Redelivery,
}

impl Waits {
    /// All steps.
    pub const ALL: [Self; 8] = [
        Self::Turn,
        Self::Store,
        Self::Handler,
        Self::Busy,
        Self::Retry,
        Self::Burial,
        Self::Delay,
        Self::Redelivery,
    ];
}

impl From<Stage> for Waits {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Claiming => Self::Store,
            Stage::Running => Self::Handler,
            Stage::Busy => Self::Busy,
            Stage::Retrying => Self::Retry,
            Stage::Burying => Self::Burial,
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Turn => "waits for its turn",
            Self::Store => "waits for the store",
            Self::Handler => "its handler runs",
            Self::Busy => "another worker holds the message",
            Self::Retry => "waits for its next attempt",
            Self::Burial => "waits for the dead-letter place",
            Self::Delay => "waits for a retry topic or delay queue",
            Self::Redelivery => "was handed back",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_are_in_the_order_of_their_numbers() {
        for (number, waits) in Waits::ALL.into_iter().enumerate() {
            assert_eq!(waits as usize, number);
        }
    }
}
