//! The life of a consumer: checks, the first connection, the session beside the runner, the end.

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Graveyard, Intake, Mode, NoDeadLetters, Phase, RecordOnly, until_stop};
use ackonce::{CancellationToken, Counts, Error, ErrorKind, Handler, OnFailure, Result, Runner};
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::start::Names;
use super::{AmqpConsumer, checks};
use crate::channel::{self, ChannelDelivery, HandedBack};
use crate::delayer::Delayer;
use crate::health::watch;
use crate::intake::QueueIntake;
use crate::letters::DeadLetters;
use crate::log::Seldom;
use crate::publisher::{Publisher, Upstream};
use crate::session::{Chunks, Ended, Plan, Session};
use crate::{AmqpHealth, AmqpMessage, OnMissing};

/// The interval at which a runner that has stopped by itself is noticed.
const LOOK_UP: Duration = Duration::from_millis(100);
/// The time after [`ackonce::Settings::shutdown_timeout`] at which the runner is left behind, with handlers that it cannot cancel.
const LEFT_BEHIND: Duration = Duration::from_secs(1);
/// The time limit for all goodbyes together. With [`LEFT_BEHIND`] it is 5 s.
const GOODBYE: Duration = Duration::from_secs(4);

/// The part of it that the delay queues may take.
const DELAYING: Duration = Duration::from_millis(1500);

/// Says that the consumer has ended, in whichever way that happens.
struct Ending(AmqpHealth, String);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.is_now(Phase::Ended, None);
        watch::Gauges::of(&self.1).set(&self.0.report());
    }
}

pub(crate) async fn consume<H: Handler<AmqpMessage>>(
    consumer: AmqpConsumer,
    handler: H,
    feed: Mode,
) -> Result<Counts> {
    let health = consumer.health();
    let _ending = Ending(health.clone(), consumer.scope.name().to_owned());
    let ended = run(consumer, handler, feed).await;
    if let Err(error) = &ended {
        health.is_now(Phase::Failed, Some(ackonce::chain(error).to_string()));
    }
    ended
}

async fn run<H: Handler<AmqpMessage>>(mut consumer: AmqpConsumer, handler: H, feed: Mode) -> Result<Counts> {
    let health = consumer.health();
    checks::settings(&consumer)?;
    let names = consumer.names()?;
    health.is_now(Phase::Starting, None);
    health.backs_off(consumer.settings.backoff.max);
    let Some(connection) = consumer.first_connection(&names).await? else { return Ok(Counts::default()) };
    consumer.look_at_queue(&names).await?;
    // The consumer time-out may be known only now.
    checks::handed_back(&consumer)?;
    let max_age = consumer.max_age();
    consumer.settings.busy_timeout = consumer.settings.busy_timeout.min(max_age);
    if consumer.delays.is_some() {
        consumer.settings.on_failure = OnFailure::HandBack;
    }
    let scope = consumer.scope.name().to_owned();
    checks::outage(&consumer);
    checks::run_limit(consumer.settings.handler_timeout, consumer.consumer_timeout, &scope);
    let upstream = Arc::new(Upstream::new(consumer.source.clone(), scope.clone()));
    health.publishes_on(&upstream);
    let (settings, store) = (consumer.settings.clone(), consumer.store.clone());
    let graveyard = consumer.graveyard(&names, &upstream);
    let runner = Runner::with(store, &consumer.scope, handler, settings.clone(), graveyard)?;
    runner.announce();

    let (stop, finish, ended) =
        (CancellationToken::new(), CancellationToken::new(), Arc::new(Ended::default()));
    let stopping = Stopping { stop: stop.clone(), runner: runner.clone(), health: health.clone() };
    let _stopping = spawn(stopping.on(consumer.shutdown.clone(), ended.clone(), settings.shutdown_timeout));
    let _watching = spawn(watch::watch(health.clone(), scope.clone()));
    let (chunks, input) = mpsc::channel(1);
    let (delays, metrics, backoff) = (consumer.delays.clone(), consumer.metrics(), settings.backoff);
    let plan = consumer.plan(&names, feed, max_age);
    let (handed_back, mut delaying) = match delays {
        Some(delays) => {
            let (sender, receiver) = mpsc::unbounded_channel::<HandedBack>();
            let (intake, again) = (plan.intake.clone(), Chunks::downgrade(&chunks));
            let delayer = Delayer::new(delays, upstream.clone(), backoff.max, intake, again, metrics.clone());
            (Some(sender), Some(spawn(Arc::new(delayer).run(receiver, stop.clone()))))
        }
        None => (None, None),
    };
    let session = Session::new(plan, connection, stop.clone(), finish.clone());
    let mut session = spawn(session.run(chunks, ended.clone()));
    let report = move |over| {
        channel::done(over, |one| handed_back.as_ref().is_some_and(|delays| delays.send(one).is_ok()));
    };
    let ran = tokio::select! {
        ran = runner.consume(input, feed, report) => ran,
        () = left_behind(&stop, settings.shutdown_timeout) => {
            tracing::warn!(target: "ackonce", scope, queue = %names.queue, "handlers did not end when they were cancelled; they are left behind");
            Ok(())
        }
    };
    runner.stop();
    stop.cancel();
    let goodbye = async {
        if let Some(delaying) = &mut delaying {
            // It ends with the copies under way. A broker that takes none for now may still take acks.
            let _ = tokio::time::timeout(DELAYING, delaying).await;
        }
        finish.cancel();
        let session = (&mut session).await;
        upstream.close().await;
        session
    };
    let session = match tokio::time::timeout(GOODBYE, goodbye).await {
        Ok(Ok(session)) => session,
        Ok(Err(_)) => Err(Error::new(ErrorKind::Protocol, "the reconnect loop panicked")),
        Err(_) => {
            tracing::warn!(target: "ackonce", scope, queue = %names.queue, "the broker did not answer the goodbye in time; what was not \
                acknowledged comes again, and its record is found");
            ended.error.get().map_or(Ok(()), |error| Err(error.clone()))
        }
    };
    tracing::info!(target: "ackonce", scope, queue = %names.queue, counts = ?runner.counts(), amqp = ?metrics.counts(), "consumer ended");
    ran.and(session).map(|()| runner.counts())
}

