//! `ackonce relay --from outbox:…`: the relay of an outbox.

use std::fmt::Write as _;
use std::sync::Arc;

use ackonce::{CancellationToken, shutdown_on_signals};
use ackonce_outbox::{Outbox, OutboxHealth, PostgresOutbox, SqliteOutbox};

use super::RelayArgs;
use super::args::OutboxParsed;
use super::check::table;
use crate::admin::{Admin, Liveness, Pulse};
use crate::layers::EffectiveSettings;
use crate::refusal::Refusal;
use crate::stores::{Opened, Place, StoreUrl, refused};
use crate::streams;

/// Relays until SIGTERM or SIGINT.
pub(super) async fn relay(args: &RelayArgs, parsed: OutboxParsed) -> Result<(), Refusal> {
    let shutdown = shutdown_on_signals()
        .map_err(|e| Refusal::environment(format!("the signal handlers could not be installed: {e}")))?;
    let alive = Arc::new(Alive { health: OutboxHealth::default(), pulse: Pulse::start() });
    let admin = Admin::bind(args.admin, &args.console)?;
    let console = admin.map(|admin| admin.serve("relay", alive.clone())).transpose()?;
    let Some(store) = open(args, &parsed.store, &shutdown).await? else { return Ok(()) };
    if let Some(console) = console {
        console.show(store.inspect());
    }
    let outbox = outbox(&parsed.store, &store).await?;
    let (answer, at_once) = parsed.limits;
    let publisher = parsed.to.open("outbox", answer, at_once);
    let publisher = publisher.map_err(|e| Refusal::usage(format!("--to: {}", super::tell(&e))))?;
    let outbox =
        outbox.with_options(parsed.options).with_shutdown(shutdown).with_health(alive.health.clone());
    let counts = Box::pin(outbox.run(publisher)).await;
    let counts =
        counts.map_err(|e| Refusal::environment(format!("--from {}: {}", parsed.store, super::tell(&e))))?;
    tracing::info!(target: "ackonce", ?counts, "the relay has ended");
    Ok(())
}

/// Prints the settings with their origins, and the promise.
pub(super) async fn check(
    args: &RelayArgs,
    parsed: OutboxParsed,
    settings: &EffectiveSettings,
) -> Result<(), Refusal> {
    let Some(store) = open(args, &parsed.store, &CancellationToken::new()).await? else { return Ok(()) };
    let options = &parsed.options;
    let time = |time| humantime::format_duration(time).to_string();
    let backoff = &options.backoff;
    let concurrency = if parsed.to.is_http() { parsed.limits.1 } else { options.in_flight };
    let effective = [
        ("lease", time(options.lease)),
        ("attempts", options.attempts.to_string()),
        ("backoff", format!("{}..{}", time(backoff.min), time(backoff.max))),
        ("concurrency", concurrency.to_string()),
    ];
    let mut text = table(settings, &parsed.to.to_string(), &effective);
    let _ = writeln!(
        text,
        "\noutbox: each message is sent in the order of its key until it is confirmed, under one message ID; a copy after a \
         crash is a duplicate, which a consumer of Ackonce, or a service that honours the idempotency key, takes once"
    );
    for weakness in store.deduplicator().describe().weaknesses {
        let _ = writeln!(text, "weakened: {weakness}");
    }
    for sentence in settings.misspelt() {
        let _ = writeln!(text, "note: {sentence}");
    }
    streams::print(&text)
}

/// The store of the outbox; `None` if shut down first. A file has to be there: a misspelt path would be an outbox that is
/// empty for ever.
async fn open(
    args: &RelayArgs,
    url: &StoreUrl,
    shutdown: &CancellationToken,
) -> Result<Option<Opened>, Refusal> {
    match url.place() {
        Place::Sqlite(_) => url.open_existing("--from").await.map(Some),
        _ => super::store(args, "--from", url, shutdown).await,
    }
}

/// The outbox in a store, which is created where it is missing.
async fn outbox(url: &StoreUrl, store: &Opened) -> Result<Outbox, Refusal> {
    let opened = match store {
        Opened::Sqlite(store) => SqliteOutbox::open(store).await.map(|outbox| Outbox::clone(&outbox)),
        Opened::Postgres(store) => PostgresOutbox::open(store).await.map(|outbox| Outbox::clone(&outbox)),
        _ => return Err(Refusal::usage("--from: an outbox is in outbox:sqlite:PATH or outbox:postgres://…")),
    };
    opened.map_err(|error| refused(&format!("--from {url}"), &error))
}

/// For `--admin`.
struct Alive {
    health: OutboxHealth,
    pulse: Pulse,
}

impl Liveness for Alive {
    fn is_live(&self) -> bool {
        self.pulse.beats() && self.health.is_live()
    }

    fn is_ready(&self) -> bool {
        self.pulse.beats() && self.health.is_ready()
    }

    fn report(&self) -> String {
        self.health.details()
    }

    fn lag(&self) -> Option<u64> {
        Some(self.health.lag()?.waiting)
    }
}
