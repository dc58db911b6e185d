//! The ends of the work that a relay has begun.

use std::time::Duration;

use ackonce::store::Repeat;
use ackonce::{Failure, Result};
use tokio::time::Instant;

use super::ranges::Answers;
use super::run::{Confirmed, Relay, Sent};
use crate::outgoing::{RANGES, range_of};
use crate::table::{Presence, Row, ToPark};

impl Relay {
    pub(super) fn sent(&mut self, sent: Sent) {
        let Sent { row, began, answer, is_silent } = sent;
        let lane = row.lane;
        // A publisher that is silent for one row and not for others has an opinion on that row.
        let is_away =
            is_silent && self.publisher.is_one_place() && self.last_confirmed.is_none_or(|last| last < began);
        match answer {
            Ok(()) => {
                self.broker_is_back();
                self.last_confirmed = Some(Instant::now());
                self.meters.published();
                self.confirmed.push((row.id, lane));
                if self.lanes.confirmed(lane) {
                    self.ready.push_back(lane);
                }
            }
            Err(failure) if matches!(failure, Failure::Infrastructure(_)) || is_away => {
                self.is_away(row, &failure);
            }
            Err(failure) => {
                self.broker_is_back();
                self.meters.failed();
                self.failed(row, failure);
            }
        }
    }

    /// The broker is away for all rows. The next one asks it, in turn, in case that this one is the reason. Where there are
    /// more places than one, it is away for the lane alone.
    fn is_away(&mut self, row: Row, failure: &Failure) {
        self.meters.failed();
        let is_due = match self.publisher.is_one_place() {
            true => {
                self.ready.push_back(row.lane);
                self.lanes.hand_back(row);
                self.health.publisher(Some(failure.to_string()));
                self.broker.failed(failure.asked_pause())
            }
            false => {
                let (failures, _) = self.lanes.failed(row.lane, false);
                self.set_aside(row.lane, failures, failure);
                self.elsewhere.is_due()
            }
        };
        if is_due {
            let error = failure.to_string();
            tracing::warn!(target: "ackonce", error, "the outbox cannot publish; it tries again");
        }
    }

    fn broker_is_back(&mut self) {
        if self.broker.is_away() {
            self.broker.is_back();
            self.health.publisher(None);
        }
    }

    fn set_aside(&mut self, lane: i64, failures: u32, failure: &Failure) {
        let pause = self.options.backoff.after(failures).max(failure.asked_pause());
        self.lanes.put_aside(lane, Instant::now() + pause);
    }

    /// A row failed by itself.
    fn failed(&mut self, row: Row, failure: Failure) {
        let (failures, attempts) = self.lanes.failed(row.lane, true);
        let ends = matches!(failure, Failure::Permanent(_)) || attempts >= self.options.attempts;
        if !ends {
            return self.set_aside(row.lane, failures, &failure);
        }
        let reason = format!("{failure} (attempt {attempts})");
        tracing::error!(target: "ackonce", row = row.id, id = row.message.id, to = row.message.to, reason,
            "a message of the outbox cannot be published; it is parked until somebody redrives it");
        self.meters.parked();
        self.to_park.extend(self.lanes.park(&row, reason, self.options.on_parked));
        if self.options.on_parked == crate::OnParked::Pass {
            self.ready.push_back(row.lane);
        }
    }

    pub(super) fn read(&mut self, wanted: usize, rows: Result<Vec<Row>>) -> Result<()> {
        let Some(rows) = self.answer(rows)? else {
            self.unread = true;
            return Ok(());
        };
        // A full read may not be the last one; one of full bytes has fewer rows.
        self.unread |= !rows.is_empty() && (rows.len() >= wanted || self.ends_with_bytes(&rows));
        if self.ends.is_some() {
            return Ok(());
        }
        let rows = rows.into_iter().filter(|row| self.ranges.may_send(range_of(row.lane))).collect();
        let taken = self.lanes.take_in(rows, self.options.on_parked);
        self.ready.extend(taken.ready);
        self.to_park.extend(taken.to_park);
        Ok(())
    }

    fn ends_with_bytes(&self, rows: &[Row]) -> bool {
        rows.iter().map(|row| row.message.payload.len()).sum::<usize>() >= self.options.read_bytes
    }

    pub(super) fn removed(&mut self, rows: Vec<Confirmed>, removed: Result<()>) -> Result<()> {
        if self.answer(removed)?.is_none() {
            // The same again: rows that are gone are no matter.
            self.confirmed.extend(rows);
            return Ok(());
        }
        for (_, lane) in rows {
            self.unread |= self.lanes.left(lane);
        }
        Ok(())
    }

    pub(super) fn parked(&mut self, rows: Vec<ToPark>, parked: Result<()>) -> Result<()> {
        if self.answer(parked)?.is_none() {
            self.to_park.extend(rows);
            return Ok(());
        }
        for row in rows {
            self.unread |= self.lanes.left(row.lane);
        }
        Ok(())
    }

    pub(super) fn tended(&mut self, mut answers: Answers) -> Result<()> {
        if let Some(trouble) = answers.trouble.take() {
            self.answer::<()>(Err(trouble))?;
        }
        let before = self.ranges.len();
        for range in self.ranges.apply(answers) {
            tracing::warn!(target: "ackonce", range, "another relay has taken a range over; rows on their way are published twice, under one ID");
            self.lanes.forget_range(range);
        }
        self.unread |= self.ranges.len() > before;
        self.health.holds(self.ranges.len());
        self.meters.ranges.set(f64::from(u32::try_from(self.ranges.len()).unwrap_or(u32::MAX)));
        Ok(())
    }

    pub(super) fn kept_up(&mut self, presence: Result<Presence>) -> Result<()> {
        let Some(presence) = self.answer(presence)? else { return Ok(()) };
        self.meters.lag(presence.lag);
        self.health.seen(presence.relays, presence.lag);
        self.relays = presence.relays;
        for range in self.ranges.give_up(self.share()) {
            for lane in self.lanes.of_range(range) {
                self.lanes.drop_unsent(lane);
            }
        }
        Ok(())
    }

    /// The ranges for each relay: rounded up, so that none is left over.
    pub(super) fn share(&self) -> usize {
        usize::try_from(RANGES).unwrap_or_default().div_ceil(self.relays.max(1))
    }

    /// `None` for an answer that may come later: the database is away.
    fn answer<T>(&mut self, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(answer) => {
                if self.database.is_away() {
                    self.database.is_back();
                    self.health.database(None);
                }
                Ok(Some(answer))
            }
            Err(error) if error.repeat() == Repeat::Never => Err(error),
            Err(error) => {
                let error = ackonce::chain(&error).to_string();
                if self.database.failed(Duration::ZERO) {
                    tracing::warn!(target: "ackonce", error, "the database of the outbox does not answer; the relay tries again");
                }
                self.health.database(Some(error));
                Ok(None)
            }
        }
    }
}
