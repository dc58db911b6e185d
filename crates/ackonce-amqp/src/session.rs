//! The reconnect loop: connection, channel, prefetch, consumer, again and again.
//!
//! lapin's own recovery is not used: it keeps a channel's name for what is another channel to the broker, and a
//! delivery tag must not cross from one to the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::{Backoff, CancellationToken, Error, ErrorKind, Laned, Result};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, Consumer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Tally;
use crate::acks::acknowledge;
use crate::connect::{Source, Trouble};
use crate::delivery::{AmqpDelivery, Generation};
use crate::intake::Intake;

/// How long the broker may take to open a channel with a consumer, or to cancel one.
const OPEN: Duration = Duration::from_secs(30);
const CANCEL: Duration = Duration::from_secs(5);
/// How often an intake that waits for room looks after its channel.
const LOOK_UP: Duration = Duration::from_secs(1);
/// How long all channels may take to end.
const END: Duration = Duration::from_secs(15);

/// What must be known to consume.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    /// Of the connection, as operators see it.
    pub(crate) name: String,
    pub(crate) queue: ShortString,
    pub(crate) prefetch: u16,
    pub(crate) chunk: usize,
    pub(crate) arguments: FieldTable,
    pub(crate) max_age: Duration,
    pub(crate) reconnect: Backoff,
    pub(crate) intake: Intake,
    pub(crate) tally: Tally,
}

pub(crate) struct Session {
    pub(crate) plan: Plan,
    pub(crate) connection: Option<Arc<Connection>>,
    /// Cancelled when no more deliveries are wanted.
    pub(crate) stop: CancellationToken,
    /// Cancelled when nothing is in work any more.
    pub(crate) finish: CancellationToken,
    pub(crate) acks: JoinSet<()>,
}

/// Why a channel gives no more deliveries.
enum End {
    Stopped,
    /// By the broker, and the channel stands.
    Cancelled,
    Lost(String),
    Fatal(Error),
}

type Chunks = mpsc::Sender<Vec<Laned<AmqpDelivery>>>;

impl Session {
    /// Consumes until `stop`, then waits for `finish`, tells the broker what was settled, and says goodbye.
    ///
    /// # Errors
    /// What no reconnecting mends.
    pub(crate) async fn run(mut self, chunks: Chunks) -> Result<()> {
        let ended = self.consume(&chunks).await;
        self.stop.cancel();
        drop(chunks);
        self.finish.cancelled().await;
        let all = async { while self.acks.join_next().await.is_some() {} };
        if tokio::time::timeout(END, all).await.is_err() {
            tracing::warn!(target: "ackonce", "channels did not end in time; what was not acknowledged comes again");
        }
        if let Some(connection) = self.connection.take() {
            self.plan.source.close(&connection).await;
        }
        ended
    }

    async fn consume(&mut self, chunks: &Chunks) -> Result<()> {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let stop = self.stop.clone();
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                opened = self.open() => opened,
            };
            let trouble = match opened {
                Ok((generation, consumer)) => {
                    let (since, acked) = (Instant::now(), self.plan.tally.counts().acked);
                    let end = self.take_in(&generation, consumer, chunks).await;
                    // It worked: the next trouble is a new one.
                    if self.plan.tally.counts().acked > acked || since.elapsed() > self.plan.reconnect.max {
                        failures = 0;
                    }
                    match self.ended(&generation, end).await? {
                        Some(trouble) => trouble,
                        None => return Ok(()),
                    }
                }
                Err(trouble) => trouble.to_string(),
            };
            if self.plan.source.is_lost() {
                let why = "the connection was lost, and it is not this consumer's to replace";
                return Err(Error::new(ErrorKind::Unavailable, format!("{why}: {trouble}")));
            }
            failures += 1;
            let wait = self.plan.reconnect.after(failures);
            tracing::warn!(target: "ackonce", queue = %self.plan.queue, trouble, failures, wait_ms = wait.as_millis(),
                "not consuming; trying again");
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// A channel with a consumer, on the present connection if that stands.
    async fn open(&mut self) -> std::result::Result<(Arc<Generation>, Consumer), Trouble> {
        let connection = match self.connection.take().filter(|c| c.status().connected()) {
            Some(connection) => connection,
            None => self.plan.source.connect(&self.plan.name).await?,
        };
        let plan = &self.plan;
        let opening = async {
            let channel = connection.create_channel().await?;
            // Before there is a consumer: lapin keeps whatever comes, however much that is.
            channel.basic_qos(plan.prefetch, BasicQosOptions { global: false }).await?;
            let (queue, tag) = (plan.queue.clone(), ShortString::default());
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(queue, tag, options, plan.arguments.clone()).await?;
            Ok((channel, consumer))
        };
        // A connection that does not answer is not kept.
        let opened = tokio::time::timeout(OPEN, opening).await.map_err(|_| Trouble::Slow)?;
        self.connection = Some(connection);
        let (channel, consumer) = opened.map_err(Trouble::Amqp)?;
        plan.tally.channels(1);
        tracing::info!(target: "ackonce", queue = %plan.queue, prefetch = plan.prefetch, "consuming");
        let generation = Generation::new(channel, plan.tally.clone(), plan.max_age, plan.prefetch);
        let generation = Arc::new(generation);
        self.acks.spawn(acknowledge(generation.clone(), self.finish.clone()));
        Ok((generation, consumer))
    }

