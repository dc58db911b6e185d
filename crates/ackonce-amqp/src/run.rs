//! The life of a consumer: checks, the first connection, the session beside the runner, the end.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{
    CancellationToken, Counts, Error, ErrorKind, Feed, Graveyard, Handler, OnFailure, RecordOnly, Result,
    Runner,
};
use lapin::Connection;
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::checks::{self, Topology};
use crate::connect::Source;
use crate::dead_letters::DeadLetters;
use crate::delays::{Delayer, Failed, name};
use crate::delivery::{self, AmqpDelivery};
use crate::intake::Intake;
use crate::management::Facts;
use crate::republish::Publisher;
use crate::session::{Plan, Session};
use crate::{AmqpConsumer, Message};

/// How often it is looked whether the runner has stopped by itself.
const LOOK_UP: Duration = Duration::from_millis(100);

/// The names a consumer needs, short enough for AMQP.
struct Names {
    queue: ShortString,
    dead_letters: Option<(ShortString, Option<ShortString>)>,
}

pub(crate) async fn consume<H: Handler<Message>>(
    mut consumer: AmqpConsumer,
    handler: H,
    feed: Feed,
) -> Result<Counts> {
    if consumer.delays.is_some() {
        consumer.settings.on_failure = OnFailure::HandBack;
    }
    let names = consumer.names()?;
    checks::settings(&consumer.settings, &consumer.ids)?;
    consumer.look_at_queue().await?;
    // Well before the broker would close the channel.
    let max_age = consumer.consumer_timeout / 6 * 5;
    consumer.settings.hold = consumer.settings.hold.min(max_age);
    let scope = consumer.scope.name().to_owned();
    checks::run_limit(consumer.settings.run_limit, consumer.consumer_timeout, &scope);
    let settings = consumer.settings.clone();
    let runner = Runner::with(
        consumer.store.clone(),
        &consumer.scope,
        handler,
        settings.clone(),
        consumer.graveyard(&names),
    )?;
    runner.announce();
    let Some(connection) = consumer.first_connection(&names).await? else { return Ok(runner.counts()) };
    let (stop, finish) = (CancellationToken::new(), CancellationToken::new());
    let _stopping = Guard(stop_on(consumer.shutdown.clone(), stop.clone(), runner.clone()));
    let (failed, delaying) = match consumer.delayer(&names) {
        Some(delayer) => {
            let (failed, receiver) = mpsc::unbounded_channel();
            (Some(failed), Some(tokio::spawn(delayer.run(receiver, stop.clone()))))
        }
        None => (None, None),
    };
    let tally = consumer.tally();
    let session = Session {
        plan: consumer.plan(names, feed, max_age),
        connection: Some(connection),
        stop,
        finish: finish.clone(),
        acks: JoinSet::new(),
    };
    let (chunks, input) = mpsc::channel(1);
    let mut session = Guard(tokio::spawn(session.run(chunks)));
    let report = move |ended| {
        delivery::done(ended, |delivery, reason, attempt| {
            failed.as_ref().is_some_and(|failed| {
                let (delivery, reason) = (delivery.clone(), reason.to_owned());
                failed.send(Failed { delivery, reason, attempt }).is_ok()
            })
        });
    };
    let ended = runner.consume(input, feed, report).await;
    runner.stop();
    if let Some(delaying) = delaying {
        // It ends with the last of what failed: `failed` went with the runner.
        let mut delaying = Guard(delaying);
        let _ = (&mut delaying.0).await;
    }
    finish.cancel();
    let broken = || Err(Error::new(ErrorKind::Protocol, "the reconnect loop panicked"));
    let session = (&mut session.0).await.unwrap_or_else(|_| broken());
    tracing::info!(target: "ackonce", scope, counts = ?runner.counts(), amqp = ?tally.counts(), "consumer ended");
    ended.and(session).map(|()| runner.counts())
}

/// Stops both when either has stopped, or is to.
fn stop_on<H: Handler<Message>>(
    shutdown: CancellationToken,
    stop: CancellationToken,
    runner: Runner<AmqpDelivery, H>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        while !runner.is_stopped() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK_UP) => {}
            }
        }
        stop.cancel();
        runner.stop();
    })
}

