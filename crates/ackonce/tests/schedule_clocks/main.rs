//! Scheduled jobs on a store whose clock is wrong, is set, or answers late. Time is tokio's, paused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod clocks;
mod slots;

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::protocol::{self, Row};
use ackonce::schedule::{Every, Missed, Schedule, ScheduledJob, Slot};
use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement};
use ackonce::{
    CancellationToken, Context, Counts, Deduplicator, Error, ErrorKind, Failure, Result, Scope, Settings,
};
use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// 30 November 2026, 08:00:10 in UTC.
const START: u64 = 1_796_025_610;

/// A store whose clock can be set, and which takes its time.
#[derive(Clone)]
struct World {
    rows: Arc<Mutex<HashMap<[u8; 32], Row>>>,
    began: Instant,
    /// By how many milliseconds the store's clock is ahead of the true time.
    ahead: Arc<AtomicI64>,
    /// By how many milliseconds the hosts' clocks are.
    hosts_ahead: Arc<AtomicI64>,
    /// The milliseconds that each answer takes.
    slow: Arc<AtomicU64>,
    claims: Arc<AtomicU64>,
    is_away: Arc<AtomicBool>,
    runs: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

struct Host(CancellationToken, JoinHandle<Result<Counts>>);

impl Host {
    async fn stop(self) -> Counts {
        self.0.cancel();
        self.1.await.unwrap().unwrap()
    }
}

impl World {
    fn new() -> Self {
        Self {
            rows: Arc::default(),
            began: Instant::now(),
            ahead: Arc::default(),
            hosts_ahead: Arc::default(),
            slow: Arc::default(),
            claims: Arc::default(),
            is_away: Arc::default(),
            runs: Arc::default(),
        }
    }

    fn by(&self, ahead: &AtomicI64) -> SystemTime {
        let now = UNIX_EPOCH + Duration::from_secs(START) + self.began.elapsed();
        let ahead = ahead.load(Ordering::SeqCst);
        let by = Duration::from_millis(ahead.unsigned_abs());
        if ahead < 0 { now - by } else { now + by }
    }

    fn now(&self) -> u64 {
        self.by(&self.ahead).duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
    }

    fn set(&self, ahead: Duration) {
        self.ahead.store(ahead.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    fn job(&self, schedule: impl Into<Schedule>) -> ScheduledJob {
        let world = self.clone();
        ScheduledJob::new(&Scope::new("jobs/report").unwrap(), schedule, Arc::new(self.clone()))
            .with_clock(move || world.by(&world.hosts_ahead))
    }

    fn host(&self, job: ScheduledJob) -> Host {
        let (world, shutdown) = (self.clone(), job.shutdown());
        let handler = move |_: Context, slot: Slot| {
            let start = slot.start.duration_since(UNIX_EPOCH).unwrap().as_secs();
            world.runs.lock().unwrap().push((start, world.now() / 1_000_000));
            async { Ok::<(), Failure>(()) }
        };
        Host(shutdown, tokio::spawn(job.run(handler)))
    }

    /// Runs a host for so long.
    async fn host_for(&self, job: ScheduledJob, time: Duration) -> Counts {
        let host = self.host(job);
        tokio::time::sleep(time).await;
        host.stop().await
    }

    /// The starts of the slots that ran since the last look, in seconds after 08:00, in order of time.
    fn ran(&self) -> Vec<u64> {
        let mut ran: Vec<_> =
            std::mem::take(&mut *self.runs.lock().unwrap()).iter().map(|(start, _)| start + 10).collect();
        ran.sort_unstable();
        ran.iter().map(|start| start - START).collect()
    }

    async fn answer<Q, A>(
        &self,
        asked: &[Q],
        answer: impl Fn(&Q, u64, &mut HashMap<[u8; 32], Row>) -> A,
    ) -> Result<Vec<A>> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "away"));
        }
        let slow = Duration::from_millis(self.slow.load(Ordering::SeqCst));
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        let now = self.now();
        let mut rows = self.rows.lock().unwrap();
        Ok(asked.iter().map(|q| answer(q, now, &mut rows)).collect())
    }
}

#[async_trait]
impl Deduplicator for World {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        let answers = self.answer(requests, |request, now, rows| {
            let (answer, row) = protocol::claim(rows.get(request.key.digest()), request, now);
            rows.extend(row.map(|row| (*request.key.digest(), row)));
            answer
        });
        answers.await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let answers = self.answer(settlements, |settlement, now, rows| {
            let (answer, row) = protocol::settle(rows.get(settlement.key.digest()), settlement, now);
            rows.extend(row.map(|row| (*settlement.key.digest(), row)));
            answer
        });
        answers.await
    }

    fn describe(&self) -> Description {
        Description { name: "a store with a clock".into(), weaknesses: Vec::new() }
    }
}

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let written = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
        (log, tracing::subscriber::set_default(lines))
    }

    /// The lines with that text.
    fn lines(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

fn every(length: Duration) -> Every {
    Every::new(length).unwrap()
}
