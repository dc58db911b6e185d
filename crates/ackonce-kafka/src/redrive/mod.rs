//! Dead letters of a topic, listed and moved back to the topics that they came from.
//!
//! A topic keeps its letters until its retention ends, so the place of a letter that was moved is a committed offset: all
//! letters before it were moved. Letters that a filter leaves behind hold that offset back; its metadata says how far the
//! pass of this filter has come.

mod pass;
mod position;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{DeadLetter, LetterFilter, LettersMoved, Redrive, hex};
use ackonce::{Error, ErrorKind, Result};
use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use sha2::{Digest, Sha256};

use crate::driver::{client_error, connection};
use crate::{KafkaMessage, KafkaPublisher, headers};
use pass::{Pass, Start};

/// The consumer group whose committed offsets say which letters were moved, unless the settings name one.
const GROUP: &str = "ackonce-dead-letters";
/// Letters that are published at once before the position is committed.
const BATCH: usize = 500;

/// A dead-letter topic. Nothing here needs a group to be joined: the group's name is a place for offsets.
///
/// ```no_run
/// use ackonce::adapter::{LetterFilter, Redrive};
/// use ackonce::store::Note;
/// use ackonce_kafka::{ClientConfig, DeadLetterTopic};
/// # async fn redrive() -> ackonce::Result<()> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092");
/// let letters = DeadLetterTopic::new(config, "orders.dead");
/// let note = Note { actor: "ada".into(), reason: "the bank is back, ticket 4711".into() };
/// let filter = LetterFilter { reason: Some("bank".into()), ..LetterFilter::default() };
/// let moved = letters.redrive(&Redrive { filter, limit: None, note }, &mut |_| {}).await?;
/// println!("{} letters moved, {} kept", moved.moved, moved.kept);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetterTopic {
    config: ClientConfig,
    topic: String,
}

impl DeadLetterTopic {
    /// The letters in `topic`. With a `group.id` the settings choose the group whose committed offsets say which of them were
    /// moved back (default `ackonce-dead-letters`).
    #[must_use]
    pub fn new(config: ClientConfig, topic: impl Into<String>) -> Self {
        Self { config, topic: topic.into() }
    }

    /// The group that keeps the position.
    #[must_use]
    pub fn group(&self) -> &str {
        self.config.get("group.id").unwrap_or(GROUP)
    }

    /// Shows the letters that the filter chooses, from the first one that was not moved back to those in the topic by now, and
    /// returns the number of the others. `see` answers false to end it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the topic does not exist, or a setting or right is refused; [`ErrorKind::Unavailable`]: no broker
    /// answers.
    pub async fn list(
        &self,
        filter: &LetterFilter,
        see: &mut (dyn FnMut(DeadLetter) -> bool + Send),
    ) -> Result<u64> {
        let mut pass = self.open(Start::First).await?;
        let mut others = 0;
        while let Some(message) = pass.next().await? {
            let letter = letter(&message);
            if !filter.takes(&letter) {
                others += 1;
            } else if !see(letter) {
                break;
            }
        }
        Ok(others)
    }

    /// Publishes the letters that `redrive` chooses in the topics and partitions that they came from again, all headers
    /// included, and commits the position once the brokers have confirmed them. `progress` hears of each batch.
    ///
    /// A process that is killed repeats at most the last batch: the second copy of a letter is a duplicate and does not run.
    ///
    /// # Errors
    /// As [`list`](Self::list), and if a letter is not confirmed. Letters moved before stay moved; repeating it is safe.
    pub async fn redrive(
        &self,
        redrive: &Redrive,
        progress: &mut (dyn FnMut(&LettersMoved) + Send),
    ) -> Result<LettersMoved> {
        let publisher = Mover::new(&self.config, &self.topic)?;
        let mut pass = self.open(Start::Resumed(digest(&redrive.filter))).await?;
        let mut moved = LettersMoved::default();
        let mut targets = BTreeMap::new();
        let mut batch: Vec<(KafkaMessage, Option<i32>)> = Vec::new();
        let is_full = |moved: &LettersMoved, batch: usize| {
            redrive.limit.is_some_and(|limit| moved.moved + batch as u64 >= limit)
        };
        let (mut full, mut unsaved) = (is_full(&moved, 0), 0);
        while !full && let Some(message) = pass.next().await? {
            let letter = letter(&message);
            unsaved += 1;
            if !redrive.filter.takes(&letter) {
                moved.kept += 1;
                pass.keep(&message);
            } else {
                match way_back(&pass, &mut targets, &message, letter).await? {
                    Ok(partition) => batch.push((message, partition)),
                    Err(obstacle) => {
                        moved.is_stuck(obstacle);
                        pass.keep(&message);
                    }
                }
            }
            full = is_full(&moved, batch.len());
            if batch.len() >= BATCH || unsaved >= BATCH * 4 || full {
                publisher.publish(&mut pass, &mut moved, std::mem::take(&mut batch), redrive).await?;
                pass.commit().await?;
                unsaved = 0;
                progress(&moved);
            }
        }
        publisher.publish(&mut pass, &mut moved, batch, redrive).await?;
        if !full {
            pass.is_complete();
        }
        pass.commit().await?;
        progress(&moved);
        Ok(moved)
    }

