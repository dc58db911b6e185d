//! The work that a relay can begin.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::panic_text;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::ranges;
use super::run::{Relay, Sent};
use crate::OutboxPublisher;
use crate::outgoing::range_of;
use crate::table::{Row, Wanted};

/// Lanes set aside after failures, beyond which nothing is read: then it is the broker.
const SET_ASIDE: usize = 16_384;
/// The interval of upkeep.
const UPKEEP: Duration = Duration::from_secs(1);

impl Relay {
    /// Begins everything that can begin.
    pub(super) fn start_all(&mut self) {
        let now = Instant::now();
        for range in self.ranges.expire() {
            tracing::warn!(target: "ackonce", range, "the lease of a range ended without a renewal");
            self.lanes.forget_range(range);
        }
        if self.lanes.end_waits(now) || self.next_poll <= now {
            self.unread = true;
        }
        if self.next_poll <= now {
            self.next_poll = now + self.options.poll;
        }
        self.start_sending();
        if !self.database.pauses() {
            self.start_removing();
            self.start_parking();
            self.start_reading();
        }
        self.start_tending(now);
        self.start_upkeep(now);
        if self.changed.is_none() {
            let table = self.table.clone();
            self.changed = Some(Box::pin(async move { table.changed().await }));
        }
    }

    /// The next moment at which something begins without an event.
    pub(super) fn next_wake(&self) -> Instant {
        let mut next = self.next_poll.min(self.next_round).min(Instant::now() + UPKEEP);
        if self.upkeep.is_none() {
            next = next.min(self.next_upkeep);
        }
        let rest = [self.lanes.first_due(), self.broker.until(), self.database.until(), self.ends];
        rest.into_iter().flatten().fold(next, Instant::min).max(Instant::now() + Duration::from_millis(1))
    }

    fn start_sending(&mut self) {
        // One row asks a broker that is away; the others wait for its answer.
        while self.sending.len() < self.publisher.at_once()
            && (!self.broker.is_away() || (!self.broker.pauses() && self.sending.is_empty()))
        {
            let Some(lane) = self.ready.pop_front() else { return };
            if self.ends.is_some() || !self.ranges.may_send(range_of(lane)) {
                self.unread |= self.lanes.drop_unsent(lane);
                continue;
            }
            let Some(row) = self.lanes.next(lane) else { continue };
            self.sending.push(Box::pin(send(self.publisher.clone(), row, self.options.publish_timeout)));
        }
    }

    fn start_removing(&mut self) {
        if self.removing.is_some() || self.confirmed.is_empty() {
            return;
        }
        let (table, rows) = (self.table.clone(), std::mem::take(&mut self.confirmed));
        let ids = rows.iter().map(|(id, _)| *id).collect();
        self.removing = Some(Box::pin(async move { (rows, table.remove(ids).await) }));
    }

    fn start_parking(&mut self) {
        if self.parking.is_some() || self.to_park.is_empty() {
            return;
        }
        let (table, rows) = (self.table.clone(), std::mem::take(&mut self.to_park));
        self.parking = Some(Box::pin(async move {
            let parked = table.park(rows.clone()).await;
            (rows, parked)
        }));
    }

    fn start_reading(&mut self) {
        let room = self.options.in_flight.saturating_sub(self.lanes.rows());
        // Small reads while the memory is nearly full would be many trips.
        let is_worth_it = room >= self.options.in_flight.div_ceil(4) && self.lanes.set_aside() < SET_ASIDE;
        let begins = self.unread && self.reading.is_none() && self.ends.is_none();
        if !begins || !is_worth_it {
            return;
        }
        let ranges = self.ranges.readable();
        if ranges.is_empty() {
            return;
        }
        self.unread = false;
        let wanted = Wanted { ranges, busy: self.lanes.busy(), rows: room, bytes: self.options.read_bytes };
        let table = self.table.clone();
        self.reading = Some(Box::pin(async move { (room, table.read(wanted).await) }));
    }

    /// Renews leases at each third of their length.
    fn start_tending(&mut self, now: Instant) {
        // Without the number of relays the share is not known.
        if self.tending.is_some() || self.next_round > now || self.relays == 0 {
            if self.next_round <= now {
                self.next_round = now + Duration::from_millis(10);
            }
            return;
        }
        self.next_round = now + self.options.lease / 3;
        // At the end nothing more is claimed.
        let share = if self.ends.is_some() { 0 } else { self.share() };
        let lanes = &self.lanes;
        let round = self.ranges.round(share, |range| lanes.is_range_idle(range));
        let store = self.store.clone();
        self.tending = Some(Box::pin(async move { ranges::ask(&*store, round).await }));
    }

    fn start_upkeep(&mut self, now: Instant) {
        if self.upkeep.is_some() || self.next_upkeep > now {
            return;
        }
        self.next_upkeep = now + UPKEEP.min(self.options.lease / 3);
        let (table, name, lease) = (self.table.clone(), self.name, self.options.lease);
        self.upkeep = Some(Box::pin(async move {
            let presence = table.announce(name, lease).await?;
            table.upkeep().await?;
            Ok(presence)
        }));
    }
}

/// Publishes a row; a publisher that panics or does not answer has failed.
async fn send(publisher: Arc<dyn OutboxPublisher>, row: Row, limit: Duration) -> Sent {
    let began = Instant::now();
    let mut publishing = publisher.publish(&row.message);
    let answered = tokio::time::timeout(limit, AssertUnwindSafe(&mut publishing).catch_unwind()).await;
    // Dropped midway it may panic as well.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(publishing))) {
        let text = panic_text(&*panic);
        tracing::error!(target: "ackonce", "the publisher panicked while it was dropped: {text}");
    }
    let (answer, is_silent) = match answered {
        Ok(Ok(answer)) => (answer, false),
        Ok(Err(panic)) => (Err(format!("the publisher panicked: {}", panic_text(&*panic)).into()), false),
        Err(_) => (Err(format!("no answer in {limit:?} (OutboxOptions::publish_timeout)").into()), true),
    };
    Sent { row, began, answer, is_silent }
}
