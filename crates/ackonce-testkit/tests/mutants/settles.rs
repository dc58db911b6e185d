//! A settlement with one bug: it is misread before the protocol decides, or its row is corrupted afterwards.

use ackonce::Previous;
use ackonce::protocol::{self, Row};
use ackonce::store::{Settle, Settled, Settlement, State};
use bytes::Bytes;

use crate::bug::Bug;

pub(crate) fn settle(
    bug: Bug,
    row: Option<&Row>,
    settlement: &Settlement,
    now: u64,
) -> (Settled, Option<Row>) {
    let mut settlement = settlement.clone();
    let mut seen = row.cloned();
    match &mut seen {
        Some(row) => misread(bug, row, &mut settlement, now),
        None if bug == Bug::SettleCreates => seen = Some(created(&settlement)),
        None => {}
    }
    let repeats = row.is_some_and(|r| r.state != State::Claimed);
    match bug {
        Bug::RepeatIsLost if repeats => return (Settled::Lost, None),
        Bug::LateIsLost if row.is_some_and(|r| now >= r.free_at) => return (Settled::Lost, None),
        Bug::ExtendIsIgnored if matches!(settlement.action, Settle::Extend { .. }) => {
            return (protocol::settle(seen.as_ref(), &settlement, now).0, None);
        }
        _ => {}
    }
    let (answer, mut change) = protocol::settle(seen.as_ref(), &settlement, now);
    if let (Some(old), Some(new)) = (seen, &mut change) {
        misrecord(bug, &old, new, &settlement.action, now);
    }
    (answer, change)
}

fn misread(bug: Bug, row: &mut Row, settlement: &mut Settlement, now: u64) {
    let unowned = matches!(
        (bug, &settlement.action),
        (Bug::AnyoneCompletes, Settle::Complete { .. })
            | (Bug::AnyoneReleases, Settle::Release { .. })
            | (Bug::AnyoneExtends, Settle::Extend { .. })
            | (Bug::AnyoneBuries, Settle::Bury { .. })
            | (Bug::AnyoneSaves, Settle::Save { .. })
            | (Bug::AnyoneRedrives, Settle::Redrive { .. })
    );
    if unowned || bug == Bug::FenceIsUnchecked && settlement.token == row.token {
        settlement.fence = row.fence;
    }
    let by_fence = bug == Bug::TokenIsUnchecked
        || bug == Bug::FenceRedrives && matches!(settlement.action, Settle::Redrive { .. });
    if unowned || by_fence && settlement.fence == row.fence {
        settlement.token = row.token;
    }
    match (bug, row.state) {
        (Bug::ForgottenIsSettled, _) => row.expires = row.expires.max(now + 1),
        (Bug::DoneIsReopened, State::Done | State::Buried) => row.state = State::Claimed,
        (Bug::SettledIsSaved, _) if matches!(settlement.action, Settle::Save { .. }) => {
            row.state = State::Claimed
        }
        (Bug::ProgressShrinks, _) if matches!(settlement.action, Settle::Save { .. }) => row.outcome = None,
        (Bug::ReleasedIsSettled, State::Released) => row.state = State::Claimed,
        (Bug::RepeatRestartsBackoff, State::Released) => row.state = State::Claimed,
        (Bug::RefundRepeats, State::Released) => row.state = State::Claimed,
        _ => {}
    }
}

fn created(settlement: &Settlement) -> Row {
    Row {
        state: State::Claimed,
        token: settlement.token,
        fence: settlement.fence,
        claimed: 0,
        attempt: 1,
        previous: Previous::None,
        fingerprint: None,
        free_at: u64::MAX,
        expires: u64::MAX,
        outcome: None,
        reason: None,
    }
}

fn misrecord(bug: Bug, old: &Row, new: &mut Row, action: &Settle, now: u64) {
    let text = |outcome: Bytes| Bytes::from(String::from_utf8_lossy(&outcome).into_owned());
    let until_nul = |b: Bytes| b.iter().position(|byte| *byte == 0).map_or(b.clone(), |end| b.slice(..end));
    let ended = matches!(new.state, State::Done | State::Buried);
    let window = new.expires.saturating_sub(now);
    match bug {
        Bug::CountsAtSettle if new.state != State::Claimed => new.attempt = old.attempt + 1,
        Bug::ReleaseForgets if new.state == State::Released => new.attempt = 0,
        Bug::RefundHidesVanished if new.state == State::Released => new.previous = Previous::Released,
        Bug::RefundIsIgnored => new.attempt = old.attempt,
        Bug::RedriveKeepsAttempts if matches!(action, Settle::Redrive { .. }) => new.attempt = old.attempt,
        Bug::WindowIsLease if ended => new.expires = old.free_at,
        Bug::WindowFromClaim if ended => new.expires = old.claimed.saturating_add(window),
        Bug::ReleaseDropsProgress if new.state == State::Released => new.outcome = None,
        Bug::ProgressIsOutcome if new.state == State::Done => {
            new.outcome = new.outcome.take().or(old.outcome.clone())
        }
        Bug::BurialDropsProgress if new.state == State::Buried => new.outcome = None,
        Bug::SaveExtends if matches!(action, Settle::Save { .. }) => new.free_at = u64::MAX,
        Bug::OutcomeIsDropped => new.outcome = None,
        Bug::EmptyIsNone => new.outcome = new.outcome.take().filter(|o| !o.is_empty()),
        Bug::OutcomeIsText => new.outcome = new.outcome.take().map(text),
        Bug::OutcomeEndsAtNul => new.outcome = new.outcome.take().map(until_nul),
        Bug::OutcomeIsCut => new.outcome = new.outcome.take().map(|o| o.slice(..o.len().min(4096))),
        Bug::ReasonIsCut => new.reason = new.reason.take().map(|r| r.chars().take(255).collect()),
        _ => {}
    }
    if let Settle::Release { not_before, window, .. } = action
        && !not_before.is_zero()
    {
        let window = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        match bug {
            Bug::BackoffIsIgnored => new.free_at = 0,
            Bug::BackoffIsTheLease => new.free_at = old.free_at,
            Bug::BackoffNeverEnds => new.free_at = u64::MAX,
            Bug::WindowCutsBackoff => new.expires = now.saturating_add(window),
            _ => {}
        }
    }
    if let Settle::Extend { lease, window } = action {
        let lease = u64::try_from(lease.as_micros()).unwrap_or(u64::MAX);
        let window = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        match bug {
            Bug::ExtendFromClaim => new.free_at = old.claimed.saturating_add(lease),
            Bug::ExtendAdds => new.free_at = old.free_at.saturating_add(lease),
            Bug::WindowCutsLease => new.expires = now.saturating_add(window),
            Bug::ZeroIsForever if lease == 0 => new.free_at = u64::MAX,
            _ => {}
        }
    }
}
