//! The driver, librdkafka: its call-backs, its errors, and the settings of its clients.

mod connection;
mod errors;
mod group;
mod probe;
mod waker;

pub(crate) use self::connection::{client_error, connection};
pub(crate) use self::errors::{
    Meaning, is_never, is_over, is_refusal, meaning, meaning_before_reading, meaning_for_partition,
};
pub(crate) use self::group::{Event, Group, assign, unassign};
pub(crate) use self::probe::Probe;
pub(crate) use self::waker::Waker;
