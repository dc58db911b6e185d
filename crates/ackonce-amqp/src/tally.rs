//! A consumer's counts beside the runner's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter};

/// The counts of an [`AmqpConsumer`](crate::AmqpConsumer): acks, returns, and deliveries expected to come again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AmqpCounts {
    /// Channels consumed on, the first included; `ackonce_amqp_channels_total`.
    pub channels: u64,
    /// Channels opened after the first one was; `ackonce_amqp_reconnects_total`.
    pub reconnects: u64,
    /// Connections, channels or consumers that the broker refused, by credentials or rights for instance;
    /// `ackonce_amqp_refused_total`.
    pub refused: u64,
    /// Connections and channels that were lost; `ackonce_amqp_lost_total`.
    pub lost: u64,
    /// Consumers that the broker cancelled: a deleted queue, a moved leader; `ackonce_amqp_cancelled_total`.
    pub cancelled: u64,
    /// Messages acknowledged; `ackonce_amqp_acked_total`.
    pub acked: u64,
    /// Frames that took; `ackonce_amqp_ack_frames_total`.
    pub ack_frames: u64,
    /// Messages given back to the broker; `ackonce_amqp_returned_total`.
    pub returned: u64,
    /// Of those, messages that had waited until near the broker's consumer time-out: a quorum queue counts each
    /// against its delivery limit; `ackonce_amqp_given_back_total`.
    pub given_back: u64,
    /// Settled messages whose ack did not, or not for certain, go out: the broker delivers them again, and
    /// their record is found; `ackonce_amqp_redeliveries_expected_total`.
    pub redeliveries_expected: u64,
    /// Messages sent to a delay queue; `ackonce_amqp_delayed_total`.
    pub delayed: u64,
    /// Dead letters that lack headers or the payload, because their place does not take the whole message;
    /// `ackonce_amqp_buried_reduced_total`.
    pub buried_reduced: u64,
    /// Burials whose letter the dead-letter place will never take, not even without payload: only the store's record
    /// has their reason; `ackonce_amqp_buried_without_letter_total`.
    pub buried_without_letter: u64,
    /// Times that a message which this client cannot read cost the connection; `ackonce_amqp_unreadable_total`.
    pub unreadable: u64,
}

macro_rules! tally {
    ($($field:ident $name:literal)*) => {
        struct Meters { $($field: (AtomicU64, Counter),)* }

        impl Tally {
            pub(crate) fn new(scope: &str) -> Self {
                Self(Arc::new(Meters {
                    $($field: (AtomicU64::new(0), counter!($name, "scope" => scope.to_owned())),)*
                }))
            }

            /// The counts by now.
            #[must_use]
            pub fn counts(&self) -> AmqpCounts {
                AmqpCounts { $($field: self.0.$field.0.load(Ordering::Relaxed),)* }
            }

            $(pub(crate) fn $field(&self, n: usize) {
                let n = n as u64;
                self.0.$field.0.fetch_add(n, Ordering::Relaxed);
                self.0.$field.1.increment(n);
            })*
        }
    };
}
tally! {
    channels "ackonce_amqp_channels_total"
    reconnects "ackonce_amqp_reconnects_total"
    refused "ackonce_amqp_refused_total"
    lost "ackonce_amqp_lost_total"
    cancelled "ackonce_amqp_cancelled_total"
    acked "ackonce_amqp_acked_total"
    ack_frames "ackonce_amqp_ack_frames_total"
    returned "ackonce_amqp_returned_total"
    redeliveries_expected "ackonce_amqp_redeliveries_expected_total"
    given_back "ackonce_amqp_given_back_total"
    delayed "ackonce_amqp_delayed_total"
    buried_reduced "ackonce_amqp_buried_reduced_total"
    buried_without_letter "ackonce_amqp_buried_without_letter_total"
    unreadable "ackonce_amqp_unreadable_total"
}

/// Follows the [`AmqpCounts`] of a running consumer. Cloning is cheap.
#[derive(Clone)]
pub struct Tally(Arc<Meters>);

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts().fmt(f)
    }
}
