//! The place that messages of an outbox go to: each row names its topic, its queue or its path there.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Error, ErrorKind, Result};
use ackonce_amqp::AmqpPublisher;
use ackonce_kafka::{ClientConfig, KafkaPublisher};
use ackonce_outbox::{HttpPublisher, OutboxPublisher};

use crate::amqp_url::AmqpUrl;
use crate::kafka_url::{KafkaUrl, producer};
use crate::url::{Parts, RelayUrlError, redacted};

/// The forms of the URL of an outbox's sink.
pub const OUTBOX_SINKS: &str = "\
  kafka://HOST:PORT[,HOST:PORT][?kafka.NAME=VALUE]    a row names its topic
  amqp[s]://USER:PASSWORD@HOST:PORT/VHOST             a row names its queue, or EXCHANGE/ROUTING-KEY
  http[s]://[USER[:PASSWORD]@]HOST[:PORT]/PATH        a row names the path beneath it
  http:                                               a row names its URL";

/// The URL of an outbox's sink, as written on a command line. Shown without its secrets.
///
/// ```
/// use ackonce_relay::OutboxSinkUrl;
/// let url: OutboxSinkUrl = "amqp://app:s3cret@rabbit:5672/%2f".parse()?;
/// assert_eq!(url.to_string(), "amqp://app:***@rabbit:5672/%2f");
/// assert!("kafka://localhost:9092/orders".parse::<OutboxSinkUrl>().is_err(), "each row names its topic");
/// # Ok::<(), ackonce_relay::RelayUrlError>(())
/// ```
#[derive(Clone)]
pub struct OutboxSinkUrl {
    shown: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Kafka(ClientConfig),
    Amqp(String),
    /// Boxed: it is large.
    Http(Box<HttpPublisher>),
}

impl FromStr for OutboxSinkUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let scheme = text.split(':').next().unwrap_or_default();
        let service = |publisher: Result<HttpPublisher>| {
            publisher
                .map(|publisher| Place::Http(Box::new(publisher)))
                .map_err(|error| RelayUrlError::new(ackonce::chain(&error).to_string()))
        };
        let place = match scheme {
            "kafka" => Place::Kafka(kafka(text)?),
            "amqp" | "amqps" => Place::Amqp(amqp(text)?),
            _ if text == "http:" => service(HttpPublisher::anywhere())?,
            "http" | "https" => service(HttpPublisher::beneath(text))?,
            _ => {
                let why = "no sink of an outbox has that scheme; there are kafka://, amqp://, amqps://, http://, https:// and http:";
                return Err(RelayUrlError::new(why));
            }
        };
        Ok(Self { shown: redacted(text), place })
    }
}

fn kafka(text: &str) -> Result<ClientConfig, RelayUrlError> {
    let mut parts = Parts::of(text)?;
    if !parts.path.is_empty() {
        return Err(RelayUrlError::new(
            "the rows of an outbox name their topics; write kafka://HOST:PORT without one",
        ));
    }
    let config = producer(KafkaUrl::brokers(&mut parts)?)?;
    parts.nothing_more("kafka.NAME")?;
    Ok(config)
}

fn amqp(text: &str) -> Result<String, RelayUrlError> {
    let mut parts = Parts::of(text)?;
    let url = AmqpUrl::of(&mut parts)?.url;
    parts.nothing_more(
        "those of AMQP such as heartbeat; the rows of an outbox name exchange and routing key",
    )?;
    Ok(url)
}

impl OutboxSinkUrl {
    /// True for services.
    #[must_use]
    pub fn is_http(&self) -> bool {
        matches!(self.place, Place::Http(_))
    }

    /// The publisher. `limit` is the longest wait for a service's answer, `at_once` the number of requests to services at
    /// once; `name` stands in log lines.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: a setting that its client does not take.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(&self, name: &str, limit: Duration, at_once: usize) -> Result<Arc<dyn OutboxPublisher>> {
        let failed =
            |error| Error::new(ErrorKind::Config, "the Kafka producer cannot be made").with_source(error);
        Ok(match &self.place {
            Place::Kafka(config) => Arc::new(KafkaPublisher::new(config.clone(), name).map_err(failed)?),
            Place::Amqp(url) => Arc::new(AmqpPublisher::new(url, name)?),
            Place::Http(publisher) => Arc::new(HttpPublisher::clone(publisher).with_limits(limit, at_once)?),
        })
    }
}

crate::url::shown!(OutboxSinkUrl);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_malformed_sink_is_refused_with_the_part_to_change() {
        for (url, part) in [
            ("stdout:", "no sink of an outbox has that scheme"),
            ("kafka://h/t", "name their topics"),
            ("kafka://h?group=g", "no option `group`"),
            ("kafka://h?kafka.acks=1", "kafka.acks"),
            ("amqp://u:s3cret@h/v?exchange=e", "no option `exchange`"),
            ("amqp://u:s3cret@h:x/v", "AMQP URL"),
            ("http://", "names no host"),
            ("http://h/?a=s3cret", "a query"),
        ] {
            let why = url.parse::<OutboxSinkUrl>().unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains("s3cret"), "{url}: {why}");
        }
        for url in ["kafka://h:1,i:2", "kafka://h/", "amqp://h", "http:", "http://u:p@h/base"] {
            url.parse::<OutboxSinkUrl>().unwrap();
        }
    }
}
