//! The rows in hand, by lane: one at a time is published, and a lane is busy until all of its rows are gone from the table.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use tokio::time::Instant;

use crate::OnParked;
use crate::outgoing::range_of;
use crate::table::{Row, ToPark};

/// The most rows of one lane in memory: a key with a backlog leaves room for others.
const LANE: usize = 32;

/// The lanes with rows in hand, and those set aside after a failure.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<i64, Lane>,
    /// Rows in memory.
    rows: usize,
    /// Lanes set aside, by the end of their wait.
    aside: BinaryHeap<Reverse<(Instant, i64)>>,
}

#[derive(Debug, Default)]
struct Lane {
    /// Not sent yet, in order.
    queue: VecDeque<Row>,
    is_sending: bool,
    /// Rows that are confirmed or to be parked, and still in the table.
    ended: usize,
    /// Failures of its first row, and those of them that count as attempts.
    failures: u32,
    attempts: u32,
    /// Set aside until then, without rows in memory.
    until: Option<Instant>,
    /// A read may have left rows of it out.
    skipped: bool,
}

impl Lane {
    fn is_busy(&self) -> bool {
        self.is_sending || self.ended > 0 || self.until.is_some() || !self.queue.is_empty()
    }
}

/// Rows that were read, by their next step.
#[derive(Debug, Default)]
pub(super) struct TakenIn {
    /// Lanes whose first row can be sent.
    pub(super) ready: Vec<i64>,
    pub(super) to_park: Vec<ToPark>,
}

