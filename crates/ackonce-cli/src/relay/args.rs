//! The flags of `ackonce relay`.

use std::time::Duration;

use ackonce::{Backoff, Class, OnStart, Order, Scope};
use ackonce_outbox::OutboxOptions;
use ackonce_relay::{
    IdPlace, OUTBOX_SINKS, OutboxSinkUrl, RelayOptions, RelayUrlError, SINKS, SOURCES, SinkUrl, SourceUrl,
};
use clap::Args;

use crate::admin::{AdminArgs, ConsoleArgs};
use crate::layers::{EffectiveSettings, Origin, Sources};
use crate::log::LogArgs;
use crate::refusal::Refusal;
use crate::stores::{StoreUrl, UrlError};

/// Deliver each message of a source once to a sink: consume, deduplicate, deliver, acknowledge
///
/// A message is acknowledged once the sink has confirmed it and the store has recorded it. After a crash it comes again with
/// the same idempotency key.
#[derive(Debug, Args)]
#[command(after_long_help = help())]
pub struct RelayArgs {
    /// Consume messages there; the forms are below
    // Not parsed by clap, whose errors repeat the value.
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// Deliver messages there; the forms are below
    #[arg(long, value_name = "SINK")]
    to: String,
    /// Remember message IDs there: memory:, sqlite:PATH, redis://…, postgres://…; needed but for an outbox, which is in one
    #[arg(long, value_name = "URL")]
    store: Option<StoreUrl>,
    /// Name under which no message is processed twice; by default relay/ and the group, queue or provider
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Place of the message ID: header:NAME, property, key, json:/POINTER or payload; given more than once, the first that
    /// is present; by default header:message-id of Kafka, property of RabbitMQ
    #[arg(long = "id", value_name = "PLACE")]
    ids: Vec<IdPlace>,
    /// Promise: keyed if the sink honours the idempotency key (the default but for stdout:), else leased
    #[arg(long, value_name = "leased|keyed", value_parser = class)]
    class: Option<Class>,
    /// Length of a claim without a heartbeat; the messages of a dead relay wait that long [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
    /// Time for which a message ID is remembered; it must outlast the latest redelivery [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    window: Option<Duration>,
    /// Attempts before a message goes to --dead-letter [default: 15; webhooks 100]
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// Wait after the first failure, and the longest one, doubling in between [default: 250ms..2m]
    #[arg(long, value_name = "MIN..MAX", value_parser = backoff)]
    backoff: Option<Backoff>,
    /// Messages at the sink at once [default: 64; webhooks 512]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Messages that run one after another: those of a key, those of a partition (of the queue), or none [default:
    /// partition; RabbitMQ and webhooks none]
    #[arg(long, value_name = "key|partition|none", value_parser = order)]
    order: Option<Order>,
    /// Topic or exchange for messages that are given up; without one none is given up
    #[arg(long, value_name = "TOPIC|EXCHANGE")]
    dead_letter: Option<String>,
    /// Kafka topics in which failed messages wait, with their delays: orders.1m=1m,orders.10m=10m
    #[arg(long, value_name = "TOPIC=TIME", value_delimiter = ',', value_parser = retry_topic)]
    retry_topics: Vec<(String, Duration)>,
    /// Longest wait for the sink's answer to a message
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Time for messages at the sink to finish after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    shutdown_timeout: Duration,
    /// Time within which source, sink and store must be there; 0s ends for anything that is not there at once
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    start_timeout: Duration,
    #[command(flatten)]
    pub(super) admin: AdminArgs,
    #[command(flatten)]
    pub(super) console: ConsoleArgs,
    #[command(flatten)]
    pub(super) log: LogArgs,
    #[command(flatten)]
    pub(super) sources: Sources,
}

