//! One pass over a dead-letter topic: from the position to the end of the log as it was at the start, so that letters that come
//! back meanwhile do not make it endless.

use std::collections::BTreeMap;
use std::sync::Arc;

use ackonce::{Error, ErrorKind, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::position::Position;
use super::{ASK, NEXT, Reader, ask, failed};
use crate::KafkaMessage;
use crate::driver::client_error;

/// The first letter of a pass.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// The first one that was not moved.
    First,
    /// The first one that the filter with this digest has not looked at.
    Resumed(String),
}

/// The driver's lines go to its own target: the program has a sentence for the user.
#[derive(Debug)]
pub(super) struct Hushed;

impl ClientContext for Hushed {
    fn log(&self, _: RDKafkaLogLevel, fac: &str, line: &str) {
        tracing::debug!(target: "librdkafka", fac, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "the driver reports an error");
    }
}

impl ConsumerContext for Hushed {}

pub(super) struct Pass {
    reader: Reader,
    topic: String,
    positions: BTreeMap<i32, Position>,
    /// Of the filter, until the pass is complete.
    digest: Option<String>,
}

impl Pass {
    pub(super) async fn open(config: &ClientConfig, topic: &str, start: Start) -> Result<Self> {
        let digest = match start {
            Start::First => None,
            Start::Resumed(digest) => Some(digest),
        };
        let reader: StreamConsumer<Hushed> = config.create_with_context(Hushed).map_err(client_error)?;
        let reader = Arc::new(reader);
        let (asked, name, of) = (reader.clone(), topic.to_owned(), digest.clone());
        let positions = ask(topic, move || {
            let count = partitions(&asked.fetch_metadata(Some(&name), ASK)?, &name)?;
            let mut list = TopicPartitionList::new();
            for partition in 0..count {
                list.add_partition(&name, partition);
            }
            let committed = asked.committed_offsets(list, ASK)?;
            let mut positions = BTreeMap::new();
            for partition in 0..count {
                let bounds = asked.fetch_watermarks(&name, partition, ASK)?;
                let element = committed.find_partition(&name, partition);
                let offset = element.as_ref().and_then(|element| match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                });
                let metadata = element.as_ref().map(|element| element.metadata().to_owned());
                let metadata = metadata.unwrap_or_default();
                positions.insert(partition, Position::new(bounds, offset, &metadata, of.as_deref()));
            }
            Ok(positions)
        })
        .await?;
        let pass = Self { reader, topic: topic.to_owned(), positions, digest };
        pass.assign().await?;
        Ok(pass)
    }

    async fn assign(&self) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in self.positions.iter().filter(|(_, position)| !position.is_over()) {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(position.next))
                .map_err(|error| failed(&self.topic, error))?;
        }
        let reader = self.reader.clone();
        ask(&self.topic, move || reader.assign(&list)).await
    }

    /// The next letter; `None` at the end of the pass.
    pub(super) async fn next(&mut self) -> Result<Option<KafkaMessage>> {
        while self.positions.values().any(|position| !position.is_over()) {
            let Ok(received) = tokio::time::timeout(NEXT, self.reader.recv()).await else {
                let text = format!("the dead-letter topic {} gave no letter for {NEXT:?}", self.topic);
                return Err(Error::new(ErrorKind::Unavailable, text));
            };
            match received {
                Ok(message) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(position) = self.positions.get_mut(&partition) else { continue };
                    // A letter that came after the start.
                    let is_new = offset >= position.end;
                    position.next = position.next.max((offset + 1).min(position.end));
                    if !is_new {
                        return Ok(Some(KafkaMessage::new(message.detach())));
                    }
                }
                // The log may end before its last offset: markers of transactions are no letters.
                Err(KafkaError::PartitionEOF(partition)) => {
                    if let Some(position) = self.positions.get_mut(&partition) {
                        position.next = position.end;
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(failed(&self.topic, error)),
            }
        }
        Ok(None)
    }

    /// The number of partitions of a topic; `None` if it does not exist.
    pub(super) async fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let (reader, name) = (self.reader.clone(), topic.to_owned());
        let count = ask(topic, move || match partitions(&reader.fetch_metadata(Some(&name), ASK)?, &name) {
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(None),
            count => count.map(Some),
        });
        count.await
    }

    /// Leaves a letter in its place.
    pub(super) fn keep(&mut self, message: &KafkaMessage) {
        if let Some(position) = self.positions.get_mut(&message.partition()) {
            position.keep(message.offset());
        }
    }

    /// The next pass of this filter begins at the first letter that was left.
    pub(super) fn is_complete(&mut self) {
        self.digest = None;
    }

    /// Commits the position, and waits for the answer.
    pub(super) async fn commit(&self) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in &self.positions {
            let (offset, metadata) = position.commit(self.digest.as_deref());
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(offset)).map_err(|error| failed(&self.topic, error))?;
            element.set_metadata(metadata);
        }
        let reader = self.reader.clone();
        ask(&self.topic, move || reader.commit(&list, CommitMode::Sync)).await
    }
}

/// The number of partitions of a topic.
fn partitions(metadata: &Metadata, topic: &str) -> Result<i32, KafkaError> {
    let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or(unknown.clone())?;
    match found.error() {
        Some(error) => Err(KafkaError::MetadataFetch(error.into())),
        None if found.partitions().is_empty() => Err(unknown),
        None => Ok(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)),
    }
}

/// True for trouble that the driver is mending by itself; the wait for the next letter has a limit.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::RequestTimedOut
                | Code::OperationTimedOut
                | Code::NotCoordinator
        )
    )
}
