//! `ackonce relay`: flags into a [`Relay`], and its end into an exit code.

pub(crate) mod args;
mod check;
mod outbox;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackonce::{CancellationToken, Error, MemoryStore, shutdown_on_signals};
use ackonce_relay::{Relay, RelayHealth};

use crate::admin::{Admin, Liveness, Pulse};
use crate::layers::EffectiveSettings;
use crate::refusal::Refusal;
use crate::stores::{OPTIONS_OF, Opened, Place, StoreUrl};
use crate::traces::Traces;
use crate::{flags_named, log};
pub use args::RelayArgs;
use args::{OutboxParsed, Parsed};

/// RelayOptions of the library, and the flags that set them.
const FLAGS: [(&str, &str); 22] = [
    // The longer of two names stands first.
    ("KafkaConsumer::with_dead_letters", "--dead-letter"),
    ("KafkaConsumer::with_retry_topics", "--retry-topics"),
    ("AmqpConsumer::with_dead_letters_to", "--dead-letter"),
    ("AmqpConsumer::with_dead_letters", "--dead-letter"),
    ("AmqpConsumer::with_order", "--order"),
    ("OutboxOptions::in_flight", "--concurrency"),
    ("OutboxOptions::lease", "--lease"),
    ("OutboxOptions::attempts", "--attempts"),
    ("OutboxOptions::publish_timeout", "--timeout"),
    ("RelayOptions::ids", "--id"),
    ("RelayOptions::class", "--class"),
    ("RelayOptions::order", "--order"),
    ("RelayOptions::dead_letter", "--dead-letter"),
    ("RelayOptions::retry_topics", "--retry-topics"),
    ("RelayOptions::timeout", "--timeout"),
    ("RelayOptions::start_timeout", "--start-timeout"),
    ("Settings::lease", "--lease"),
    ("Settings::window", "--window"),
    ("Settings::attempts, concurrency and chunk", "--attempts and --concurrency"),
    ("Settings::concurrency", "--concurrency"),
    ("Backoff::min", "the first time of --backoff"),
    ("Backoff::max", "the second time of --backoff"),
];

/// Relays until SIGTERM or SIGINT; with `--check` prints the settings and ends.
///
/// # Errors
/// [`Refusal`].
pub fn run(args: &RelayArgs, settings: &EffectiveSettings) -> Result<(), Refusal> {
    let work = match args.outbox(settings)? {
        Some(outbox) => Work::Outbox(Box::new(outbox)),
        None => Work::Messages(Box::new(args.parsed()?)),
    };
    let mut traces = Traces::default();
    if !args.sources.check {
        traces = log::start(args.log)?;
        for sentence in settings.misspelt() {
            tracing::warn!(target: "ackonce", "{sentence}");
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Refusal::environment(format!("the runtime could not be started: {e}")))?;
    let ended = runtime.block_on(async {
        match (work, args.sources.check) {
            (Work::Messages(parsed), true) => check::check(args, *parsed, settings).await,
            (Work::Messages(parsed), false) => relay(args, *parsed).await,
            (Work::Outbox(parsed), true) => outbox::check(args, *parsed, settings).await,
            (Work::Outbox(parsed), false) => outbox::relay(args, *parsed).await,
        }
    });
    // A lookup of a host's name that never ends is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    traces.end();
    ended
}

/// The part of `--check` that takes no server and no file, for a fuzz target: the report of a relay whose store is in
/// memory, and an empty one of any other that was understood.
///
/// # Errors
/// [`Refusal`].
#[doc(hidden)]
pub fn understand(args: &RelayArgs, settings: &EffectiveSettings) -> Result<String, Refusal> {
    if args.outbox(settings)?.is_some() {
        return Ok(String::new());
    }
    let parsed = args.parsed()?;
    match parsed.store.place() {
        Place::Memory => check::told(parsed, &Opened::Memory(MemoryStore::new()), settings),
        _ => Ok(String::new()),
    }
}

/// The kinds of relays.
enum Work {
    Messages(Box<Parsed>),
    Outbox(Box<OutboxParsed>),
}

async fn relay(args: &RelayArgs, parsed: Parsed) -> Result<(), Refusal> {
    let shutdown = shutdown_on_signals()
        .map_err(|e| Refusal::environment(format!("the signal handlers could not be installed: {e}")))?;
    let alive = Arc::new(Alive { health: OnceLock::new(), pulse: Pulse::start() });
    // Before the store: the wait for one can be watched, and is no reason for a restart.
    let admin = Admin::bind(args.admin, &args.console)?;
    let console = admin.map(|admin| admin.serve("relay", alive.clone())).transpose()?;
    let Some(store) = store(args, "--store", &parsed.store, &shutdown).await? else { return Ok(()) };
    if let Some(console) = console {
        console.show(store.inspect());
    }
    let relay = build(parsed, &store)?.with_shutdown(shutdown);
    let _ = alive.health.set(relay.health());
    for weakness in relay.weaknesses() {
        tracing::debug!(target: "ackonce", "weakened: {weakness}");
    }
    let counts = Box::pin(relay.run()).await.map_err(|e| Refusal::environment(tell(&e)))?;
    tracing::info!(target: "ackonce", ?counts, "the relay has ended");
    Ok(())
}

/// A relay on this store.
fn build(parsed: Parsed, store: &Opened) -> Result<Relay, Refusal> {
    let Parsed { from, to, store: _, scope, options } = parsed;
    let relay = Relay::new(from, to, &scope, store.deduplicator(), options);
    relay.map_err(|e| Refusal::usage(tell(&e)))
}

/// The store that this flag names; `None` if shut down first.
async fn store(
    args: &RelayArgs,
    flag: &str,
    url: &StoreUrl,
    shutdown: &CancellationToken,
) -> Result<Option<Opened>, Refusal> {
    let (policy, limit) = args.store_wait();
    let opening = url.open_at_start(policy, shutdown);
    let refused = |why: String| {
        let options = flags_named(&why, OPTIONS_OF);
        let options = if options.is_empty() { options } else { format!(" (in the URL: {options})") };
        Refusal::environment(format!("{flag}: {why}{options}"))
    };
    match tokio::time::timeout(limit, opening).await {
        Ok(Ok(store)) => Ok(Some(store)),
        Ok(Err(_)) if shutdown.is_cancelled() => Ok(None),
        Ok(Err(error)) => Err(refused(ackonce::chain(&error).to_string())),
        Err(_) => Err(refused(format!(
            "{url} was not there within {limit:?} (--start-timeout); start it, or mend its address"
        ))),
    }
}

/// An error with its causes, in the words of the command line.
fn tell(error: &Error) -> String {
    let text =
        FLAGS.iter().fold(ackonce::chain(error).to_string(), |text, (name, flag)| text.replace(name, flag));
    match text {
        text if text.starts_with("the source ") => format!("--from: {text}"),
        text if text.starts_with("the sink ") => format!("--to: {text}"),
        text => text,
    }
}

/// For `--admin`.
struct Alive {
    /// From the moment that the store is there.
    health: OnceLock<RelayHealth>,
    pulse: Pulse,
}

impl Liveness for Alive {
    fn is_live(&self) -> bool {
        self.pulse.beats() && self.health.get().is_none_or(RelayHealth::is_live)
    }

    fn is_ready(&self) -> bool {
        self.pulse.beats() && self.health.get().is_some_and(RelayHealth::is_ready)
    }

    fn report(&self) -> String {
        self.health.get().map_or_else(|| "starting: waiting for the store".to_owned(), RelayHealth::details)
    }

    fn lag(&self) -> Option<u64> {
        self.health.get()?.lag()
    }
}
