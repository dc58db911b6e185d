//! Publishes failed messages to retry topics, so that nothing waits behind them.

use std::sync::Arc;
use std::time::SystemTime;

use ackonce::adapter::{Intake, burial_proof};
use ackonce::store::Attempt;
use ackonce::{Backoff, CancellationToken};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use crate::delays::{Ladder, hop, wait};
use crate::driver::is_never;
use crate::headers;
use crate::health::KafkaHealth;
use crate::message::text;
use crate::partition::Failed;
use crate::publisher::{KafkaPublisher, copied};
use crate::tracker::Status;

/// Publishes failed messages to their next retry topic.
pub(crate) struct Retrier {
    pub(crate) ladder: Ladder,
    pub(crate) publisher: KafkaPublisher,
    pub(crate) intake: Arc<Intake>,
    pub(crate) backoff: Backoff,
    pub(crate) health: KafkaHealth,
}

impl Retrier {
    /// Until `failed` closes and all of it has ended. After `stop` nothing is tried again: a message that was not confirmed is
    /// redelivered from where it is. As many are under way as the consumer has in flight: with a limit here, those that wait for
    /// one retry topic would keep the others from theirs.
    pub(crate) async fn run(self, mut failed: mpsc::UnboundedReceiver<Failed>, stop: CancellationToken) {
        let mut moving = FuturesUnordered::new();
        let mut open = true;
        while open || !moving.is_empty() {
            tokio::select! {
                next = failed.recv(), if open => match next {
                    Some(failed) => moving.push(self.move_on(failed, &stop)),
                    None => open = false,
                },
                Some(()) = moving.next(), if !moving.is_empty() => {}
            }
        }
    }

    async fn move_on(&self, failed: Failed, stop: &CancellationToken) {
        let (offset, mut failures) = (failed.message.offset(), 0);
        while failed.assignment.is_live() {
            match self.publish(&failed).await {
                // Should the commit get lost, both are delivered, and are one message.
                Ok(()) => {
                    if failures > 0 {
                        tracing::warn!(target: "ackonce", scope = self.health.scope(), message = ?failed.message,
                            failures, "the retry topic takes the message again");
                    }
                    self.health.moved();
                    return self.end(&failed, Status::Moved);
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 || failures % 10 == 0 {
                        tracing::warn!(target: "ackonce", scope = self.health.scope(), message = ?failed.message, %error, failures,
                            "the retry topic does not take a message; trying again");
                    }
                    if error.rdkafka_error_code().is_some_and(is_never) {
                        // It is retried in place, and buried after its attempts.
                        return self.end(&failed, Status::Abandoned);
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.backoff.after(failures)) => {}
            }
        }
        tracing::debug!(target: "ackonce", scope = self.health.scope(), topic = failed.message.topic(), offset, "not moved to a retry topic");
    }

    fn end(&self, failed: &Failed, status: Status) {
        if status == Status::Abandoned {
            failed.assignment.end();
        }
        failed.assignment.mark(failed.message.offset(), status);
        failed.assignment.ended();
    }

    async fn publish(&self, failed: &Failed) -> Result<(), KafkaError> {
        let message = &failed.message;
        let hop = hop(message);
        let at = hop.min(self.ladder.len().saturating_sub(1));
        let Some((topic, delay)) = self.ladder.get(at) else { return Err(KafkaError::Canceled) };
        let counted = if failed.infrastructure { Attempt::Refunded } else { Attempt::Counts };
        let wait = wait(*delay, counted);
        let due = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + wait;
        let key = self.intake.key(message, burial_proof(message).is_some());
        let Ok(key) = key else { return Err(KafkaError::Canceled) };
        let copy = copied(message, &key, &failed.reason, failed.attempt);
        let copy = text(copy, headers::DUE, &due.as_millis().to_string());
        let copy = match message.published_ms() {
            Some(ms) => text(copy, headers::TIMESTAMP, &ms.to_string()),
            None => copy,
        };
        let copy = text(copy, headers::HOP, &hop.saturating_add(1).to_string());
        let payload = rdkafka::Message::payload(message.as_rdkafka());
        self.publisher.send(topic, message.key(), payload, copy).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use ackonce::{IdSource, MessageIds, OnMissing, Order, Scope};
    use rdkafka::message::OwnedMessage;
    use rdkafka::{ClientConfig, Timestamp};

    use super::*;
    use crate::KafkaMessage;
    use crate::delays::Delays;
    use crate::partition::Assignment;

    const MANY: i32 = 300;

    /// No broker answers here, as one that has lost the leader of a retry topic's partition.
    #[tokio::test]
    async fn messages_that_wait_for_one_retry_topic_leave_the_others_their_way() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("group.id", "g");
        let scope = Scope::new("s").unwrap();
        let publisher = KafkaPublisher::connect(&config, &"s".into()).unwrap();
        let intake = Intake {
            scope,
            ids: MessageIds::first_of([IdSource::Payload]),
            on_missing: OnMissing::Stop,
            fingerprints: false,
            order: Order::Source,
        };
        let retrier = Retrier {
            ladder: vec![("first".into(), Duration::ZERO), ("second".into(), Duration::ZERO)],
            publisher: publisher.clone(),
            intake: Arc::new(intake),
            backoff: Backoff::default(),
            health: KafkaHealth::new("s"),
        };
        let (failed, receiver) = mpsc::unbounded_channel();
        let assignment = Assignment::new(("t".into(), 0), Arc::default(), Delays::default());
        for offset in 0..MANY {
            let payload = Some(offset.to_string().into_bytes());
            let record =
                OwnedMessage::new(payload, None, "t".into(), Timestamp::NotAvailable, 0, offset.into(), None);
            let (message, assignment) = (KafkaMessage::new(record), assignment.clone());
            let one = Failed { message, assignment, reason: "r".into(), attempt: 1, infrastructure: false };
            assert!(failed.send(one).is_ok());
        }
        let retrying = tokio::spawn(retrier.run(receiver, CancellationToken::new()));
        while publisher.under_way() < MANY {
            tokio::task::yield_now().await;
        }
        retrying.abort();
    }
}
