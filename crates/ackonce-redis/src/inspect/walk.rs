//! The walk through a whole store, a few tags at a time.
//!
//! The order of a walk, by tag and then by field, does not change with writes made meanwhile; a scan of
//! Redis's own keyspace would show some keys twice, and other programs' keys, too.

use std::sync::Arc;

use ackonce::Result;
use ackonce::store::{Filter, ScopeStats, State};
use bytes::Bytes;

use crate::connection::Client;
use crate::records::{Call, Field, Reply, Row, TAGS, WALK, beginning, known, misread, root, state_code};
use crate::request::{bad_keys, is_refusal};

/// The number of rows to visit per trip, approximately: a few milliseconds of Redis's time.
const ROWS: usize = 4000;
/// The most tags per trip.
const MOST: u16 = 512;

/// A listed row.
pub(crate) struct Listed {
    pub(crate) tag: u16,
    pub(crate) field: Field,
    /// `None` if it cannot be read.
    pub(crate) row: Option<Row>,
    /// Scope and message ID, if they are kept.
    pub(crate) names: Option<(String, Bytes)>,
    /// The server's clock.
    pub(crate) now: u64,
}

/// The rows that a list reads of a tag: see `walk.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Those in its index.
    Index,
    /// Those in its index that say so.
    Flagged,
    /// Those that do not say so.
    Others,
    /// All.
    All,
}

impl Source {
    fn word(self) -> u8 {
        match self {
            Self::Index => b'I',
            Self::Flagged => b'F',
            Self::Others => b'W',
            Self::All => b'A',
        }
    }
}

/// The work of listing the rows that match.
pub(crate) fn listing(source: Source, filter: &Filter) -> Vec<u8> {
    let mut work = vec![b'L', source.word(), filter.state.map_or(u8::MAX, state_code)];
    let age = u64::try_from(filter.older_than.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
    work.extend_from_slice(&age.min(LONGEST).to_be_bytes()[1..]);
    match &filter.scope {
        Some(scope) => work.extend(beginning(scope)),
        None => work.extend(NOTHING),
    }
    match filter.reason.as_deref().map(|reason| (u16::try_from(reason.len()).unwrap_or(u16::MAX - 1), reason))
    {
        Some((length, reason)) => work.extend(length.to_be_bytes().into_iter().chain(reason.bytes())),
        None => work.extend(NOTHING),
    }
    work
}

/// The length of a condition that is not made.
const NOTHING: [u8; 2] = [u8::MAX; 2];
/// The greatest age that a script compares exactly.
const LONGEST: u64 = 1 << 51;

/// The work of a sweep.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Swept {
    pub(crate) dropped: u64,
    pub(crate) seen: u64,
}

/// The cursor of a walk: the tags to visit next.
pub(crate) struct Steps {
    next: u16,
    span: u16,
}

impl Steps {
    pub(crate) fn from(tag: u16) -> Self {
        Self { next: tag, span: 16 }
    }

    /// The next tags; none at the end.
    pub(crate) fn tags(&mut self) -> Vec<u16> {
        let end = self.next.saturating_add(self.span).min(TAGS);
        let tags = (self.next..end).collect();
        self.next = end;
        tags
    }

    /// Takes more tags next time if those had few rows, fewer if they had many.
    pub(crate) fn saw(&mut self, rows: usize) {
        self.span = match rows {
            _ if rows > ROWS => (self.span / 2).max(1),
            _ if rows < ROWS / 2 => (self.span * 2).min(MOST),
            _ => self.span,
        };
    }
}