fn help() -> String {
    format!(
        "Sources:\n{SOURCES}\n{OUTBOX}\n\nSinks:\n{SINKS}\n\nSinks of an outbox:\n{OUTBOX_SINKS}\n\n\
         Examples:\n  \
         ackonce relay --from 'kafka://localhost:9092/orders?group=billing' --to http://localhost:8080/orders \\\n    \
         --store sqlite:/var/lib/ackonce/dedup.db --dead-letter orders.dead\n  \
         ackonce relay --from 'amqp://guest:guest@localhost:5672/%2f?queue=orders' --to 'exec:./charge --live' --store redis://localhost\n  \
         ackonce relay --from 'webhook://127.0.0.1:8080/stripe?provider=stripe&secret-env=STRIPE_SECRET' \\\n    \
         --to kafka://localhost:9092/stripe --store postgres://app@localhost/app --check\n  \
         ackonce relay --from outbox:postgres://app@localhost/app --to kafka://localhost:9092 --admin 9090\n\n\
         An HTTP service answers 2xx for done; 408, 409, 425, 429 and 5xx are tried again, other 4xx go to --dead-letter. A program\n\
         exits with 0 for done, with 75 to be run again, with anything else to go to --dead-letter. Each flag is also a variable\n\
         (--dead-letter is ACKONCE_DEAD_LETTER) and a key of --config (dead-letter = \"orders.dead\").\n\n\
         Exit codes: 0 after SIGTERM, or once the reader of stdout: has closed it; 2 for wrong usage; 3 if it could not go on."
    )
}

/// The form of an outbox as a source.
const OUTBOX: &str = "  outbox:sqlite:PATH, outbox:postgres://…                       the outbox of ackonce-outbox in that store";

/// Settings that have no meaning for an outbox, and the reason.
const NOT_OF_OUTBOX: [(&str, &str); 7] = [
    ("scope", "its consumers have the scopes"),
    ("id", "each row has its message ID"),
    ("class", "each row is sent until it is confirmed"),
    ("window", "a row is there until it is confirmed"),
    ("order", "it is kept per key"),
    ("dead-letter", "a message that cannot be sent is parked in the outbox"),
    ("retry-topics", "a message that failed waits in the outbox"),
];

/// A relay of an outbox that was understood.
pub(super) struct OutboxParsed {
    pub(super) store: StoreUrl,
    pub(super) to: OutboxSinkUrl,
    pub(super) options: OutboxOptions,
    /// The longest wait for a service, and the requests to it at once.
    pub(super) limits: (Duration, usize),
}

/// The parts of a relay that were understood.
pub(super) struct Parsed {
    pub(super) from: SourceUrl,
    pub(super) to: SinkUrl,
    pub(super) store: StoreUrl,
    pub(super) scope: Scope,
    pub(super) options: RelayOptions,
}

fn wrong(flag: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::usage(format!("{flag}: {why}"))
}

impl RelayArgs {
    /// The relay of an outbox; `None` for other sources.
    pub(super) fn outbox(&self, settings: &EffectiveSettings) -> Result<Option<OutboxParsed>, Refusal> {
        let Some(store) = self.from.strip_prefix("outbox:") else { return Ok(None) };
        let store: StoreUrl = store.parse().map_err(|e: UrlError| wrong("--from", e))?;
        if !store.has_inbox() {
            return Err(wrong("--from", "an outbox is in outbox:sqlite:PATH or outbox:postgres://…"));
        }
        // A variable may be meant for other programs.
        if settings.get("store").is_some_and(|store| store.origin == Origin::Flag) {
            return Err(wrong("--store", "an outbox is in the store that --from names; leave it out"));
        }
        if let Some((name, why)) = NOT_OF_OUTBOX.into_iter().find(|(name, _)| settings.is_set(name)) {
            return Err(wrong(
                &format!("--{name}"),
                format!("it has no meaning for an outbox, for {why}; leave it out"),
            ));
        }
        let to: OutboxSinkUrl = self.to.parse().map_err(|e: RelayUrlError| wrong("--to", e))?;
        let mut options = OutboxOptions::default();
        options.lease = self.lease.unwrap_or(options.lease);
        options.attempts = self.attempts.unwrap_or(options.attempts);
        options.backoff = self.backoff.unwrap_or(options.backoff);
        options.in_flight = self.concurrency.filter(|_| !to.is_http()).unwrap_or(options.in_flight);
        // A service's own limit is told first.
        let more = if to.is_http() { Duration::from_secs(10) } else { Duration::ZERO };
        options.publish_timeout = self.timeout.saturating_add(more);
        options.shutdown_timeout = self.shutdown_timeout;
        options.check().map_err(|e| Refusal::usage(super::tell(&e)))?;
        let limits = (self.timeout, self.concurrency.unwrap_or(64));
        if limits.0.is_zero() {
            return Err(wrong("--timeout", "no service answers in no time"));
        }
        if limits.1 == 0 {
            return Err(wrong("--concurrency", "with no message at once nothing is sent"));
        }
        Ok(Some(OutboxParsed { store, to, options, limits }))
    }

