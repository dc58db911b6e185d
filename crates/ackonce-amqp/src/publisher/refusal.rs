//! Why a copy was not taken.

use std::fmt;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// Why a published message is in no queue for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmqpRefusal {
    /// Its content header does not fit into a frame. It was not sent.
    TooLong {
        /// The length of the header in bytes.
        length: usize,
        /// The room in a frame of this broker in bytes.
        room: usize,
    },
    /// It leads to no queue.
    Nowhere(String),
    /// A queue refused it, because it is full or has no leader.
    Full,
    /// The broker closed the channel because of this message: it is too large, or something of it is not allowed.
    Message(String),
    /// The broker did not confirm it in time.
    Slow,
    /// The broker does not answer.
    Away(String),
}

impl fmt::Display for AmqpRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, room } => {
                write!(f, "its headers take {length} bytes, and a frame of this broker has room for {room}")
            }
            Self::Nowhere(why) | Self::Away(why) => f.write_str(why),
            Self::Full => f.write_str("a queue refused the message: it is full, or has no leader"),
            Self::Message(why) => write!(f, "the broker refuses this message: {why}"),
            Self::Slow => f.write_str("the broker did not confirm the message in time"),
        }
    }
}

impl std::error::Error for AmqpRefusal {}

impl AmqpRefusal {
    /// True if the broker will never take this message: it is too large, or something of it is not allowed.
    #[must_use]
    pub fn is_about_the_message(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::Message(_))
    }
}

/// True if the broker closed a channel, or the connection, because of a published message.
pub(crate) fn is_about_the_message(error: &lapin::Error) -> bool {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE)
            | AMQPErrorKind::Hard(
                AMQPHardError::FRAMEERROR | AMQPHardError::SYNTAXERROR | AMQPHardError::NOTIMPLEMENTED
            )
    )
}
