//! The places that messages come from.

mod amqp;
mod kafka;
mod server;
mod survey;
mod webhook;

use std::str::FromStr;

use ackonce::{Counts, IdSource, MessageIds, Result, Settings};
use ackonce_amqp::MESSAGE_ID_PROPERTY;
use ackonce_kafka::ClientConfig;

use self::amqp::AmqpSource;
use self::kafka::KafkaSource;
pub use self::survey::{WebhookSecret, WebhookSurvey};
use self::webhook::WebhookSource;
use crate::deliver::Deliver;
use crate::health::RelayHealth;
use crate::kind::SourceKind;
use crate::plan::{IdPlace, Plan};
use crate::url::{RelayUrlError, redacted};

/// The forms of a source's URL.
pub const SOURCES: &str = "\
  kafka://HOST:PORT[,HOST:PORT]/TOPIC[,TOPIC]?group=G[&kafka.NAME=VALUE]
  amqp[s]://USER:PASSWORD@HOST:PORT[,HOST:PORT]/VHOST?queue=Q[&prefetch=N&management=HOST:PORT]
  webhook://HOST:PORT/PATH?provider=NAME&secret-env=NAME[&url=PUBLIC-URL]";

/// A source's URL, as written on a command line. Shown without its secrets.
///
/// ```
/// use ackonce_relay::SourceUrl;
/// let url: SourceUrl = "amqp://app:s3cret@rabbit:5672/%2f?queue=orders".parse()?;
/// assert_eq!(url.to_string(), "amqp://app:***@rabbit:5672/%2f?queue=orders");
/// assert!("kafka://localhost:9092/orders".parse::<SourceUrl>().is_err(), "it has no group");
/// # Ok::<(), ackonce_relay::RelayUrlError>(())
/// ```
#[derive(Clone)]
pub struct SourceUrl {
    shown: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Kafka(KafkaSource),
    Amqp(AmqpSource),
    Webhook(WebhookSource),
}

/// The parts of a source's URL, for programs that ask its broker themselves.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceParts<'u> {
    /// Kafka.
    Kafka {
        /// The driver's properties, `bootstrap.servers` and `group.id` among them. They may hold passwords.
        config: &'u ClientConfig,
        /// The topics, names or patterns.
        topics: &'u [String],
    },
    /// RabbitMQ.
    Amqp {
        /// The broker's URL, with its password.
        url: &'u str,
        /// The queue.
        queue: &'u str,
        /// The address of the management API.
        management: Option<&'u str>,
    },
    /// Webhooks.
    Webhook,
}

impl FromStr for SourceUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let scheme = text.split(':').next().unwrap_or_default();
        let place = match scheme {
            "kafka" => Place::Kafka(KafkaSource::parse(text)?),
            "amqp" | "amqps" => Place::Amqp(AmqpSource::parse(text)?),
            "webhook" => Place::Webhook(WebhookSource::parse(text)?),
            _ => {
                let why = "no source has that scheme; there are kafka://, amqp://, amqps:// and webhook://";
                return Err(RelayUrlError::new(why));
            }
        };
        Ok(Self { shown: redacted(text), place })
    }
}