impl Client {
    /// Does `work` with each tag and reads the answers, in order, except those that cannot be read.
    async fn walk<T>(
        &self,
        tags: &[u16],
        work: &[u8],
        mut read: impl FnMut(u16, u8, &mut Reply<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let per_call = if self.link.address.is_cluster { 1 } else { tags.len().max(1) };
        let parts: Vec<_> = tags.chunks(per_call).collect();
        let calls = parts.iter().map(|tags| {
            let roots: Vec<_> = tags.iter().map(|tag| root(&self.link.config.prefix, *tag)).collect();
            Call::new(&WALK, b"", &roots, work, self.link.mode())
        });
        let calls = Arc::new(calls.collect::<Vec<_>>());
        let replies = self.trip(calls.clone()).await?;
        let mut answers = Vec::with_capacity(tags.len());
        let mut bad = Vec::new();
        for ((tags, call), reply) in parts.iter().zip(calls.iter()).zip(&replies) {
            let mut reply = Reply::open(reply, &call.nonce)?;
            for tag in *tags {
                let word = reply.u8()?;
                if is_refusal(word, &mut reply)? {
                    bad.push(String::from_utf8_lossy(&root(&self.link.config.prefix, *tag)).into_owned());
                } else {
                    answers.push(read(*tag, word, &mut reply)?);
                    bad.append(&mut bad_keys(&mut reply)?);
                }
            }
            reply.end()?;
        }
        self.link.say_unreadable(&bad);
        Ok(answers)
    }

    /// The rows of those tags that the listing asks for, sorted, and the number of rows that were read for it.
    pub(crate) async fn list_tags(&self, tags: &[u16], listing: &[u8]) -> Result<(Vec<Listed>, usize)> {
        let mut seen = 0;
        let rows = self.walk(tags, listing, |tag, word, reply| {
            expect(word, b'L')?;
            seen += usize::try_from(reply.u32()?).unwrap_or(usize::MAX);
            let mut rows = Vec::new();
            for _ in 0..reply.u32()? {
                let (field, row) = (reply.array()?, Row::read(reply)?);
                let length = usize::from(u16::from_be_bytes(reply.array()?));
                let names = known(reply.bytes(length)?);
                rows.push(Listed { tag, field, row, names, now: reply.now });
            }
            rows.sort_unstable_by_key(|listed| listed.field);
            Ok(rows)
        });
        let rows = rows.await?.into_iter().flatten().collect();
        Ok((rows, seen))
    }

    /// The number of live rows of those tags by state and by scope, and their size in bytes if Redis tells it.
    pub(crate) async fn count_tags(&self, tags: &[u16]) -> Result<Vec<Counted>> {
        let counted = self.walk(tags, b"C", |_, word, reply| {
            expect(word, b'C')?;
            let all = four(reply)?;
            let bytes = Some(reply.u64()?).filter(|bytes| *bytes != u64::MAX);
            let mut scopes = Vec::new();
            for _ in 0..u16::from_be_bytes(reply.array()?) {
                let length = usize::from(u16::from_be_bytes(reply.array()?));
                let scope = Some(String::from_utf8_lossy(reply.bytes(length)?).into_owned());
                scopes.push(ScopeStats { scope, ..four(reply)? });
            }
            Ok(Counted { all, scopes, bytes })
        });
        counted.await
    }

    /// Drops the expired rows of those tags.
    pub(crate) async fn sweep_tags(&self, tags: &[u16]) -> Result<Swept> {
        let swept = self.walk(tags, b"W", |_, word, reply| {
            expect(word, b'W')?;
            Ok(Swept { dropped: u64::from(reply.u32()?), seen: u64::from(reply.u32()?) })
        });
        Ok(swept.await?.into_iter().fold(Swept::default(), |all, one| Swept {
            dropped: all.dropped + one.dropped,
            seen: all.seen + one.seen,
        }))
    }
}

/// The rows of a tag.
pub(crate) struct Counted {
    pub(crate) all: ScopeStats,
    /// Those of them that have names.
    pub(crate) scopes: Vec<ScopeStats>,
    pub(crate) bytes: Option<u64>,
}

fn four(reply: &mut Reply<'_>) -> Result<ScopeStats> {
    let mut stats = ScopeStats::default();
    for state in [State::Claimed, State::Released, State::Done, State::Buried] {
        stats.add(state, reply.u32()?.into());
    }
    Ok(stats)
}

fn expect(word: u8, expected: u8) -> Result<()> {
    if word == expected { Ok(()) } else { Err(misread("a script did other work than it was given")) }
}
