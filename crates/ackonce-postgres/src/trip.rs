//! Claims and settlements as arrays, and what the statement answers as answers of the protocol.

use std::collections::HashMap;
use std::time::Duration;

use ackonce::protocol::{self, Row};
use ackonce::{
    Attempt, ClaimRequest, Claimed, Error, ErrorKind, Key, Lease, Result, Settle, Settled, Settlement, State,
};
use tokio_postgres::Row as Columns;
use tokio_postgres::types::Type;

use crate::Names;
use crate::batch::{Kind, Told};
use crate::key::{Id, Salt};
use crate::link::Param;
use crate::rows::{Stands, decode, half, whole};

/// Longer times are as good as this one (36 000 years), and sums of them stay within 64 bits.
const EVER: i64 = 1 << 60;

pub(crate) static CLAIMS: Kind<ClaimRequest, Claimed> =
    Kind { key: |request| &request.key, token: |request| request.token, bytes: |_| 0, decide: claim };

pub(crate) static SETTLEMENTS: Kind<Settlement, Settled> = Kind {
    key: |settlement| &settlement.key,
    token: |settlement| settlement.token,
    bytes: |s| detail(s).map_or(0, <[u8]>::len),
    decide: protocol::settle,
};

/// The protocol, on fingerprints as they are kept.
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
    pub(crate) fn answers(&self, requests: &[&ClaimRequest], rows: &[Columns]) -> Result<Vec<Told<Claimed>>> {
        let mut stands = by_key(rows)?;
        let answers = self
            .keys
            .iter()
            .zip(requests)
            .map(|(key, request)| granted(stands.remove(key).ok_or_else(unanswered)?, request));
        answers.collect()
    }
}

/// The answer to one claim, from the record as it stands after the statement.
pub(crate) fn granted(stands: Stands, request: &ClaimRequest) -> Result<Told<Claimed>> {
    let Stands { written, now, row, .. } = stands;
    let stored = row.ok_or_else(unanswered)?;
    let row = stored.under(request.token);
    let ours = row.state == State::Claimed && row.token == request.token;
    let answer = match claim(Some(&row), request, now).0 {
        mismatch @ Claimed::Mismatch(_) => mismatch,
        // Whatever its times: a lease of zero has ended by now, and was granted all the same.
        _ if written && ours => Claimed::Acquired(lease(&row, &request.key)),
        Claimed::Acquired(_) => return Err(disagree()),
        answer => answer,
    };
    Ok(Told { answer, row: Some(stored), now })
}

fn lease(row: &Row, key: &Key) -> Lease {
    Lease {
        key: key.clone(),
        token: row.token,
        fence: row.fence,
        attempt: row.attempt,
        previous: row.previous,
    }
}

/// Parameters `$1` and up of `settle.sql`.
pub(crate) struct SettleParams<'r> {
    salt: &'r [u8],
    keys: Vec<Id>,
    tokens: Vec<Id>,
    fences: Vec<i64>,
    actions: Vec<i8>,
    leases: Vec<i64>,
    times: Vec<i64>,
    details: Vec<Option<&'r [u8]>>,
    scopes: Vec<Option<&'r str>>,
    ids: Vec<Option<&'r [u8]>>,
}

impl<'r> SettleParams<'r> {
    pub(crate) fn new(settlements: &[&'r Settlement], salt: &'r Salt, names: Names) -> Self {
        let name = |s: &&'r Settlement| {
            (matches!(s.action, Settle::Bury { .. }) && names != Names::Omit).then_some(&s.key)
        };
        Self {
            salt: &salt.0,
            keys: settlements.iter().map(|s| salt.id(&s.key)).collect(),
            tokens: settlements.iter().map(|s| s.token.into()).collect(),
            // No fence of ours is above the highest of a column.
            fences: settlements.iter().map(|s| i64::try_from(s.fence).unwrap_or(-1)).collect(),
            actions: settlements.iter().map(|s| letter(&s.action)).collect(),
            leases: settlements.iter().map(|s| micros(times(&s.action).0)).collect(),
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
            (&self.actions, Type::CHAR_ARRAY),
            (&self.leases, Type::INT8_ARRAY),
            (&self.times, Type::INT8_ARRAY),
            (&self.details, Type::BYTEA_ARRAY),
            (&self.scopes, Type::TEXT_ARRAY),
            (&self.ids, Type::BYTEA_ARRAY),
        ]
    }

    /// One answer per settlement, from the rows of the statement, which come in any order.
    pub(crate) fn answers(
        &self,
        settlements: &[&Settlement],
        rows: &[Columns],
    ) -> Result<Vec<Told<Settled>>> {
        let mut stands = by_key(rows)?;
        let answers = self.keys.iter().zip(settlements).map(|(key, settlement)| {
            let Stands { written, now, row, .. } = stands.remove(key).ok_or_else(unanswered)?;
            let under = row.as_ref().map(|row| row.under(settlement.token));
            let answer = if written {
                let is_so = under.is_some_and(|row| is_so(&row, settlement));
                if is_so { Settled::Yes } else { Settled::Lost }
            } else {
                match protocol::settle(under.as_ref(), settlement, now) {
                    (answer, None) => answer,
                    (_, Some(_)) => return Err(disagree()),
                }
            };
            Ok(Told { answer, row, now })
        });
        answers.collect()
    }
}

/// Whether a row that the statement locked and left like this has been settled so: by it, or by an earlier copy
/// of the same settlement that committed meanwhile.
fn is_so(row: &Row, settlement: &Settlement) -> bool {
    let state = match settlement.action {
        Settle::Complete { .. } => State::Done,
        Settle::Bury { .. } => State::Buried,
        Settle::Release { .. } => State::Released,
        Settle::Extend { .. } => State::Claimed,
        Settle::Redrive { .. } => {
            return row.state == State::Released && row.fence == settlement.fence && row.attempt == 0;
        }
    };
    row.state == state && row.fence == settlement.fence && row.token == settlement.token
}

fn letter(action: &Settle) -> i8 {
    let letter = match action {
        Settle::Complete { .. } => b'd',
        Settle::Bury { .. } => b'b',
        Settle::Release { attempt: Attempt::Counts, .. } => b'r',
        Settle::Release { attempt: Attempt::Refunded, .. } => b'f',
        Settle::Extend { .. } => b'e',
        Settle::Redrive { .. } => b'q',
    };
    letter.cast_signed()
}

/// Lease and window.
fn times(action: &Settle) -> (Duration, Duration) {
    match action {
        Settle::Complete { window, .. }
        | Settle::Bury { window, .. }
        | Settle::Release { window, .. }
        | Settle::Redrive { window } => (Duration::ZERO, *window),
        Settle::Extend { lease, window } => (*lease, *window),
    }
}

/// The outcome or reason that it brings.
pub(crate) fn detail(settlement: &Settlement) -> Option<&[u8]> {
    match &settlement.action {
        Settle::Complete { outcome, .. } => outcome.as_deref(),
        Settle::Bury { reason, .. } => Some(reason.as_bytes()),
        Settle::Release { .. } | Settle::Extend { .. } | Settle::Redrive { .. } => None,
    }
}

fn by_key(rows: &[Columns]) -> Result<HashMap<Id, Stands>> {
    rows.iter().map(|row| decode(row).map(|stands| (stands.key, stands))).collect()
}

pub(crate) fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(EVER).min(EVER)
}

fn unanswered() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: a request was not answered")
}

/// Never acted upon: a claim that was not written is nobody's.
fn disagree() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: the statement and the protocol disagree on a record")
}