impl Lanes {
    /// The rows in memory.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn set_aside(&self) -> usize {
        self.aside.len()
    }

    /// True if no row of the range is on its way.
    pub(super) fn is_range_idle(&self, range: i16) -> bool {
        let mut of_range = self.lanes.iter().filter(|(id, _)| range_of(**id) == range);
        of_range.all(|(_, lane)| !lane.is_sending && lane.ended == 0)
    }

    /// The lanes that the next read leaves out.
    pub(super) fn busy(&mut self) -> Vec<i64> {
        let busy = self.lanes.iter_mut().filter(|(_, lane)| lane.is_busy());
        busy.map(|(id, lane)| {
            lane.skipped = true;
            *id
        })
        .collect()
    }

    /// Takes rows in that a read gave, in their order.
    pub(super) fn take_in(&mut self, rows: Vec<Row>, on_parked: OnParked) -> TakenIn {
        let (mut taken, mut of_this_read, mut stopped) = (TakenIn::default(), HashSet::new(), HashSet::new());
        for row in rows {
            let lane = self.lanes.entry(row.lane).or_default();
            if of_this_read.insert(row.lane) && lane.is_busy() {
                // Not possible while reads leave busy lanes out; its rows are read again.
                stopped.insert(row.lane);
            }
            if stopped.contains(&row.lane) || lane.queue.len() >= LANE {
                lane.skipped = true;
                stopped.insert(row.lane);
                continue;
            }
            let waits = row.held && on_parked == OnParked::Wait;
            if waits || row.broken {
                let reason = (!waits).then(|| "its headers are not as any version wrote them".to_owned());
                // The rows behind it were read before it is parked.
                stopped.insert(row.lane);
                lane.skipped = true;
                lane.ended += 1;
                taken.to_park.push(ToPark { id: row.id, lane: row.lane, reason });
                continue;
            }
            if lane.queue.is_empty() {
                taken.ready.push(row.lane);
            }
            self.rows += 1;
            lane.queue.push_back(row);
        }
        taken
    }

    /// The next row of the lane, to be sent; `None` if it has none or one is on its way.
    pub(super) fn next(&mut self, id: i64) -> Option<Row> {
        let lane = self.lanes.get_mut(&id).filter(|lane| !lane.is_sending)?;
        let row = lane.queue.pop_front()?;
        lane.is_sending = true;
        Some(row)
    }

    /// The row that was sent is confirmed. True if another one is next.
    pub(super) fn confirmed(&mut self, id: i64) -> bool {
        self.rows -= 1;
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        (lane.is_sending, lane.failures, lane.attempts) = (false, 0, 0);
        lane.ended += 1;
        !lane.queue.is_empty()
    }

    /// The row was not sent, for no fault of its own.
    pub(super) fn hand_back(&mut self, row: Row) {
        let Some(lane) = self.lanes.get_mut(&row.lane) else { return };
        lane.is_sending = false;
        lane.queue.push_front(row);
    }

    /// The failures of the row that was sent, this one among them, and those that count as attempts.
    pub(super) fn failed(&mut self, id: i64, counts: bool) -> (u32, u32) {
        let Some(lane) = self.lanes.get_mut(&id) else { return (1, u32::from(counts)) };
        lane.failures = lane.failures.saturating_add(1);
        lane.attempts = lane.attempts.saturating_add(u32::from(counts));
        (lane.failures, lane.attempts)
    }

    /// Sets the lane aside: its rows leave the memory and are read again then.
    pub(super) fn put_aside(&mut self, id: i64, until: Instant) {
        self.rows -= 1;
        self.clear(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        (lane.is_sending, lane.until, lane.skipped) = (false, Some(until), true);
        self.aside.push(Reverse((until, id)));
    }

    /// The rows to park: the one that was sent, with its reason, and those that wait behind it.
    pub(super) fn park(&mut self, row: &Row, reason: String, on_parked: OnParked) -> Vec<ToPark> {
        self.rows -= 1;
        let Some(lane) = self.lanes.get_mut(&row.lane) else { return Vec::new() };
        (lane.is_sending, lane.failures, lane.attempts, lane.skipped) = (false, 0, 0, true);
        let mut all = vec![ToPark { id: row.id, lane: row.lane, reason: Some(reason) }];
        if on_parked == OnParked::Wait {
            self.rows -= lane.queue.len();
            all.extend(lane.queue.drain(..).map(|next| ToPark {
                id: next.id,
                lane: next.lane,
                reason: None,
            }));
        }
        lane.ended += all.len();
        all
    }

    /// A row of the lane has left the table. True if the lane is free and a read may have left rows of it out.
    pub(super) fn left(&mut self, id: i64) -> bool {
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        lane.ended = lane.ended.saturating_sub(1);
        self.free(id)
    }

    /// Drops the rows of the lane that were not sent. True if it is free then and has to be read again.
    pub(super) fn drop_unsent(&mut self, id: i64) -> bool {
        self.clear(id);
        self.free(id)
    }

    /// The lanes of a range.
    pub(super) fn of_range(&self, range: i16) -> Vec<i64> {
        self.lanes.keys().copied().filter(|id| range_of(*id) == range).collect()
    }

    /// The end of the first wait.
    pub(super) fn first_due(&self) -> Option<Instant> {
        self.aside.peek().map(|Reverse((until, _))| *until)
    }

    /// Ends the waits that are over. True if there was one.
    pub(super) fn end_waits(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(Reverse((until, id))) = self.aside.peek().copied()
            && until <= now
        {
            self.aside.pop();
            if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.until == Some(until)) {
                lane.until = None;
                any = true;
            }
        }
        any
    }

    fn clear(&mut self, id: i64) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            self.rows -= lane.queue.len();
            lane.skipped |= !lane.queue.is_empty();
            lane.queue.clear();
        }
    }

    /// Forgets a lane without work. Its failures are kept as long as its first row has failed.
    fn free(&mut self, id: i64) -> bool {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| !lane.is_busy()) else { return false };
        let skipped = std::mem::take(&mut lane.skipped);
        if lane.failures == 0 {
            self.lanes.remove(&id);
        }
        skipped
    }

    /// Forgets the lanes of a range that went to another relay, but for rows on their way.
    pub(super) fn forget_range(&mut self, range: i16) {
        for id in self.of_range(range) {
            self.clear(id);
            if let Some(lane) = self.lanes.get_mut(&id) {
                (lane.failures, lane.attempts, lane.until) = (0, 0, None);
            }
            self.free(id);
        }
    }
}
