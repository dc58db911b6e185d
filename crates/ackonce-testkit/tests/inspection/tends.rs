//! Tending the sabotaged store.

use std::time::Duration;

use ackonce::Key;
use ackonce::protocol::{self, Row};
use ackonce::store::{AdminOutcome, AuditEntry, Note, RecordTarget, State};

use crate::bug::Bug;
use crate::store::Sabotaged;

impl Sabotaged {
    pub(crate) async fn drop_one(&self, target: RecordTarget<'_>, note: &Note) -> AdminOutcome {
        let Some(key) = &self.key_of(target) else { return AdminOutcome::Nothing };
        let (now, row) = (self.now(), self.find(key));
        if !self.is_still(target, row.as_ref()) {
            return AdminOutcome::Nothing;
        }
        let may = match protocol::tendable(row.as_ref(), now) {
            Some(false) if self.has(Bug::ForgetTakesLive) => Some(true),
            Some(false) if self.has(Bug::ListedTakesLive) && target.still().is_some() => Some(true),
            Some(true) if self.has(Bug::ForgetSparesLapsed) => {
                Some(row.as_ref().is_some_and(|r| r.state != State::Claimed))
            }
            Some(true) if self.has(Bug::ForgetSparesWaiting) => {
                Some(row.as_ref().is_some_and(|r| r.state != State::Released || r.free_at <= now))
            }
            other => other,
        };
        if self.has(Bug::ForgetChecksThenActs) {
            tokio::task::yield_now().await;
        }
        let (Some(true), Some(row)) = (may, row) else {
            let always = self.has(Bug::ForgetAlwaysYes) && may.is_none();
            if self.has(Bug::AuditKeepsRefusals) {
                self.keep("forget", key, note, State::Claimed);
            }
            return if always { AdminOutcome::Yes } else { refused(may) };
        };
        self.keep("forget", key, note, row.state);
        match self.bug {
            Bug::ForgetKeepsAttempts => self.write(key, Row { state: State::Released, ..row }),
            Bug::ForgetRestartsFence => self.lock().retain(|(k, _)| k != key),
            _ => self.write(key, Row { expires: 0, ..row }),
        }
        AdminOutcome::Yes
    }

    pub(crate) async fn rerun(&self, target: RecordTarget<'_>, note: &Note) -> AdminOutcome {
        let Some(key) = &self.key_of(target) else { return AdminOutcome::Nothing };
        let (now, row) = (self.now(), self.find(key));
        if !self.is_still(target, row.as_ref()) {
            return AdminOutcome::Nothing;
        }
        let row = match row {
            None if self.has(Bug::RedriveMakesARecord) => Some(Row { state: State::Done, ..self.conjured() }),
            Some(row) if self.has(Bug::RedriveRevives) => Some(Row { expires: u64::MAX, ..row }),
            other => other,
        };
        let may = match protocol::tendable(row.as_ref(), now) {
            Some(false) if self.has(Bug::RedriveTakesLive) => Some(true),
            other => other,
        };
        if self.has(Bug::RedriveChecksThenActs) {
            tokio::task::yield_now().await;
        }
        let (Some(true), Some(row)) = (may, row) else { return refused(may) };
        let settled = matches!(row.state, State::Done | State::Buried);
        let anyway = self.has(Bug::RedriveTakesReleased) || self.has(Bug::RedriveTakesLive);
        let row = if anyway && !settled { Row { state: State::Done, ..row } } else { row };
        let Some(new) = protocol::redriven(&row, now) else {
            return if self.has(Bug::RedriveAlwaysYes) { AdminOutcome::Yes } else { AdminOutcome::Nothing };
        };
        self.keep("redrive", key, note, row.state);
        let new = match self.bug {
            Bug::RedriveWaits => Row { free_at: row.free_at, ..new },
            Bug::RedriveForgets => Row { expires: 0, ..new },
            Bug::RedriveKeepsAttempts => Row { attempt: row.attempt, ..new },
            Bug::RedriveKeepsOutcome => Row { outcome: row.outcome, reason: row.reason, ..new },
            Bug::RedriveLeavesLease => Row { state: State::Claimed, free_at: 0, ..new },
            _ => new,
        };
        self.write(key, new);
        AdminOutcome::Yes
    }

    fn key_of(&self, target: RecordTarget<'_>) -> Option<Key> {
        match target {
            RecordTarget::Key(key) => Some(key.clone()),
            RecordTarget::Listed(_) if self.has(Bug::ListedIsUnknown) => None,
            RecordTarget::Listed(entry) => {
                let rows = self.lock();
                rows.iter().map(|(key, _)| key).find(|key| key.digest()[..] == entry.digest[..]).cloned()
            }
        }
    }

    fn is_still(&self, target: RecordTarget<'_>, row: Option<&Row>) -> bool {
        let still = target.still().filter(|_| !self.has(Bug::ListedIsNotCompared));
        still.is_none_or(|still| row.is_some_and(|row| still == (row.state, row.fence)))
    }

    fn keep(&self, operation: &'static str, key: &Key, note: &Note, before: State) {
        note.log(operation, RecordTarget::Key(key), before);
        let (operation, actor, reason) = (operation.to_owned(), note.actor.clone(), note.reason.clone());
        let entry = AuditEntry { operation, actor, reason, before, age: Duration::ZERO };
        if !self.has(Bug::AuditForgets) {
            self.changes.lock().unwrap().push((key.clone(), self.now(), entry));
        }
    }

    pub(crate) fn trail(&self, key: &Key) -> Vec<AuditEntry> {
        let (now, changes) = (self.now(), self.changes.lock().unwrap());
        let of_key = changes.iter().filter(|(of, ..)| of == key || self.has(Bug::AuditMixesKeys));
        let aged =
            of_key.map(|(_, at, entry)| AuditEntry { age: Duration::from_micros(now - at), ..entry.clone() });
        let mut trail: Vec<_> = aged.collect();
        if self.has(Bug::AuditNewestFirst) {
            trail.reverse();
        }
        trail
    }

    pub(crate) fn drop_expired(&self) -> u64 {
        let (now, mut rows) = (self.now(), self.lock());
        let before = rows.len();
        rows.retain(|(_, row)| match row.state {
            _ if self.has(Bug::SweepDoesNothing) => true,
            State::Claimed if self.has(Bug::SweepTakesLapsed) => now < row.free_at,
            State::Released if self.has(Bug::SweepTakesReleased) => false,
            _ => now < row.expires,
        });
        (before - rows.len()) as u64
    }
}

fn refused(may: Option<bool>) -> AdminOutcome {
    if may == Some(false) { AdminOutcome::InFlight } else { AdminOutcome::Nothing }
}
