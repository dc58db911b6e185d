//! The places that messages go to.

mod amqp;
mod exec;
mod http;
mod kafka;
mod stdout;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ackonce::trace::OutgoingSpan;
use ackonce::{Answer, Context, Effect, Failure, Item, Result};
use async_trait::async_trait;
use futures_util::future::join_all;
use tracing::Instrument;

use self::amqp::AmqpTarget;
use self::exec::Program;
use self::http::HttpTarget;
use self::kafka::KafkaTarget;
use self::stdout::Lines;
use crate::RelayMessage;
use crate::url::{RelayUrlError, redacted};

/// The forms of a sink's URL.
pub const SINKS: &str = "\
  http[s]://[USER[:PASSWORD]@]HOST[:PORT]/PATH  POST of the body; 2xx is done
  exec:PROGRAM ARGS                             body on standard input; exit 0 is done
  kafka://HOST:PORT[,HOST:PORT]/TOPIC[?kafka.NAME=VALUE]
  amqp[s]://USER:PASSWORD@HOST:PORT/VHOST[?exchange=E&routing-key=K]
  stdout:[?newline=refuse|escape]               a line each";

/// The step of the idempotency key that sinks pass on. Another name would repeat every effect across an upgrade.
pub(crate) const STEP: &str = "relay";

/// A place that messages go to. [`SinkUrl::open`] makes those that there are.
#[async_trait]
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// True if the idempotency key goes along with each message, so that a repetition can be told.
    fn carries_key(&self) -> bool;

    /// True if it takes many messages in one step.
    fn takes_batches(&self) -> bool {
        false
    }

    /// Checks, before the first message, that the place is there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](ackonce::ErrorKind::Config) if it refuses, [`ErrorKind::Unavailable`](ackonce::ErrorKind::Unavailable)
    /// if it is away and may come back.
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Delivers one message; `Ok` once the place has confirmed it.
    ///
    /// # Errors
    /// The [`Failure`] by its next step; [`Failure::Permanent`] for a message that the place will never take.
    async fn deliver(&self, cx: &Context, message: &RelayMessage) -> Result<(), Failure>;

    /// Delivers messages; one answer each, in order. By default side by side.
    async fn deliver_all(&self, items: Vec<Item<RelayMessage>>) -> Vec<Answer> {
        let each = items.iter().map(|item| self.deliver(&item.cx, &item.message));
        join_all(each).await.into_iter().map(|answer| answer.map(Effect::from)).collect()
    }

    /// Its end, if it is gone for good, so that the relay has to end.
    fn gone(&self) -> Option<Gone> {
        None
    }

    /// Ends connections.
    async fn close(&self) {}
}

/// Delivers in the span of the outgoing message, if the run is traced.
async fn sent(
    outgoing: Option<OutgoingSpan>,
    delivery: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let Some(outgoing) = outgoing else { return delivery.await };
    let answer = delivery.instrument(outgoing.span()).await;
    if let Err(failure) = &answer {
        outgoing.fails(failure);
    }
    answer
}

/// The end of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// Its reader has closed it, as `head` does once it has its lines.
    Closed,
    /// It failed for this reason.
    Failed(String),
}

/// A sink's URL, as written on a command line. Shown without its secrets.
///
/// ```
/// use ackonce_relay::SinkUrl;
/// let url: SinkUrl = "https://app:s3cret@billing.internal/events".parse()?;
/// assert_eq!(url.to_string(), "https://app:***@billing.internal/events");
/// assert!("ftp://billing".parse::<SinkUrl>().is_err());
/// # Ok::<(), ackonce_relay::RelayUrlError>(())
/// ```
#[derive(Clone)]
pub struct SinkUrl {
    shown: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Http(HttpTarget),
    Exec(Program),
    Kafka(KafkaTarget),
    Amqp(AmqpTarget),
    Stdout(Lines),
}

