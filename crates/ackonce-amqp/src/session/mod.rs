//! The reconnect loop: connection, channel, prefetch, consumer, again and again.
//!
//! lapin's own recovery is not used: it keeps a channel's name for another channel of the broker's, and a
//! delivery tag must not cross from one to the other.

mod backlog;
mod taking;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ackonce::adapter::{Ordered, Phase};
use ackonce::{Backoff, CancellationToken, Error, ErrorKind, Result};
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, Consumer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::taking::{End, Loss, Taking};
use crate::AmqpHealth;
use crate::channel::{ChannelDelivery, Generation, acknowledge};
use crate::connection::{Source, Trouble};
use crate::intake::QueueIntake;
use crate::log::Outage;

/// The time limit for a channel with a consumer.
const OPEN: Duration = Duration::from_secs(30);
/// The number of connections in a row, lost by messages that cannot be read, that ends the consumer. The first loss may charge the whole
/// prefetch, those after it one message.
const UNREADABLE: u32 = 2;

/// The settings of a session.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    /// Of the connection, as operators see it.
    pub(crate) name: String,
    pub(crate) prefetch: u16,
    pub(crate) chunk: usize,
    pub(crate) arguments: FieldTable,
    pub(crate) max_age: Duration,
    pub(crate) waits: Arc<[Duration]>,
    pub(crate) reconnect: Backoff,
    pub(crate) intake: Arc<QueueIntake>,
    pub(crate) health: AmqpHealth,
}

pub(crate) type Chunks = mpsc::Sender<Vec<Ordered<ChannelDelivery>>>;

/// Why the session has ended, told before its goodbye.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) token: CancellationToken,
    pub(crate) error: OnceLock<Error>,
}

pub(crate) struct Session {
    plan: Plan,
    connection: Option<Arc<Connection>>,
    /// Cancelled when no more deliveries are wanted.
    stop: CancellationToken,
    /// Cancelled when nothing is in work any more.
    finish: CancellationToken,
    acks: JoinSet<()>,
    /// The questions about the queue's length.
    asking: JoinSet<()>,
    outage: Outage,
    channels: u64,
    /// Connections lost in a row by a message that cannot be read.
    unreadable: u32,
    /// Deliveries read one at a time since the last of them.
    read: usize,
    /// True once the queue is known not to be a stream.
    no_stream: bool,
}

impl Session {
    pub(crate) fn new(
        plan: Plan,
        connection: Arc<Connection>,
        stop: CancellationToken,
        finish: CancellationToken,
    ) -> Self {
        Self {
            plan,
            connection: Some(connection),
            stop,
            finish,
            acks: JoinSet::new(),
            asking: JoinSet::new(),
            outage: Outage::default(),
            channels: 0,
            unreadable: 0,
            read: 0,
            no_stream: false,
        }
    }

    /// Consumes until `stop`, then waits for `finish`, tells the broker of all that was settled, and says goodbye.
    ///
    /// # Errors
    /// A trouble that no reconnecting mends. It is told by `ended` as soon as it is known.
    pub(crate) async fn run(mut self, chunks: Chunks, ended: Arc<Ended>) -> Result<()> {
        // Should it panic, messages in hand get the time of a shutdown and no more.
        let _told = ended.token.clone().drop_guard();
        let outcome = self.consume(chunks).await;
        if let Err(error) = &outcome {
            tracing::error!(target: "ackonce", scope = self.plan.intake.scope(), queue = %self.plan.intake.queue, error = %ackonce::chain(error), "the consumer ends");
            self.plan.health.is_now(Phase::Stopping, Some(ackonce::chain(error).to_string()));
            let _ = ended.error.set(error.clone());
        }
        ended.token.cancel();
        self.finish.cancelled().await;
        while self.acks.join_next().await.is_some() {}
        if let Some(connection) = self.connection.take() {
            self.plan.source.close(&connection).await;
        }
        outcome
    }

