//! Retry topics: a failed message moves to a topic that holds it until it is due, so that nothing waits behind it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackonce::adapter::{Intake, burial_proof};
use ackonce::store::Attempt;
use ackonce::{Backoff, CancellationToken, Error, ErrorKind, Result, Scope};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use crate::assignment::Failed;
use crate::errors::is_never;
use crate::health::KafkaHealth;
use crate::publisher::{Publisher, copied, text};
use crate::tracker::Status;
use crate::{KafkaMessage, headers};

/// Messages that are published to retry topics at once.
const AT_ONCE: usize = 256;
/// The least wait after a failure that uses up no attempt: with a shorter delay, nothing would end a message's run from
/// hop to hop. A partition of the retry topic waits as long at its head.
const UNCOUNTED: Duration = Duration::from_secs(1);

/// A topic that holds failed messages for a while.
///
/// It belongs to one consumer group: no other consumer reads it, and its `retention.ms` is longer than its delay. It
/// has to exist; its number of partitions is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryTopic {
    pub(crate) name: Option<String>,
    pub(crate) delay: Duration,
}

impl RetryTopic {
    /// A topic of this name.
    #[must_use]
    pub fn new(name: impl Into<String>, delay: Duration) -> Self {
        Self { name: Some(name.into()), delay }
    }

    /// The topic's name; one without a name is `<group.id>.retry.<seconds>s`.
    pub(crate) fn name(&self, group: &str) -> String {
        let seconds = self.delay.as_secs_f64();
        self.name.clone().unwrap_or_else(|| format!("{group}.retry.{seconds}s"))
    }
}

/// The topic `<group.id>.retry.<seconds>s`.
impl From<Duration> for RetryTopic {
    fn from(delay: Duration) -> Self {
        Self { name: None, delay }
    }
}

impl<S: Into<String>> From<(S, Duration)> for RetryTopic {
    fn from((name, delay): (S, Duration)) -> Self {
        Self::new(name, delay)
    }
}

/// Names and delays of the retry topics, in the order of the hops.
pub(crate) type Ladder = Vec<(String, Duration)>;

pub(crate) fn ladder(topics: &[RetryTopic], group: &str) -> Result<Ladder> {
    let refuse = |text: String| Err(Error::new(ErrorKind::Config, text));
    let ladder: Ladder = topics.iter().map(|topic| (topic.name(group), topic.delay)).collect();
    for (at, (name, delay)) in ladder.iter().enumerate() {
        if name.is_empty() || name.starts_with('^') {
            return refuse(format!("KafkaConsumer::with_retry_topics: {name:?} is not the name of a topic"));
        }
        if ladder[..at].iter().any(|(other, _)| other == name) {
            return refuse(format!("KafkaConsumer::with_retry_topics: {name} is given twice"));
        }
        if *delay > Duration::from_secs(365 * 24 * 3600) {
            return refuse(format!("KafkaConsumer::with_retry_topics: the delay of {name} is over a year"));
        }
    }
    Ok(ladder)
}

/// The delays of the retry topics, in the order of the hops.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delays(Arc<[Duration]>);

impl Delays {
    pub(crate) fn new(ladder: &Ladder) -> Self {
        Self(ladder.iter().map(|(_, delay)| *delay).collect())
    }

    /// The delay of a failed message's next retry topic; zero without any.
    pub(crate) fn of(&self, message: &KafkaMessage, attempt: Attempt) -> Duration {
        let Some(last) = self.0.len().checked_sub(1) else { return Duration::ZERO };
        wait(self.0[hop(message).min(last)], attempt)
    }
}

fn wait(delay: Duration, attempt: Attempt) -> Duration {
    match attempt {
        Attempt::Counts => delay,
        Attempt::Refunded => UNCOUNTED.max(delay),
    }
}

/// The longest that a message waits in this retry topic; `None` for another topic.
pub(crate) fn longest_wait(ladder: &Ladder, topic: &str) -> Option<Duration> {
    ladder.iter().find(|(name, _)| name == topic).map(|(_, delay)| UNCOUNTED.max(*delay))
}

/// Publishes failed messages to their next retry topic.
pub(crate) struct Retrier {
    pub(crate) ladder: Ladder,
    pub(crate) publisher: Publisher,
    pub(crate) intake: Arc<Intake>,
    pub(crate) backoff: Backoff,
    pub(crate) health: KafkaHealth,
}

impl Retrier {
    /// Until `failed` closes and all of it has ended. After `stop` nothing is tried again: a message that was not confirmed is
    /// redelivered from where it is.
    pub(crate) async fn run(self, mut failed: mpsc::UnboundedReceiver<Failed>, stop: CancellationToken) {
        let mut moving = FuturesUnordered::new();
        let mut open = true;
        while open || !moving.is_empty() {
            tokio::select! {
                next = failed.recv(), if open && moving.len() < AT_ONCE => match next {
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

    async fn publish(&self, failed: &Failed) -> std::result::Result<(), KafkaError> {
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
        let copy = text(copy, headers::HOP, &hop.saturating_add(1).to_string());
        let payload = rdkafka::Message::payload(message.as_rdkafka());
        self.publisher.send(topic, message.key(), payload, copy).await
    }
}

/// The number of retry topics the message has been in.
fn hop(message: &KafkaMessage) -> usize {
    message.hop_header(headers::HOP).and_then(|hop| hop.parse().ok()).unwrap_or(0)
}

/// Names the retry topics at start, and the order that they cost.
pub(crate) fn announce(ladder: &Ladder, scope: &Scope) {
    if !ladder.is_empty() {
        let topics: Vec<_> = ladder.iter().map(|(name, delay)| format!("{name} ({delay:?})")).collect();
        tracing::info!(target: "ackonce", scope = scope.name(), topics = topics.join(", "),
            "failed messages move to retry topics: they lose their place among the messages of their key");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::Timestamp;
    use rdkafka::message::{OwnedHeaders, OwnedMessage};

    use super::*;

    /// Any producer with the right to write to a retry topic chooses this header.
    #[test]
    fn a_hop_that_no_counter_holds_is_the_last_one_or_none() {
        let with = |hop: &str| {
            let headers = text(OwnedHeaders::new(), headers::HOP, hop);
            let at = Timestamp::NotAvailable;
            KafkaMessage::of_hop(OwnedMessage::new(None, None, "later".into(), at, 0, 5, Some(headers)))
        };
        assert_eq!(hop(&with(&usize::MAX.to_string())).saturating_add(1), usize::MAX);
        assert_eq!([hop(&with("-1")), hop(&with("99999999999999999999999"))], [0, 0]);
    }

    #[test]
    fn a_topic_without_a_name_belongs_to_its_group() {
        let topics = [Duration::from_secs(60).into(), RetryTopic::from(("later", Duration::from_secs(600)))];
        let names: Vec<_> = ladder(&topics, "billing").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["billing.retry.60s", "later"]);
        let twice = [RetryTopic::new("a", Duration::ZERO), RetryTopic::new("a", Duration::ZERO)];
        assert!(ladder(&twice, "billing").unwrap_err().to_string().contains("with_retry_topics"));
    }
}
