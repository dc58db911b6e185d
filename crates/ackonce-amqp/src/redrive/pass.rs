//! One pass over a dead-letter queue: as many letters as it has at the start, so that letters that come back meanwhile do not
//! make it endless.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::{Error, ErrorKind, Result};
use lapin::Queue;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};

use crate::AmqpMessage;
use crate::connection::{Source, Trouble};
use crate::publisher::{AmqpRefusal, Open, Upstream};

/// The time limit for an answer of the broker. A classic queue that was taking ten thousand letters back has left a question
/// unanswered for half a minute.
const ASK: Duration = Duration::from_secs(120);

/// Between two looks at the number of letters, and the most looks.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: u32 = 20;
/// The longest wait without a change for letters that were given back: another reader may have taken them. A quorum queue
/// on a busy machine has stood still for seconds in the middle.
const STILL: Duration = Duration::from_secs(20);

pub(super) struct Pass {
    upstream: Arc<Upstream>,
    open: Open,
    queue: ShortString,
    /// Letters that are still to be looked at.
    left: u32,
    /// The last delivery that stays in the queue.
    kept: Option<u64>,
    /// The number of those.
    stay: u32,
}

impl Pass {
    pub(super) async fn open(url: &str, queue: &str) -> Result<Self> {
        let source = Source::urls([url]);
        source.check()?;
        let name = format!("the dead-letter queue {queue:?}");
        let queue = ShortString::try_new(queue)
            .map_err(|e| Error::new(ErrorKind::Config, format!("the name of {name}")).with_source(e))?;
        let upstream = Arc::new(Upstream::new(source, "dead letters".to_owned()));
        let open = upstream.channel().await.map_err(|trouble| trouble.error("RabbitMQ"))?;
        let left = settled_count(&open, &queue, &format!("{name} cannot be read")).await?;
        Ok(Self { left, upstream, open, queue, kept: None, stay: 0 })
    }

    /// The next letter with its tag; `None` at the end of the pass.
    pub(super) async fn next(&mut self) -> Result<Option<(AmqpMessage, u64)>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let asking = self.open.channel.basic_get(self.queue.clone(), BasicGetOptions { no_ack: false });
        let Some(mut got) = within(asking, "the dead-letter queue cannot be read").await? else {
            self.left = 0;
            return Ok(None);
        };
        self.left = left;
        let tag = got.delivery.delivery_tag;
        Ok(Some((AmqpMessage::take(&mut got.delivery), tag)))
    }

    pub(super) async fn ack(&self, tag: u64) -> Result<()> {
        let acking = self.open.channel.basic_ack(tag, BasicAckOptions::default());
        within(acking, "a letter that was moved could not be taken off its queue; it may be moved again")
            .await
    }

    pub(super) fn keep(&mut self, tag: u64) {
        self.kept = self.kept.max(Some(tag));
        self.stay += 1;
    }

    /// Waits until the letters that were given back are in the queue, unless a consumer takes them: a classic queue takes
    /// some hundred a second back, and a look at it meanwhile finds a part of them.
    async fn come_back(&self, text: &str) -> Result<()> {
        let (mut last, mut changed) = (0, Instant::now());
        loop {
            let state = declared(&self.open, &self.queue, text).await?;
            let ready = state.message_count();
            if ready != last {
                (last, changed) = (ready, Instant::now());
            }
            if ready >= self.stay || state.consumer_count() > 0 || changed.elapsed() > STILL {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Gives the letters back that stay, and waits until the broker has done all that it was told.
    pub(super) async fn close(self) -> Result<()> {
        const TEXT: &str =
            "the dead-letter queue could not be left; letters that were moved may be moved again";
        if let Some(last) = self.kept {
            let all = BasicNackOptions { multiple: true, requeue: true };
            within(self.open.channel.basic_nack(last, all), TEXT).await?;
            self.come_back(TEXT).await?;
        }
        within(self.open.channel.close(200, "OK".into()), TEXT).await?;
        self.upstream.close().await;
        Ok(())
    }
}

/// The queue as its broker declares it: the letters that wait, and its consumers.
async fn declared(open: &Open, queue: &ShortString, text: &str) -> Result<Queue> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asking = open.channel.queue_declare(queue.clone(), passive, FieldTable::default());
    within(asking, text).await
}

/// The number of letters, once it stands still: those that a reader gave back a moment ago, or had when it was killed, come back
/// one after another. Where consumers bury all the time, it is not waited for longer than a few seconds.
async fn settled_count(open: &Open, queue: &ShortString, text: &str) -> Result<u32> {
    let mut last = None;
    for _ in 0..LOOKS {
        let count = declared(open, queue, text).await?.message_count();
        if last == Some(count) {
            break;
        }
        last = Some(count);
        tokio::time::sleep(LOOK).await;
    }
    Ok(last.unwrap_or(0))
}

async fn within<T>(asking: impl Future<Output = lapin::Result<T>>, text: &str) -> Result<T> {
    match tokio::time::timeout(ASK, asking).await {
        Ok(answer) => answer.map_err(|error| Trouble::Amqp(error).error(text)),
        Err(_) => Err(Trouble::Slow(ASK).error(text)),
    }
}

/// A letter that no queue has for certain.
pub(super) fn unconfirmed(refusal: AmqpRefusal) -> Error {
    let text = "a letter was not confirmed by its queue; it stays, and the next redrive repeats it";
    Error::new(ErrorKind::Unavailable, text).with_source(refusal)
}
