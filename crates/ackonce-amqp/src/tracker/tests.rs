use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn tracker(tags: impl IntoIterator<Item = u64>) -> AckTracker {
    let mut tracker = AckTracker::new();
    tags.into_iter().for_each(|tag| assert!(tracker.delivered(tag)));
    tracker
}

#[test]
fn a_run_is_one_frame() {
    let mut t = tracker(1..=5);
    assert!([3, 1, 2].into_iter().all(|tag| t.settled(tag)));
    assert_eq!(t.take(Reach::Run), [Frame::AckUpTo(3)]);
    assert_eq!((t.take(Reach::All), t.open(), t.waiting()), (vec![], 2, 0));
}

#[test]
fn nothing_past_an_unsettled_delivery() {
    let mut t = tracker(1..=4);
    assert!(t.settled(2) && t.settled(4));
    assert_eq!(t.take(Reach::Run), [], "1 is open");
    assert_eq!(t.take(Reach::All), [Frame::Ack(2), Frame::Ack(4)]);
    assert!(t.settled(1) && t.settled(3));
    // 4 is closed at the broker: an ack up to 4 would be an unknown tag there.
    assert_eq!(t.take(Reach::Run), [Frame::AckUpTo(3)]);
}

#[test]
fn a_tag_that_was_never_seen_is_not_acknowledged_past() {
    let mut t = tracker([1, 3]);
    assert!(t.settled(1) && t.settled(3));
    assert_eq!(t.take(Reach::All), [Frame::Ack(1), Frame::Ack(3)]);
}

#[test]
fn what_goes_back_goes_back_first() {
    let mut t = tracker(1..=3);
    assert!(t.settled(1) && t.returned(2) && t.settled(3));
    assert_eq!(t.take(Reach::Run), [Frame::Return(2), Frame::AckUpTo(3)]);
}

#[test]
fn closed_is_closed() {
    let mut t = tracker([1]);
    assert!(t.settled(1));
    assert!(!t.settled(1) && !t.returned(1) && !t.settled(2));
    assert_eq!(t.take(Reach::All), [Frame::Ack(1)]);
    assert!(!t.settled(1) && !t.delivered(1));
}

/// RabbitMQ's own books of a channel: `rabbit_channel:collect_acks/3` in a few lines.
#[derive(Default)]
struct Broker {
    unacked: BTreeMap<u64, ()>,
    acked: Vec<u64>,
    returned: Vec<u64>,
}

impl Broker {
    /// An unknown tag closes the channel; with `multiple` too, after taking everything up to it.
    fn hear(&mut self, frame: Frame) -> Result<(), u64> {
        let (Frame::Return(tag) | Frame::AckUpTo(tag) | Frame::Ack(tag)) = frame;
        if !self.unacked.contains_key(&tag) {
            return Err(tag);
        }
        match frame {
            Frame::Return(_) => self.returned.push(tag),
            Frame::Ack(_) => self.acked.push(tag),
            Frame::AckUpTo(_) => self.acked.extend(self.unacked.range(..=tag).map(|(tag, ())| *tag)),
        }
        self.unacked.retain(|t, ()| match frame {
            Frame::AckUpTo(_) => *t > tag,
            _ => *t != tag,
        });
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Deliver,
    /// The broker delivers one that is lost on the way to the tracker.
    Miss,
    Settle(prop::sample::Index),
    Return(prop::sample::Index),
    Take(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Deliver),
        1 => Just(Step::Miss),
        5 => any::<prop::sample::Index>().prop_map(Step::Settle),
        1 => any::<prop::sample::Index>().prop_map(Step::Return),
        3 => any::<bool>().prop_map(Step::Take),
    ]
}

proptest! {
    /// In any order, the broker never closes the channel, hears of no message that is not closed, and of
    /// each closed one exactly once.
    #[test]
    fn the_broker_hears_of_each_settled_delivery_once(steps in prop::collection::vec(step(), 0..300)) {
        let (mut t, mut broker) = (AckTracker::new(), Broker::default());
        let (mut tags, mut settled, mut returned) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = 0;
        for step in steps.into_iter().chain([Step::Take(true)]) {
            match step {
                Step::Deliver | Step::Miss => {
                    next += 1;
                    broker.unacked.insert(next, ());
                    if matches!(step, Step::Deliver) {
                        prop_assert!(t.delivered(next));
                        tags.push(next);
                    }
                }
                Step::Settle(which) if !tags.is_empty() => {
                    let tag = *which.get(&tags);
                    if t.settled(tag) { settled.push(tag); }
                }
                Step::Return(which) if !tags.is_empty() => {
                    let tag = *which.get(&tags);
                    if t.returned(tag) { returned.push(tag); }
                }
                Step::Settle(_) | Step::Return(_) => {}
                Step::Take(all) => {
                    for frame in t.take(if all { Reach::All } else { Reach::Run }) {
                        prop_assert_eq!(broker.hear(frame), Ok(()), "unknown tag");
                    }
                    prop_assert!(broker.acked.iter().all(|tag| settled.contains(tag)), "acked, not settled");
                    prop_assert!(broker.returned.iter().all(|tag| returned.contains(tag)));
                }
            }
            prop_assert_eq!(t.open(), tags.len() - settled.len() - returned.len());
            prop_assert_eq!(t.waiting(), settled.len() + returned.len() - broker.acked.len() - broker.returned.len());
        }
        broker.acked.sort_unstable();
        settled.sort_unstable();
        prop_assert_eq!(broker.acked, settled);
        prop_assert_eq!(broker.returned.len(), returned.len());
    }
}
