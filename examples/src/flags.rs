//! The flags of all examples that handle messages.

use std::path::PathBuf;
use std::time::Duration;

use ackonce::adapter::Guarantee;
use ackonce::{CancellationToken, Class, IdSource, MessageIds, OnStart, Scope, Settings};
use ackonce_cli::ledger::STORES;
use ackonce_cli::stores::{Opened, SYNTAX, StoreUrl};
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum, value_parser};

use crate::{On, Stopped, Usage};

/// The flags of all examples that handle messages.
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("A store URL is {SYNTAX}."))]
pub struct Flags {
    /// Store of processed message IDs
    #[arg(long, value_name = "URL", default_value = "sqlite:ackonce.db")]
    pub store: StoreUrl,
    /// Guarantee class of the effect
    #[arg(long, value_enum, default_value_t = HandlerClass::Leased)]
    pub class: HandlerClass,
    /// File to which effects are appended as JSON lines; with class inbox they are rows of the table `ledger` in the
    /// store's database instead. `at` is in microseconds since the Unix epoch
    #[arg(long, value_name = "FILE", default_value = "ledger.jsonl")]
    pub ledger: PathBuf,
    /// Name under which no message is processed twice; processes with the same scope and store share records [default: the group
    /// or queue, a slash, the topic or handler]
    #[arg(long, value_name = "NAME")]
    pub scope: Option<String>,
    /// Source of message IDs: header:NAME, key, json:/POINTER or payload; if given again, the first one present decides
    /// [default: header:message-id]
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    pub id: Vec<IdSource>,
    /// Sleep before the effect
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub delay_ms: u64,
    /// Fail the first N attempts of each message, after the sleep and before the effect
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fail_first: u32,
    /// The handler's answer to the message with that ID, each time it comes: infrastructure, retry, permanent,
    /// unknown, panic, abort (of the process) or hang; may be given again
    #[arg(long, value_name = "ID=ANSWER")]
    pub on: Vec<On>,
    /// Panic in the first N attempts of each message; for examples that have a flag for it
    #[arg(skip)]
    pub panic_first: u32,
    /// Length of a lease without a heartbeat: the wait of a killed process's messages
    #[arg(long, value_name = "MS", default_value_t = 15_000)]
    pub lease_ms: u64,
    /// Window in which a processed message is remembered
    #[arg(long, value_name = "S", default_value_t = 7 * 24 * 60 * 60)]
    pub window_s: u64,
    /// Attempts before a message is buried, where there is a dead-letter place (or, in an example without brokers, a
    /// record)
    #[arg(long, value_name = "N", default_value_t = Settings::default().attempts, value_parser = value_parser!(u32).range(1..))]
    pub attempts: u32,
    /// Handlers that run at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// At start, with a store or broker that cannot be used yet: wait for it, wait unless it refused, or end
    #[arg(long, value_enum, default_value_t = Start::Refused)]
    pub on_start: Start,
}

/// The treatment at start of a store or broker that cannot be used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names are those of OnStart, and would be repeated in --help")]
pub enum Start {
    Wait,
    Refused,
    End,
}

impl From<Start> for OnStart {
    fn from(start: Start) -> Self {
        match start {
            Start::Wait => Self::Wait,
            Start::Refused => Self::EndIfRefused,
            Start::End => Self::End,
        }
    }
}

/// The treatment of a message without an ID, for any broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names are those of OnMissing, and would be repeated in --help")]
pub enum Missing {
    Bury,
    Stop,
}

/// The classes that the examples' handlers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HandlerClass {
    /// Claim, run, complete: doubled only if killed between effect and record
    Leased,
    /// Leased, and the target takes each idempotency key once
    Keyed,
    /// Effect and record in one transaction of the store's database
    Inbox,
}

impl From<HandlerClass> for Class {
    fn from(class: HandlerClass) -> Self {
        match class {
            HandlerClass::Leased => Self::Leased,
            HandlerClass::Keyed => Self::Keyed,
            HandlerClass::Inbox => Self::Inbox,
        }
    }
}

/// The source of message IDs: `header:NAME`, `key`, `json:/POINTER` or `payload`.
///
/// # Errors
/// None of these.
pub fn source(text: &str) -> Result<IdSource, String> {
    match text.split_once(':') {
        None if text == "key" => Ok(IdSource::Key),
        None if text == "payload" => Ok(IdSource::Payload),
        Some(("header", name)) if !name.is_empty() => Ok(IdSource::Header(name.to_owned())),
        // RFC 6901: a pointer is empty, the whole document, or begins with a slash.
        Some(("json", pointer)) if pointer.starts_with('/') => Ok(IdSource::Json(pointer.to_owned())),
        Some(("json", _)) => Err("a JSON pointer begins with a slash: json:/data/id".to_owned()),
        _ => Err("it is header:NAME, key, json:/POINTER or payload".to_owned()),
    }
}

impl Flags {
    /// The scope, or that one.
    ///
    /// # Errors
    /// The name is too long or cannot be shown.
    pub fn scope(&self, default: &str) -> Result<Scope> {
        let name = self.scope.as_deref().unwrap_or(default);
        Ok(Scope::new(name).map_err(|why| Usage(format!("--scope: {why}")))?)
    }

    /// The sources of message IDs.
    #[must_use]
    pub fn ids(&self) -> MessageIds {
        match self.id.as_slice() {
            [] => MessageIds::first_of([IdSource::Header("message-id".to_owned())]),
            ids => MessageIds::first_of(ids.iter().cloned()),
        }
    }

    /// Window in which a processed message is remembered.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.window_s)
    }

    /// The runner's settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.apply(Settings::default())
    }

    /// These settings, with the flags in place of theirs.
    #[must_use]
    pub fn apply(&self, settings: Settings) -> Settings {
        settings
            .with_lease(Duration::from_millis(self.lease_ms))
            .with_window(self.window())
            .with_attempts(self.attempts)
            .with_concurrency(self.concurrency.into())
            .with_on_start(self.on_start.into())
    }

    /// Opens the store, waits for one that is away as `--on-start` says, and prints the promise on stderr.
    ///
    /// # Errors
    /// [`Usage`] for a class that the store cannot have, [`Stopped`] if `shutdown` ended the wait; otherwise why the
    /// store cannot be opened.
    pub async fn open(&self, shutdown: &CancellationToken) -> Result<Opened> {
        if self.class == HandlerClass::Inbox && !self.store.has_inbox() {
            return Err(self.no_inbox().into());
        }
        self.settings().check()?;
        let store = match self.store.open_at_start(self.on_start.into(), shutdown).await {
            Err(_) if shutdown.is_cancelled() => return Err(Stopped("the store").into()),
            answer => answer.with_context(|| format!("--store {}", self.store))?,
        };
        let guarantee = Guarantee { class: self.class.into(), store: store.deduplicator().describe() };
        eprintln!("{guarantee}");
        Ok(store)
    }

    /// Refuses the flags that choose and disturb the shared handler, for an example whose handler is another.
    ///
    /// # Errors
    /// [`Usage`]: one of them was given.
    pub fn without_handler(&self) -> Result<(), Usage> {
        let given = [
            ("--class", self.class != HandlerClass::Leased),
            ("--id", !self.id.is_empty()),
            ("--fail-first", self.fail_first > 0),
            ("--on", !self.on.is_empty()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Usage(format!("{flag} is of another example"))),
            None => Ok(()),
        }
    }

    pub(crate) fn no_inbox(&self) -> Usage {
        let store = &self.store;
        Usage(format!(
            "--class inbox commits effect and record in one database: use --store {STORES}, not {store}"
        ))
    }
}
