//! The life of a consumer: checks, the poll thread beside the runner, the end.

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Mode, Ordered, Phase, until_stop};
use ackonce::{CancellationToken, Counts, Error, ErrorKind, Handler, OnMissing, OnStart, Result, Runner};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::prepared::Prepared;
use super::{KafkaConsumer, retention, start};
use crate::driver::{Group, client_error, connection};
use crate::partition::{self, PartitionDelivery};
use crate::poll::{Control, Membership, PollSettings, Poller};
use crate::recreated::Recreated;
use crate::{KafkaHealth, KafkaMessage, delays};

/// The time limit for the poll thread to leave the group: its own steps end sooner.
const LEAVE: Duration = Duration::from_secs(5);
/// The time limit at the end for messages on their way to a retry topic.
const MOVE: Duration = Duration::from_secs(1);

pub(crate) async fn consume<H: Handler<KafkaMessage>>(
    mut consumer: KafkaConsumer,
    handler: H,
    feed: Mode,
) -> Result<Counts> {
    let health = consumer.health.clone();
    health.phase(Phase::Starting);
    let prepared = Prepared::of(&mut consumer, feed)?;
    let runner = Runner::with(
        consumer.store.clone(),
        &consumer.scope,
        handler,
        consumer.settings.clone(),
        prepared.graveyard.clone(),
    )?;
    announce(&consumer, &prepared, &runner);
    let needs = prepared.needs(&consumer);
    if !start::wait(
        &prepared.config,
        needs,
        consumer.settings.on_start,
        &consumer.shutdown,
        health.shared_scope(),
    )
    .await?
    {
        health.phase(Phase::Ended);
        return Ok(runner.counts());
    }
    let ended = run(consumer, prepared, &runner, feed).await;
    match &ended {
        Ok(_) => health.phase(Phase::Ended),
        Err(error) => health.failed(error),
    }
    ended
}

async fn run<H: Handler<KafkaMessage>>(
    consumer: KafkaConsumer,
    prepared: Prepared,
    runner: &Runner<PartitionDelivery, H>,
    feed: Mode,
) -> Result<Counts> {
    let (control, health) = (Arc::new(Control::default()), consumer.health.clone());
    let _leaving = Leave(control.clone());
    retention::check(
        &connection(&prepared.config),
        &consumer.topics,
        consumer.settings.window,
        health.shared_scope(),
    );
    let (chunks, input) = mpsc::channel(1);
    let stopping = runner.clone();
    let stopped = Box::new(move || stopping.is_stopped());
    let polled = start_polling(&consumer, &prepared, control.clone(), stopped, chunks)?;
    health.phase(Phase::Consuming);
    let _stopping = AbortOnDropHandle::new(tokio::spawn(stop_on(
        consumer.shutdown.clone(),
        control.clone(),
        runner.clone(),
        health.clone(),
        consumer.settings.shutdown_timeout,
    )));
    let giving_up = CancellationToken::new();
    let (failed, mut moving) = match prepared.retrier(&consumer) {
        Some(retrier) => {
            let (failed, receiver) = mpsc::unbounded_channel();
            (
                Some(failed),
                Some(AbortOnDropHandle::new(tokio::spawn(retrier.run(receiver, giving_up.clone())))),
            )
        }
        None => (None, None),
    };
    let report = move |ended| {
        partition::done(ended, |one| failed.as_ref().is_some_and(|failed| failed.send(one).is_ok()));
    };
    let ended = runner.consume(input, feed, report).await;
    runner.stop();
    control.stop();
    if let Some(moving) = &mut moving {
        giving_up.cancel();
        // A message that is not confirmed by then is redelivered from its own partition.
        let _ = tokio::time::timeout(MOVE, moving).await;
    }
    control.finish();
    let polled = tokio::time::timeout(LEAVE, polled).await;
    let report = health.report();
    tracing::info!(target: "ackonce", scope = health.scope(), counts = ?runner.counts(), commits = report.commits,
        commits_failed = report.commits_failed, rebalances = report.rebalances, "consumer ended");
    match polled {
        Ok(Ok(polled)) => ended.and(polled).map(|()| runner.counts()),
        Ok(Err(_)) => Err(Error::new(ErrorKind::Protocol, "the poll thread panicked")),
        Err(_) => {
            tracing::warn!(target: "ackonce", scope = health.scope(), "the poll thread did not end in time; it is left to end by itself");
            ended.map(|()| runner.counts())
        }
    }
}

