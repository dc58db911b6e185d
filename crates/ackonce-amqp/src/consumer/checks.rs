//! Settings that are refused, or warned of, before anything is connected.

use std::time::Duration;

use ackonce::{Error, ErrorKind, OnFailure, OnMismatch, OnMissing, Order, Result};
use lapin::types::ShortString;

use super::AmqpConsumer;
use crate::delays::name;

/// A shorter consumer time-out would leave a delivery no time at all.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

impl AmqpConsumer {
    /// True if it is the name of one of its delay queues.
    fn is_delay_queue(&self, queue: &str) -> bool {
        let Ok(consumed) = ShortString::try_new(self.queue.as_str()) else { return false };
        let waits = self.delays.iter().flat_map(|delays| &delays.waits);
        waits.filter_map(|wait| name(&consumed, *wait).ok()).any(|delay| delay.as_str() == queue)
    }
}

/// Refuses settings that cannot work with a broker.
///
/// # Errors
/// [`ErrorKind::Config`], naming the setting.
pub(crate) fn settings(consumer: &AmqpConsumer) -> Result<()> {
    consumer.settings.check()?;
    consumer.source.check()?;
    let refuse = |text: &str| Err(Error::new(ErrorKind::Config, text));
    consumer.ids.check()?;
    if consumer.ids.has_coordinates() {
        return refuse(
            "IdSource::Coordinates: a queue has none; a delivery tag counts deliveries, not messages",
        );
    }
    if let Err(error) = consumer.reconnect.check() {
        return Err(Error::new(ErrorKind::Config, "AmqpConsumer::with_reconnect").with_source(error));
    }
    if consumer.consumer_timeout < LEAST_TIMEOUT {
        return refuse(
            "AmqpConsumer::with_consumer_timeout is under a second: every delivery would be given back at once, which counts \
             against the delivery limit of a quorum queue; RabbitMQ itself looks once a minute",
        );
    }
    if consumer.settings.on_mismatch == OnMismatch::HandBack {
        return refuse("OnMismatch::HandBack: the broker would deliver the message again, for ever");
    }
    if consumer.delays.is_some() && consumer.order != Order::Unordered {
        return refuse(
            "AmqpConsumer::with_order with AmqpConsumer::with_delays: a delayed message comes back behind those that \
             were published since, so no order can be kept; leave one of the two out",
        );
    }
    match &consumer.dead_letters {
        Some((exchange, None)) if exchange.is_empty() => {
            return refuse(
                "AmqpConsumer::with_dead_letters: the default exchange takes no dead letters without a routing key, they \
                 would come back; name a queue with AmqpConsumer::with_dead_letters_to(\"\", \"QUEUE\")",
            );
        }
        Some((exchange, Some(key))) if exchange.is_empty() && *key == consumer.queue => {
            return refuse(
                "AmqpConsumer::with_dead_letters_to: the dead letters would go to the queue that is consumed, and come \
                 back from there; name another queue",
            );
        }
        Some((exchange, Some(key))) if exchange.is_empty() && consumer.is_delay_queue(key) => {
            return refuse(
                "AmqpConsumer::with_dead_letters_to: the dead letters would go to a delay queue of AmqpConsumer::with_delays, and \
                 come back from there; name another queue",
            );
        }
        _ => {}
    }
    if consumer.dead_letters.is_none() && consumer.on_missing == Some(OnMissing::Bury) {
        tracing::warn!(target: "ackonce", scope = consumer.scope.name(), queue = consumer.queue,
            "OnMissing::Bury without AmqpConsumer::with_dead_letters: the payload of a message without an ID is given up");
    }
    handed_back(consumer)
}

