//! A topic of six partitions, with the group's commits.

use std::sync::Arc;
use std::time::Duration;

use ackonce_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use ackonce_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use ackonce_kafka::rdkafka::{Offset, TopicPartitionList};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::raw;
use anyhow::{Context as _, Result};
use futures_util::future::join_all;

use super::{Commit, Published};
use crate::logs::micros_now;
use crate::messages::{key, number};
use crate::plan::Place;

const PARTITIONS: i32 = 6;
const DAY_MS: i64 = 86_400_000;
const WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Topic {
    kafka: Kafka,
    name: String,
    producer: FutureProducer,
    /// Records are a day old.
    lags: bool,
}

impl Topic {
    pub(super) async fn create(lags: bool) -> Result<Self> {
        let kafka = Kafka::real().context(
            "--broker kafka: ACKONCE_TEST_KAFKA is not set; run it by scripts/servers run kafka -- …",
        )?;
        let name = kafka.name("prove");
        kafka.create(&name, PARTITIONS).await;
        let producer = producer(&kafka)?;
        Ok(Self { kafka, name, producer, lags })
    }

    pub(super) async fn recreate(&mut self) -> Result<()> {
        self.kafka.delete(&self.name).await;
        self.kafka.create(&self.name, PARTITIONS).await;
        // The sequences of the old one are none of the new topic's.
        self.producer = producer(&self.kafka)?;
        Ok(())
    }

    /// As other languages' clients may write them: names of headers that are Latin-1.
    pub(super) async fn publish_unreadable(&self, id: Option<String>) -> Result<()> {
        let (brokers, topic) = (self.kafka.brokers().to_owned(), self.name.clone());
        let publishing = move || {
            if let Some(id) = id {
                let odd: raw::RawHeaders<'_> =
                    &[(b"caf\xe9", b"1"), (b"message-id", id.as_bytes()), (b"\xff", b"2")];
                raw::publish(&brokers, &topic, b"{}", odd);
            }
            raw::publish(&brokers, &topic, b"{}", &[(b"message-id\xff", b"none")]);
        };
        Ok(tokio::task::spawn_blocking(publishing).await?)
    }

    pub(super) fn place(&self) -> Place {
        Place::Kafka { brokers: self.kafka.brokers().to_owned(), topic: self.name.clone() }
    }

    pub(super) async fn publish(&mut self, ids: Vec<String>) -> Result<Vec<Published>> {
        let each = ids.into_iter().map(|id| self.publish_one(id));
        join_all(each).await.into_iter().collect()
    }

    async fn publish_one(&self, id: String) -> Result<Published> {
        let key = key(number(&id).context("an ID of this run")?);
        let partition = i32::try_from(key)? % PARTITIONS;
        let (name, key) = (self.name.clone(), format!("k{key}"));
        loop {
            let headers = OwnedHeaders::new().insert(Header { key: "message-id", value: Some(&id) });
            let mut record =
                FutureRecord::to(&name).partition(partition).key(&key).payload("{}").headers(headers);
            if self.lags {
                record = record.timestamp(i64::try_from(micros_now() / 1000)? - DAY_MS);
            }
            // A record that may be there is published again, as a producer would.
            if let Ok(sent) = self.producer.send(record, WAIT).await {
                return Ok(Published { id, at: Some((sent.partition, sent.offset)) });
            }
        }
    }

    pub(super) fn watch(&self) -> Offsets {
        let consumer = self.kafka.group(&self.name).create().ok();
        Offsets { topic: self.name.clone(), consumer: Arc::new(consumer) }
    }
}

/// The fourth part of the metadata of our commits.
fn topic_id(metadata: &str) -> Option<String> {
    metadata.split(':').nth(3).map(str::to_owned)
}

fn producer(kafka: &Kafka) -> Result<FutureProducer> {
    Ok(kafka.config().set("enable.idempotence", "true").set("linger.ms", "5").create()?)
}

/// The offsets of a topic and of its group.
#[derive(Clone)]
pub(crate) struct Offsets {
    topic: String,
    consumer: Arc<Option<BaseConsumer>>,
}

impl Offsets {
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer, &str) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let Self { topic, consumer } = self.clone();
        let asking = tokio::task::spawn_blocking(move || question(consumer.as_ref().as_ref()?, &topic));
        asking.await.ok().flatten()
    }

    pub(super) async fn commits(&self) -> Option<Vec<Commit>> {
        let committed = |consumer: &BaseConsumer, topic: &str| {
            let mut list = TopicPartitionList::new();
            (0..PARTITIONS).for_each(|partition| {
                list.add_partition(topic, partition);
            });
            let list = consumer.committed_offsets(list, WAIT).ok()?;
            let at = micros_now();
            let each = list.elements().into_iter().filter_map(|element| match element.offset() {
                Offset::Offset(offset) => {
                    let (partition, topic) = (element.partition(), topic_id(element.metadata()));
                    Some(Commit { partition, offset, topic, at })
                }
                _ => None,
            });
            Some(each.collect())
        };
        self.ask(committed).await
    }

    pub(super) async fn left(&self) -> Option<usize> {
        let committed: i64 = self.commits().await?.iter().map(|commit| commit.offset).sum();
        let ends = |consumer: &BaseConsumer, topic: &str| {
            let end = |partition| Some(consumer.fetch_watermarks(topic, partition, WAIT).ok()?.1);
            (0..PARTITIONS).map(end).sum::<Option<i64>>()
        };
        usize::try_from(self.ask(ends).await?.saturating_sub(committed)).ok()
    }
}