    async fn consume(&mut self, chunks: Chunks) -> Result<()> {
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
                    let (since, acked) = (Instant::now(), self.plan.health.metrics().counts().acked);
                    let end = self.take_in(&generation, consumer, &chunks).await;
                    self.asking.shutdown().await;
                    self.plan.health.has_backlog(None);
                    // It worked: the next trouble is a new one.
                    let acked = self.plan.health.metrics().counts().acked > acked;
                    if acked || since.elapsed() > self.plan.reconnect.max {
                        failures = 0;
                    }
                    match self.ended(&generation, end)? {
                        After::Stop => return Ok(()),
                        After::AtOnce => continue,
                        After::Trouble(trouble) => trouble,
                    }
                }
                Err(trouble) => {
                    self.plan.health.metrics().refused(usize::from(trouble.hopeless()));
                    trouble.to_string()
                }
            };
            if self.plan.source.is_lost() {
                let why = "the connection was lost, and it is not this consumer's to replace";
                return Err(Error::new(ErrorKind::Unavailable, format!("{why}: {trouble}")));
            }
            failures += 1;
            self.away(trouble, self.plan.reconnect.after(failures)).await;
        }
        Ok(())
    }

    /// Says so, at times, and waits.
    async fn away(&self, trouble: String, wait: Duration) {
        let (scope, queue) = (self.plan.intake.scope(), self.plan.intake.queue.as_str());
        match self.outage.failed() {
            Some(failures) => {
                tracing::warn!(target: "ackonce", scope, queue, trouble, failures, wait_ms = wait.as_millis(),
                    "not consuming; trying again, with a back-off")
            }
            None => tracing::debug!(target: "ackonce", scope, queue, trouble, "not consuming"),
        }
        self.plan.health.is_now(Phase::Away, Some(trouble));
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// A channel with a consumer, on the present connection if that stands.
    async fn open(&mut self) -> std::result::Result<(Arc<Generation>, Consumer), Trouble> {
        self.plan.health.turned();
        let connection = match self.connection.take().filter(|c| c.status().connected()) {
            Some(connection) => connection,
            None => self.plan.source.connect(&self.plan.name, self.plan.intake.scope()).await?,
        };
        self.plan.health.turned();
        let plan = &self.plan;
        // One at a time after a message that could not be read: the next loss charges that message alone.
        let prefetch = if self.unreadable > 0 { 1 } else { plan.prefetch };
        let opening = async {
            let channel = connection.create_channel().await?;
            // Before there is a consumer: lapin keeps all that comes, however much that is.
            channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
            let (queue, tag) = (plan.intake.queue.clone(), ShortString::default());
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(queue, tag, options, plan.arguments.clone()).await?;
            Ok((channel, consumer))
        };
        // A connection that does not answer is not kept.
        let opened = tokio::time::timeout(OPEN, opening).await.map_err(|_| Trouble::Slow(OPEN))?;
        self.connection = Some(connection);
        let (channel, consumer) = opened.map_err(Trouble::Amqp)?;
        let (queue, health) = (plan.intake.queue.clone(), &plan.health);
        let generation = Arc::new(Generation::new(
            channel,
            queue,
            health.metrics().clone(),
            health.progress().clone(),
            plan.max_age,
            plan.waits.clone(),
            prefetch,
        ));
        self.opened(&generation, prefetch);
        Ok((generation, consumer))
    }

    fn opened(&mut self, generation: &Arc<Generation>, prefetch: u16) {
        let (queue, metrics) = (self.plan.intake.queue.as_str(), self.plan.health.metrics());
        let scope = metrics.scope();
        metrics.channels(1);
        metrics.reconnects(usize::from(self.channels > 0));
        match (self.channels, self.outage.over()) {
            // At the level of the line that it ends, so that all who saw that see this.
            (_, Some(away)) => {
                tracing::warn!(target: "ackonce", scope, queue, prefetch, away_ms = away.as_millis(), "consuming again")
            }
            (0, None) => tracing::info!(target: "ackonce", scope, queue, prefetch, "consuming"),
            (_, None) => tracing::debug!(target: "ackonce", scope, queue, prefetch, "consuming again"),
        }
        self.channels += 1;
        self.plan.health.consumes_on(generation);
        self.acks.spawn(acknowledge(generation.clone(), self.finish.clone()));
        if let Some(connection) = self.connection.clone() {
            let (queue, health) = (self.plan.intake.queue.clone(), self.plan.health.clone());
            self.asking.spawn(backlog::ask(connection, queue, health));
        }
    }

    async fn take_in(&mut self, generation: &Arc<Generation>, consumer: Consumer, chunks: &Chunks) -> End {
        let taking = Taking {
            generation,
            connection: self.connection.as_ref(),
            intake: &self.plan.intake,
            health: &self.plan.health,
            stop: &self.stop,
            chunk: self.plan.chunk,
            // So many can be read: the one that could not is gone, or somebody else's.
            enough: (self.unreadable > 0)
                .then(|| usize::from(self.plan.prefetch).saturating_sub(self.read).max(1)),
            no_stream: &mut self.no_stream,
        };
        taking.run(consumer, chunks).await
    }

    /// The next step after a channel's end.
    fn ended(&mut self, generation: &Generation, end: End) -> Result<After> {
        let metrics = self.plan.health.metrics();
        match end {
            End::Stopped => Ok(After::Stop),
            End::Fatal(error) => {
                // Messages taken in before may finish.
                generation.no_more();
                Err(error)
            }
            End::Enough => {
                generation.no_more();
                self.unreadable = 0;
                Ok(After::AtOnce)
            }
            End::Held(taken) => {
                // They stay on their channel, and the next message comes on another one: alone, too.
                generation.no_more();
                self.read += taken;
                Ok(After::AtOnce)
            }
            End::Cancelled => {
                // The channel stands: messages in hand may finish there. If its queue is gone it is in no other.
                generation.no_more();
                metrics.cancelled(1);
                Ok(After::Trouble("the broker cancelled the consumer (is the queue still there?)".into()))
            }
            End::Lost(loss) => {
                generation.kill();
                metrics.lost(1);
                if self.connection.as_ref().is_none_or(|connection| !connection.status().connected()) {
                    self.plan.source.lost();
                }
                match loss {
                    Loss::Other(trouble) => Ok(After::Trouble(trouble)),
                    Loss::Unreadable(trouble) => self.unreadable(&trouble),
                }
            }
        }
    }

    /// A message that this client cannot read took the connection with it, and will again.
    fn unreadable(&mut self, trouble: &str) -> Result<After> {
        self.plan.health.metrics().unreadable(1);
        (self.unreadable, self.read) = (self.unreadable + 1, 0);
        let (scope, queue) = (self.plan.intake.scope(), self.plan.intake.queue.as_str());
        let what = "a message in the queue cannot be read by this client (a property or a routing key that is not \
                    UTF-8, or headers longer than a frame), and each delivery of it costs the connection";
        if self.unreadable < UNREADABLE {
            tracing::error!(target: "ackonce", scope, queue, trouble, "{what}; going on with a prefetch of 1, so that it alone \
                is charged with that");
            return Ok(After::AtOnce);
        }
        let todo = "Move it away by hand before the consumer starts again, since each start charges the messages \
                    prefetched beside it once: it is the head of a classic queue, and on a quorum queue the one with \
                    the highest x-delivery-count (management API: POST /api/queues/VHOST/QUEUE/get with ackmode \
                    ack_requeue_false)";
        Err(Error::new(ErrorKind::Protocol, format!("queue {queue:?}: {what} ({trouble}). {todo}")))
    }
}

/// The next step of the loop.
enum After {
    Stop,
    AtOnce,
    Trouble(String),
}
