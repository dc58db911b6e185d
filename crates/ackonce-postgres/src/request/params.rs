//! The parameters of claims and settlements as arrays, and the protocol's answers from the statement's rows.

use std::collections::HashMap;
use std::time::Duration;

use ackonce::protocol::{self, Row};
use ackonce::store::{
    Attempt, ClaimRequest, Claimed, Lease, Names, Repeat, Settle, Settled, Settlement, State,
};
use ackonce::{Error, ErrorKind, Key, Result};
use tokio_postgres::Row as Columns;
use tokio_postgres::types::Type;

use super::batch::{Kind, Reply};
use crate::connection::Param;
use crate::records::{Id, RowState, Salt, decode_any, half, whole};

/// The longest time (36 000 years), which caps longer ones: sums of it stay within 64 bits.
const EVER: i64 = 1 << 60;

pub(crate) static CLAIMS: Kind<ClaimRequest, Claimed> =
    Kind { key: |request| &request.key, token: |request| request.token, bytes: |_| 0, decide: claim };

pub(crate) static SETTLEMENTS: Kind<Settlement, Settled> = Kind {
    key: |settlement| &settlement.key,
    token: |settlement| settlement.token,
    bytes: |s| detail(s).map_or(0, <[u8]>::len),
    decide: protocol::settle,
};

/// The protocol's claim, on stored fingerprints.
fn claim(row: Option<&Row>, request: &ClaimRequest, now: u64) -> (Claimed, Option<Row>) {
    let fingerprint = request.fingerprint.map(|f| whole(half(f)));
    protocol::claim(row, &ClaimRequest { fingerprint, ..request.clone() }, now)
}

/// Parameters `$1` and up of `claim.sql`.
pub(crate) struct ClaimParams<'r> {
    salt: &'r [u8],
    keys: Vec<Id>,
    tokens: Vec<Id>,
    leases: Vec<i64>,
    times: Vec<i64>,
    fingerprints: Vec<Option<i64>>,
    scopes: Vec<Option<&'r str>>,
    ids: Vec<Option<&'r [u8]>>,
}

impl<'r> ClaimParams<'r> {
    pub(crate) fn new(requests: &[&'r ClaimRequest], salt: &'r Salt, names: Names) -> Self {
        let name = |r: &&'r ClaimRequest| (names == Names::Keep).then_some(&r.key);
        Self {
            salt: &salt.0,
            keys: requests.iter().map(|r| salt.id(&r.key)).collect(),
            tokens: requests.iter().map(|r| r.token.into()).collect(),
            leases: requests.iter().map(|r| micros(r.lease)).collect(),
            times: requests.iter().map(|r| micros(r.window)).collect(),
            fingerprints: requests.iter().map(|r| r.fingerprint.map(half)).collect(),
            scopes: requests.iter().map(|r| name(r).map(|key| key.scope().name())).collect(),
            ids: requests.iter().map(|r| name(r).map(|key| &key.id()[..])).collect(),
        }
    }

    pub(crate) fn as_params(&self) -> [Param<'_>; 8] {
        [
            (&self.salt, Type::BYTEA),
            (&self.keys, Type::UUID_ARRAY),
            (&self.tokens, Type::UUID_ARRAY),
            (&self.leases, Type::INT8_ARRAY),
            (&self.times, Type::INT8_ARRAY),
            (&self.fingerprints, Type::INT8_ARRAY),
            (&self.scopes, Type::TEXT_ARRAY),
            (&self.ids, Type::BYTEA_ARRAY),
        ]
    }

    /// One answer per request, from the rows of the statement, which come in any order.
    pub(crate) fn answers(
        &self,
        requests: &[&ClaimRequest],
        rows: &[Columns],
    ) -> Result<Vec<Reply<Claimed>>> {
        let mut states = by_key(rows)?;
        let answers = self
            .keys
            .iter()
            .zip(requests)
            .map(|(key, request)| granted(states.remove(key).ok_or_else(unanswered)?, request));
        answers.collect()
    }
}

/// The answer to one claim, from the record after the statement.
pub(crate) fn granted(current: RowState, request: &ClaimRequest) -> Result<Reply<Claimed>> {
    let RowState { key, written, now, row, damage } = current;
    if let Some(damage) = damage {
        return Err(unreadable(&request.key, key, damage));
    }
    let stored = row.ok_or_else(unanswered)?;
    let row = stored.under(request.token);
    let ours = row.state == State::Claimed && row.token == request.token;
    let answer = match claim(Some(&row), request, now).0 {
        mismatch @ Claimed::Mismatch(_) => mismatch,
        // A lease of zero has ended by now, but it was granted.
        _ if written && ours => Claimed::Acquired(lease(&row, &request.key)),
        Claimed::Acquired(_) => return Err(disagree()),
        answer => answer,
    };
    Ok(Reply { answer, left: Some((Some(stored), now)) })
}

fn lease(row: &Row, key: &Key) -> Lease {
    Lease {
        key: key.clone(),
        token: row.token,
        fence: row.fence,
        attempt: row.attempt,
        previous: row.previous,
        progress: row.outcome.clone(),
    }
}

/// Parameters `$1` and up of `settle.sql`.
pub(crate) struct SettleParams<'r> {
    salt: &'r [u8],
    keys: Vec<Id>,
    tokens: Vec<Id>,
    fences: Vec<i64>,
    becomes: Vec<i32>,
    holds: Vec<i64>,
    times: Vec<i64>,
    details: Vec<Option<&'r [u8]>>,
    scopes: Vec<Option<&'r str>>,
    ids: Vec<Option<&'r [u8]>>,
}

