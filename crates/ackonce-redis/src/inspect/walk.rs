//! The walk through a whole store, a few tags at a time.
//!
//! The order of a walk, by tag and then by field, does not change with writes made meanwhile; a scan of
//! Redis's own keyspace would show some keys twice, and other programs' keys, too.

use std::sync::Arc;

use ackonce::Result;

use crate::connection::Client;
use crate::records::{Call, Field, Reply, Row, TAGS, WALK, misread, root};
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
}

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
            Call::new(&WALK, b"", &roots, work, self.link.eviction())
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

    /// The live rows of those tags, sorted, and the server's clock.
    pub(crate) async fn list_tags(&self, tags: &[u16], only: Option<u8>) -> Result<(Vec<Listed>, u64)> {
        let work: Vec<u8> = [b'L'].into_iter().chain(only).collect();
        let mut now = 0;
        let rows = self.walk(tags, &work, |tag, word, reply| {
            expect(word, b'L')?;
            now = reply.now;
            let mut rows = Vec::new();
            for _ in 0..reply.u32()? {
                rows.push(Listed { tag, field: reply.array()?, row: Row::read(reply)? });
            }
            rows.sort_unstable_by_key(|listed| listed.field);
            Ok(rows)
        });
        Ok((rows.await?.into_iter().flatten().collect(), now))
    }

    /// The number of live rows of those tags by state, and their size in bytes if Redis tells it.
    pub(crate) async fn count_tags(&self, tags: &[u16]) -> Result<Vec<([u64; 4], Option<u64>)>> {
        let counted = self.walk(tags, b"C", |_, word, reply| {
            expect(word, b'C')?;
            let mut counts = [0; 4];
            for count in &mut counts {
                *count = u64::from(reply.u32()?);
            }
            Ok((counts, Some(reply.u64()?).filter(|bytes| *bytes != u64::MAX)))
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

fn expect(word: u8, expected: u8) -> Result<()> {
    if word == expected { Ok(()) } else { Err(misread("a script did other work than it was given")) }
}
