//! A consumer's counts beside the runner's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ackonce::adapter::metric::Metric;
use metrics::Counter;

const BY_SCOPE: &[&str] = &["scope"];

pub(crate) const IN_FLIGHT: Metric = Metric::gauge(
    "ackonce_amqp_in_flight",
    BY_SCOPE,
    "Messages delivered and not acknowledged or given back",
);
pub(crate) const OLDEST: Metric = Metric::gauge(
    "ackonce_amqp_oldest_seconds",
    BY_SCOPE,
    "Time since the oldest message in hand was delivered",
)
.in_seconds();
pub(crate) const LIVE: Metric = Metric::gauge(
    "ackonce_amqp_live",
    BY_SCOPE,
    "1 while the consumer makes progress, 0 if it is stuck or has ended",
);
pub(crate) const READY: Metric =
    Metric::gauge("ackonce_amqp_ready", BY_SCOPE, "1 while the consumer takes messages in, else 0");
pub(crate) const BLOCKED: Metric = Metric::gauge(
    "ackonce_amqp_blocked",
    BY_SCOPE,
    "1 while the broker blocks the connection that publishes (a memory or disk alarm), else 0",
);
pub(crate) const BACKLOG: Metric = Metric::gauge(
    "ackonce_amqp_backlog",
    BY_SCOPE,
    "Messages ready in the queue, asked every five seconds; NaN while it is not known",
);

macro_rules! counters {
    ($($(#[doc = $more:literal])* $field:ident $name:literal $meaning:literal)*) => {
        /// The counts of an [`AmqpConsumer`](crate::AmqpConsumer): acks, returns, and deliveries expected to come again.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct AmqpCounts {
            $(
                #[doc = concat!($meaning, "; `", $name, "`.")]
                $(#[doc = $more])*
                pub $field: u64,
            )*
        }

        /// The metrics of an AMQP consumer, beside those of its runner.
        pub const METRICS: &[Metric] = &[
            $(Metric::counter($name, BY_SCOPE, $meaning),)*
            IN_FLIGHT, OLDEST, LIVE, READY, BLOCKED, BACKLOG,
        ];

        struct Meters { scope: String, $($field: (AtomicU64, Counter),)* }

        impl AmqpMetrics {
            pub(crate) fn new(scope: &str) -> Self {
                METRICS.iter().for_each(Metric::describe);
                let counter = |name, meaning| {
                    (AtomicU64::new(0), Metric::counter(name, BY_SCOPE, meaning).counter_of(&[scope]))
                };
                Self(Arc::new(Meters {
                    scope: scope.to_owned(),
                    $($field: counter($name, $meaning),)*
                }))
            }

            /// The scope's name, for log lines.
            pub(crate) fn scope(&self) -> &str {
                &self.0.scope
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
counters! {
    channels "ackonce_amqp_channels_total" "Channels consumed on, the first included"
    reconnects "ackonce_amqp_reconnects_total" "Channels opened after the first one was"
    refused "ackonce_amqp_refused_total"
        "Connections, channels or consumers that the broker refused, by credentials or rights for instance"
    lost "ackonce_amqp_lost_total" "Connections and channels that were lost"
    cancelled "ackonce_amqp_cancelled_total"
        "Consumers that the broker cancelled: a deleted queue, a moved leader"
    acked "ackonce_amqp_acked_total" "Messages acknowledged"
    ack_frames "ackonce_amqp_ack_frames_total" "Frames that the acknowledgements took"
    returned "ackonce_amqp_returned_total" "Messages given back to the broker"
    /// A quorum queue counts each against its delivery limit.
    given_back "ackonce_amqp_given_back_total"
        "Messages given back because they had waited until near the consumer time-out"
    /// The broker delivers them again, and their record is found.
    redeliveries_expected "ackonce_amqp_redeliveries_expected_total"
        "Settled messages whose ack did not, or not for certain, go out"
    delayed "ackonce_amqp_delayed_total" "Messages sent to a delay queue"
    buried_reduced "ackonce_amqp_buried_reduced_total"
        "Dead letters that lack headers or the payload, for their place does not take the whole message"
    /// Only the store's record has their reason.
    buried_without_letter "ackonce_amqp_buried_without_letter_total"
        "Burials whose letter the dead-letter place will never take, not even without payload"
    unreadable "ackonce_amqp_unreadable_total"
        "Times that a message which this client cannot read cost the connection"
}

/// Follows the [`AmqpCounts`] of a running consumer. Cloning is cheap.
#[derive(Clone)]
pub struct AmqpMetrics(Arc<Meters>);

impl std::fmt::Debug for AmqpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts().fmt(f)
    }
}
