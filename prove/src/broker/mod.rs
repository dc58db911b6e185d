//! The source of the messages, on the side of the supervisor.

mod feed;
mod kafka;
mod rabbitmq;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::feed::FeedFile;
use self::kafka::Topic;
use self::rabbitmq::Queue;
use crate::plan::{Place, Plan};

/// The kind of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BrokerKind {
    /// A file without a server, for many kills in a short time
    Feed,
    Kafka,
    /// A quorum queue
    Rabbitmq,
}

/// A delivery that was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) id: String,
    /// Partition and offset on Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<(i32, i64)>,
}

/// The next offset that a group would read, as the broker said at this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The ID of the topic that its metadata names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// When the answer had arrived, in microseconds since the Unix epoch.
    pub(crate) at: u64,
}

/// A source.
pub(crate) enum Source {
    Feed(FeedFile),
    Kafka(Topic),
    Rabbitmq(Queue),
}

impl Source {
    /// Creates it empty, under a name of its own. With `lags` its records are a day old (Kafka).
    pub(crate) async fn create(kind: BrokerKind, feed: &std::path::Path, lags: bool) -> Result<Self> {
        Ok(match kind {
            BrokerKind::Feed => Self::Feed(FeedFile::create(feed)?),
            BrokerKind::Kafka => Self::Kafka(Topic::create(lags).await?),
            BrokerKind::Rabbitmq => Self::Rabbitmq(Queue::create().await?),
        })
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Feed(_) => Place::Feed,
            Self::Kafka(topic) => topic.place(),
            Self::Rabbitmq(queue) => queue.place(),
        }
    }

    /// Publishes these IDs; ready when all are confirmed. An outage may publish some of them again.
    pub(crate) async fn publish(&mut self, ids: Vec<String>) -> Result<Vec<Published>> {
        match self {
            Self::Feed(feed) => feed.publish(ids),
            Self::Kafka(topic) => topic.publish(ids).await,
            Self::Rabbitmq(queue) => Ok(queue.publish(ids).await),
        }
    }

    /// Deletes it, and creates it again, empty.
    pub(crate) async fn recreate(&mut self) -> Result<()> {
        match self {
            Self::Feed(_) => anyhow::bail!("a feed is not created again"),
            Self::Kafka(topic) => topic.recreate().await,
            Self::Rabbitmq(queue) => queue.recreate().await,
        }
    }

    /// Publishes records whose headers are not text (Kafka): this ID once more, and one record whose ID nobody can read.
    /// Returns the number of the latter.
    pub(crate) async fn publish_unreadable(&mut self, id: Option<String>) -> Result<usize> {
        match self {
            Self::Kafka(topic) => topic.publish_unreadable(id).await.map(|()| 1),
            Self::Feed(_) | Self::Rabbitmq(_) => Ok(0),
        }
    }

    /// A watch of its own, for use while messages are published.
    pub(crate) fn watch(&self, plan: &Plan) -> Watch {
        match self {
            Self::Feed(_) => Watch::Feed(Box::new(plan.clone())),
            Self::Kafka(topic) => Watch::Kafka(topic.watch()),
            Self::Rabbitmq(queue) => Watch::Rabbitmq(queue.clone()),
        }
    }
}

/// A look at the source's progress.
#[derive(Clone)]
pub(crate) enum Watch {
    Feed(Box<Plan>),
    Kafka(kafka::Offsets),
    Rabbitmq(Queue),
}

impl Watch {
    /// The deliveries that are not acknowledged yet, of `published`; `None` while the broker is away.
    pub(crate) async fn left(&self, published: usize) -> Option<usize> {
        match self {
            Self::Feed(plan) => Some(published.saturating_sub(plan.acknowledged().ok()?)),
            Self::Kafka(offsets) => offsets.left().await,
            Self::Rabbitmq(queue) => queue.left().await,
        }
    }

    /// The group's commits now; none but on Kafka.
    pub(crate) async fn commits(&self) -> Vec<Commit> {
        match self {
            Self::Kafka(offsets) => offsets.commits().await.unwrap_or_default(),
            Self::Feed(_) | Self::Rabbitmq(_) => Vec::new(),
        }
    }
}
