//! The dead-letter place of a source, for operators.

use std::str::FromStr;

use ackonce::adapter::{DeadLetter, LetterFilter, LettersMoved, Redrive};
use ackonce_amqp::DeadLetterQueue;
use ackonce_kafka::DeadLetterTopic;

use crate::amqp_url::AmqpUrl;
use crate::kafka_url::{KafkaUrl, refused_property};
use crate::url::{Parts, RelayUrlError, redacted};

/// The forms of the URL of a dead-letter place.
pub const LETTERS: &str = "\
  kafka://HOST:PORT[,HOST:PORT]/TOPIC[?group=G&kafka.NAME=VALUE]
  amqp[s]://USER:PASSWORD@HOST:PORT[,HOST:PORT]/VHOST?queue=Q";

/// The URL of a dead-letter topic or queue, as written on a command line. Shown without its secrets.
///
/// ```
/// use ackonce_relay::LettersUrl;
/// let url: LettersUrl = "amqp://app:s3cret@rabbit:5672/%2f?queue=orders.dead".parse()?;
/// assert_eq!(url.to_string(), "amqp://app:***@rabbit:5672/%2f?queue=orders.dead");
/// assert!("amqp://rabbit:5672/%2f".parse::<LettersUrl>().is_err(), "it names no queue");
/// # Ok::<(), ackonce_relay::RelayUrlError>(())
/// ```
#[derive(Clone)]
pub struct LettersUrl {
    shown: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Kafka(DeadLetterTopic),
    Amqp(DeadLetterQueue),
}

impl FromStr for LettersUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let scheme = text.split(':').next().unwrap_or_default();
        let place = match scheme {
            "kafka" => Place::Kafka(kafka(text)?),
            "amqp" | "amqps" => Place::Amqp(amqp(text)?),
            _ => {
                let why = "no dead-letter place has that scheme; there are kafka://, amqp:// and amqps://";
                return Err(RelayUrlError::new(why));
            }
        };
        Ok(Self { shown: redacted(text), place })
    }
}

fn kafka(text: &str) -> Result<DeadLetterTopic, RelayUrlError> {
    let mut parts = Parts::of(text)?;
    let mut url = KafkaUrl::of(&mut parts)?;
    let group = parts.take("group")?.filter(|group| !group.is_empty());
    parts.nothing_more("group and kafka.NAME")?;
    let [topic] = &url.topics[..] else {
        return Err(RelayUrlError::new("letters are in one topic; write kafka://HOST:PORT/TOPIC"));
    };
    if url.config.get("group.id").is_some() {
        return Err(RelayUrlError::new("its option `kafka.group.id` is said twice: `group` is the group"));
    }
    if let Some(group) = group {
        url.config.set("group.id", group);
    }
    refused_property(&url.config)?;
    Ok(DeadLetterTopic::new(url.config, topic))
}

fn amqp(text: &str) -> Result<DeadLetterQueue, RelayUrlError> {
    let mut parts = Parts::of(text)?;
    let queue = parts.take("queue")?.filter(|queue| !queue.is_empty());
    let queue = queue.ok_or_else(|| RelayUrlError::new("it names no queue; add ?queue=Q"))?;
    let url = AmqpUrl::of(&mut parts)?.url;
    parts.nothing_more("queue and those of AMQP such as heartbeat")?;
    Ok(DeadLetterQueue::new(url, queue))
}

impl LettersUrl {
    /// Shows the letters that the filter chooses, and returns the number of the others; `see` answers false to end it.
    ///
    /// # Errors
    /// As [`DeadLetterTopic::list`] and [`DeadLetterQueue::list`].
    pub async fn list(
        &self,
        filter: &LetterFilter,
        see: &mut (dyn FnMut(DeadLetter) -> bool + Send),
    ) -> ackonce::Result<u64> {
        match &self.place {
            Place::Kafka(topic) => topic.list(filter, see).await,
            Place::Amqp(queue) => queue.list(filter, see).await,
        }
    }

    /// Moves the letters that `redrive` chooses back to where they came from.
    ///
    /// # Errors
    /// As [`DeadLetterTopic::redrive`] and [`DeadLetterQueue::redrive`].
    pub async fn redrive(
        &self,
        redrive: &Redrive,
        progress: &mut (dyn FnMut(&LettersMoved) + Send),
    ) -> ackonce::Result<LettersMoved> {
        match &self.place {
            Place::Kafka(topic) => topic.redrive(redrive, progress).await,
            Place::Amqp(queue) => queue.redrive(redrive, progress).await,
        }
    }

    /// The consumer group that keeps the position in a topic.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match &self.place {
            Place::Kafka(topic) => Some(topic.group()),
            Place::Amqp(_) => None,
        }
    }
}

crate::url::shown!(LettersUrl);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_malformed_place_is_refused_with_the_part_to_change() {
        for (url, part) in [
            ("nats://h/t", "no dead-letter place has that scheme"),
            ("kafka://h/", "names no topic"),
            ("kafka://h/a,b", "one topic"),
            ("kafka://h/t?kafka.group.id=g", "kafka.group.id"),
            ("kafka://h/t?grp=g", "no option `grp`"),
            ("amqp://u:s3cret@h/v", "queue"),
            ("amqp://u:s3cret@h:x/v?queue=q", "AMQP URL"),
            ("amqp://u:s3cret@h/v?queue=q&prefetch=1", "no option `prefetch`"),
        ] {
            let why = url.parse::<LettersUrl>().unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains("s3cret"), "{url}: {why}");
        }
        let url: LettersUrl = "kafka://h/t".parse().unwrap();
        assert_eq!(url.group(), Some("ackonce-dead-letters"));
    }
}
