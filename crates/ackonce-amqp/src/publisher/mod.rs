//! Publishing copies of messages, several at a time on one channel, and knowing which of them a queue has.
//!
//! A copy is `mandatory`: one that leads to no queue is returned, before it is confirmed. lapin gives a returned message
//! to whichever confirmation completes next, so each copy carries a number ([`headers::LETTER`]) and returns are matched
//! by it.

mod copies;
mod refusal;
mod returns;
pub(crate) mod size;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::copies::{Extra, Purpose, anew, copied, origin, reason, value};
pub use self::refusal::AmqpRefusal;
pub(crate) use self::upstream::{Open, Upstream};

use self::refusal::is_about_the_message;
use self::returns::Batch;
use crate::{AmqpMessage, headers};

/// The time limit for confirmations; it does not run while the broker is [blocked](Upstream::is_blocked).
const CONFIRM: Duration = Duration::from_secs(30);
/// The interval at which that is checked.
const LOOK_UP: Duration = Duration::from_millis(250);
/// The most copies under way on one channel, and after how many bytes no more are added.
const MOST: usize = 64;
const MOST_BYTES: usize = 4 << 20;

/// A copy to publish.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Payload,
}

/// The payload of a copy.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    None,
    Of(AmqpMessage),
    Bytes(Bytes),
}

impl Post {
    fn payload(&self) -> &[u8] {
        match &self.payload {
            Payload::None => &[],
            Payload::Of(message) => message.payload(),
            Payload::Bytes(bytes) => bytes,
        }
    }
}

/// Publishes on a channel of its own. Its task ends with it.
#[derive(Debug)]
pub(crate) struct Publisher {
    posts: mpsc::UnboundedSender<Waiting>,
    _task: AbortOnDropHandle<()>,
}

/// A copy and the one who waits for its answer.
#[derive(Debug)]
struct Waiting {
    post: Post,
    answer: oneshot::Sender<Result<(), AmqpRefusal>>,
}

impl Waiting {
    fn tell(self, answer: Result<(), AmqpRefusal>) {
        // Nobody may wait for it any more.
        let _ = self.answer.send(answer);
    }
}

impl Publisher {
    pub(crate) fn start(upstream: Arc<Upstream>) -> Self {
        let (posts, queue) = mpsc::unbounded_channel();
        let line = Line { upstream, open: None, number: 0 };
        Self { posts, _task: AbortOnDropHandle::new(tokio::spawn(line.run(queue))) }
    }

    /// Publishes a copy, and returns when the queues that it leads to have confirmed it.
    ///
    /// # Errors
    /// No queue has it for certain; one may.
    pub(crate) async fn publish(&self, post: Post) -> Result<(), AmqpRefusal> {
        let (answer, told) = oneshot::channel();
        let ended = || AmqpRefusal::Away("the consumer has ended".to_owned());
        self.posts.send(Waiting { post, answer }).map_err(|_| ended())?;
        told.await.unwrap_or_else(|_| Err(ended()))
    }
}

struct Line {
    upstream: Arc<Upstream>,
    open: Option<Open>,
    number: u64,
}

impl Line {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Waiting>) {
        while let Some(first) = queue.recv().await {
            let mut bytes = first.post.payload().len();
            let mut batch = vec![first];
            while batch.len() < MOST
                && bytes < MOST_BYTES
                && let Ok(next) = queue.try_recv()
            {
                bytes += next.post.payload().len();
                batch.push(next);
            }
            // One of them may be why the broker closed the channel: which one is found by sending each alone.
            for suspect in self.send(batch).await {
                self.send(vec![suspect]).await;
            }
        }
    }

    /// Publishes copies and answers each. Returns those whose channel the broker closed because of one of them.
    async fn send(&mut self, batch: Vec<Waiting>) -> Vec<Waiting> {
        // Taken, and put back after confirms only: a channel that still owes one is not used again.
        let open = match self.open.take().filter(Open::stands) {
            Some(open) => open,
            None => match self.upstream.confirming().await {
                Ok(open) => open,
                Err(trouble) => {
                    batch.into_iter().for_each(|one| one.tell(Err(AmqpRefusal::Away(trouble.to_string()))));
                    return Vec::new();
                }
            },
        };
        let mut waiting = BTreeMap::new();
        let room = size::room(open.connection.configuration().frame_max());
        for mut one in batch {
            self.number += 1;
            let length = mark(&mut one.post.properties, self.number);
            match length <= room {
                true => drop(waiting.insert(self.number, one)),
                false => one.tell(Err(AmqpRefusal::TooLong { length, room })),
            }
        }
        let outcome = under_way(&open, &waiting).await;
        if outcome.is_complete() {
            self.open = Some(open);
        }
        let alone = waiting.len() == 1;
        let mut suspects = Vec::new();
        for (number, one) in waiting {
            match outcome.of(number) {
                Err(AmqpRefusal::Message(_)) if !alone => suspects.push(one),
                answer => one.tell(answer),
            }
        }
        suspects
    }
}

/// Numbers a copy, and answers the length of its content header.
fn mark(properties: &mut BasicProperties, number: u64) -> usize {
    let mut table = properties.headers().clone().unwrap_or_default();
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    table.insert(headers::LETTER.into(), AMQPValue::LongLongInt(number));
    *properties = std::mem::take(properties).with_headers(table);
    size::header(properties)
}

/// The number of a copy that was returned.
fn number(properties: &BasicProperties) -> Option<u64> {
    let value = properties.headers().as_ref().map(FieldTable::inner)?.get(headers::LETTER)?;
    value.as_long_long_int().and_then(|number| u64::try_from(number).ok())
}

/// Publishes all of these and waits for the broker's answers.
async fn under_way(open: &Open, waiting: &BTreeMap<u64, Waiting>) -> Batch {
    let mut outcome = Batch::new(waiting.len());
    let mut under_way: FuturesUnordered<_> =
        waiting.iter().map(|(number, one)| publish(open, *number, &one.post)).collect();
    let mut until = Instant::now() + CONFIRM;
    while outcome.is_open() {
        tokio::select! {
            biased;
            Some((number, answer)) = under_way.next() => match answer {
                Ok(confirmation) => note(&mut outcome, number, confirmation),
                Err(error) if is_about_the_message(&error) => {
                    outcome.failed(number, AmqpRefusal::Message(error.to_string()));
                }
                Err(error) => outcome.failed(number, AmqpRefusal::Away(error.to_string())),
            },
            // lapin has no event for a broker that blocks its publishers; then the confirmations may take their time.
            () = tokio::time::sleep(LOOK_UP) => {
                if open.connection.status().blocked() {
                    until = Instant::now() + CONFIRM;
                } else if Instant::now() > until {
                    break;
                }
            }
        }
    }
    outcome
}

async fn publish(open: &Open, number: u64, post: &Post) -> (u64, lapin::Result<Confirmation>) {
    let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
    let (exchange, key) = (post.exchange.clone(), post.routing_key.clone());
    let publishing = async {
        open.channel
            .basic_publish(exchange, key, mandatory, post.payload(), post.properties.clone())
            .await?
            .await
    };
    (number, publishing.await)
}

fn note(outcome: &mut Batch, of: u64, confirmation: Confirmation) {
    let taken = confirmation.is_ack();
    let returned = confirmation.take_message();
    outcome.confirmed(of, taken, returned.is_some());
    if let Some(message) = returned {
        let why = format!(
            "exchange {:?} with routing key {:?} leads to no queue ({} {})",
            message.exchange.as_str(),
            message.routing_key.as_str(),
            message.reply_code,
            message.reply_text
        );
        outcome.returned(number(&message.properties), why);
    }
}