impl FromStr for SinkUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let scheme = text.split(':').next().unwrap_or_default();
        let place = match scheme {
            "http" | "https" => Place::Http(HttpTarget::parse(text)?),
            "exec" => Place::Exec(Program::parse(text)?),
            "kafka" => Place::Kafka(KafkaTarget::parse(text)?),
            "amqp" | "amqps" => Place::Amqp(AmqpTarget::parse(text)?),
            "stdout" => Place::Stdout(Lines::parse(text)?),
            _ => {
                let why = "no sink has that scheme; there are http://, https://, exec:, kafka://, amqp://, amqps:// and stdout:";
                return Err(RelayUrlError::new(why));
            }
        };
        let shown = match &place {
            // Arguments may be secrets.
            Place::Exec(program) => format!("exec:{program}"),
            _ => redacted(text),
        };
        Ok(Self { shown, place })
    }
}

impl SinkUrl {
    /// True if the idempotency key goes along with each message.
    #[must_use]
    pub fn carries_key(&self) -> bool {
        !matches!(self.place, Place::Stdout(_))
    }

    /// The most bytes of a message that its client sends, if there is such a limit.
    #[must_use]
    pub fn max_bytes(&self) -> Option<usize> {
        match &self.place {
            Place::Kafka(target) => target.max_bytes(),
            Place::Http(_) | Place::Exec(_) | Place::Amqp(_) | Place::Stdout(_) => None,
        }
    }

    /// The topics or queues that it names.
    pub(crate) fn queues(&self) -> &[String] {
        match &self.place {
            Place::Kafka(target) => &target.queues,
            Place::Amqp(target) => &target.queues,
            Place::Http(_) | Place::Exec(_) | Place::Stdout(_) => &[],
        }
    }

    /// The sink. `limit` is the longest wait for its answer to one message; `name` stands in log lines; `connections` is
    /// the number of idle connections that are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](ackonce::ErrorKind::Config): a setting that its client does not take, a build without TLS.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(&self, name: &str, limit: Duration, connections: usize) -> Result<Arc<dyn Sink>> {
        Ok(match &self.place {
            Place::Http(target) => Arc::new(target.open(limit, connections)?),
            Place::Exec(program) => Arc::new(program.open(limit)),
            Place::Kafka(target) => Arc::new(target.open(name)?),
            Place::Amqp(target) => Arc::new(target.open(name)?),
            Place::Stdout(lines) => Arc::new(lines.open()?),
        })
    }
}

crate::url::shown!(SinkUrl);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_malformed_sink_is_refused_with_the_part_to_change() {
        for (url, part) in [
            ("ftp://h", "no sink has that scheme"),
            ("", "no sink has that scheme"),
            ("http://", "it names no host"),
            ("http://h:x/", "is no http:// URL"),
            ("exec:", "names no program"),
            ("exec:a 'b", "quote"),
            ("kafka://h", "names no topic"),
            ("kafka://h/a,b", "one topic"),
            ("kafka://h/t?group=g", "no option `group`"),
            ("kafka://h/t?kafka.nonsense=1", "kafka.nonsense"),
            ("kafka://h/t?kafka.acks=1", "kafka.acks"),
            ("amqp://u:p@h/v?queue=q", "no option `queue`"),
            ("amqp://u:p@h:x/v", "AMQP URL"),
            ("stdout:x", "takes nothing"),
            ("stdout:?newline=keep", "newline"),
        ] {
            let why = url.parse::<SinkUrl>().unwrap_err().to_string();
            assert!(why.contains(part), "{url}: {why}");
            assert!(!why.contains("u:p"), "{why}");
        }
    }

    #[test]
    fn a_sink_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("exec:./pay --token s3cret", "exec:./pay …"),
            ("exec:cat", "exec:cat"),
            ("amqp://u:s3cret@h:1/%2f?exchange=e", "amqp://u:***@h:1/%2f?exchange=e"),
            ("stdout:", "stdout:"),
        ] {
            let url: SinkUrl = url.parse().unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.into(), format!("SinkUrl({shown})")));
        }
    }
}
