//! Dead letters of a queue, listed and moved back to the queues that they came from.

mod pass;

use ackonce::Result;
use ackonce::adapter::{DeadLetter, LetterFilter, LettersMoved, Redrive};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::types::AMQPValue;

use crate::message::text;
use crate::publisher::{AmqpRefusal, anew};
use crate::{AmqpMessage, AmqpPublisher, headers};
use pass::Pass;

/// Letters that are published at once.
const UNDER_WAY: usize = 128;
/// Letters between two reports of the progress.
const REPORT: u64 = 100;
/// Returns to a quorum queue after which a letter that stays is put at its end anew: a queue drops one that came back too often.
const RETURNS: u64 = 3;

/// A dead-letter queue.
///
/// Letters are taken one after another and given back at the end, those apart that were moved. A quorum queue counts that
/// as a delivery; a letter that came back three times is put at the end of the queue as a new message, so that a delivery limit
/// does not drop it. It carries all that it did; `CC` and `BCC`, a `user_id` and the `reply_to` of a direct reply become the
/// [headers] that they become on a dead letter, since with them it would go elsewhere or be refused.
///
/// ```no_run
/// use ackonce::adapter::{LetterFilter, Redrive};
/// use ackonce::store::Note;
/// use ackonce_amqp::DeadLetterQueue;
/// # async fn redrive() -> ackonce::Result<()> {
/// let letters = DeadLetterQueue::new("amqp://localhost:5672/%2f", "orders.dead");
/// let note = Note { actor: "ada".into(), reason: "the bank is back, ticket 4711".into() };
/// let filter = LetterFilter { reason: Some("bank".into()), ..LetterFilter::default() };
/// let moved = letters.redrive(&Redrive { filter, limit: None, note }, &mut |_| {}).await?;
/// println!("{} letters moved, {} kept", moved.moved, moved.kept);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DeadLetterQueue {
    url: String,
    queue: String,
}

impl std::fmt::Debug for DeadLetterQueue {
    /// Never the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterQueue").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl DeadLetterQueue {
    /// The letters in `queue`, at a URL in the form of [`AmqpConsumer::new`](crate::AmqpConsumer::new).
    #[must_use]
    pub fn new(url: impl Into<String>, queue: impl Into<String>) -> Self {
        Self { url: url.into(), queue: queue.into() }
    }

    /// Shows the letters that the filter chooses, of those in the queue by now, and returns the number of the others. `see`
    /// answers false to end it.
    ///
    /// # Errors
    /// [`Config`](ackonce::ErrorKind::Config): the URL cannot be used, or the broker refuses, for want of the queue or of a
    /// right; [`Unavailable`](ackonce::ErrorKind::Unavailable): the broker does not answer.
    pub async fn list(
        &self,
        filter: &LetterFilter,
        see: &mut (dyn FnMut(DeadLetter) -> bool + Send),
    ) -> Result<u64> {
        let publisher = AmqpPublisher::new(&self.url, "dead letters")?;
        let mut pass = Pass::open(&self.url, &self.queue).await?;
        let (mut others, mut going_on) = (0, true);
        while going_on && let Some((message, tag)) = pass.next().await? {
            let letter = self.letter(&message);
            match filter.takes(&letter) {
                true => going_on = see(letter),
                false => others += 1,
            }
            self.keep(&mut pass, &publisher, &message, tag).await?;
        }
        pass.close().await?;
        publisher.close().await;
        Ok(others)
    }

