//! The properties' workbench: two clients of one store, a scope of its own, and helpers.

use std::collections::HashMap;
use std::time::Duration;

use ackonce::store::{Attempt, ClaimRequest, Entry, Filter, Fingerprint, Lease, Query, Settle, State, Token};
use ackonce::{Key, KeyError, Scope};

use super::Fixture;
use super::client::Client;

/// Longer than any property runs.
pub(super) const LONG: Duration = Duration::from_secs(600);
/// A time that is waited out. Nothing may depend on something else happening before it ends.
pub(super) const SHORT: Duration = Duration::from_millis(50);

pub(super) struct Bench {
    pub(super) a: Client,
    pub(super) b: Client,
    pub(super) scope: Scope,
    /// True if the store has no records of others.
    pub(super) alone: bool,
}

impl Bench {
    pub(super) async fn new(fixture: &dyn Fixture) -> Self {
        let name = format!("inspection-{:032x}", u128::from_be_bytes(Token::random().0));
        let scope = valid(Scope::new(name));
        let (a, b) = (Client::open(fixture).await, Client::open(fixture).await);
        Self { a, b, scope, alone: fixture.is_alone() }
    }

    pub(super) fn key(&self, id: impl AsRef<[u8]>) -> Key {
        key(&self.scope, id)
    }

    /// A new attempt at that message, long in every respect.
    pub(super) fn request(&self, id: impl AsRef<[u8]>) -> ClaimRequest {
        request(self.key(id))
    }

    pub(super) async fn claimed(&self, id: &str) -> Lease {
        self.a.acquire(&self.request(id)).await
    }

    pub(super) async fn settled(&self, id: &str, action: Settle) -> Lease {
        let lease = self.claimed(id).await;
        self.a.confirm(&lease, action).await;
        lease
    }

    /// A scope of this bench with that end of its name.
    pub(super) fn scope_named(&self, end: &str) -> Scope {
        valid(Scope::new(format!("{}{end}", self.scope.name())))
    }

    /// A message of any scope that ended so.
    pub(super) async fn ended(&self, key: Key, end: Settle) -> Key {
        let lease = self.a.acquire(&request(key)).await;
        self.a.confirm(&lease, end).await;
        lease.key
    }

    /// A claim whose lease has ended.
    pub(super) async fn lapsed(&self, id: &str) -> Lease {
        let lease = self.a.acquire(&ClaimRequest { lease: SHORT, ..self.request(id) }).await;
        // A lease of the same length, granted after it, has ended.
        let clock = self.key(format!("clock {:?}", Token::random()));
        self.a.acquire(&ClaimRequest { lease: SHORT, ..request(clock.clone()) }).await;
        self.a.acquire_at_last(|| request(clock.clone())).await;
        lease
    }

    /// A completion whose window has ended.
    pub(super) async fn expired(&self, id: &str) -> Lease {
        let lease = self.settled(id, Settle::Complete { window: SHORT, outcome: None }).await;
        self.b.until_absent(&lease.key).await;
        lease
    }

    /// That many messages of one state, as `stem 0`, `stem 1`, …
    pub(super) async fn some(&self, count: usize, stem: &str, state: State) -> Vec<Key> {
        let mut keys = Vec::new();
        for n in 0..count {
            let id = format!("{stem} {n}");
            let lease = match end_of(state) {
                Some(action) => self.settled(&id, action).await,
                None => self.claimed(&id).await,
            };
            keys.push(lease.key);
        }
        keys
    }

    pub(super) async fn list_all(&self, state: Option<State>, limit: usize) -> Vec<Entry> {
        self.list_by(&Filter { state, ..Filter::default() }, limit).await
    }

    /// All records that match, by pages of that limit.
    pub(super) async fn list_by(&self, filter: &Filter, limit: usize) -> Vec<Entry> {
        let mut walk = Walk::by(&self.b, filter.clone(), limit);
        let mut entries = Vec::new();
        while let Some(page) = walk.next().await {
            entries.extend(page);
        }
        entries
    }
}