/// A message that is handed back is delivered again at once, and a quorum queue with a delivery limit soon drops it.
///
/// # Errors
/// [`ErrorKind::Config`] for a setting that hands messages back where there are no delay queues.
pub(crate) fn handed_back(consumer: &AmqpConsumer) -> Result<()> {
    if consumer.delays.is_some() {
        return Ok(());
    }
    let (settings, max_age) = (&consumer.settings, consumer.max_age());
    let refuse = |setting: &str, keep: &str| {
        let text = format!(
            "{setting}: a message that is handed back to RabbitMQ is delivered again at once, and each time counts \
             against the delivery limit of a quorum queue, which then drops it; give AmqpConsumer::with_delays, so that \
             it waits in a queue instead, or {keep}"
        );
        Err(Error::new(ErrorKind::Config, text))
    };
    let longer = format!(
        "leave it at its default; {} s or more, 5/6 of AmqpConsumer::with_consumer_timeout, is the same",
        max_age.as_secs()
    );
    if settings.on_failure == OnFailure::HandBack {
        return refuse("Settings::on_failure is OnFailure::HandBack", "use OnFailure::Retry");
    }
    if settings.busy_timeout < max_age {
        return refuse(&format!("Settings::busy_timeout is {:?}", settings.busy_timeout), &longer);
    }
    if settings.store_timeout < max_age {
        return refuse(&format!("Settings::store_timeout is {:?}", settings.store_timeout), &longer);
    }
    Ok(())
}

/// Warns of delay queues that use up the attempts sooner than the back-off that they replace.
pub(crate) fn outage(consumer: &AmqpConsumer) {
    let (Some(delays), settings) = (&consumer.delays, &consumer.settings) else { return };
    let lasts = settings.rides_out_with(&delays.waits);
    if lasts < settings.rides_out() && (consumer.dead_letters.is_some() || consumer.record_only) {
        tracing::warn!(target: "ackonce", scope = consumer.scope.name(), queue = consumer.queue, attempts = settings.attempts,
            lasts_s = lasts.as_secs(), "weakened: the waits of AmqpConsumer::with_delays use up Settings::attempts in this time, \
            sooner than the back-off; an outage of what the handler calls that lasts longer buries good messages (a longer last \
            wait, or Failure::infrastructure)");
    }
}

/// Warns of handlers that may run until the broker has lost patience.
pub(crate) fn run_limit(run_limit: Duration, consumer_timeout: Duration, scope: &str) {
    if run_limit >= consumer_timeout {
        tracing::warn!(target: "ackonce", scope, run_limit_s = run_limit.as_secs(), consumer_timeout_s = consumer_timeout.as_secs(),
            "Settings::handler_timeout is not below the broker's consumer_timeout: a handler that runs so long loses its \
            channel, and all that was prefetched is delivered again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ackonce::{Backoff, IdSource, MemoryStore, MessageIds, Scope};

    use super::*;
    use crate::Delays;

    fn consumer() -> AmqpConsumer {
        let scope = Scope::new("s").unwrap();
        AmqpConsumer::new("amqp://localhost", "orders", &scope, Arc::new(MemoryStore::new()))
    }

    fn refused(consumer: &AmqpConsumer, name: &str) {
        let error = settings(consumer).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(name), "{error}");
    }

    #[test]
    fn settings_that_cannot_be_honoured_are_refused_by_name() {
        settings(&consumer()).unwrap();
        let at_once = Backoff { min: Duration::ZERO, max: Duration::ZERO };
        refused(&consumer().with_reconnect(at_once), "with_reconnect");
        refused(&consumer().with_consumer_timeout(Duration::ZERO), "with_consumer_timeout");
        let ids = |source| consumer().with_ids(MessageIds::first_of([source]));
        let place = IdSource::Joined(vec![IdSource::Key, IdSource::Coordinates]);
        refused(&ids(place), "IdSource::Coordinates");
        refused(&ids(IdSource::Json("id".into())), "IdSource::Json");
    }

    /// A letter that comes back is found as buried, and acknowledged: its payload would be gone.
    #[test]
    fn dead_letters_that_would_come_back_by_a_delay_queue_are_refused() {
        let delayed = || consumer().with_delays(Delays::new([Duration::from_secs(5)]));
        refused(&delayed().with_dead_letters_to("", "orders.delay.5000"), "with_dead_letters_to");
        settings(&delayed().with_dead_letters_to("", "orders.delay.1")).unwrap();
    }
}
