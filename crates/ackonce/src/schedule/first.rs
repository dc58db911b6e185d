//! A schedule's first slot: slots before its first start were not missed.
//!
//! It is written down with the schedule, in a chain of records of which the last one counts. A record is added when the
//! schedule changes, so that the new one begins as a new job does, and when the last one cannot be true.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{
    ClaimRequest, Claimed, Error, ErrorKind, Handler, Key, Record, Result, Runner, Scope, Settle, Settlement,
    Token,
};

use super::slots::{Schedule, Slot, Utc, unix_millis};

/// As good as for ever, and far from the limits of a store's clock.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a look for the end of the chain is held, if nothing is added to it.
const LOOK: Duration = Duration::from_secs(1);

/// A record of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    first: SystemTime,
    /// How long the records of slots live.
    window: Duration,
    schedule: String,
}

/// The first slot of this schedule in this scope, by the store's clock.
pub(super) async fn first_slot<H: Handler<Slot>>(
    runner: &Runner<Slot, H>,
    schedule: &Schedule,
    now: SystemTime,
) -> Result<SystemTime> {
    let scope = runner.scope().beside("schedule");
    let window = runner.settings().window;
    let (mut number, mut last) = (1_u64, None::<Entry>);
    let mut token = None;
    loop {
        let key = scope.key(number.to_string()).map_err(super::invalid)?;
        let drawn = token.take().unwrap_or_else(|| shared_token(&key));
        let request =
            ClaimRequest { key, token: drawn, lease: LOOK, window: Duration::ZERO, fingerprint: None };
        let lease = match runner.ask(&[request]).await?.pop() {
            Some(Claimed::Done(record)) => {
                last = Some(Entry::read(&record)?);
                number += 1;
                continue;
            }
            Some(Claimed::Acquired(lease)) => lease,
            Some(Claimed::Busy { free_in }) => {
                // Somebody has redriven or released it by hand: the shared token may be refused for good.
                token = Some(Token::random());
                tokio::time::sleep(free_in.clamp(Duration::from_millis(10), LOOK)).await;
                continue;
            }
            _ => return Err(Error::new(ErrorKind::Protocol, "the store did not answer a claim of a schedule")),
        };
        let Some(entry) = successor(last.as_ref(), &scope, schedule, window, now) else {
            // What was claimed expires by itself.
            return Ok(last.map_or(now, |last| last.first));
        };
        let outcome = Some(Bytes::from(entry.written()));
        let done = Settle::Complete { window: TEN_YEARS, outcome };
        // Read back, as every other host reads it: another one may have been first.
        runner.settle(&[Settlement::new(&lease, done)]).await?;
    }
}

/// Hosts that look for the end of the chain at once are as one: each of them is granted the claim, and the first
/// completion counts.
pub(super) fn shared_token(key: &Key) -> Token {
    let mut token = [0; 16];
    token.copy_from_slice(&key.digest()[..16]);
    Token(token)
}

/// The record to add, unless the last one holds for this schedule now.
fn successor(
    last: Option<&Entry>,
    scope: &Scope,
    schedule: &Schedule,
    window: Duration,
    now: SystemTime,
) -> Option<Entry> {
    let next = schedule.after(now).unwrap_or(now);
    let entry = |first| Entry { first, window: whole(window), schedule: schedule.to_string() };
    let Some(last) = last else { return Some(entry(next)) };
    let scope = scope.name();
    if last.schedule != schedule.to_string() {
        tracing::warn!(target: "ackonce", scope, before = last.schedule, now = %schedule, first = %Utc(next),
            "the schedule has changed: it begins with its next slot, and slots before that do not count as missed. \
             Hosts that still run the one before go on with it");
        return Some(entry(next));
    }
    if last.first > next {
        tracing::warn!(target: "ackonce", scope, recorded = %Utc(last.first), store_time = %Utc(now), first = %Utc(next),
            "the recorded first slot of this schedule lies in the future: it was recorded under a clock that was ahead. \
             The schedule begins with its next slot instead");
        return Some(entry(next));
    }
    if last.window == whole(window) {
        return None;
    }
    // What was recorded under the other window may be forgotten by now: it must not be taken for missed.
    let known = now.checked_sub(last.window).and_then(|since| schedule.after(since)).unwrap_or(next);
    Some(entry(last.first.max(known)))
}

fn whole(window: Duration) -> Duration {
    Duration::from_secs(window.as_secs())
}

impl Entry {
    fn written(&self) -> String {
        format!("{} {} {}", unix_millis(self.first), self.window.as_secs(), self.schedule)
    }

    fn read(record: &Record) -> Result<Self> {
        let parse = |text: &str| {
            let (first, rest) = text.split_once(' ')?;
            let (window, schedule) = rest.split_once(' ')?;
            Some(Self {
                first: UNIX_EPOCH.checked_add(Duration::from_millis(first.parse().ok()?))?,
                window: Duration::from_secs(window.parse().ok()?),
                schedule: schedule.to_owned(),
            })
        };
        let text = record.outcome.as_deref().and_then(|outcome| std::str::from_utf8(outcome).ok());
        text.and_then(parse)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the record of a schedule's first slot cannot be read"))
    }
}
