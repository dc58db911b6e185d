//! Settings that are refused, or warned of, before anything is connected.

use std::time::Duration;

use ackonce::{Error, ErrorKind, IdSource, OnFailure, OnMismatch, OnMissing, Order, Result};

use super::AmqpConsumer;

/// Refuses settings that cannot work with a broker.
///
/// # Errors
/// [`ErrorKind::Config`], naming the setting.
pub(crate) fn settings(consumer: &AmqpConsumer) -> Result<()> {
    consumer.settings.check()?;
    consumer.source.check()?;
    let refuse = |text: &str| Err(Error::new(ErrorKind::Config, text));
    if consumer.ids.sources().contains(&IdSource::Coordinates) {
        return refuse(
            "IdSource::Coordinates: a queue has none; a delivery tag counts deliveries, not messages",
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

/// Warns of handlers that may run until the broker has lost patience.
pub(crate) fn run_limit(run_limit: Duration, consumer_timeout: Duration, scope: &str) {
    if run_limit >= consumer_timeout {
        tracing::warn!(target: "ackonce", scope, run_limit_s = run_limit.as_secs(), consumer_timeout_s = consumer_timeout.as_secs(),
            "Settings::handler_timeout is not below the broker's consumer_timeout: a handler that runs so long loses its \
            channel, and all that was prefetched is delivered again");
    }
}