/// Whoever drops the consumer's future ends its tasks.
struct Guard<T>(JoinHandle<T>);

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AmqpConsumer {
    fn names(&self) -> Result<Names> {
        let short = |what: &str, text: &str| {
            ShortString::try_new(text)
                .map_err(|e| Error::new(ErrorKind::Config, format!("the name of the {what}")).with_source(e))
        };
        let queue = short("queue", &self.queue)?;
        if let Some(delays) = &self.delays {
            delays.check().map_err(|why| Error::new(ErrorKind::Config, why))?;
            for wait in &delays.waits {
                let named = name(&queue, *wait);
                named
                    .map_err(|e| Error::new(ErrorKind::Config, "the name of a delay queue").with_source(e))?;
            }
        }
        let dead_letters = match &self.dead_letters {
            None => None,
            Some((exchange, key)) => {
                let key = key.as_deref().map(|key| short("dead letters' routing key", key)).transpose()?;
                Some((short("dead-letter exchange", exchange)?, key))
            }
        };
        Ok(Names { queue, dead_letters })
    }

    fn graveyard(&self, names: &Names) -> Arc<dyn Graveyard<AmqpDelivery>> {
        match &names.dead_letters {
            None => Arc::new(RecordOnly),
            Some((exchange, key)) => Arc::new(DeadLetters {
                publisher: self.publisher("dead letters"),
                exchange: exchange.clone(),
                routing_key: key.clone(),
                queue: names.queue.clone(),
            }),
        }
    }

    fn delayer(&self, names: &Names) -> Option<Arc<Delayer>> {
        self.delays.clone().map(|delays| {
            Arc::new(Delayer {
                delays,
                publisher: self.publisher("delays"),
                queue: names.queue.clone(),
                backoff: self.settings.backoff,
                tally: self.tally.clone(),
            })
        })
    }

    fn publisher(&self, what: &str) -> Publisher {
        Publisher::new(self.source.clone(), format!("ackonce {} {what}", self.scope.name()))
    }

    fn connection_name(&self) -> String {
        format!("ackonce {}", self.scope.name())
    }

    /// Says what the queue may lose, or what cannot be known of it.
    async fn look_at_queue(&mut self) -> Result<()> {
        let (scope, queue) = (self.scope.name(), self.queue.as_str());
        let Some(address) = &self.management else {
            tracing::info!(target: "ackonce", scope, queue, "not known over AMQP: the queue's type, its delivery limit, \
                its dead-letter exchange, its consumer time-out (AmqpConsumer::with_management asks for them)");
            return Ok(());
        };
        let Source::Url(Ok(uri)) = &self.source else {
            return Err(Error::new(ErrorKind::Config, "with_management needs the user of a URL"));
        };
        match Facts::ask(address, uri, queue).await {
            Ok(facts) => {
                for weakness in facts.weaknesses() {
                    tracing::warn!(target: "ackonce", scope, queue, "weakened: {weakness}");
                }
                // A queue without a limit warns of none.
                self.delivery_limit = facts.delivery_limit().unwrap_or(u32::MAX);
                self.consumer_timeout = facts.consumer_timeout().unwrap_or(self.consumer_timeout);
            }
            Err(why) => {
                tracing::warn!(target: "ackonce", scope, queue, why, "the management API could not be asked");
            }
        }
        Ok(())
    }

    /// Waits for a broker that is away; a broker that refuses is an error. `None` if shut down first.
    async fn first_connection(&self, names: &Names) -> Result<Option<Arc<Connection>>> {
        let dead_letters = names.dead_letters.as_ref().map(|(exchange, key)| (exchange, key.as_ref()));
        let topology = Topology { queue: &names.queue, dead_letters, delays: self.delays.as_ref() };
        let mut failures = 0;
        loop {
            let attempt = async {
                let what = format!("RabbitMQ cannot be used at {:?}", self.source);
                let connection = self
                    .source
                    .connect(&self.connection_name())
                    .await
                    .map_err(|trouble| trouble.error(&what))?;
                topology.check(&connection).await.map(|()| connection)
            };
            let error = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                connected = attempt => match connected {
                    Ok(connection) => return Ok(Some(connection)),
                    Err(error) => error,
                },
            };
            if error.kind() == ErrorKind::Config || self.source.is_lost() {
                return Err(error);
            }
            failures += 1;
            tracing::warn!(target: "ackonce", %error, failures, "RabbitMQ does not answer yet; trying again");
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(self.reconnect.after(failures)) => {}
            }
        }
    }

    fn plan(self, names: Names, feed: Feed, max_age: Duration) -> Plan {
        let several = match feed {
            Feed::Each => self.settings.concurrency.saturating_mul(4),
            Feed::Batches => self.settings.chunk.saturating_mul(2),
        };
        Plan {
            name: self.connection_name(),
            source: self.source,
            queue: names.queue,
            prefetch: self.prefetch.unwrap_or(u16::try_from(several).unwrap_or(u16::MAX)),
            chunk: self.settings.chunk,
            arguments: self.arguments,
            max_age,
            reconnect: self.reconnect,
            tally: self.tally,
            intake: Intake {
                scope: self.scope,
                ids: self.ids,
                on_missing: self.on_missing,
                fingerprints: self.fingerprints,
                order: self.order,
                delivery_limit: self.delivery_limit,
            },
        }
    }
}