/// Spawns a task that ends with its owner.
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Returns when the runner should have ended for long.
async fn left_behind(stop: &CancellationToken, drain: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(drain.saturating_add(LEFT_BEHIND)).await;
}

/// Stops both the session and the runner when either has stopped, or is to.
struct Stopping<H> {
    stop: CancellationToken,
    runner: Runner<ChannelDelivery, H>,
    health: AmqpHealth,
}

impl<H: Handler<AmqpMessage>> Stopping<H> {
    async fn on(self, shutdown: CancellationToken, ended: Arc<Ended>, drain: Duration) {
        // Only an error stops the runner by itself. The session may follow a tenth of a second later.
        let running = async {
            while !self.runner.is_stopped() {
                tokio::time::sleep(LOOK_UP).await;
            }
        };
        // Messages taken in before may finish; those that would wait go back. An event for each change of a message would
        // cost every message something, and this runs at the end alone.
        let working = async {
            while self.health.is_working() {
                tokio::time::sleep(LOOK_UP).await;
            }
        };
        let in_hand = async { drop(tokio::time::timeout(drain, working).await) };
        tokio::select! {
            () = until_stop(&shutdown, &ended.token, in_hand) => {}
            () = self.stop.cancelled() => {}
            () = running => {}
        }
        self.health.is_now(Phase::Stopping, None);
        self.stop.cancel();
        self.runner.stop();
    }
}

impl AmqpConsumer {
    fn graveyard(&self, names: &Names, upstream: &Arc<Upstream>) -> Arc<dyn Graveyard<ChannelDelivery>> {
        match &names.dead_letters {
            None if self.record_only => Arc::new(RecordOnly),
            None => Arc::new(NoDeadLetters),
            Some((exchange, key)) => Arc::new(DeadLetters {
                publisher: Publisher::start(upstream.clone()),
                exchange: exchange.clone(),
                routing_key: key.clone(),
                queue: names.queue.clone(),
                metrics: self.metrics(),
                reduced: Seldom::default(),
            }),
        }
    }

    /// The longest wait of a delivery: it ends well before the broker would close the channel.
    pub(crate) fn max_age(&self) -> Duration {
        self.consumer_timeout / 6 * 5
    }

    pub(crate) fn connection_name(&self) -> String {
        format!("ackonce {}", self.scope.name())
    }

    /// Without a dead-letter place a message without an ID is not buried: its payload would exist nowhere else.
    pub(crate) fn on_missing(&self) -> OnMissing {
        let default = if self.dead_letters.is_some() { OnMissing::Bury } else { OnMissing::Stop };
        self.on_missing.unwrap_or(default)
    }

    fn plan(self, names: &Names, feed: Mode, max_age: Duration) -> Plan {
        let several = match feed {
            Mode::Each => self.settings.concurrency.saturating_mul(4),
            Mode::Batches => self.settings.chunk.saturating_mul(2),
        };
        let queue: ShortString = names.queue.clone();
        Plan {
            name: self.connection_name(),
            prefetch: self.prefetch.unwrap_or(u16::try_from(several).unwrap_or(u16::MAX)),
            chunk: self.settings.chunk,
            max_age,
            waits: self.delays.iter().flat_map(|delays| delays.waits.iter().copied()).collect(),
            reconnect: self.reconnect,
            health: self.health(),
            intake: Arc::new(QueueIntake {
                queue,
                rules: Intake {
                    on_missing: self.on_missing(),
                    scope: self.scope,
                    ids: self.ids,
                    fingerprints: self.fingerprints,
                    order: self.order,
                },
                delivery_limit: self.delivery_limit,
                near_limit: Seldom::default(),
                came_back: Seldom::default(),
                dead_letters: names.dead_letters.clone(),
            }),
            source: self.source,
            arguments: self.arguments,
        }
    }
}
