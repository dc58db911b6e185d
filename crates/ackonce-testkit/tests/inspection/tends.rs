//! Tending the sabotaged store.

use ackonce::Key;
use ackonce::protocol::{self, Row};
use ackonce::store::{AdminOutcome, Note, State};

use crate::bug::Bug;
use crate::store::Sabotaged;

impl Sabotaged {
    pub(crate) async fn drop_one(&self, key: &Key, note: &Note) -> AdminOutcome {
        let (now, row) = (self.now(), self.find(key));
        let may = match protocol::tendable(row.as_ref(), now) {
            Some(false) if self.has(Bug::ForgetTakesLive) => Some(true),
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
            return if always { AdminOutcome::Yes } else { refused(may) };
        };
        note.audit("forget", key, row.state);
        match self.bug {
            Bug::ForgetKeepsAttempts => self.write(key, Row { state: State::Released, ..row }),
            Bug::ForgetRestartsFence => self.lock().retain(|(k, _)| k != key),
            _ => self.write(key, Row { expires: 0, ..row }),
        }
        AdminOutcome::Yes
    }

    pub(crate) async fn rerun(&self, key: &Key, note: &Note) -> AdminOutcome {
        let (now, row) = (self.now(), self.find(key));
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
        note.audit("redrive", key, row.state);
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
