//! The loop: one task, whose work on the table and at the publisher goes on side by side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Token;
use ackonce::{CancellationToken, Deduplicator, Failure, Result};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::away::{Away, Lines};
use super::lanes::Lanes;
use super::ranges::{Answers, Ranges, release};
use crate::metrics::Meters;
use crate::table::{OutboxTable, Presence, Row, ToPark};
use crate::{OutboxCounts, OutboxHealth, OutboxOptions, OutboxPublisher};

/// As good as for ever.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

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
    pub(super) health: OutboxHealth,
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
    /// The log lines of a publisher with many places.
    pub(super) elsewhere: Lines,
    /// The last confirmation of any row.
    pub(super) last_confirmed: Option<Instant>,
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
        health: OutboxHealth,
    ) -> Result<Self> {
        let (store, now) = (table.store(), Instant::now());
        Ok(Self {
            meters: Meters::new(&store.describe().name),
            ranges: Ranges::new(options.lease)?,
            name: Token::random().0,
            health,
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
            elsewhere: Lines::default(),
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
            self.health.turns();
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
        // A longer time is more than the clock can represent.
        self.ends = Some(Instant::now() + self.options.shutdown_timeout.min(LONGEST));
        self.ready.clear();
    }

    fn is_drained(&self) -> bool {
        self.sending.is_empty()
            && self.confirmed.is_empty()
            && self.to_park.is_empty()
            && self.removing.is_none()
            && self.parking.is_none()
    }
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
