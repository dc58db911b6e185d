//! Random histories.

use std::ops::Range;

use proptest::prelude::*;

use super::call::{Action, Ask, KEYS};

/// Longer than a test runs: where the clock cannot be moved, a lease or a window has ended at once, or never ends.
pub(super) const HOUR: u64 = 3_600_000_000;

/// One of the two clients.
pub(super) type Side = usize;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One call.
    Call(Side, Op),
    /// Two at the same time, one of each client.
    Both(Op, Op),
    /// Time goes by, if the fixture can move the store's clock.
    Pass(u64),
    List(Side),
    Sweep(Side),
    /// The client ends without a word, and another takes its place.
    Reopen(Side),
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Claim(Vec<Ask>),
    Settle(Vec<Want>),
    /// `listed`: only if the record is as it was last seen in a list.
    Tend {
        key: u8,
        listed: bool,
        redrive: bool,
    },
}

/// A settlement of a lease of the key: the last one, or that many before it.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) key: u8,
    pub(super) back: usize,
    /// With a fence that is too low by one.
    pub(super) is_low: bool,
    pub(super) action: Action,
}

/// Times in microseconds, and moments just before and at the end of others, count only on a clock that is moved.
const MOVED: [u64; 8] = [0, 1, 30, 31, HOUR - 1, HOUR, 2 * HOUR, 200 * HOUR];
const OWN: [u64; 4] = [0, 0, HOUR, 2 * HOUR];

pub(super) fn history(is_moved: bool) -> impl Strategy<Value = Vec<Step>> {
    let spans = if is_moved { &MOVED[..] } else { &OWN };
    prop::collection::vec(step(spans), 5..40)
}

fn side() -> Range<Side> {
    0..2
}

type Spans = &'static [u64];

fn span(spans: Spans) -> impl Strategy<Value = u64> {
    prop::sample::select(spans)
}

fn ask(spans: Spans) -> impl Strategy<Value = Ask> {
    let print = prop::option::weighted(0.3, 0..2_u8);
    (0..KEYS, 0..4_u8, span(spans), span(spans), print).prop_map(|(key, attempt, lease, window, print)| Ask {
        key,
        attempt,
        lease,
        window,
        print,
    })
}

fn action(spans: Spans) -> impl Strategy<Value = Action> {
    let outcome = prop::option::weighted(0.3, prop_oneof![Just(vec![]), Just(b"x\0y\xff".to_vec())]);
    prop_oneof![
        4 => (span(spans), outcome).prop_map(|(window, outcome)| Action::Complete { window, outcome }),
        3 => (any::<bool>(), span(spans), span(spans))
            .prop_map(|(counts, window, not_before)| Action::Release { counts, window, not_before }),
        2 => (span(spans), span(spans)).prop_map(|(lease, window)| Action::Extend { lease, window }),
        2 => span(spans).prop_map(|window| Action::Bury { window }),
        2 => (0..9_u8).prop_map(|length| Action::Save { length }),
        1 => span(spans).prop_map(|window| Action::Redrive { window }),
    ]
}

fn want(spans: Spans) -> impl Strategy<Value = Want> {
    let back = prop_oneof![6 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
    (0..KEYS, back, prop::bool::weighted(0.05), action(spans)).prop_map(|(key, back, is_low, action)| Want {
        key,
        back,
        is_low,
        action,
    })
}

fn op(spans: Spans) -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => prop::collection::vec(ask(spans), 1..4).prop_map(Op::Claim),
        5 => prop::collection::vec(want(spans), 1..4).prop_map(Op::Settle),
        2 => (0..KEYS, any::<bool>(), any::<bool>())
            .prop_map(|(key, listed, redrive)| Op::Tend { key, listed, redrive }),
    ]
}

fn step(spans: Spans) -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (side(), op(spans)).prop_map(|(side, op)| Step::Call(side, op)),
        5 => (op(spans), op(spans)).prop_map(|(one, other)| Step::Both(one, other)),
        4 => span(spans).prop_map(Step::Pass),
        1 => side().prop_map(Step::List),
        1 => side().prop_map(Step::Sweep),
        1 => side().prop_map(Step::Reopen),
    ]
}