    /// Publishes the letters that `redrive` chooses in the queues that they came from again, by the default exchange and with
    /// all that they carry, and acknowledges each once its queue has confirmed it. `progress` hears of it now and then.
    ///
    /// A process that is killed repeats the letters under way: the second copy of a letter is a duplicate and does not run.
    /// The broker gives those letters back once it notices the end of the process; a pass that counted the queue before
    /// leaves them, so repeat it until the queue is empty.
    ///
    /// # Errors
    /// As [`list`](Self::list), and if a letter is not confirmed. Letters moved before stay moved; repeating it is safe.
    pub async fn redrive(
        &self,
        redrive: &Redrive,
        progress: &mut (dyn FnMut(&LettersMoved) + Send),
    ) -> Result<LettersMoved> {
        let publisher = AmqpPublisher::new(&self.url, "dead letters")?;
        let mut pass = Pass::open(&self.url, &self.queue).await?;
        let mut moved = LettersMoved::default();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Sent>> = FuturesUnordered::new();
        loop {
            let is_full = redrive.limit.is_some_and(|limit| moved.moved + under_way.len() as u64 >= limit);
            let next = match under_way.len() < UNDER_WAY && !is_full {
                true => pass.next().await?,
                false => None,
            };
            let Some((message, tag)) = next else {
                // The queue has no more, or enough are under way.
                let Some(sent) = under_way.next().await else { break };
                self.confirmed(&mut pass, &publisher, &mut moved, sent).await?;
                if moved.moved % REPORT == 0 {
                    progress(&moved);
                }
                continue;
            };
            let letter = self.letter(&message);
            match (redrive.filter.takes(&letter), letter.obstacle, letter.target) {
                (false, ..) => {
                    moved.kept += 1;
                    self.keep(&mut pass, &publisher, &message, tag).await?;
                }
                (true, None, Some(queue)) => {
                    under_way.push(Box::pin(send(&publisher, redrive, message, tag, queue)))
                }
                (true, obstacle, _) => {
                    moved.is_stuck(obstacle.unwrap_or_default());
                    self.keep(&mut pass, &publisher, &message, tag).await?;
                }
            }
        }
        drop(under_way);
        pass.close().await?;
        publisher.close().await;
        progress(&moved);
        Ok(moved)
    }

    /// A letter that its queue has, or has not.
    async fn confirmed(
        &self,
        pass: &mut Pass,
        publisher: &AmqpPublisher,
        moved: &mut LettersMoved,
        sent: Sent,
    ) -> Result<()> {
        let Sent { message, tag, queue, answer } = sent;
        match answer {
            Ok(()) => {
                moved.moved += 1;
                pass.ack(tag).await
            }
            Err(
                refusal @ (AmqpRefusal::Nowhere(_) | AmqpRefusal::TooLong { .. } | AmqpRefusal::Message(_)),
            ) => {
                moved.is_stuck(format!("its queue {queue} does not take it: {refusal}"));
                self.keep(pass, publisher, &message, tag).await
            }
            Err(refusal) => Err(pass::unconfirmed(refusal)),
        }
    }

    /// Leaves a letter in the queue: it goes back when the pass ends, or to the end of the queue if it came back often.
    async fn keep(
        &self,
        pass: &mut Pass,
        publisher: &AmqpPublisher,
        message: &AmqpMessage,
        tag: u64,
    ) -> Result<()> {
        if message.delivery_count().is_some_and(|count| count >= RETURNS) {
            let payload = message.payload().to_vec().into();
            let properties = anew(message.properties(), true);
            match publisher.publish("", &self.queue, properties, payload).await {
                Ok(()) => return pass.ack(tag).await,
                // No queue has a copy: the letter itself stays.
                Err(
                    AmqpRefusal::Message(_)
                    | AmqpRefusal::TooLong { .. }
                    | AmqpRefusal::Nowhere(_)
                    | AmqpRefusal::Full,
                ) => {}
                Err(refusal) => return Err(pass::unconfirmed(refusal)),
            }
        }
        pass.keep(tag);
        Ok(())
    }

    fn letter(&self, message: &AmqpMessage) -> DeadLetter {
        let attempts = message.value(headers::ATTEMPTS).and_then(number);
        let target = message.text(headers::QUEUE).map(str::to_owned);
        DeadLetter::of(message, self.queue.clone(), target, attempts)
    }
}

/// A letter that was published, with the broker's answer.
struct Sent {
    message: AmqpMessage,
    tag: u64,
    queue: String,
    answer: Result<(), AmqpRefusal>,
}

async fn send(
    publisher: &AmqpPublisher,
    redrive: &Redrive,
    message: AmqpMessage,
    tag: u64,
    queue: String,
) -> Sent {
    let mut table = message.properties().headers().clone().unwrap_or_default();
    table.insert(headers::REDRIVE_ACTOR.into(), text(redrive.note.actor.as_str()));
    table.insert(headers::REDRIVE_REASON.into(), text(redrive.note.reason.as_str()));
    let properties = anew(&message.properties().clone().with_headers(table), false);
    let answer = publisher.publish("", &queue, properties, message.payload().to_vec().into()).await;
    Sent { message, tag, queue, answer }
}

fn number(value: &AMQPValue) -> Option<u32> {
    crate::message::number(value)?.parse().ok()
}