    /// Hands on what is delivered, whatever has arrived at once, until the channel gives no more.
    async fn take_in(&self, generation: &Arc<Generation>, mut consumer: Consumer, chunks: &Chunks) -> End {
        loop {
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.cancel(generation, &consumer).await,
                () = generation.dead.cancelled() => return End::Lost("acks cannot be sent".into()),
                next = consumer.next() => next,
            };
            let room = loop {
                tokio::select! {
                    biased;
                    room = chunks.reserve() => break room,
                    () = self.stop.cancelled() => return self.cancel(generation, &consumer).await,
                    // What waits here is worth nothing without its channel, and a new one is opened the sooner.
                    () = tokio::time::sleep(LOOK_UP) => if !generation.channel.status().connected() {
                        return End::Lost("the channel was closed".into());
                    },
                }
            };
            let Ok(room) = room else { return self.cancel(generation, &consumer).await };
            let mut chunk = Vec::new();
            let mut next = Some(first);
            let mut end = None;
            while let Some(arrived) = next {
                end = self.admit(generation, arrived, &mut chunk);
                let more = end.is_none() && chunk.len() < self.plan.chunk;
                next = if more { consumer.next().now_or_never() } else { None };
            }
            if !chunk.is_empty() {
                room.send(chunk);
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn admit(
        &self,
        generation: &Arc<Generation>,
        arrived: Option<lapin::Result<lapin::message::Delivery>>,
        chunk: &mut Vec<Laned<AmqpDelivery>>,
    ) -> Option<End> {
        match arrived {
            Some(Ok(delivery)) => match generation.deliver(delivery) {
                Some(delivery) => match self.plan.intake.admit(delivery) {
                    Ok(laned) => chunk.push(laned),
                    Err(error) => return Some(End::Fatal(error)),
                },
                None => return Some(End::Lost("the channel is gone".into())),
            },
            Some(Err(error)) => return Some(End::Lost(error.to_string())),
            // The broker cancels a consumer without an error: its queue was deleted, or its leader moved.
            None if generation.channel.status().connected() => return Some(End::Cancelled),
            None => return Some(End::Lost("the channel was closed".into())),
        }
        None
    }

    /// Asks for no more deliveries. What has arrived unread goes back when the channel ends.
    async fn cancel(&self, generation: &Generation, consumer: &Consumer) -> End {
        let cancel = generation.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        match tokio::time::timeout(CANCEL, cancel).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(target: "ackonce", %error, "the channel was gone before the stop")
            }
            Err(_) => tracing::warn!(target: "ackonce", "the broker did not answer a cancel in time"),
        }
        End::Stopped
    }

    /// What to do after it: try again because of some trouble, or not.
    async fn ended(&self, generation: &Generation, end: End) -> Result<Option<String>> {
        match end {
            End::Stopped => Ok(None),
            End::Fatal(error) => Err(error),
            End::Cancelled => {
                // The channel stands: what is in hand may finish there. If its queue is gone it is in no other.
                generation.no_more();
                self.plan.tally.cancelled(1);
                Ok(Some("the broker cancelled the consumer (is the queue still there?)".into()))
            }
            End::Lost(trouble) => {
                generation.kill();
                self.plan.tally.lost(1);
                Ok(Some(trouble))
            }
        }
    }
}