impl SourceUrl {
    /// The kind of the source.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self.place {
            Place::Kafka(_) => SourceKind::Kafka,
            Place::Amqp(_) => SourceKind::Amqp,
            Place::Webhook(_) => SourceKind::Webhook,
        }
    }

    /// The scope of a relay that was given none: `relay/` and the group, the queue or the provider with its path.
    #[must_use]
    pub fn default_scope(&self) -> String {
        match &self.place {
            Place::Kafka(source) => format!("relay/{}", source.group()),
            Place::Amqp(source) => format!("relay/{}", source.queue()),
            Place::Webhook(source) => format!("relay/{}", source.name()),
        }
    }

    /// Its parts, with their secrets.
    #[must_use]
    pub fn parts(&self) -> SourceParts<'_> {
        match &self.place {
            Place::Kafka(source) => SourceParts::Kafka { config: &source.config, topics: &source.topics },
            Place::Amqp(source) => SourceParts::Amqp {
                url: &source.url,
                queue: &source.queue,
                management: source.management.as_deref(),
            },
            Place::Webhook(_) => SourceParts::Webhook,
        }
    }

    /// The reader of message IDs at these places; those of the source's adapter if there are none.
    ///
    /// # Errors
    /// A place that messages of this source do not have, in words.
    pub fn message_ids(&self, places: &[IdPlace]) -> Result<MessageIds, String> {
        let own = match self.kind() {
            SourceKind::Kafka => IdSource::Header("message-id".to_owned()),
            SourceKind::Amqp | SourceKind::Webhook => IdSource::Header(MESSAGE_ID_PROPERTY.to_owned()),
        };
        let sources =
            places.iter().map(|place| place.of(self.kind()).map_err(|why| format!("{place}: {why}")));
        let mut sources = sources.collect::<Result<Vec<_>, String>>()?;
        if sources.is_empty() {
            sources.push(own);
        }
        Ok(MessageIds::first_of(sources))
    }

    /// The topics or queues that it names.
    pub(crate) fn queues(&self) -> &[String] {
        match &self.place {
            Place::Kafka(source) => &source.queues,
            Place::Amqp(source) => &source.queues,
            Place::Webhook(_) => &[],
        }
    }

    /// The settings that its adapter begins with.
    ///
    /// # Errors
    /// A webhook's public address that cannot be its provider's.
    pub fn defaults(&self) -> Result<Settings> {
        match &self.place {
            Place::Kafka(_) | Place::Amqp(_) => Ok(Settings::default()),
            Place::Webhook(source) => source.defaults(),
        }
    }

    /// Refuses settings that its adapter cannot honour, and secrets of a webhook that are missing or cannot be used.
    pub(crate) fn check(&self, plan: Plan) -> Result<()> {
        match &self.place {
            Place::Kafka(source) => source.consumer(plan).check(),
            Place::Amqp(source) => source.consumer(plan).check(),
            Place::Webhook(source) => source.check(plan),
        }
    }

    /// The facts of a webhook source; `None` of another.
    ///
    /// # Errors
    /// As [`defaults`](Self::defaults).
    pub async fn webhook_survey(&self) -> Result<Option<WebhookSurvey>> {
        match &self.place {
            Place::Kafka(_) | Place::Amqp(_) => Ok(None),
            Place::Webhook(source) => source.survey().await.map(Some),
        }
    }

    /// Consumes until the shutdown.
    pub(crate) async fn run(&self, plan: Plan, deliver: Deliver, health: &RelayHealth) -> Result<Counts> {
        match &self.place {
            Place::Kafka(source) => source.run(plan, deliver, health).await,
            Place::Amqp(source) => source.run(plan, deliver, health).await,
            Place::Webhook(source) => source.run(plan, deliver, health).await,
        }
    }
}

crate::url::shown!(SourceUrl);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_malformed_source_is_refused_with_the_part_to_change() {
        for (url, part) in [
            ("nats://h/t", "no source has that scheme"),
            ("kafka://h/t", "group=G"),
            ("kafka://h/?group=g", "names no topic"),
            ("kafka://u:p@h/t?group=g", "kafka.sasl.username"),
            ("kafka://h/t?group=g&kafka.nonsense=1", "kafka.nonsense"),
            ("kafka://h/t?group=g&kafka.group.id=h", "kafka.group.id"),
            ("kafka://h/t?group=g&grp=h", "no option `grp`"),
            ("amqp://u:s3cret@h/v", "queue=Q"),
            ("amqp://u:s3cret@h:x/v?queue=q", "AMQP URL"),
            ("amqp://u:s3cret@h/v?queue=q&prefetch=0", "prefetch"),
            ("amqp://u:s3cret@h/v?queue=q&prefetch=x", "prefetch"),
            ("webhook://h:1/p?secret-env=S", "provider=NAME"),
            ("webhook://h:1/p?provider=strype&secret-env=S", "strype"),
            ("webhook://h:1/p?provider=stripe", "secret-env=NAME"),
            ("webhook://h/p?provider=stripe&secret-env=S", "HOST:PORT"),
            ("webhook://h:1/p?provider=square&secret-env=S", "url=PUBLIC-URL"),
        ] {
            let why = url.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains("s3cret"), "{url}: {why}");
        }
    }
}
