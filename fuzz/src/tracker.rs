//! Any operations of a partition's offset tracker, beside the plainest model: all offsets that were ever delivered.
//!
//! Input: an operation for each two bytes.

use std::time::Instant;

use ackonce_kafka::tracker::{PartitionTracker, Status};

const STATES: [Status; 10] = [
    Status::InFlight,
    Status::Busy,
    Status::Retrying,
    Status::Burying,
    Status::Moving,
    Status::Settled,
    Status::Duplicate,
    Status::Buried,
    Status::Moved,
    Status::Abandoned,
];

#[derive(Default)]
struct Model {
    delivered: Vec<(i64, Status)>,
    skipped: Option<i64>,
    stored: Option<i64>,
    committed: Option<i64>,
}

impl Model {
    fn settled(&self) -> usize {
        self.delivered.iter().take_while(|(_, status)| status.is_settled()).count()
    }

    /// One past the settled prefix, or past the offsets that were skipped after it.
    fn resume(&self) -> Option<i64> {
        let prefix = self.delivered[..self.settled()].last().map(|(offset, _)| offset + 1);
        prefix.max(self.skipped)
    }

    fn compare(&self, tracker: &PartitionTracker) {
        let resume = self.resume();
        assert_eq!(tracker.resume(), resume);
        assert_eq!(
            tracker.to_store(),
            resume.filter(|resume| self.stored.is_none_or(|stored| stored < *resume))
        );
        assert_eq!(tracker.last_committed(), self.committed);
        assert_eq!(tracker.last_delivered(), self.delivered.last().map(|(offset, _)| *offset));
        assert_eq!(tracker.open(), self.delivered.iter().filter(|(_, status)| status.is_open()).count());
        assert_eq!(tracker.ahead(), self.delivered.len() - self.settled());
        let first = self.delivered.get(self.settled()).copied();
        assert_eq!(tracker.oldest().map(|(offset, status, _)| (offset, status)), first);
        // Never past a hole.
        if let (Some(next), Some((hole, _))) = (tracker.to_store(), first) {
            assert!(next <= hole, "{next} is past {hole}");
        }
    }
}

pub fn run(data: &[u8]) {
    let (mut tracker, mut model, now) = (PartitionTracker::new(), Model::default(), Instant::now());
    for pair in data.as_chunks::<2>().0 {
        let [op, argument] = *pair;
        let last = model.delivered.last().map_or(0, |(offset, _)| *offset);
        match op % 8 {
            0 | 1 => {
                // Gaps, and now and then a step back.
                let offset = last + i64::from(argument % 5) - i64::from(op / 8 % 16 == 0);
                let is_past = model.skipped.is_none_or(|position| offset >= position);
                let is_next = is_past && (model.delivered.is_empty() || offset > last);
                assert_eq!(tracker.delivered(offset, now), is_next);
                if is_next {
                    model.delivered.push((offset, Status::InFlight));
                }
            }
            2..=4 => {
                let status = STATES[usize::from(op / 8) % STATES.len()];
                let at = usize::from(argument) % (model.delivered.len() + 1);
                let mut unknown = (last + 1, Status::Settled);
                let (offset, was) = model.delivered.get_mut(at).unwrap_or(&mut unknown);
                // The one after the last was not delivered, and counts as one whose end is recorded.
                assert_eq!(tracker.mark(*offset, status, now), was.is_open());
                if was.is_open() {
                    *was = status;
                }
            }
            5 => {
                let position = last + i64::from(argument % 9);
                tracker.skip_to(position);
                if model.settled() == model.delivered.len() && model.resume().is_none_or(|at| at < position) {
                    model.skipped = Some(position);
                }
            }
            6 => {
                if let Some(next) = tracker.to_store() {
                    tracker.stored(next);
                    model.stored = Some(next);
                }
            }
            _ if argument % 2 == 0 => {
                model.committed = model.committed.max(model.stored);
                model.stored.into_iter().for_each(|next| tracker.committed(next));
            }
            _ => {
                tracker.refused();
                model.stored = model.committed;
            }
        }
        model.compare(&tracker);
    }
    settle_all(tracker, model, now);
}

/// Once every open offset is settled, the commit is past all offsets but those handed back.
fn settle_all(mut tracker: PartitionTracker, mut model: Model, now: Instant) {
    for (offset, status) in &mut model.delivered {
        if status.is_open() {
            assert!(tracker.mark(*offset, Status::Settled, now));
            *status = Status::Settled;
        }
    }
    model.compare(&tracker);
    assert_eq!(tracker.open(), 0);
    let handed_back = model.delivered.iter().find(|(_, status)| *status == Status::Abandoned);
    assert_eq!(tracker.oldest().map(|(offset, ..)| offset), handed_back.map(|(offset, _)| *offset));
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![8, 1, 8, 1, 8, 3, 42, 1, 42, 0, 6, 0, 7, 0, 42, 2, 6, 0, 7, 1, 6, 0],
        vec![8, 0, 8, 1, 74, 0, 42, 1, 5, 8, 6, 0],
        vec![8, 4, 42, 0, 5, 8, 6, 0, 7, 0, 8, 1, 0, 0, 10, 0, 42, 1],
    ]
}