/// From page to page, the first to the last.
pub(super) struct Walk<'c> {
    client: &'c Client,
    query: Query,
    pages: usize,
    ended: bool,
}

impl<'c> Walk<'c> {
    pub(super) fn new(client: &'c Client, state: Option<State>, limit: usize) -> Self {
        Self::by(client, Filter { state, ..Filter::default() }, limit)
    }

    pub(super) fn by(client: &'c Client, filter: Filter, limit: usize) -> Self {
        Self { client, query: Query { filter, limit, after: None }, pages: 0, ended: false }
    }

    pub(super) async fn next(&mut self) -> Option<Vec<Entry>> {
        if self.ended {
            return None;
        }
        self.pages += 1;
        assert!(self.pages < 100_000, "a walk that does not end");
        let page = self.client.list(&self.query).await;
        self.ended = page.next.is_none();
        assert!(self.ended || page.next != self.query.after, "a cursor that stands still");
        self.query.after = page.next;
        Some(page.entries)
    }
}

/// The entries of those keys, by key. Each record is found by the payload it was claimed with, which is unlike
/// any other: digests are the store's own affair, and it may keep no names.
pub(super) fn of<'e>(keys: &[Key], entries: &'e [Entry]) -> HashMap<Key, Vec<&'e Entry>> {
    let mut found: HashMap<Key, Vec<_>> = HashMap::new();
    for entry in entries {
        let Some(Fingerprint(print)) = entry.record.fingerprint else { continue };
        // A store may keep eight bytes.
        if let Some(key) = keys.iter().find(|key| fingerprint(key).0[..8] == print[..8]) {
            found.entry(key.clone()).or_default().push(entry);
        }
    }
    found
}

/// The one entry of a key that is listed.
pub(super) fn the_entry<'e>(key: &Key, entries: &'e [Entry]) -> &'e Entry {
    let found = of(std::slice::from_ref(key), entries).remove(key).unwrap_or_default();
    assert_eq!(found.len(), 1, "{key:?} is listed once: {found:?}");
    found[0]
}

pub(super) fn fingerprint(key: &Key) -> Fingerprint {
    Fingerprint::of(key.digest())
}

pub(super) fn key(scope: &Scope, id: impl AsRef<[u8]>) -> Key {
    valid(scope.key(id.as_ref().to_vec()))
}

fn valid<T>(made: Result<T, KeyError>) -> T {
    made.unwrap_or_else(|e| panic!("the suite made a bad key: {e}"))
}

pub(super) fn request(key: Key) -> ClaimRequest {
    let fingerprint = Some(fingerprint(&key));
    ClaimRequest { key, token: Token::random(), lease: LONG, window: LONG, fingerprint }
}

pub(super) fn complete() -> Settle {
    Settle::Complete { window: LONG, outcome: Some(b"a \0 result \xff".to_vec().into()) }
}
pub(super) fn complete_with(outcome: Option<&'static str>) -> Settle {
    Settle::Complete { window: LONG, outcome: outcome.map(Into::into) }
}
pub(super) fn release() -> Settle {
    Settle::Release { attempt: Attempt::Counts, window: LONG, not_before: Duration::ZERO }
}
/// A release with a back-off.
pub(super) fn waiting() -> Settle {
    Settle::Release { attempt: Attempt::Counts, window: LONG, not_before: LONG }
}
pub(super) fn extend() -> Settle {
    Settle::Extend { lease: LONG, window: LONG }
}
pub(super) fn bury() -> Settle {
    Settle::Bury { window: LONG, reason: "it's of no \"use\" \u{2717}".to_owned() }
}

/// A burial for that reason.
pub(super) fn buried_for(reason: &str) -> Settle {
    Settle::Bury { window: LONG, reason: reason.to_owned() }
}

/// The settlement that brings a claim into that state.
pub(super) fn end_of(state: State) -> Option<Settle> {
    match state {
        State::Claimed => None,
        State::Released => Some(release()),
        State::Done => Some(complete()),
        State::Buried => Some(bury()),
    }
}

pub(super) const STATES: [State; 4] = [State::Claimed, State::Released, State::Done, State::Buried];
