//! Sinks, and the effects in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ackonce_kafka::rdkafka::Message as _;
use ackonce_kafka::rdkafka::message::Headers as _;
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::kafka::Kafka;

use crate::effects;
use crate::feeds::free_address;

/// A sink.
pub(crate) enum Drain {
    Http { address: String, dir: PathBuf },
    Exec(PathBuf),
    Kafka(Kafka, String),
    Rabbit(Rabbit, String),
}

impl Drain {
    pub(crate) fn http(dir: &Path) -> Self {
        Self::Http { address: free_address(), dir: made(dir) }
    }

    pub(crate) fn exec(dir: &Path) -> Self {
        Self::Exec(made(dir))
    }

    pub(crate) async fn kafka() -> Option<Self> {
        let kafka = Kafka::real()?;
        let topic = kafka.name("relayed");
        kafka.create(&topic, 1).await;
        Some(Self::Kafka(kafka, topic))
    }

    pub(crate) async fn rabbit() -> Option<Self> {
        let rabbit = Rabbit::real()?;
        let queue = rabbit.queue("relayed", Kind::Classic).await;
        Some(Self::Rabbit(rabbit, queue))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Http { address, .. } => format!("http://{address}/effects"),
            Self::Exec(_) => effects::exec_sink(),
            Self::Kafka(kafka, topic) => format!("kafka://{}/{topic}", kafka.brokers()),
            Self::Rabbit(rabbit, queue) => format!("{}?routing-key={queue}", rabbit.url()),
        }
    }

    /// Each message ID with the idempotency keys under which it is in the sink, without repetitions of a key.
    pub(crate) async fn keys(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut add = |id: String, key: String| {
            let keys = all.entry(id).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        };
        match self {
            Self::Http { dir, .. } | Self::Exec(dir) => return effects::read(dir),
            Self::Kafka(kafka, topic) => {
                for record in kafka.read(topic) {
                    let headers = record.headers().unwrap();
                    let text = |name| {
                        let found = headers.iter().find(|header| header.key == name).unwrap();
                        String::from_utf8(found.value.unwrap().to_vec()).unwrap()
                    };
                    add(text("ackonce-message-id"), text("ackonce-idempotency-key"));
                }
            }
            Self::Rabbit(rabbit, queue) => {
                for delivery in rabbit.connect().await.take(queue).await {
                    let table = delivery.properties.headers().clone().unwrap();
                    let text = |name: &str| table.inner()[name].as_long_string().unwrap().to_string();
                    add(text("ackonce-message-id"), text("ackonce-idempotency-key"));
                }
            }
        }
        all
    }
}

fn made(dir: &Path) -> PathBuf {
    let dir = dir.join("effects");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
