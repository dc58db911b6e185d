//! The loop: one task, whose work on the table and at the publisher goes on side by side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{Repeat, Token};
use ackonce::{CancellationToken, Deduplicator, Error, Failure, Result};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::away::Away;
use super::lanes::Lanes;
use super::ranges::{Answers, Ranges, release};
use crate::metrics::Meters;
use crate::outgoing::{RANGES, range_of};
use crate::table::{OutboxTable, Presence, Row, ToPark};
use crate::{OutboxCounts, OutboxOptions, OutboxPublisher};

/// The time for the last requests at the end.
const LAST: Duration = Duration::from_secs(5);

/// The work under way of one kind.
pub(super) type Slot<T> = Option<BoxFuture<'static, T>>;
/// The number of a row and its lane.
pub(super) type Confirmed = (i64, i64);
/// A row on its way, and its end.
pub(super) struct Sent {
    pub(super) row: Row,
    pub(super) began: Instant,
    pub(super) answer: Result<(), Failure>,
    /// True if the publisher said nothing in time.
    pub(super) is_silent: bool,
}

/// One relay.
pub(crate) struct Relay {
    pub(super) table: Arc<dyn OutboxTable>,
    pub(super) store: Arc<dyn Deduplicator>,
    pub(super) publisher: Arc<dyn OutboxPublisher>,
    pub(super) options: OutboxOptions,
    shutdown: CancellationToken,
    pub(super) name: [u8; 16],
    pub(super) meters: Meters,
    pub(super) ranges: Ranges,
    /// The live relays, as of the last look.
    pub(super) relays: usize,
    pub(super) lanes: Lanes,
    /// Lanes whose next row can be sent.
    pub(super) ready: VecDeque<i64>,
    /// The table may have rows that were not read.
    pub(super) unread: bool,
    /// Rows to remove.
    pub(super) confirmed: Vec<Confirmed>,
    pub(super) to_park: Vec<ToPark>,
    pub(super) broker: Away,
    /// The last confirmation of any row.
    last_confirmed: Option<Instant>,
    pub(super) database: Away,
    pub(super) sending: FuturesUnordered<BoxFuture<'static, Sent>>,
    pub(super) reading: Slot<(usize, Result<Vec<Row>>)>,
    pub(super) removing: Slot<(Vec<Confirmed>, Result<()>)>,
    pub(super) parking: Slot<(Vec<ToPark>, Result<()>)>,
    pub(super) tending: Slot<Answers>,
    pub(super) upkeep: Slot<Result<Presence>>,
    pub(super) changed: Slot<()>,
    pub(super) next_poll: Instant,
    pub(super) next_round: Instant,
    pub(super) next_upkeep: Instant,
    /// The end of the drain, once it has begun.
    pub(super) ends: Option<Instant>,
}

impl Relay {
    pub(crate) fn new(
        table: Arc<dyn OutboxTable>,
        publisher: Arc<dyn OutboxPublisher>,
        options: OutboxOptions,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let (store, now) = (table.store(), Instant::now());
        Ok(Self {
            meters: Meters::new(&store.describe().name),
            ranges: Ranges::new(options.lease)?,
            name: Token::random().0,
            table,
            store,
            publisher,
            options,
            shutdown,
            relays: 0,
            lanes: Lanes::default(),
            ready: VecDeque::new(),
            unread: true,
            confirmed: Vec::new(),
            to_park: Vec::new(),
            broker: Away::default(),
            last_confirmed: None,
            database: Away::default(),
            sending: FuturesUnordered::new(),
            reading: None,
            removing: None,
            parking: None,
            tending: None,
            upkeep: None,
            changed: None,
            next_poll: now,
            next_round: now,
            next_upkeep: now,
            ends: None,
        })
    }

    /// Relays until the shutdown, or an error that no repetition mends.
    pub(crate) async fn run(mut self) -> Result<OutboxCounts> {
        let ended = self.turns().await;
        // A killed relay does without: its leases end.
        let leases: Vec<_> = self.ranges.all().iter().map(release).collect();
        let leaving = async {
            let _ = self.store.settle(&leases).await;
            let _ = self.table.leave(self.name).await;
        };
        let _ = tokio::time::timeout(LAST, leaving).await;
        self.meters.ranges.set(0.0);
        ended.map(|()| self.meters.counts())
    }

