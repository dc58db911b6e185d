//! The protocol's answers, branch by branch, at the very microsecond on which they change.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use ackonce::protocol::{self, Row, redriven, tendable};
use ackonce::store::{
    Attempt, ClaimRequest, Claimed, Fingerprint, Lease, Settle, Settled, Settlement, State, Token,
};
use ackonce::{Previous, Scope};

const NOW: u64 = 1_800_000_000_000_000;
const LEASE: u64 = 30;
const WINDOW: u64 = 100;

fn span(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn request(token: u8) -> ClaimRequest {
    let key = Scope::new("orders").unwrap().key("evt_1").unwrap();
    let (lease, window) = (span(LEASE), span(WINDOW));
    ClaimRequest { key, token: Token([token; 16]), lease, window, fingerprint: None }
}

fn print(n: u8) -> Option<Fingerprint> {
    Some(Fingerprint([n; 16]))
}

/// A claimed row, by token 1 at `NOW`.
fn claimed() -> Row {
    Row {
        state: State::Claimed,
        token: Token([1; 16]),
        fence: NOW,
        claimed: NOW,
        attempt: 1,
        previous: Previous::None,
        fingerprint: None,
        free_at: NOW + LEASE,
        expires: NOW + LEASE + WINDOW,
        outcome: None,
        reason: None,
    }
}

fn in_state(state: State) -> Row {
    Row { state, ..claimed() }
}

fn claim(row: &Row, token: u8, now: u64) -> (Claimed, Option<Row>) {
    protocol::claim(Some(row), &request(token), now)
}

fn settle(row: &Row, action: Settle, now: u64) -> (Settled, Option<Row>) {
    let key = request(1).key;
    protocol::settle(Some(row), &Settlement { key, token: row.token, fence: row.fence, action }, now)
}

fn acquired(answer: Claimed) -> Lease {
    match answer {
        Claimed::Acquired(lease) => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

fn done(window: u64) -> Settle {
    Settle::Complete { window: span(window), outcome: Some("paid".into()) }
}

fn release(attempt: Attempt, not_before: u64) -> Settle {
    Settle::Release { attempt, window: span(WINDOW), not_before: span(not_before) }
}

#[test]
fn a_first_claim_is_granted() {
    let (answer, row) = protocol::claim(None, &request(1), NOW);
    assert_eq!(row, Some(claimed()));
    let lease = acquired(answer);
    assert_eq!(
        (lease.key, lease.token, lease.fence, lease.attempt),
        (request(1).key, Token([1; 16]), NOW, 1)
    );
    assert_eq!((lease.previous, lease.progress), (Previous::None, None));
}

#[test]
fn a_lease_ends_at_its_last_microsecond_and_not_before() {
    let busy = claim(&claimed(), 2, NOW + LEASE - 1);
    assert_eq!(busy, (Claimed::Busy { free_in: span(1) }, None));
    let (answer, row) = claim(&Row { outcome: Some("half".into()), ..claimed() }, 2, NOW + LEASE);
    let lease = acquired(answer);
    assert_eq!((lease.attempt, lease.previous, lease.fence), (2, Previous::Vanished, NOW + LEASE));
    assert_eq!(lease.progress.as_deref(), Some(&b"half"[..]));
    assert_eq!(row.unwrap().claimed, NOW + LEASE);
}

#[test]
fn a_window_ends_at_its_last_microsecond_and_not_before() {
    let row = Row { expires: NOW + 5, ..in_state(State::Done) };
    assert_eq!(claim(&row, 2, NOW + 4), (Claimed::Done(row.record(NOW + 4)), None));
    let lease = acquired(claim(&row, 2, NOW + 5).0);
    assert_eq!((lease.attempt, lease.previous), (1, Previous::None));
    // The fence grows over it, whatever the clock says.
    let ahead = Row { fence: NOW + 50, ..row };
    assert_eq!(acquired(claim(&ahead, 2, NOW + 5).0).fence, NOW + 51);
    assert_eq!(acquired(claim(&ahead, 2, NOW + 60).0).fence, NOW + 60);
}

#[test]
fn a_repeated_claim_is_answered_as_before_and_held_from_now() {
    let (answer, row) = claim(&claimed(), 1, NOW + 10);
    assert_eq!((acquired(answer).fence, row.clone().unwrap().attempt), (NOW, 1));
    let row = row.unwrap();
    assert_eq!((row.free_at, row.expires), (NOW + 10 + LEASE, NOW + 10 + LEASE + WINDOW));
    // Never for less than it was.
    let long = Row { free_at: NOW + 500, expires: NOW + 900, ..claimed() };
    let kept = claim(&long, 1, NOW + 10).1.unwrap();
    assert_eq!((kept.free_at, kept.expires), (NOW + 500, NOW + 900));
    // Also once its lease has ended, as long as nobody else claimed.
    assert_eq!(acquired(claim(&claimed(), 1, NOW + LEASE + 1).0).fence, NOW);
}

#[test]
fn a_released_key_waits_for_its_back_off_and_is_not_leased_to_its_own_ghost() {
    let row = Row { attempt: 4, previous: Previous::Released, ..in_state(State::Released) };
    for token in [1, 2] {
        assert_eq!(claim(&row, token, NOW + LEASE - 1).0, Claimed::Busy { free_in: span(1) });
    }
    assert_eq!(claim(&row, 1, NOW + LEASE), (Claimed::Busy { free_in: Duration::ZERO }, None));
    let lease = acquired(claim(&row, 2, NOW + LEASE).0);
    assert_eq!((lease.attempt, lease.previous), (5, Previous::Released));
}

#[test]
fn only_two_known_fingerprints_can_differ() {
    let row = Row { fingerprint: print(1), ..claimed() };
    let with = |row: &Row, print, now| {
        protocol::claim(Some(row), &ClaimRequest { fingerprint: print, ..request(2) }, now)
    };
    assert_eq!(with(&row, print(2), NOW), (Claimed::Mismatch(row.record(NOW)), None));
    assert!(matches!(with(&row, print(1), NOW).0, Claimed::Busy { .. }));
    assert!(matches!(with(&claimed(), print(1), NOW).0, Claimed::Busy { .. }));
    // A claim without one does not make the first one's forgotten.
    assert_eq!(with(&row, None, NOW + LEASE).1.unwrap().fingerprint, print(1));
    assert_eq!(with(&claimed(), print(3), NOW + LEASE).1.unwrap().fingerprint, print(3));
}

#[test]
fn a_settlement_needs_token_fence_and_a_live_trail() {
    let row = claimed();
    let with = |token: u8, fence, now| {
        let settlement =
            Settlement { key: request(1).key, token: Token([token; 16]), fence, action: done(9) };
        protocol::settle(Some(&row), &settlement, now)
    };
    for lost in
        [with(2, NOW, NOW), with(1, NOW + 1, NOW), with(1, NOW, row.expires), with(1, NOW, row.expires + 1)]
    {
        assert_eq!(lost, (Settled::Lost, None));
    }
    let nothing = Settlement { key: request(1).key, token: row.token, fence: NOW, action: done(9) };
    assert_eq!(protocol::settle(None, &nothing, NOW), (Settled::Lost, None));
    // Late, and nobody else claimed: the effect happened.
    let (answer, row) = with(1, NOW, NOW + LEASE + WINDOW - 1);
    let row = row.unwrap();
    assert_eq!((answer, row.state, row.expires), (Settled::Yes, State::Done, NOW + LEASE + WINDOW - 1 + 9));
    assert_eq!(row.outcome.as_deref(), Some(&b"paid"[..]));
}

#[test]
fn a_settled_claim_confirms_its_repeat_and_nothing_else() {
    let bury = || Settle::Bury { window: span(9), reason: "no use".into() };
    let extend = || Settle::Extend { lease: span(9), window: span(9) };
    for (state, own) in [
        (State::Done, done(9)),
        (State::Buried, bury()),
        (State::Released, release(Attempt::Counts, 0)),
        (State::Claimed, extend()),
    ] {
        let row = in_state(state);
        for action in [done(9), bury(), release(Attempt::Counts, 0), extend()] {
            let (answer, change) = settle(&row, action.clone(), NOW + 1);
            if state == State::Claimed {
                assert_eq!(answer, Settled::Yes);
                assert!(change.is_some_and(|row| row != claimed()), "{action:?}");
            } else {
                let is_own = std::mem::discriminant(&action) == std::mem::discriminant(&own);
                let expected = if is_own { Settled::Yes } else { Settled::Lost };
                assert_eq!((answer, change), (expected, None), "{action:?} of {state:?}");
            }
        }
    }
}

#[test]
fn each_settlement_changes_its_part() {
    let buried =
        settle(&claimed(), Settle::Bury { window: span(9), reason: "no use".into() }, NOW + 1).1.unwrap();
    assert_eq!(
        (buried.state, buried.reason.as_deref(), buried.expires),
        (State::Buried, Some("no use"), NOW + 10)
    );
    let extended = settle(&claimed(), Settle::Extend { lease: span(9), window: span(7) }, NOW + 1).1.unwrap();
    assert_eq!((extended.free_at, extended.expires), (NOW + 10, NOW + 17));
    let save = |row: &Row, text: &'static str| {
        settle(row, Settle::Save { progress: text.into() }, NOW + 1).1.unwrap()
    };
    let half = save(&claimed(), "half");
    assert_eq!(
        (half.outcome.as_deref(), half.free_at, half.expires),
        (Some(&b"half"[..]), NOW + LEASE, NOW + 130)
    );
    assert_eq!(save(&half, "hal").outcome, half.outcome, "a shorter one comes late");
    assert_eq!(save(&half, "more").outcome.as_deref(), Some(&b"more"[..]));
}

#[test]
fn a_release_counts_or_refunds_and_hides_no_vanished_attempt() {
    let vanished = Row { attempt: 3, previous: Previous::Vanished, ..claimed() };
    for (row, attempt, expected) in [
        (&vanished, Attempt::Counts, (3, Previous::Released)),
        (&vanished, Attempt::Refunded, (2, Previous::Vanished)),
        (&claimed(), Attempt::Counts, (1, Previous::Released)),
        (&claimed(), Attempt::Refunded, (0, Previous::Released)),
    ] {
        let released = settle(row, release(attempt, 7), NOW + 1).1.unwrap();
        assert_eq!((released.attempt, released.previous), expected, "{attempt:?}");
        assert_eq!((released.free_at, released.expires), (NOW + 8, NOW + 8 + WINDOW));
    }
}

#[test]
fn a_redrive_by_its_own_claim_is_of_a_burial_alone() {
    let redrive = || Settle::Redrive { window: span(9) };
    for state in [State::Claimed, State::Released, State::Done] {
        assert_eq!(settle(&in_state(state), redrive(), NOW), (Settled::Lost, None), "{state:?}");
    }
    let progress = Some("half".into());
    let row = Row { attempt: 4, fingerprint: print(1), outcome: progress.clone(), ..in_state(State::Buried) };
    let (answer, row) = settle(&row, redrive(), NOW + 1);
    let row = row.unwrap();
    assert_eq!((answer, row.state, row.attempt, row.free_at), (Settled::Yes, State::Released, 0, 0));
    assert_eq!((row.token, row.fingerprint, row.expires), (Token([0; 16]), None, NOW + 10));
    assert_eq!((row.outcome, row.reason, row.previous), (progress, None, Previous::Released));
}

#[test]
fn a_live_claim_is_not_tended() {
    assert_eq!(tendable(None, NOW), None);
    for (state, live) in
        [(State::Claimed, false), (State::Released, true), (State::Done, true), (State::Buried, true)]
    {
        assert_eq!(tendable(Some(&in_state(state)), NOW + LEASE - 1), Some(live), "{state:?}");
        assert_eq!(tendable(Some(&in_state(state)), NOW + LEASE), Some(true), "{state:?}");
        assert_eq!(tendable(Some(&in_state(state)), NOW + LEASE + WINDOW - 1), Some(true), "{state:?}");
        assert_eq!(tendable(Some(&in_state(state)), NOW + LEASE + WINDOW), None, "{state:?}");
        assert_eq!(tendable(Some(&in_state(state)), NOW + LEASE + WINDOW + 1), None, "{state:?}");
    }
}

#[test]
fn a_redriven_row_is_granted_next() {
    assert_eq!(redriven(&claimed(), NOW), None);
    let waiting = Row { attempt: 4, ..in_state(State::Released) };
    assert_eq!(redriven(&waiting, NOW + LEASE - 1), Some(Row { free_at: 0, ..waiting.clone() }));
    assert_eq!(redriven(&waiting, NOW + LEASE), None, "it is granted anyway");
    assert_eq!(redriven(&waiting, NOW + LEASE + 1), None, "it is granted anyway");
    for state in [State::Done, State::Buried] {
        let (outcome, reason) = (Some("half".into()), Some("no use".into()));
        let row = Row { attempt: 4, outcome, reason, previous: Previous::Vanished, ..in_state(state) };
        let expected = Row {
            state: State::Released,
            attempt: 0,
            previous: Previous::Released,
            free_at: 0,
            outcome: row.outcome.clone().filter(|_| state == State::Buried),
            reason: None,
            ..row.clone()
        };
        assert_eq!(redriven(&row, NOW), Some(expected));
    }
}

#[test]
fn a_record_shows_what_its_state_has() {
    let bytes = Some("half".into());
    for state in State::ALL {
        let row = Row { outcome: bytes.clone(), reason: Some("no use".into()), ..in_state(state) };
        let record = row.record(NOW + 3);
        let (outcome, progress) = if state == State::Done { (&bytes, &None) } else { (&None, &bytes) };
        assert_eq!((record.state, &record.outcome, &record.progress), (state, outcome, progress));
        assert_eq!((record.fence, record.attempt, record.age), (NOW, 1, span(3)));
        let is_held = matches!(state, State::Claimed | State::Released);
        assert_eq!(row.free_in(NOW + 3), span(if is_held { LEASE - 3 } else { 0 }), "{state:?}");
    }
}

#[test]
fn endless_times_do_not_wrap() {
    let endless = ClaimRequest { lease: Duration::MAX, window: Duration::MAX, ..request(1) };
    let row = protocol::claim(None, &endless, NOW).1.unwrap();
    assert_eq!((row.free_at, row.expires), (u64::MAX, u64::MAX));
}
