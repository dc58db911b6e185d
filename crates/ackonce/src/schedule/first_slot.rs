//! A schedule's first slot: slots before its first start were not missed.
//!
//! It is written down with the schedule, in a chain of records of which the last one counts. A record is added when the
//! schedule changes, so that the new one begins as a new job does, and when the last one cannot be true.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::claim::{ClaimRequest, Claimed, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::key::{Key, Scope};
use crate::record::Record;
use crate::runner::Runner;
use crate::settle::{Settle, Settlement};

use super::slot::{Slot, Utc, unix_millis};
use super::slots::Schedule;

/// As good as for ever, and far from the limits of a store's clock.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The lease of a claim under which a record is added.
const ADDING: Duration = Duration::from_secs(1);

/// A record of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FirstSlot {
    /// No slot before it counts.
    pub(super) first: SystemTime,
    /// The time that records of slots live, in whole seconds.
    window: Duration,
    /// The time that they lived before it was made longer, and the moment of that change.
    before: Duration,
    longer_since: SystemTime,
    schedule: String,
}

/// The record of this schedule in this scope that holds at that moment of the store's clock.
pub(super) async fn first_slot<H: Handler<Slot>>(
    runner: &Runner<Slot, H>,
    schedule: &Schedule,
    now: SystemTime,
) -> Result<FirstSlot> {
    let scope = runner.scope().beside("schedule");
    let window = runner.settings().window;
    let (mut number, mut last, mut add) = (1_u64, None::<FirstSlot>, None::<FirstSlot>);
    let mut drawn = None;
    loop {
        let key = scope.key(number.to_string()).map_err(super::invalid)?;
        let token = drawn.take().unwrap_or_else(|| shared_token(&key));
        // Of a look alone nothing stays behind.
        let lease = if add.is_some() { ADDING } else { Duration::ZERO };
        let request = ClaimRequest { key, token, lease, window: Duration::ZERO, fingerprint: None };
        match (runner.ask(&[request]).await?.pop(), add.take()) {
            (Some(Claimed::Done(record)), _) => {
                last = Some(FirstSlot::read(&record)?);
                number += 1;
            }
            (Some(Claimed::Acquired(lease)), Some(entry)) => {
                let outcome = Some(Bytes::from(entry.written()));
                let done = Settle::Complete { window: TEN_YEARS, outcome };
                // It is read back, as every other host reads it: another one may have been first.
                runner.settle(&[Settlement::new(&lease, done)]).await?;
            }
            (Some(Claimed::Acquired(_)), None) => {
                match successor(last.as_ref(), runner.scope(), schedule, window, now) {
                    Step::Add(entry) => add = Some(entry),
                    Step::Holds(entry) => return Ok(entry),
                }
            }
            (Some(Claimed::Busy { free_in }), _) => {
                // Somebody has redriven or released it by hand: the shared token may be refused for good.
                drawn = Some(Token::random());
                tokio::time::sleep(free_in.clamp(Duration::from_millis(10), ADDING)).await;
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    "the store did not answer a claim of a schedule",
                ));
            }
        }
    }
}

/// Hosts that look for the end of the chain at once are as one: each of them is granted the claim, and the first
/// completion counts.
pub(super) fn shared_token(key: &Key) -> Token {
    let mut token = [0; 16];
    token.copy_from_slice(&key.digest()[..16]);
    Token(token)
}

enum Step {
    /// The last record counts.
    Holds(FirstSlot),
    /// This one has to be added.
    Add(FirstSlot),
}

fn successor(
    last: Option<&FirstSlot>,
    scope: &Scope,
    schedule: &Schedule,
    window: Duration,
    now: SystemTime,
) -> Step {
    let (next, window) = (schedule.after(now).unwrap_or(now), Duration::from_secs(window.as_secs()));
    let (before, longer_since) = (Duration::ZERO, UNIX_EPOCH);
    let anew = FirstSlot { first: next, window, before, longer_since, schedule: schedule.to_string() };
    let Some(last) = last else { return Step::Add(anew) };
    let scope = scope.name();
    if last.schedule != anew.schedule {
        tracing::warn!(target: "ackonce", scope, before = last.schedule, now = anew.schedule, first = %Utc(next),
            "the schedule has changed: it begins with its next slot, and slots before that do not count as missed. \
             Hosts that still run the one before go on with it");
        return Step::Add(anew);
    }
    if last.first > next {
        tracing::warn!(target: "ackonce", scope, recorded = %Utc(last.first), store_time = %Utc(now), first = %Utc(next),
            "the recorded first slot of this schedule lies in the future: it was recorded under a clock that was ahead. \
             The schedule begins with its next slot instead");
        return Step::Add(anew);
    }
    let same = FirstSlot { window, ..last.clone() };
    if last.window == window {
        return Step::Holds(same);
    }
    if window < last.window {
        return Step::Add(same);
    }
    let before = match last.before.is_zero() {
        true => last.window,
        false => last.window.min(last.before),
    };
    Step::Add(FirstSlot { first: last.since(now), before, longer_since: now, ..same })
}

impl FirstSlot {
    /// No slot before that moment counts: there was none, or its record may be forgotten and must not be taken for one
    /// that was missed.
    pub(super) fn since(&self, now: SystemTime) -> SystemTime {
        let forgotten = now.checked_sub(self.before).unwrap_or(UNIX_EPOCH).min(self.longer_since);
        self.first.max(forgotten)
    }

    fn written(&self) -> String {
        let (first, since) = (unix_millis(self.first), unix_millis(self.longer_since));
        let (window, before) = (self.window.as_secs(), self.before.as_secs());
        format!("{first} {window} {before} {since} {}", self.schedule)
    }

    fn read(record: &Record) -> Result<Self> {
        let parse = |text: &str| {
            let mut words = text.splitn(5, ' ');
            let mut number = || words.next()?.parse::<u64>().ok();
            let moment = |millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis));
            Some(Self {
                first: moment(number()?)?,
                window: Duration::from_secs(number()?),
                before: Duration::from_secs(number()?),
                longer_since: moment(number()?)?,
                schedule: words.next()?.to_owned(),
            })
        };
        let text = record.outcome.as_deref().and_then(|outcome| std::str::from_utf8(outcome).ok());
        text.and_then(parse).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the record of a schedule's first slot cannot be read")
        })
    }
}