    async fn turns(&mut self) -> Result<()> {
        loop {
            self.start_all();
            if self.ends.is_some_and(|end| self.is_drained() || Instant::now() >= end) {
                return Ok(());
            }
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if self.ends.is_none() => self.drain(),
                Some(sent) = self.sending.next() => self.sent(sent),
                (rows, removed) = done(&mut self.removing) => self.removed(rows, removed)?,
                (wanted, rows) = done(&mut self.reading) => self.read(wanted, rows)?,
                (rows, parked) = done(&mut self.parking) => self.parked(rows, parked)?,
                answers = done(&mut self.tending) => self.tended(answers)?,
                presence = done(&mut self.upkeep) => self.kept_up(presence)?,
                () = done(&mut self.changed) => self.unread = true,
                () = tokio::time::sleep_until(wake) => {}
            }
            while let Some(Some(sent)) = self.sending.next().now_or_never() {
                self.sent(sent);
            }
        }
    }

    /// Takes nothing more; rows on their way have some time to be confirmed.
    fn drain(&mut self) {
        self.ends = Some(Instant::now() + self.options.shutdown_timeout);
        self.ready.clear();
    }

    fn is_drained(&self) -> bool {
        self.sending.is_empty()
            && self.confirmed.is_empty()
            && self.to_park.is_empty()
            && self.removing.is_none()
            && self.parking.is_none()
    }

    fn sent(&mut self, sent: Sent) {
        let Sent { row, began, answer, is_silent } = sent;
        let lane = row.lane;
        // A publisher that is silent for one row and not for others has an opinion on that row.
        let is_away = is_silent && self.last_confirmed.is_none_or(|last| last < began);
        match answer {
            Ok(()) => {
                self.broker.is_back();
                self.last_confirmed = Some(Instant::now());
                self.meters.published();
                self.confirmed.push((row.id, lane));
                if self.lanes.confirmed(lane) {
                    self.ready.push_back(lane);
                }
            }
            Err(Failure::Infrastructure(error)) => self.is_away(row, &ackonce::chain(&*error).to_string()),
            Err(failure) if is_away => self.is_away(row, &failure.to_string()),
            Err(failure) => {
                self.broker.is_back();
                self.meters.failed();
                self.failed(row, failure);
            }
        }
    }

    /// The broker is away for all rows. The next one asks it, in turn, in case that this one is the reason.
    fn is_away(&mut self, row: Row, error: &str) {
        self.meters.failed();
        self.ready.push_back(row.lane);
        self.lanes.hand_back(row);
        if self.broker.failed() {
            tracing::warn!(target: "ackonce", error, "the outbox cannot publish; it tries again");
        }
    }

    /// A row failed by itself.
    fn failed(&mut self, row: Row, failure: Failure) {
        let attempts = self.lanes.attempts(row.lane);
        let ends = matches!(failure, Failure::Permanent(_)) || attempts >= self.options.attempts;
        if !ends {
            let until = Instant::now() + self.options.backoff.after(attempts);
            return self.lanes.put_aside(row.lane, until);
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

    fn read(&mut self, wanted: usize, rows: Result<Vec<Row>>) -> Result<()> {
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

    fn removed(&mut self, rows: Vec<Confirmed>, removed: Result<()>) -> Result<()> {
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

    fn parked(&mut self, rows: Vec<ToPark>, parked: Result<()>) -> Result<()> {
        if self.answer(parked)?.is_none() {
            self.to_park.extend(rows);
            return Ok(());
        }
        for row in rows {
            self.unread |= self.lanes.left(row.lane);
        }
        Ok(())
    }

    fn tended(&mut self, mut answers: Answers) -> Result<()> {
        if let Some(trouble) = answers.trouble.take() {
            self.answer::<()>(Err(trouble))?;
        }
        let before = self.ranges.len();
        for range in self.ranges.apply(answers) {
            tracing::warn!(target: "ackonce", range, "another relay has taken a range over; rows on their way are published twice, under one ID");
            self.lanes.forget_range(range);
        }
        self.unread |= self.ranges.len() > before;
        self.meters.ranges.set(f64::from(u32::try_from(self.ranges.len()).unwrap_or(u32::MAX)));
        Ok(())
    }

    fn kept_up(&mut self, presence: Result<Presence>) -> Result<()> {
        let Some(presence) = self.answer(presence)? else { return Ok(()) };
        self.meters.lag(presence.lag);
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
                self.database.is_back();
                Ok(Some(answer))
            }
            Err(error) if error.repeat() == Repeat::Never => Err(error),
            Err(error) => {
                if self.database.failed() {
                    warn(&error);
                }
                Ok(None)
            }
        }
    }
}

fn warn(error: &Error) {
    let error = ackonce::chain(error).to_string();
    tracing::warn!(target: "ackonce", error, "the database of the outbox does not answer; the relay tries again");
}

/// Ready when the work of a slot is done; never for an empty one.
async fn done<T>(slot: &mut Slot<T>) -> T {
    match slot {
        Some(work) => {
            let done = work.await;
            *slot = None;
            done
        }
        None => std::future::pending().await,
    }
}
