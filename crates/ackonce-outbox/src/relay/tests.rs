//! Rows in hand, and ranges, without a database.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ackonce::{Deduplicator, MemoryStore};
use proptest::prelude::*;
use tokio::time::Instant;

use super::away::Away;
use super::lanes::Lanes;
use super::ranges::{Ranges, ask, release};
use crate::table::Row;
use crate::{OnParked, OutboxMessage};

fn row(id: i64, lane: i64) -> Row {
    let message = OutboxMessage {
        id: id.to_string(),
        to: "t".into(),
        key: None,
        headers: Vec::new(),
        payload: bytes::Bytes::new(),
    };
    Row { id, lane, held: false, broken: false, message }
}

#[test]
fn a_lane_sends_one_row_at_a_time_and_is_read_again_once_it_is_free() {
    let mut lanes = Lanes::default();
    let taken = lanes.take_in(vec![row(1, 7), row(2, 7), row(3, 8)], OnParked::Wait);
    assert_eq!(taken.ready, [7, 8]);
    assert_eq!(lanes.next(7).unwrap().id, 1);
    assert!(lanes.next(7).is_none(), "one is on its way");
    let mut busy = lanes.busy();
    busy.sort_unstable();
    assert_eq!(busy, [7, 8]);
    assert!(lanes.confirmed(7), "there is another one");
    assert_eq!(lanes.next(7).unwrap().id, 2);
    assert!(!lanes.left(7), "the second one is on its way");
    assert!(!lanes.confirmed(7));
    assert!(lanes.left(7), "a read has left it out");
    assert_eq!((lanes.rows(), lanes.busy()), (1, vec![8]));
}