fn announce<H: Handler<KafkaMessage>>(
    consumer: &KafkaConsumer,
    prepared: &Prepared,
    runner: &Runner<PartitionDelivery, H>,
) {
    runner.announce();
    let scope = consumer.scope.name();
    let buried = consumer.dead_letters.is_some() || consumer.record_only;
    delays::announce(&prepared.ladder, &consumer.scope, &consumer.settings, buried);
    if consumer.ids.has_coordinates() {
        tracing::warn!(target: "ackonce", scope, "weakened: topic, partition and offset as an identity recognise \
            redeliveries only; a message published twice runs twice");
    }
    if consumer.dead_letters.is_none() && prepared.intake.on_missing == OnMissing::Bury {
        tracing::warn!(target: "ackonce", scope, "weakened: OnMissing::Bury without a dead-letter topic keeps the \
            record of a message without an ID, and not its payload (KafkaConsumer::with_dead_letters)");
    }
}

/// Starts the thread that talks to Kafka. Its answer comes once it has left the group.
fn start_polling(
    consumer: &KafkaConsumer,
    prepared: &Prepared,
    control: Arc<Control>,
    stopped: Box<dyn Fn() -> bool + Send>,
    chunks: mpsc::Sender<Vec<Ordered<PartitionDelivery>>>,
) -> Result<oneshot::Receiver<Result<()>>> {
    let group = Group::new(&consumer.config, consumer.health.shared_scope().clone());
    let mut client: BaseConsumer<Group> = prepared.config.create_with_context(group).map_err(client_error)?;
    let wake = control.wake.clone();
    client.set_nonempty_callback(move || wake.wake());
    let topics: Vec<_> = prepared.subscription.iter().map(String::as_str).collect();
    client.subscribe(&topics).map_err(|e| {
        let text = format!("KafkaConsumer::new: the topics {topics:?} cannot be subscribed to");
        Error::new(ErrorKind::Config, text).with_source(e)
    })?;
    let settings = PollSettings {
        group: prepared.config.get("group.id").unwrap_or_default().into(),
        intake: prepared.intake.clone(),
        limits: prepared.limits,
        chunk: consumer.settings.chunk,
        commit_interval: consumer.commit_interval,
        rebalance_timeout: consumer.rebalance_timeout,
        backoff: consumer.settings.backoff,
        retry_topics: prepared.ladder.clone(),
        ends_if_refused: consumer.settings.on_start != OnStart::Wait,
        membership: Membership::of(&prepared.config),
    };
    let recreated = Recreated::new(
        consumer.signs,
        &prepared.config,
        control.wake.clone(),
        consumer.health.shared_scope(),
    );
    let (client, health) = (Arc::new(client), consumer.health.clone());
    let poller = Poller::new(client, settings, control, stopped, chunks, health, recreated);
    let (done, polled) = oneshot::channel();
    // Should the thread panic, messages in hand get the time of a shutdown and no more.
    let closed = poller.control.closed.clone().drop_guard();
    let run = move || {
        let _closed = closed;
        drop(done.send(poller.run()));
    };
    std::thread::Builder::new()
        .name("ackonce-kafka".into())
        .spawn(run)
        .map_err(|e| Error::new(ErrorKind::Unavailable, "the poll thread did not start").with_source(e))?;
    Ok(polled)
}

/// Stops the runner at a shutdown at once. An intake that has ended by itself lets it finish the messages it has, for as long
/// as a shutdown would.
async fn stop_on<H: Handler<KafkaMessage>>(
    shutdown: CancellationToken,
    control: Arc<Control>,
    runner: Runner<PartitionDelivery, H>,
    health: KafkaHealth,
    drain: Duration,
) {
    let in_hand = async {
        tokio::time::sleep(drain).await;
        runner.abort();
    };
    until_stop(&shutdown, &control.closed, in_hand).await;
    health.phase(Phase::Stopping);
    runner.stop();
    control.stop();
}

/// Leaves the group when the consumer's future is dropped: the poll thread does it by itself, without the runtime.
struct Leave(Arc<Control>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.finish();
    }
}
