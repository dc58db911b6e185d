//! Retry topics, which hold a failed message until it is due: their names, their delays, their order.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Attempt;
use ackonce::{Error, ErrorKind, Result, Scope, Settings};

use crate::{KafkaMessage, headers};

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

/// The group, and the delays of its retry topics in the order of the hops.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delays {
    group: Arc<str>,
    waits: Arc<[Duration]>,
}

impl Delays {
    pub(crate) fn new(group: Arc<str>, ladder: &Ladder) -> Self {
        Self { group, waits: ladder.iter().map(|(_, delay)| *delay).collect() }
    }

    /// The consumer group.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// The delay of a failed message's next retry topic; zero without any.
    pub(crate) fn of(&self, message: &KafkaMessage, attempt: Attempt) -> Duration {
        let Some(last) = self.waits.len().checked_sub(1) else { return Duration::ZERO };
        wait(self.waits[hop(message).min(last)], attempt)
    }
}

pub(crate) fn wait(delay: Duration, attempt: Attempt) -> Duration {
    match attempt {
        Attempt::Counts => delay,
        Attempt::Refunded => UNCOUNTED.max(delay),
    }
}

/// The longest that a message waits in this retry topic; `None` for another topic.
pub(crate) fn longest_wait(ladder: &Ladder, topic: &str) -> Option<Duration> {
    ladder.iter().find(|(name, _)| name == topic).map(|(_, delay)| UNCOUNTED.max(*delay))
}

/// The number of retry topics the message has been in.
pub(crate) fn hop(message: &KafkaMessage) -> usize {
    message.hop_header(headers::HOP).and_then(|hop| hop.parse().ok()).unwrap_or(0)
}

/// Names the retry topics at start, and the order that they cost. Warns of delays that use up the attempts sooner than
/// the back-off that they replace, where messages are `buried` then.
pub(crate) fn announce(ladder: &Ladder, scope: &Scope, settings: &Settings, buried: bool) {
    if !ladder.is_empty() {
        let delays: Vec<_> = ladder.iter().map(|(_, delay)| *delay).collect();
        let lasts = settings.rides_out_with(&delays);
        if buried && lasts < settings.rides_out() {
            tracing::warn!(target: "ackonce", scope = scope.name(), attempts = settings.attempts, lasts_s = lasts.as_secs(),
                "weakened: the delays of the retry topics use up Settings::attempts in this time, sooner than the back-off; an \
                outage of what the handler calls that lasts longer buries good messages (a longer last delay, or \
                Failure::infrastructure)");
        }
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
    use crate::message::text;

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
