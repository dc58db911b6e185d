//! From a consumer as it was built to its first connection: names, the broker's answers, the management API's.

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::Phase;
use ackonce::{Error, ErrorKind, OnStart, Result};
use lapin::Connection;
use lapin::types::ShortString;

use super::{AmqpConsumer, checks};
use crate::connection::Source;
use crate::delays::name;
use crate::log::Outage;
use crate::management::{Api, QueueFacts};
use crate::topology::{self, Topology};

/// The names a consumer needs, short enough for AMQP.
pub(crate) struct Names {
    pub(crate) queue: ShortString,
    /// The exchange, and the routing key if it is not each message's own.
    pub(crate) dead_letters: Option<(ShortString, Option<ShortString>)>,
}

impl AmqpConsumer {
    /// Looks at the settings and names, as a run does at its start. Nothing is connected.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config), naming the setting that cannot be honoured.
    pub fn check(&self) -> Result<()> {
        checks::settings(self)?;
        self.names().map(drop)
    }

    pub(crate) fn names(&self) -> Result<Names> {
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

    /// Waits for a broker that is away, and ends with an error as [`Settings::on_start`](ackonce::Settings::on_start)
    /// says. `None` if shut down first.
    pub(crate) async fn first_connection(&self, names: &Names) -> Result<Option<Arc<Connection>>> {
        let (outage, mut failures) = (Outage::default(), 0);
        loop {
            let error = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                connected = self.try_connect(names) => match connected {
                    Ok(connection) => {
                        if let Some(away) = outage.over() {
                            tracing::warn!(target: "ackonce", scope = self.scope.name(), queue = self.queue, away_ms = away.as_millis(),
                                "RabbitMQ can be used now");
                        }
                        return Ok(Some(connection));
                    }
                    Err(error) => error,
                },
            };
            let refused = error.kind() == ErrorKind::Config;
            self.metrics().refused(usize::from(refused));
            let ends = match self.settings.on_start {
                OnStart::Wait => false,
                OnStart::EndIfRefused => refused,
                OnStart::End => true,
            };
            if ends || self.source.is_lost() {
                return Err(error);
            }
            failures += 1;
            if let Some(failures) = outage.failed() {
                tracing::warn!(target: "ackonce", scope = self.scope.name(), queue = self.queue, error = %ackonce::chain(&error), failures,
                    "RabbitMQ cannot be used yet; trying again, with a back-off (Settings::on_start)");
            }
            self.health.is_now(Phase::Starting, Some(ackonce::chain(&error).to_string()));
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(self.reconnect.after(failures)) => {}
            }
        }
    }

    async fn try_connect(&self, names: &Names) -> Result<Arc<Connection>> {
        let dead_letters = names.dead_letters.as_ref().map(|(exchange, key)| (exchange, key.as_ref()));
        let topology = Topology { queue: &names.queue, dead_letters, delays: self.delays.as_ref() };
        let what = format!("RabbitMQ cannot be used at {:?}", self.source);
        let connected = self.source.connect(&self.connection_name(), self.scope.name()).await;
        let connection = connected.map_err(|trouble| trouble.error(&what))?;
        self.health.turned();
        topology.check(&connection).await.map(|()| connection)
    }

    /// Names in the log everything that lets the queue lose messages, or that cannot be known of it.
    pub(crate) async fn look_at_queue(&mut self, names: &Names) -> Result<()> {
        let (scope, queue) = (self.scope.name(), self.queue.as_str());
        let Some(address) = &self.management else {
            tracing::info!(target: "ackonce", scope, queue, "not known over AMQP: the queue's type, its delivery limit, \
                its dead-letter exchange, its consumer time-out (AmqpConsumer::with_management asks for them)");
            return Ok(());
        };
        let Source::Urls(Ok(hosts)) = &self.source else {
            let why = "AmqpConsumer::with_management needs the user of a URL (AmqpConsumer::new)";
            return Err(Error::new(ErrorKind::Config, why));
        };
        let api = Api { address, uri: hosts.current() };
        let asked = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(()),
            asked = QueueFacts::ask(&api, queue) => asked,
        };
        let facts = match asked {
            Ok(facts) => facts,
            Err(why) => {
                tracing::warn!(target: "ackonce", scope, queue, why, "the management API could not be asked");
                return Ok(());
            }
        };
        if facts.is_stream() {
            return Err(topology::stream(&names.queue));
        }
        if let Some((exchange, key)) = &names.dead_letters
            && !exchange.as_str().is_empty()
        {
            match api.leads_to(exchange, key.as_ref(), queue).await {
                Ok(false) => {}
                Ok(true) => return Err(topology::circle(exchange, &names.queue)),
                Err(why) => {
                    tracing::warn!(target: "ackonce", scope, queue, why, "the dead-letter exchange's bindings are not known");
                }
            }
        }
        for weakness in facts.weaknesses() {
            tracing::warn!(target: "ackonce", scope, queue, "weakened: {weakness}");
        }
        // A queue without a limit warns of none.
        self.delivery_limit = facts.delivery_limit().unwrap_or(u32::MAX);
        // Zero switches it off.
        let timeout = |told: Duration| if told.is_zero() { Duration::MAX } else { told };
        self.consumer_timeout = facts.consumer_timeout().map_or(self.consumer_timeout, timeout);
        Ok(())
    }
}
