//! A claim with one bug: the row is misread before the protocol decides, or its answer is spoilt after.

use std::time::Duration;

use ackonce::Previous;
use ackonce::protocol::{self, Row};
use ackonce::store::{ClaimRequest, Claimed, Fingerprint, Lease, State, Token};

use crate::bug::Bug;

const NOBODY: Token = Token([0; 16]);

pub(crate) fn claim(bug: Bug, row: Option<&Row>, request: &ClaimRequest, now: u64) -> (Claimed, Option<Row>) {
    let mut request = request.clone();
    let mut seen = row.cloned();
    if let Some(row) = &mut seen {
        misread(bug, row, &mut request, now);
    }
    let (mut answer, mut change) = protocol::claim(seen.as_ref(), &request, now);
    if let (Claimed::Acquired(lease), Some(new)) = (&mut answer, &mut change) {
        misgrant(bug, row, &request, now, lease, new);
    }
    if let Claimed::Done(record) | Claimed::Mismatch(record) = &mut answer {
        match bug {
            Bug::AgeInMillis => record.age *= 1000,
            Bug::RecordForgetsFence => record.fence = 0,
            _ => {}
        }
    }
    match (bug, &answer, row) {
        (Bug::BusyIsDone, Claimed::Busy { .. }, Some(row)) => (Claimed::Done(row.record(now)), None),
        (Bug::MismatchReplaces, Claimed::Mismatch(_), Some(row)) => {
            (answer, Some(Row { fingerprint: request.fingerprint, ..row.clone() }))
        }
        _ => (answer, change),
    }
}

fn misread(bug: Bug, row: &mut Row, request: &mut ClaimRequest, now: u64) {
    let same = row.token == request.token;
    let unknown = Some(Fingerprint::of(b"unknown"));
    match (bug, row.state) {
        (Bug::RepeatIsRival, State::Claimed) if same => row.token = NOBODY,
        (Bug::RepeatIsGrantedAgain, State::Claimed) if same => (row.token, row.free_at) = (NOBODY, 0),
        (Bug::GhostIsGranted, State::Released) => row.token = NOBODY,
        (Bug::RepeatReopensDone, State::Done) if same => (row.state, row.free_at) = (State::Claimed, 0),
        (Bug::LateRepeatIsRefused, State::Claimed) if same && now >= row.free_at => {
            (row.token, row.free_at) = (NOBODY, now + 1);
        }
        (Bug::ReleaseWaits, State::Released) => (row.state, row.token) = (State::Claimed, NOBODY),
        (Bug::BuriedIsGranted, State::Buried) => row.state = State::Released,
        (Bug::WindowNeverEnds, State::Done | State::Buried | State::Released) => row.expires = u64::MAX,
        (Bug::TrailIsDropped, State::Claimed) => row.expires = row.free_at,
        (Bug::BackoffHidesMismatch, State::Released) if now < row.free_at => {
            request.fingerprint = row.fingerprint
        }
        (Bug::MismatchIsIgnored, _) => request.fingerprint = row.fingerprint,
        (Bug::MismatchOnlyOnceDone, State::Claimed | State::Released) => {
            request.fingerprint = row.fingerprint
        }
        (Bug::UnknownIsMismatch, _) => {
            row.fingerprint = row.fingerprint.or(unknown);
            request.fingerprint = request.fingerprint.or(unknown);
        }
        _ => {}
    }
}

fn misgrant(bug: Bug, old: Option<&Row>, request: &ClaimRequest, now: u64, lease: &mut Lease, new: &mut Row) {
    let window = u64::try_from(request.window.as_micros()).unwrap_or(u64::MAX);
    match bug {
        Bug::CountsAtSettle if lease.attempt > 0 => new.attempt -= 1,
        Bug::RepeatDropsProgress if old.is_some_and(|old| old.fence == new.fence) => lease.progress = None,
        Bug::CountsFromZero => lease.attempt -= 1,
        Bug::VanishedIsReleased if lease.previous == Previous::Vanished => {
            lease.previous = Previous::Released
        }
        Bug::ReleasedIsVanished if lease.previous == Previous::Released => {
            lease.previous = Previous::Vanished
        }
        Bug::FenceIsTheClock => new.fence = now,
        Bug::FenceRestarts if lease.attempt == 1 => new.fence = 1,
        Bug::FenceStands if lease.previous == Previous::Vanished => {
            new.fence = old.map_or(new.fence, |old| old.fence);
        }
        Bug::UnknownReplaces => new.fingerprint = request.fingerprint,
        Bug::LeaseInSeconds => new.free_at = now.saturating_add((new.free_at - now).saturating_mul(1000)),
        Bug::WindowCutsLease => new.expires = now.saturating_add(window),
        Bug::TimesWrap if request.lease == Duration::MAX => new.free_at = now.wrapping_add(u64::MAX),
        Bug::ZeroIsForever if request.lease.is_zero() => new.free_at = u64::MAX,
        _ => {}
    }
    new.expires = match bug {
        Bug::WindowCutsLease => new.expires,
        _ => new.expires.max(new.free_at),
    };
    lease.fence = new.fence;
}
