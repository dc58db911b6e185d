//! Scheduled jobs on a store whose clock is wrong, is set, or answers late. Time is tokio's, paused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

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

#[tokio::test(start_paused = true)]
async fn a_first_start_under_a_clock_a_day_ahead_does_not_silence_the_job() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.set(24 * HOUR);
    world.host_for(world.job(every(MINUTE)), 3 * MINUTE).await;
    assert_eq!(world.ran().len(), 3);
    world.set(Duration::ZERO);
    world.host_for(world.job(every(MINUTE)), 3 * MINUTE).await;
    assert_eq!(world.ran(), [240, 300, 360], "at once, from the next slot on");
    let told = log.lines("lies in the future");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("recorded=2026-12-01T08:01:00.000Z"), "{told:?}");
    assert!(told[0].contains("store_time=2026-11-30T08:03:10.000Z"), "{told:?}");
    // It was put right: a restart within that day catches up, and says nothing.
    tokio::time::sleep(5 * MINUTE).await;
    world.host_for(world.job(every(MINUTE)).with_missed(Missed::All), MINUTE).await;
    assert_eq!(world.ran(), [420, 480, 540, 600, 660, 720]);
    assert_eq!(log.lines("lies in the future").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_at_the_start_of_a_process_is_put_right_while_it_runs() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.set(HOUR);
    let hosts = [world.host(world.job(every(MINUTE))), world.host(world.job(every(MINUTE)))];
    tokio::time::sleep(2 * MINUTE).await;
    world.ran();
    world.set(Duration::ZERO);
    tokio::time::sleep(5 * MINUTE).await;
    for host in hosts {
        host.stop().await;
    }
    assert_eq!(world.ran(), [240, 300, 360, 420], "from the first slot after it was noticed");
    assert_eq!(log.lines("lies in the future").len(), 1, "one of them mends it");
    assert_eq!(log.lines("clock was set back").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_clock_that_is_set_runs_no_slot_twice_and_goes_on_at_once() {
    let (log, _guard) = Log::start();
    let world = World::new();
    let host = world.host(world.job(every(MINUTE)));
    for ahead in [0, 3, 0, 600, 0] {
        world.set(ahead * MINUTE);
        tokio::time::sleep(5 * MINUTE).await;
    }
    let counts = host.stop().await;
    let ran = world.ran();
    let mut once = ran.clone();
    once.dedup();
    assert_eq!(ran, once);
    for minute in 21..=25 {
        assert!(ran.contains(&(60 * minute)), "minute {minute} after the clock was put right: {ran:?}");
    }
    assert_eq!(counts.buried, 0);
    assert_eq!((log.lines("clock was set forward").len(), log.lines("clock was set back").len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_is_late_by_seconds() {
    let (log, _guard) = Log::start();
    let world = World::new();
    let host = world.host(world.job(every(HOUR)));
    tokio::time::sleep(MINUTE).await;
    // Timers stand still, the dates go on.
    world.set(2 * HOUR);
    world.hosts_ahead.store(2 * 3_600_000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.ran(), [7200]);
    host.stop().await;
    assert_eq!(log.lines("clock was set"), [""; 0], "no clock was set");
}

#[tokio::test(start_paused = true)]
async fn a_host_clock_that_is_set_changes_nothing() {
    let world = World::new();
    let host = world.host(world.job(every(MINUTE)));
    for seconds in [0, 90_000, -90_000, 5, -5] {
        world.hosts_ahead.store(seconds * 1000, Ordering::SeqCst);
        tokio::time::sleep(2 * MINUTE).await;
    }
    let counts = host.stop().await;
    assert_eq!(world.ran(), (1..=10).map(|n| 60 * n).collect::<Vec<_>>());
    assert_eq!((counts.skipped, counts.buried), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_clock_that_jumps_is_noticed_within_a_minute() {
    let world = World::new();
    let host = world.host(world.job(every(24 * HOUR)));
    tokio::time::sleep(MINUTE).await;
    world.set(24 * HOUR);
    tokio::time::sleep(MINUTE).await;
    host.stop().await;
    assert_eq!(world.ran(), [16 * 3600], "the day that began meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_long_slot_costs_a_claim_a_minute() {
    let world = World::new();
    world.host_for(world.job(every(30 * 24 * HOUR)), 5 * HOUR).await;
    let claims = world.claims.load(Ordering::SeqCst);
    assert!((300..310).contains(&claims), "{claims}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_makes_a_slot_late_by_its_answers_alone() {
    let world = World::new();
    world.slow.store(700, Ordering::SeqCst);
    let host = world.host(world.job(every(MINUTE)));
    tokio::time::sleep(5 * MINUTE).await;
    let late = |(start, at): &(u64, u64)| at - start;
    let latest = world.runs.lock().unwrap().iter().map(late).max().unwrap();
    assert!(latest <= 3, "{latest} s");
    assert_eq!(host.stop().await.skipped, 0);
    assert_eq!(world.ran(), [60, 120, 180, 240, 300]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_schedule_begins_with_its_next_slot() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.host_for(world.job(every(HOUR)).with_missed(Missed::All), 3 * HOUR).await;
    assert_eq!(world.ran(), [3600, 7200, 10_800]);
    tokio::time::sleep(HOUR / 2).await;
    for length in [HOUR * 3 / 2, 24 * HOUR, HOUR / 2] {
        world.host_for(world.job(every(length)).with_missed(Missed::All), MINUTE).await;
        assert_eq!(world.ran(), [0; 0], "{length:?}: nothing at once");
    }
    world.host_for(world.job(every(HOUR / 2)).with_missed(Missed::All), HOUR).await;
    assert_eq!(world.ran(), [4 * 3600, 4 * 3600 + 1800]);
    let told = log.lines("the schedule has changed");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("before=\"every 3600s\" now=\"every 5400s\""), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn hosts_with_two_schedules_run_a_common_slot_once() {
    let world = World::new();
    let hosts = [
        world.host(world.job(every(2 * MINUTE))),
        world.host(world.job(every(3 * MINUTE))),
        world.host(world.job(Schedule::cron("*/6 * * * *", "Europe/Berlin").unwrap())),
        world.host(world.job(Schedule::cron("*/6 * * * *", "Asia/Kathmandu").unwrap())),
    ];
    tokio::time::sleep(12 * MINUTE).await;
    for host in hosts {
        let counts = host.stop().await;
        assert_eq!((counts.skipped, counts.buried), (0, 0));
    }
    // Kathmandu is 5:45 ahead of UTC: its sixth minutes are others.
    assert_eq!(
        world.ran(),
        [120, 180, 180, 240, 360, 480, 540, 540, 600, 720]
            .iter()
            .copied()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_longer_look_back_than_records_lived_runs_nothing_again() {
    let world = World::new();
    let short = Settings::default().with_window(12 * MINUTE);
    let job = || world.job(every(MINUTE)).with_missed(Missed::All);
    world.host_for(job().with_settings(short), 30 * MINUTE).await;
    assert_eq!(world.ran().len(), 30);
    let counts = world.host_for(job().with_look_back(100), 2 * MINUTE).await;
    assert_eq!((world.ran(), counts.skipped), (vec![31 * 60, 32 * 60], 0));
    for minute in 33..50 {
        world.host_for(job().with_look_back(100), MINUTE).await;
        assert_eq!(world.ran(), [minute * 60]);
    }
    // The one thing that the longer window allows: slots that were missed while it held are caught up.
    tokio::time::sleep(20 * MINUTE).await;
    world.host_for(job().with_look_back(100), MINUTE).await;
    assert_eq!(world.ran(), (50..=70).map(|minute| 60 * minute).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_while_it_skips_leaves_the_slots_to_be_skipped() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.host_for(world.job(every(MINUTE)), MINUTE).await;
    tokio::time::sleep(9 * MINUTE).await;
    assert_eq!(world.ran(), [60]);
    world.slow.store(1000, Ordering::SeqCst);
    // Its questions are the time and twice the end of the chain; then it claims.
    for millis in [3_500, 4_500, 5_500] {
        let host = world.host(world.job(every(MINUTE)).with_missed(Missed::Skip));
        tokio::time::sleep(Duration::from_millis(millis)).await;
        host.1.abort();
        assert!(host.1.await.unwrap_err().is_cancelled());
    }
    world.slow.store(0, Ordering::SeqCst);
    let counts = world.host_for(world.job(every(MINUTE)).with_missed(Missed::Skip), MINUTE).await;
    assert!(counts.skipped <= 8, "{counts:?}");
    assert_eq!(world.ran().iter().filter(|start| **start < 600).count(), 0, "none of them runs");
    assert!(log.lines("decision=\"skipped\"").len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn hosts_that_skip_at_once_count_each_slot_once_and_say_so_in_one_line() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.host_for(world.job(every(MINUTE)), MINUTE).await;
    tokio::time::sleep(9 * MINUTE).await;
    world.slow.store(100, Ordering::SeqCst);
    let hosts: Vec<_> = (0..4).map(|_| world.host(world.job(every(MINUTE)))).collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut skipped = 0;
    for host in hosts {
        skipped += host.stop().await.skipped;
    }
    assert_eq!((skipped, world.ran()), (8, vec![60, 600]));
    let told = log.lines("decision=\"skipped\"");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("INFO") && told[0].contains("slots=8"), "{told:?}");
    assert!(told[0].contains("oldest=2026-11-30T08:02:00.000Z newest=2026-11-30T08:09:00.000Z"), "{told:?}");
    assert_eq!(log.lines("buried"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_window_is_as_long_as_the_look_back_needs_unless_one_was_chosen() {
    let world = World::new();
    let day = 24 * HOUR;
    for length in [Duration::from_secs(1), MINUTE, day, 30 * day, 3650 * day] {
        world.job(every(length)).check().unwrap();
        world.job(every(length)).with_settings(Settings::default().with_attempts(3)).check().unwrap();
    }
    for expression in ["@daily", "@monthly", "@yearly", "0 0 29 2 *", "0 9-17 * * 1-5", "0 0 0 1 1 * 2020"] {
        world.job(Schedule::cron(expression, "Europe/Berlin").unwrap()).check().unwrap();
    }
    let job = || world.job(every(day)).with_settings(Settings::default().with_window(8 * day));
    let error = job().check().unwrap_err().to_string();
    assert!(error.contains("Settings::window") && error.contains("1036800s at least"), "{error}");
    assert!(error.contains("ScheduledJob::with_look_back to 6 at most"), "{error}");
    job().with_look_back(6).check().unwrap();
    job().with_look_back(7).check().unwrap_err();
    let error = world.job(every(MINUTE)).with_look_back(10_001).check().unwrap_err().to_string();
    assert!(error.contains("ScheduledJob::with_look_back") && error.contains("10000"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_whose_slots_are_over_waits_quietly() {
    let world = World::new();
    let over = Schedule::cron("0 0 0 1 1 * 2020", "UTC").unwrap();
    world.host_for(world.job(over), HOUR).await;
    assert_eq!(world.ran(), [0; 0]);
    let last = Schedule::cron("0 3 8 30 11 * 2026", "UTC").unwrap();
    world.host_for(world.job(last), HOUR).await;
    assert_eq!(world.ran(), [0; 0], "it was before the first start");
    let coming = Schedule::cron("0 3 9 30 11 * 2026", "UTC").unwrap();
    world.ran();
    let other = World::new();
    other.host_for(other.job(coming), 2 * HOUR).await;
    assert_eq!(other.ran(), [63 * 60]);
}

/// 28 March and 31 October 2027 are the days on which Berlin's clocks change.
#[tokio::test(start_paused = true)]
async fn a_nightly_job_runs_once_on_the_days_on_which_clocks_change() {
    for (hour_before, run) in [(1_806_192_000 - 3600, 1_806_195_600), (1_824_939_000 - 3600, 1_824_942_600)] {
        let world = World::new();
        world.set(Duration::from_secs(hour_before - START));
        let job =
            || world.job(Schedule::cron("30 2 * * *", "Europe/Berlin").unwrap()).with_missed(Missed::All);
        // Restarts all through the night, two hosts at a time.
        for _ in 0..12 {
            let other = world.host(job());
            world.host_for(job(), HOUR / 2).await;
            other.stop().await;
        }
        assert_eq!(world.runs.lock().unwrap().iter().map(|(start, _)| *start).collect::<Vec<_>>(), [run]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for_and_its_slots_are_missed() {
    for (policy, minutes_away, skipped, ran) in [
        (Missed::Once, 5, 4, vec![60, 360, 420, 480]),
        (Missed::All, 5, 0, (1..=8).map(|n| 60 * n).collect()),
        (Missed::All, 20, 0, [1].into_iter().chain(11..=23).map(|n| 60 * n).collect()),
    ] {
        let (log, _guard) = Log::start();
        let world = World::new();
        world.is_away.store(true, Ordering::SeqCst);
        let host = world.host(world.job(every(MINUTE)).with_missed(policy));
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.is_away.store(false, Ordering::SeqCst);
        tokio::time::sleep(MINUTE).await;
        world.is_away.store(true, Ordering::SeqCst);
        tokio::time::sleep(minutes_away * MINUTE).await;
        world.is_away.store(false, Ordering::SeqCst);
        // The back-off, and two more slots.
        tokio::time::sleep(Duration::from_secs(89)).await;
        let counts = host.stop().await;
        let found = world.ran();
        assert_eq!((counts.skipped, counts.buried), (skipped, 0), "{policy:?} {found:?}");
        assert_eq!(found, ran, "{policy:?}");
        assert_eq!(log.lines("have passed by").len(), usize::from(minutes_away > 10), "{policy:?}");
        assert_eq!(log.lines("clock was set"), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_store_ends_when_it_is_told_to() {
    let world = World::new();
    world.is_away.store(true, Ordering::SeqCst);
    let began = Instant::now();
    world.host_for(world.job(every(MINUTE)), MINUTE).await;
    assert!(began.elapsed() < 2 * MINUTE);
}
