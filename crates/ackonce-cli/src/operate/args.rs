//! Flags that several verbs have, and the store behind them.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{Filter, Inspect, Note, State};
use ackonce::{Error, Key, Scope};
use clap::{Args, ValueEnum};

use super::ids::MessageId;
use super::times;
use crate::layers::Sources;
use crate::refusal::Refusal;
use crate::stores::{Opened, Place, StoreUrl};

/// The store of a verb.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// The store: sqlite:PATH, redis://…, postgres://…
    #[arg(long, value_name = "URL")]
    pub(super) store: StoreUrl,
    #[command(flatten)]
    pub(super) sources: Sources,
}

impl StoreArgs {
    /// Opens the store.
    pub(super) async fn open(&self) -> Result<Opened, Refusal> {
        if matches!(self.store.place(), Place::Memory) {
            return Err(Refusal::usage(
                "--store: memory: is empty in each new process; name the store of your consumers",
            ));
        }
        self.store.open_existing("--store").await
    }

    /// The store as operators take it.
    pub(super) async fn inspect(&self) -> Result<Arc<dyn Inspect>, Refusal> {
        Ok(self.open().await?.inspect())
    }
}

/// The store's error, with the options of its URL.
pub(super) fn refused(error: &Error) -> Refusal {
    crate::stores::refused("--store", error)
}

/// A message by scope and ID.
#[derive(Debug, Args)]
pub(super) struct MessageArgs {
    /// The message ID: text, or bytes as hex:… or base64:…
    #[arg(value_name = "ID")]
    id: MessageId,
    /// Scope of the message: the name under which its consumer claims
    #[arg(long, value_name = "NAME")]
    scope: String,
}

impl MessageArgs {
    pub(super) fn key(&self) -> Result<Key, Refusal> {
        key(&self.scope, &self.id)
    }
}

/// The key of a message.
pub(super) fn key(scope: &str, id: &MessageId) -> Result<Key, Refusal> {
    let id = &id.0;
    scope_of(scope)?
        .with_max_id_len(id.len().max(1))
        .key(id.clone())
        .map_err(|error| Refusal::usage(format!("ID: {error}")))
}

/// A scope by its name. Those beside another, such as `billing/~unidentified`, are records of Ackonce itself, and operators
/// see them, too.
pub(super) fn scope_of(name: &str) -> Result<Scope, Refusal> {
    let wrong = |error: ackonce::KeyError| Refusal::usage(format!("--scope: {error}"));
    match name.split_once("/~") {
        Some((base, purpose)) => Ok(Scope::new(base).map_err(wrong)?.beside(purpose)),
        None => Scope::new(name).map_err(wrong),
    }
}

/// The state of a record, as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StateArg {
    /// A worker holds it, or died while it did
    Claimed,
    /// Handed back: it runs at its next delivery
    Released,
    /// Its effect happened
    Done,
    /// Given up, with a reason
    Buried,
}

impl From<StateArg> for State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Claimed => Self::Claimed,
            StateArg::Released => Self::Released,
            StateArg::Done => Self::Done,
            StateArg::Buried => Self::Buried,
        }
    }
}

/// Chooses records.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Only records in this state
    #[arg(long, value_enum)]
    pub(super) state: Option<StateArg>,
    /// Only records whose last claim is older, such as 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) older_than: Option<Duration>,
}

impl FilterArgs {
    pub(super) fn filter(&self, scope: Option<&String>, reason: Option<&String>) -> Result<Filter, Refusal> {
        if let Some(scope) = scope {
            scope_of(scope)?;
        }
        Ok(Filter {
            state: self.state.map(State::from),
            scope: scope.cloned(),
            reason: reason.cloned(),
            older_than: self.older_than,
        })
    }
}

/// The filter in words.
pub(super) fn filter_words(filter: &Filter) -> String {
    let mut words = match filter.state {
        Some(state) => format!("{} records", state.as_str()),
        None => "records".to_owned(),
    };
    if let Some(scope) = &filter.scope {
        words.push_str(&format!(" of scope {scope}"));
    }
    if let Some(reason) = &filter.reason {
        words.push_str(&format!(" with {reason:?} in their reason"));
    }
    if let Some(age) = filter.older_than {
        words.push_str(&format!(" older than {}", times::span(age)));
    }
    words
}

/// The author and the reason of a change, and the consent to it.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Reason of the change, for the audit trail; needed
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Author of the change, for the audit trail [default: the login name]
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

impl ChangeArgs {
    /// # Errors
    /// Without a reason; or without an author, where the login has no name.
    pub(super) fn note(&self) -> Result<Note, Refusal> {
        let given = |text: &Option<String>| {
            text.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let reason = given(&self.reason).ok_or_else(|| {
            Refusal::usage(
                "--reason: a change needs its reason for the audit trail, such as --reason \"ticket 4711\"",
            )
        })?;
        let actor = given(&self.actor).or_else(|| whoami::username().ok().filter(|name| !name.is_empty()));
        let actor = actor.ok_or_else(|| {
            Refusal::usage(
                "--actor: the login has no name here; name the author of the change with --actor NAME",
            )
        })?;
        Ok(Note { actor, reason })
    }
}

/// The most things to change: all without `--limit`.
///
/// # Errors
/// `--limit 0`, which stands for all in a list.
pub(super) fn change_limit(limit: Option<u64>) -> Result<u64, Refusal> {
    match limit {
        Some(0) => {
            Err(Refusal::usage("--limit 0 would change nothing; leave it out to change all that are chosen"))
        }
        limit => Ok(limit.unwrap_or(u64::MAX)),
    }
}

/// Consent to a change.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct ConsentArgs {
    /// Change without asking; needed where there is no terminal
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
}