    pub(super) fn parsed(&self) -> Result<Parsed, Refusal> {
        let from: SourceUrl = self.from.parse().map_err(|e: RelayUrlError| wrong("--from", e))?;
        let to: SinkUrl = self.to.parse().map_err(|e: RelayUrlError| wrong("--to", e))?;
        let store = self.store.clone().ok_or_else(|| {
            wrong(
                "--store",
                "a relay remembers message IDs there; add --store sqlite:PATH, redis://… or postgres://…",
            )
        })?;
        let scope = self.scope.clone().unwrap_or_else(|| from.default_scope());
        let scope = Scope::new(scope).map_err(|e| wrong("--scope", e))?;
        let mut options = RelayOptions::default();
        options.ids.clone_from(&self.ids);
        options.class = self.class;
        options.lease = self.lease;
        options.window = self.window;
        options.attempts = self.attempts;
        options.backoff = self.backoff;
        options.concurrency = self.concurrency;
        options.order.clone_from(&self.order);
        options.dead_letter.clone_from(&self.dead_letter);
        options.retry_topics.clone_from(&self.retry_topics);
        options.timeout = Some(self.timeout);
        options.shutdown_timeout = Some(self.shutdown_timeout);
        options.start_timeout = Some(self.start_timeout);
        Ok(Parsed { from, to, store, scope, options })
    }

    /// The policy for a store that is away, and the time to wait for it.
    pub(super) fn store_wait(&self) -> (OnStart, Duration) {
        match self.start_timeout {
            // Opening has limits of its own.
            Duration::ZERO => (OnStart::End, Duration::MAX),
            limit => (OnStart::EndIfRefused, limit),
        }
    }
}

fn class(text: &str) -> Result<Class, String> {
    match text {
        "leased" => Ok(Class::Leased),
        "keyed" => Ok(Class::Keyed),
        _ => Err("there are leased and keyed".to_owned()),
    }
}

fn order(text: &str) -> Result<Order, String> {
    match text {
        "key" => Ok(Order::Key),
        "partition" => Ok(Order::Source),
        "none" => Ok(Order::Unordered),
        _ => Err("there are key, partition and none".to_owned()),
    }
}

/// `1s..5m`.
pub(crate) fn backoff(text: &str) -> Result<Backoff, String> {
    let (min, max) = text.split_once("..").ok_or("write MIN..MAX, such as 1s..5m")?;
    let time = |text| humantime::parse_duration(text).map_err(|e| format!("{text}: {e}"));
    Ok(Backoff { min: time(min)?, max: time(max)? })
}

/// `orders.1m=1m`.
pub(crate) fn retry_topic(text: &str) -> Result<(String, Duration), String> {
    let (topic, delay) = text.rsplit_once('=').ok_or("write TOPIC=TIME, such as orders.1m=1m")?;
    let delay = humantime::parse_duration(delay).map_err(|e| format!("{delay}: {e}"))?;
    Ok((topic.to_owned(), delay))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_topics_read_as_they_are_written() {
        let (s, m) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(backoff("1s..5m"), Ok(Backoff { min: s, max: 5 * m }));
        assert_eq!(retry_topic("a=1m"), Ok(("a".into(), m)));
        for wrong in ["1s", "1..5m", "..", "x..y"] {
            assert!(backoff(wrong).is_err(), "{wrong}");
        }
        assert!(retry_topic("a").is_err() && retry_topic("a=1").is_err());
        assert!(class("inbox").is_err());
    }
}