#[test]
fn a_failing_lane_leaves_the_memory_and_keeps_its_attempts() {
    let mut lanes = Lanes::default();
    lanes.take_in(vec![row(1, 7), row(2, 7)], OnParked::Wait);
    let until = Instant::now() + Duration::from_secs(1);
    let sent = lanes.next(7).unwrap();
    assert_eq!(lanes.failed(sent.lane, true), (1, 1));
    lanes.put_aside(7, until);
    assert_eq!((lanes.rows(), lanes.busy(), lanes.first_due()), (0, vec![7], Some(until)));
    assert!(!lanes.end_waits(until - Duration::from_millis(1)));
    assert!(lanes.end_waits(until));
    lanes.take_in(vec![row(1, 7), row(2, 7)], OnParked::Wait);
    let sent = lanes.next(7).unwrap();
    assert_eq!(lanes.failed(7, true), (2, 2));
    let parked = lanes.park(&sent, "no".into(), OnParked::Wait);
    assert_eq!(
        parked.iter().map(|row| (row.id, row.reason.is_some())).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
    assert_eq!(lanes.rows(), 0);
    assert!(!lanes.left(7) && lanes.left(7), "it is read again once both are gone");
}

#[test]
fn a_failure_that_is_no_attempt_makes_the_back_off_longer_alone() {
    let mut lanes = Lanes::default();
    lanes.take_in(vec![row(1, 7)], OnParked::Wait);
    let until = Instant::now();
    let mut fail = |counts| {
        lanes.next(7).unwrap();
        let failed = lanes.failed(7, counts);
        lanes.put_aside(7, until);
        lanes.end_waits(until);
        lanes.take_in(vec![row(1, 7)], OnParked::Wait);
        failed
    };
    assert_eq!([fail(false), fail(false), fail(true)], [(1, 0), (2, 0), (3, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_was_asked_for_is_kept() {
    let mut away = Away::default();
    away.failed(Duration::ZERO);
    away.failed(Duration::from_secs(30));
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(away.pauses() && away.is_away());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!away.pauses() && away.is_away(), "it is asked again");
    away.is_back();
    assert!(!away.is_away());
}

#[test]
fn rows_behind_a_parked_or_broken_one_are_not_sent() {
    let mut lanes = Lanes::default();
    let held = Row { held: true, ..row(1, 7) };
    let broken = Row { broken: true, ..row(2, 8) };
    let taken = lanes.take_in(vec![held.clone(), broken, row(3, 7), row(4, 8), row(5, 9)], OnParked::Wait);
    assert_eq!(taken.ready, [9]);
    let parked: Vec<_> = taken.to_park.iter().map(|row| (row.id, row.reason.is_some())).collect();
    assert_eq!(parked, [(1, false), (2, true)]);
    let mut lanes = Lanes::default();
    assert_eq!(lanes.take_in(vec![held, row(3, 7)], OnParked::Pass).ready, [7]);
}

#[test]
fn a_key_with_a_backlog_takes_a_few_places() {
    let mut lanes = Lanes::default();
    lanes.take_in((0..1000).map(|id| row(id, 7)).collect(), OnParked::Wait);
    assert_eq!(lanes.rows(), 32);
}

proptest! {
    /// Any steps: no row is counted twice, and an empty relay has no busy lane.
    #[test]
    fn lanes_come_to_rest(steps in prop::collection::vec((0..4_u8, 0..5_i64), 0..200)) {
        let (mut lanes, mut next, mut sent, mut ended) = (Lanes::default(), 0, Vec::<Row>::new(), Vec::new());
        for (step, lane) in steps {
            match step {
                0 if !lanes.busy().contains(&lane) => {
                    lanes.take_in((next..next + 3).map(|id| row(id, lane)).collect(), OnParked::Wait);
                    next += 3;
                }
                1 => sent.extend(lanes.next(lane)),
                2 => if let Some(row) = sent.pop() {
                    lanes.confirmed(row.lane);
                    ended.push(row.lane);
                },
                3 => if let Some(row) = sent.pop() {
                    let lane = row.lane;
                    lanes.hand_back(row);
                    prop_assert!(lanes.next(lane).map(|row| sent.push(row)).is_some());
                },
                _ => {}
            }
        }
        for row in std::mem::take(&mut sent) {
            lanes.confirmed(row.lane);
            ended.push(row.lane);
        }
        for lane in 0..5 {
            lanes.drop_unsent(lane);
        }
        for lane in ended {
            lanes.left(lane);
        }
        prop_assert_eq!((lanes.rows(), lanes.busy()), (0, vec![]));
    }
}

const LEASE: Duration = Duration::from_secs(10);

async fn round(ranges: &mut Ranges, store: &dyn Deduplicator, share: usize) -> Vec<i16> {
    let round = ranges.round(share, |_| true);
    let answers = ask(store, round).await;
    assert!(answers.trouble.is_none());
    ranges.apply(answers)
}

#[tokio::test]
async fn ranges_are_held_by_one_and_shared_by_several() {
    let store = MemoryStore::new();
    let (mut one, mut two) = (Ranges::new(LEASE).unwrap(), Ranges::new(LEASE).unwrap());
    round(&mut one, &store, 16).await;
    round(&mut two, &store, 16).await;
    assert_eq!((one.len(), two.len()), (16, 0));
    assert_eq!(one.give_up(8).len(), 8);
    assert_eq!(one.readable().len(), 8, "rows of the others are not read any more");
    round(&mut one, &store, 8).await;
    round(&mut two, &store, 8).await;
    assert_eq!((one.len(), two.len()), (8, 8));
    assert!(one.readable().iter().all(|range| !two.may_send(*range)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_past_two_thirds_of_a_lease() {
    let store = MemoryStore::new();
    let mut ranges = Ranges::new(LEASE).unwrap();
    round(&mut ranges, &store, 1).await;
    let range = ranges.readable()[0];
    tokio::time::advance(LEASE * 2 / 3).await;
    assert!(!ranges.may_send(range) && ranges.expire().is_empty());
    round(&mut ranges, &store, 1).await;
    assert!(ranges.may_send(range), "it was renewed");
    tokio::time::advance(LEASE).await;
    assert_eq!((ranges.expire(), ranges.len()), (vec![range], 0));
}

#[tokio::test]
async fn a_range_that_was_taken_over_is_lost() {
    let store = MemoryStore::new();
    let mut ranges = Ranges::new(LEASE).unwrap();
    round(&mut ranges, &store, 1).await;
    // As if another relay had held it since.
    store.settle(&[release(&ranges.all()[0])]).await.unwrap();
    assert_eq!(round(&mut ranges, &store, 1).await.len(), 1);
    assert_eq!(ranges.len(), 0);
}