    async fn open(&self, start: Start) -> Result<Pass> {
        let mut config = self.config.clone();
        config
            .set("group.id", self.group())
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        Pass::open(&config, &self.topic, start).await
    }
}

/// Publishes letters.
struct Mover {
    publisher: KafkaPublisher,
    /// For records that a broker has refused, perhaps because of one beside them.
    one_by_one: KafkaPublisher,
}

impl Mover {
    fn new(config: &ClientConfig, topic: &str) -> Result<Self> {
        let mut config = connection(config);
        config.set("message.max.bytes", "1000000000").set("linger.ms", "2");
        let publisher = KafkaPublisher::new(config, topic).map_err(client_error)?;
        let one_by_one = publisher.one_by_one().map_err(client_error)?;
        Ok(Self { publisher, one_by_one })
    }

    /// Publishes a batch, in its order, and waits for all confirmations.
    async fn publish(
        &self,
        pass: &mut Pass,
        moved: &mut LettersMoved,
        batch: Vec<(KafkaMessage, Option<i32>)>,
        redrive: &Redrive,
    ) -> Result<()> {
        let sent = join_all(batch.iter().map(|(message, to)| self.send(message, *to, redrive))).await;
        for ((message, _), sent) in batch.iter().zip(sent) {
            match sent {
                Ok(()) => moved.moved += 1,
                Err(error) if KafkaPublisher::is_refused(&error) => {
                    let (topic, _) = target(message);
                    moved.is_stuck(format!("the topic {} does not take it: {error}", topic.unwrap_or("?")));
                    pass.keep(message);
                }
                Err(error) => {
                    let text =
                        "a letter was not confirmed by its topic; it stays, and the next redrive repeats it";
                    return Err(Error::new(ErrorKind::Unavailable, text).with_source(error));
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        message: &KafkaMessage,
        partition: Option<i32>,
        redrive: &Redrive,
    ) -> Result<(), KafkaError> {
        let record = message.as_rdkafka();
        let Some(topic) = target(message).0 else { return Err(KafkaError::Canceled) };
        let (key, payload) = (rdkafka::Message::key(record), rdkafka::Message::payload(record));
        // Whole, so that a header whose name cannot be read goes along, too.
        let all = rdkafka::Message::headers(record).cloned().unwrap_or_else(OwnedHeaders::new);
        let note =
            [(headers::REDRIVE_ACTOR, &redrive.note.actor), (headers::REDRIVE_REASON, &redrive.note.reason)];
        let all = note.iter().fold(all, |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        match self.publisher.send_to((topic, partition), key, payload, all.clone()).await {
            Err(error) if KafkaPublisher::is_refused(&error) => {
                self.one_by_one.send_to((topic, partition), key, payload, all).await
            }
            sent => sent,
        }
    }
}

/// The partition that a letter goes back to, or its obstacle. Where the partition is gone, its key chooses one.
async fn way_back(
    pass: &Pass,
    known: &mut BTreeMap<String, Option<i32>>,
    message: &KafkaMessage,
    letter: DeadLetter,
) -> Result<Result<Option<i32>, String>> {
    let topic = match (letter.obstacle, letter.target) {
        (None, Some(topic)) => topic,
        (obstacle, _) => return Ok(Err(obstacle.unwrap_or_default())),
    };
    if !known.contains_key(&topic) {
        known.insert(topic.clone(), pass.partitions(&topic).await?);
    }
    Ok(match known.get(&topic).copied().flatten() {
        Some(partitions) => Ok(target(message).1.filter(|partition| (0..partitions).contains(partition))),
        None => Err(format!("its topic {topic} does not exist")),
    })
}

/// Topic and partition that a letter came from.
fn target(message: &KafkaMessage) -> (Option<&str>, Option<i32>) {
    let text = |name| message.header(name).and_then(|value| std::str::from_utf8(value).ok());
    (text(headers::TOPIC), text(headers::PARTITION).and_then(|number| number.parse().ok()))
}

fn letter(message: &KafkaMessage) -> DeadLetter {
    let place = format!("{}/{}@{}", message.topic(), message.partition(), message.offset());
    let attempts = message.header(headers::ATTEMPTS).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
    DeadLetter::of(message, place, target(message).0.map(str::to_owned), attempts)
}

/// A short name for a filter.
fn digest(filter: &LetterFilter) -> String {
    hex(&Sha256::digest(format!("{filter:?}").as_bytes())[..8])
}

/// An error of a question to the brokers.
fn failed(topic: &str, error: KafkaError) -> Error {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    let refused = code.is_some_and(crate::driver::is_refusal)
        || matches!(code, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic));
    let kind = if refused { ErrorKind::Config } else { ErrorKind::Unavailable };
    Error::new(kind, format!("the dead-letter topic {topic} cannot be read")).with_source(error)
}

/// Runs a blocking question on the pool of threads for that.
async fn ask<T: Send + 'static>(
    topic: &str,
    question: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(question).await {
        Ok(answer) => answer.map_err(|error| failed(topic, error)),
        Err(_) => Err(Error::new(ErrorKind::Stopped, "the runtime has stopped")),
    }
}

/// The time limit for a question to the brokers.
const ASK: Duration = Duration::from_secs(15);
/// The longest wait for the next letter.
const NEXT: Duration = Duration::from_secs(30);

type Reader = Arc<rdkafka::consumer::StreamConsumer<pass::Hushed>>;
