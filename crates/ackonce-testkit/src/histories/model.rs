//! The rows that a key may have, given all answers so far, by [`ackonce::protocol`].

use ackonce::protocol::{self, Row};
use ackonce::store::{ClaimRequest, Claimed, Settled, Settlement, State, Token};

use super::call::{Granted, Shape, Tended};

/// The time of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) now: u64,
    /// By the store's own clock, which the test moves. Otherwise `now` counts steps.
    pub(super) is_exact: bool,
}

/// A call's part for one key, and its answer.
#[derive(Debug)]
pub(super) enum Event {
    Claim(ClaimRequest, Granted),
    Settle(Settlement, bool),
    /// The state and the fence that the record had in a list, where those count.
    Tend {
        still: Option<(String, u64)>,
        redrive: bool,
        answer: Tended,
    },
}

/// More than one where calls ran at the same time and their answers do not tell in which order, or where a store may
/// keep more or less of a token.
#[derive(Debug, Clone)]
pub(super) struct Rows(Vec<Option<Row>>);

impl Default for Rows {
    fn default() -> Self {
        Self(vec![None])
    }
}

impl Rows {
    /// The rows after two sequences of events at the same time: those of all orders that explain the answers.
    pub(super) fn after(&self, one: &[Event], other: &[Event], time: Time) -> Self {
        let mut rows = Vec::new();
        self.0.iter().for_each(|row| interleave(row.as_ref(), one, other, time, &mut rows));
        let mut distinct: Vec<Option<Row>> = Vec::new();
        for row in rows {
            if !distinct.contains(&row) {
                distinct.push(row);
            }
        }
        Self(distinct)
    }

    /// Those that a look shows as `shown`.
    pub(super) fn shown_as(&self, shown: Option<&Shape>, now: u64) -> Self {
        let agree = |row: &&Option<Row>| Shape::of_row(row.as_ref(), now).as_ref() == shown;
        Self(self.0.iter().filter(agree).cloned().collect())
    }

    /// No row explains the answers.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn interleave(row: Option<&Row>, one: &[Event], other: &[Event], time: Time, ends: &mut Vec<Option<Row>>) {
    if one.is_empty() && other.is_empty() {
        ends.push(row.cloned());
    }
    if let [first, rest @ ..] = one {
        for row in explained(row, first, time) {
            interleave(row.as_ref(), rest, other, time, ends);
        }
    }
    if let [first, rest @ ..] = other {
        for row in explained(row, first, time) {
            interleave(row.as_ref(), one, rest, time, ends);
        }
    }
}

/// The rows that an event leaves; none if the protocol has another answer for that row.
fn explained(row: Option<&Row>, event: &Event, time: Time) -> Vec<Option<Row>> {
    let (is_so, changed) = match event {
        Event::Claim(request, answer) => claimed(row, request, answer, time),
        Event::Settle(settlement, answer) => {
            let (expected, change) = protocol::settle(row, settlement, time.now);
            ((expected == Settled::Yes) == *answer, change)
        }
        Event::Tend { still, redrive, answer } => {
            return tended(row, still.as_ref(), *redrive, *answer, time);
        }
    };
    if is_so { vec![changed.or_else(|| row.cloned())] } else { Vec::new() }
}

fn claimed(row: Option<&Row>, request: &ClaimRequest, answer: &Granted, time: Time) -> (bool, Option<Row>) {
    let (mut expected, mut change) = protocol::claim(row, request, time.now);
    if let (Claimed::Acquired(lease), Some(change)) = (&mut expected, &mut change)
        && let Granted::Acquired { fence, .. } = answer
        && row.is_none_or(|row| row.fence < lease.fence && row.fence < *fence)
        && !time.is_exact
    {
        // The clock that it comes from is not known; it has to grow.
        (lease.fence, change.fence) = (*fence, *fence);
    }
    let expected = Granted::from(expected);
    let is_so = match (&expected, answer) {
        (Granted::Busy { free_in: a }, Granted::Busy { free_in: b }) if !time.is_exact => {
            // Leases of whole hours, of which a part has passed.
            a.div_ceil(super::step::HOUR) == b.div_ceil(super::step::HOUR)
        }
        _ => expected == *answer,
    };
    (is_so, change)
}

fn tended(
    row: Option<&Row>,
    still: Option<&(String, u64)>,
    redrive: bool,
    answer: Tended,
    time: Time,
) -> Vec<Option<Row>> {
    let is_still = |row: &Row| {
        still.is_none_or(|(state, fence)| (row.state.as_str(), row.fence) == (state.as_str(), *fence))
    };
    let change = |row: &Row| match redrive {
        true => protocol::redriven(row, time.now),
        false => Some(Row { expires: 0, ..row.clone() }),
    };
    let (expected, changed) = match (protocol::tendable(row, time.now), row) {
        (Some(_), Some(row)) if !is_still(row) => (Tended::Nothing, None),
        (Some(true), Some(row)) => match change(row) {
            Some(changed) => (Tended::Yes, Some(changed)),
            None => (Tended::Nothing, None),
        },
        (Some(false), _) => (Tended::InFlight, None),
        _ => (Tended::Nothing, None),
    };
    match changed {
        _ if expected != answer => Vec::new(),
        None => vec![row.cloned()],
        // A store may keep no more of a settled row's token than proves its settlement: once redriven, it may not
        // know the attempt that it came from.
        Some(changed) if redrive && row.is_some_and(|row| row.state != State::Released) => {
            vec![Some(changed.clone()), Some(Row { token: Token([0; 16]), ..changed })]
        }
        Some(changed) => vec![Some(changed)],
    }
}