impl<'r> SettleParams<'r> {
    pub(crate) fn new(settlements: &[&'r Settlement], salt: &'r Salt, names: Names) -> Self {
        // Operators look for all but the done ones; those that are done soon are never looked for.
        let names = names != Names::Omit;
        let name =
            |s: &&'r Settlement| (!matches!(s.action, Settle::Complete { .. }) && names).then_some(&s.key);
        Self {
            salt: &salt.0,
            keys: settlements.iter().map(|s| salt.id(&s.key)).collect(),
            tokens: settlements.iter().map(|s| s.token.into()).collect(),
            // The store never makes a fence above a column's maximum.
            fences: settlements.iter().map(|s| i64::try_from(s.fence).unwrap_or(-1)).collect(),
            becomes: settlements.iter().map(|s| becomes(&s.action)).collect(),
            holds: settlements.iter().map(|s| micros(times(&s.action).0)).collect(),
            times: settlements.iter().map(|s| micros(times(&s.action).1)).collect(),
            details: settlements.iter().map(|s| detail(s)).collect(),
            scopes: settlements.iter().map(|s| name(s).map(|key| key.scope().name())).collect(),
            ids: settlements.iter().map(|s| name(s).map(|key| &key.id()[..])).collect(),
        }
    }

    pub(crate) fn as_params(&self) -> [Param<'_>; 10] {
        [
            (&self.salt, Type::BYTEA),
            (&self.keys, Type::UUID_ARRAY),
            (&self.tokens, Type::UUID_ARRAY),
            (&self.fences, Type::INT8_ARRAY),
            (&self.becomes, Type::INT4_ARRAY),
            (&self.holds, Type::INT8_ARRAY),
            (&self.times, Type::INT8_ARRAY),
            (&self.details, Type::BYTEA_ARRAY),
            (&self.scopes, Type::TEXT_ARRAY),
            (&self.ids, Type::BYTEA_ARRAY),
        ]
    }

    pub(crate) fn keys(&self) -> &[Id] {
        &self.keys
    }
}

/// One answer per settlement. A written one is `Yes`; the others are answered from their records, if there are
/// any, as of `now` or later.
pub(crate) fn settled(
    settlements: &[&Settlement],
    keys: &[Id],
    mut states: HashMap<Id, RowState>,
    now: u64,
) -> Result<Vec<Reply<Settled>>> {
    let answers = keys.iter().zip(settlements).map(|(key, settlement)| {
        let current = states.remove(key);
        // Nobody has the claim of a record that cannot be read any more, and the renewal of others goes on.
        if current.as_ref().is_some_and(|current| current.damage.is_some() && !current.written) {
            return Ok(Reply { answer: Settled::Lost, left: None });
        }
        let now = current.as_ref().map_or(now, |current| current.now);
        let (written, row) = current.map_or((false, None), |current| (current.written, current.row));
        let answer = if written {
            Settled::Yes
        } else {
            match protocol::settle(
                row.as_ref().map(|row| row.under(settlement.token)).as_ref(),
                settlement,
                now,
            ) {
                (answer, None) => answer,
                // The server's clock was set back in between.
                (_, Some(_)) => return Err(disagree().with_repeat(Repeat::Unknown)),
            }
        };
        Ok(Reply { answer, left: Some((row, now)) })
    });
    answers.collect()
}

/// The last digit of the record's tally, or the code of a save or a redrive.
pub(crate) fn becomes(action: &Settle) -> i32 {
    match action {
        Settle::Complete { .. } => 0,
        Settle::Bury { .. } => 1,
        Settle::Extend { .. } => 2,
        Settle::Save { .. } => 3,
        Settle::Release { attempt: Attempt::Counts, .. } => 5,
        Settle::Release { attempt: Attempt::Refunded, .. } => 6,
        Settle::Redrive { .. } => 9,
    }
}

/// The time from now until a claim may be granted, and the window after that.
pub(crate) fn times(action: &Settle) -> (Duration, Duration) {
    match action {
        Settle::Complete { window, .. } | Settle::Bury { window, .. } | Settle::Redrive { window } => {
            (Duration::ZERO, *window)
        }
        Settle::Release { window, not_before, .. } => (*not_before, *window),
        Settle::Extend { lease, window } => (*lease, *window),
        Settle::Save { .. } => (Duration::ZERO, Duration::ZERO),
    }
}

/// The outcome, progress or reason of a settlement.
pub(crate) fn detail(settlement: &Settlement) -> Option<&[u8]> {
    match &settlement.action {
        Settle::Complete { outcome, .. } => outcome.as_deref(),
        Settle::Bury { reason, .. } => Some(reason.as_bytes()),
        Settle::Save { progress } => Some(progress),
        Settle::Release { .. } | Settle::Extend { .. } | Settle::Redrive { .. } => None,
    }
}

pub(crate) fn by_key(rows: &[Columns]) -> Result<HashMap<Id, RowState>> {
    let states = rows.iter().filter_map(|row| decode_any(row).transpose());
    states.map(|state| state.map(|state| (state.key, state))).collect()
}

pub(crate) fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(EVER).min(EVER)
}

/// The error of a claim of a damaged record: it is about that claim alone, so that the core carries out the others.
fn unreadable(key: &Key, id: Id, damage: Error) -> Error {
    let message = format!(
        "postgres: the record of {key:?} cannot be read; delete its row, whose key is {}",
        id.to_text()
    );
    Error::new(ErrorKind::Invalid, message).with_source(damage)
}

fn unanswered() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: a request was not answered")
}

/// The error of a claim that the protocol would grant and the statement did not write: no worker may act on it.
fn disagree() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: the statement and the protocol disagree on a record")
}
