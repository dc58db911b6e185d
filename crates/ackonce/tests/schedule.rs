//! Scheduled jobs on hosts that come, go, and disagree about the time. Time is tokio's, paused: it moves when all wait.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::schedule::{Every, Missed, ScheduledJob, Slot};
use ackonce::store::{
    ClaimRequest, Claimed, DeduplicatorExt, Description, Inspect, RecordTarget, Settled, Settlement, State,
    Token,
};
use ackonce::{
    CancellationToken, Context, Counts, Deduplicator, Error, ErrorKind, Failure, MemoryStore, Result, Scope,
    Settings,
};
use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// A store, the true time, and what has run.
#[derive(Clone)]
struct World {
    store: MemoryStore,
    epoch: SystemTime,
    start: Instant,
    runs: Arc<Mutex<Vec<(SystemTime, u64)>>>,
}

struct Host {
    shutdown: CancellationToken,
    ended: JoinHandle<Result<Counts>>,
}

impl Host {
    async fn stop_after(self, n: u32) -> Counts {
        minutes(n).await;
        self.stop().await
    }

    async fn stop(self) -> Counts {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap()
    }
}

impl World {
    /// Ten seconds into a minute.
    async fn new() -> Self {
        let store = MemoryStore::new();
        let epoch = SystemTime::now();
        let world = Self { store, epoch, start: Instant::now(), runs: Arc::default() };
        let into = world.epoch.duration_since(UNIX_EPOCH).unwrap().as_secs() % 60;
        tokio::time::sleep(Duration::from_secs(70 - into)).await;
        world
    }

    fn now(&self) -> SystemTime {
        self.epoch + self.start.elapsed()
    }

    fn scope() -> Scope {
        Scope::new("jobs/report").unwrap()
    }

    fn job(&self) -> ScheduledJob {
        let (epoch, start) = (self.epoch, self.start);
        ScheduledJob::new(&Self::scope(), Every::new(MINUTE).unwrap(), Arc::new(self.store.clone()))
            .with_clock(move || epoch + start.elapsed())
    }

    fn host(&self, job: ScheduledJob) -> Host {
        let (runs, shutdown, world) = (self.runs.clone(), job.shutdown(), self.clone());
        let handler = move |_: Context, slot: Slot| {
            let late = world.now().duration_since(slot.start).map_or(0, |late| late.as_secs());
            runs.lock().unwrap().push((slot.start, late));
            async { Ok::<(), Failure>(()) }
        };
        Host { shutdown, ended: tokio::spawn(job.run(handler)) }
    }

    /// Which minutes ran since, by number from the current one, in the order they ran.
    fn minutes(&self, since: SystemTime) -> Vec<u64> {
        let base = since.duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
        let minute = |(start, _): &(SystemTime, u64)| {
            let minute = start.duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
            minute.checked_sub(base)
        };
        self.runs.lock().unwrap().iter().filter_map(minute).collect()
    }
}

async fn minutes(n: u32) {
    tokio::time::sleep(n * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn each_slot_runs_once_whatever_the_hosts_think_of_the_time() {
    let world = World::new().await;
    let began = world.now();
    let mut hosts = Vec::new();
    for (n, sign) in [(0, 1), (900, 1), (900, -1), (20_000, 1), (20_000, -1), (86_400_000, -1)] {
        let skew = Duration::from_millis(n);
        let (epoch, start) = (world.epoch, world.start);
        let clock = move || match sign {
            1 => epoch + start.elapsed() + skew,
            _ => epoch + start.elapsed() - skew,
        };
        hosts.push(world.host(world.job().with_clock(clock)));
    }
    minutes(10).await;
    for host in hosts {
        host.stop().await;
    }
    assert_eq!(
        world.minutes(began),
        (1..=10).collect::<Vec<_>>(),
        "from the first one after the first start"
    );
    assert!(
        world.runs.lock().unwrap().iter().all(|(_, late)| *late == 0),
        "the host that is right is in time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lone_host_runs_by_the_stores_clock_whatever_its_own_says() {
    for (ahead, behind) in [(5, 0), (0, 5), (1800, 0), (0, 1800), (86_400, 0), (0, 86_400)] {
        let world = World::new().await;
        let began = world.now();
        let (epoch, start) = (world.epoch, world.start);
        let clock =
            move || epoch + start.elapsed() + Duration::from_secs(ahead) - Duration::from_secs(behind);
        let host = world.host(world.job().with_clock(clock));
        minutes(10).await;
        let counts = host.stop().await;
        assert_eq!(world.minutes(began), (1..=10).collect::<Vec<_>>(), "{ahead} s ahead, {behind} s behind");
        assert!(world.runs.lock().unwrap().iter().all(|(_, late)| *late == 0), "each in time");
        assert_eq!((counts.skipped, counts.buried), (0, 0));
    }
}

/// A8: two hosts, both up, one 5 s ahead of the store: two slots ran nowhere.
#[tokio::test(start_paused = true)]
async fn a_host_whose_clock_is_ahead_skips_no_slot() {
    let world = World::new().await;
    let began = world.now();
    let (epoch, start) = (world.epoch, world.start);
    let second = Every::new(Duration::from_secs(1)).unwrap();
    let job = |ahead: u64| {
        ScheduledJob::new(&World::scope(), second, Arc::new(world.store.clone()))
            .with_clock(move || epoch + start.elapsed() + Duration::from_secs(ahead))
    };
    let right = world.host(job(0));
    tokio::time::sleep(Duration::from_millis(2_700)).await;
    let ahead = world.host(job(5));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (right, ahead) = (right.stop().await, ahead.stop().await);
    assert_eq!((right.skipped + ahead.skipped, right.buried + ahead.buried), (0, 0));
    let mut ran: Vec<_> = world.runs.lock().unwrap().iter().map(|(slot, _)| *slot).collect();
    ran.sort_unstable();
    let since = began.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let expected: Vec<_> =
        (1..=ran.len() as u64).map(|n| UNIX_EPOCH + Duration::from_secs(since + n)).collect();
    assert_eq!(ran, expected, "each once, and none left out");
    assert!(ran.len() >= 22);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_makes_nothing_run_twice_and_leaves_nothing_out() {
    let world = World::new().await;
    let began = world.now();
    let jump = Arc::new(Mutex::new((true, Duration::ZERO)));
    let (epoch, start, by) = (world.epoch, world.start, jump.clone());
    let host =
        world.host(world.job().with_missed(Missed::All).with_clock(move || match *by.lock().unwrap() {
            (true, ahead) => epoch + start.elapsed() + ahead,
            (false, behind) => epoch + start.elapsed() - behind,
        }));
    for change in [(true, 3), (false, 3), (false, 600), (true, 0), (true, 600), (true, 0)] {
        *jump.lock().unwrap() = (change.0, change.1 * MINUTE);
        minutes(4).await;
    }
    host.stop().await;
    let mut ran = world.minutes(began);
    ran.sort_unstable();
    assert_eq!(ran, (1..=24).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_host_so_far_behind_that_records_are_forgotten_runs_nothing_again() {
    let world = World::new().await;
    let began = world.now();
    let job =
        || world.job().with_settings(Settings::default().with_window(12 * MINUTE)).with_missed(Missed::All);
    let right = world.host(job());
    minutes(20).await;
    let (epoch, start) = (world.epoch, world.start);
    let behind = world.host(job().with_clock(move || epoch + start.elapsed() - 15 * MINUTE));
    minutes(3).await;
    right.stop().await;
    behind.stop().await;
    assert_eq!(world.minutes(began), (1..=23).collect::<Vec<_>>());
}

/// Runs two minutes, is down for five, and runs again for a good minute: what ran since it went down.
async fn after_an_outage(missed: Missed, look_back: u32) -> (World, Vec<u64>) {
    let world = World::new().await;
    let job = || world.job().with_missed(missed).with_look_back(look_back);
    let host = world.host(job());
    minutes(2).await;
    host.stop().await;
    let down = world.now();
    assert_eq!(world.runs.lock().unwrap().len(), 2);
    minutes(5).await;
    tokio::time::sleep(MINUTE / 2).await;
    let host = world.host(job());
    minutes(1).await;
    host.stop().await;
    let ran = world.minutes(down);
    (world, ran.into_iter().filter(|minute| *minute > 0).collect())
}

#[tokio::test(start_paused = true)]
async fn missed_slots_are_skipped_caught_up_once_or_all() {
    assert_eq!(after_an_outage(Missed::Skip, 10).await.1, [6]);
    assert_eq!(after_an_outage(Missed::Once, 10).await.1, [5, 6]);
    let (world, all) = after_an_outage(Missed::All, 10).await;
    assert_eq!(all.len(), 6);
    let missed: Vec<_> = all.iter().copied().filter(|minute| *minute < 5).collect();
    assert_eq!(missed, [1, 2, 3, 4], "oldest first");
    let late: Vec<_> = world.runs.lock().unwrap().iter().filter(|(_, late)| *late > 30).copied().collect();
    assert_eq!(late.len(), 5);
    let mut bounded = after_an_outage(Missed::All, 2).await.1;
    bounded.sort_unstable();
    assert_eq!(bounded, [3, 4, 5, 6], "the look-back bounds it");
}

#[tokio::test(start_paused = true)]
async fn a_skipped_slot_is_done_not_buried_and_can_be_redriven() {
    let (world, _) = after_an_outage(Missed::Skip, 10).await;
    assert_eq!(world.store.stats().await.unwrap().buried, 0);
    let slot = world.now() - 3 * MINUTE;
    let id = slot.duration_since(UNIX_EPOCH).unwrap().as_secs() / 60 * 60_000;
    let key = World::scope().key(id.to_string()).unwrap();
    let record = world.store.look(&key).await.unwrap().unwrap().record;
    assert_eq!(record.state, State::Done);
    assert!(record.outcome.unwrap().starts_with(b"skipped"));
    let note = ackonce::store::Note { actor: "me".into(), reason: "it matters".into() };
    world.store.redrive(RecordTarget::Key(&key), &note).await.unwrap();
    let host = world.host(world.job().with_missed(Missed::Skip));
    minutes(1).await;
    host.stop().await;
    let record = world.store.look(&key).await.unwrap().unwrap().record;
    assert_eq!((record.state, record.outcome), (State::Done, None));
    let start = UNIX_EPOCH + Duration::from_millis(id);
    assert_eq!(world.runs.lock().unwrap().iter().filter(|(slot, _)| *slot == start).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn skipped_slots_are_counted_once_whatever_the_number_of_hosts_and_restarts() {
    let world = World::new().await;
    world.host(world.job()).stop_after(2).await;
    minutes(9).await;
    let mut skipped = Vec::new();
    for _ in 0..3 {
        let hosts: Vec<_> = (0..3).map(|_| world.host(world.job())).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut all = 0;
        for host in hosts {
            let counts = host.stop().await;
            assert_eq!(counts.buried, 0);
            all += counts.skipped;
        }
        skipped.push(all);
    }
    assert_eq!(skipped, [8, 0, 0], "the ninth runs, late");
    assert_eq!(world.store.stats().await.unwrap().buried, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_was_begun_runs_again_whatever_the_policy() {
    let world = World::new().await;
    let host = world.host(world.job());
    minutes(1).await;
    host.stop().await;
    // A host gets the next slot, and is gone.
    minutes(1).await;
    let id = world.now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60 * 60_000;
    let request = ClaimRequest {
        key: World::scope().key(id.to_string()).unwrap(),
        token: Token::random(),
        lease: Duration::from_secs(15),
        window: Duration::from_secs(3600),
        fingerprint: None,
    };
    assert!(matches!(world.store.claim_one(request).await.unwrap(), Claimed::Acquired(_)));
    let died = world.now();
    minutes(3).await;
    let host = world.host(world.job().with_missed(Missed::Skip));
    minutes(1).await;
    host.stop().await;
    let mut ran = world.minutes(died);
    ran.sort_unstable();
    assert_eq!(ran, [0, 3, 4], "what was begun, what is ten seconds late, what is in time");
}

#[tokio::test(start_paused = true)]
async fn a_failing_slot_is_retried_and_the_next_ones_do_not_wait_for_it() {
    let world = World::new().await;
    let job = world.job();
    let (runs, shutdown) = (world.runs.clone(), job.shutdown());
    let first = Arc::new(Mutex::new(None));
    let handler = move |cx: Context, slot: Slot| {
        let failing = *first.lock().unwrap().get_or_insert(slot.start) == slot.start && cx.attempt() < 3;
        if !failing {
            runs.lock().unwrap().push((slot.start, 0));
        }
        async move { if failing { Err(Failure::from("not yet")) } else { Ok(()) } }
    };
    let running = tokio::spawn(job.run(handler));
    let began = world.now();
    minutes(3).await;
    shutdown.cancel();
    let counts = running.await.unwrap().unwrap();
    assert_eq!((world.minutes(began), counts.retried), (vec![1, 2, 3], 2));
}

#[tokio::test(start_paused = true)]
async fn a_window_that_would_forget_within_the_look_back_is_refused() {
    let world = World::new().await;
    let settings = Settings::default().with_window(11 * MINUTE);
    let job = world.job().with_settings(settings);
    let refused = job.run(|_: Context, _: Slot| async { Ok::<(), Failure>(()) }).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("Settings::window"));
}

/// A store with a record that it cannot read, as one that is damaged or of a newer version.
#[derive(Debug)]
struct Unreadable {
    store: MemoryStore,
    id: String,
}

#[async_trait]
impl Deduplicator for Unreadable {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let is_bad = |r: &ClaimRequest| {
            r.key.id() == self.id.as_bytes() && r.key.scope().name() == World::scope().name()
        };
        match requests.iter().any(is_bad) {
            true => Err(Error::new(ErrorKind::Invalid, "the record cannot be read")),
            false => self.store.claim(requests).await,
        }
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.store.settle(settlements).await
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}

/// The job ended, and ended again at each start, until the slot was out of its look-back.
#[tokio::test(start_paused = true)]
async fn a_missed_slot_whose_record_cannot_be_read_does_not_end_the_job() {
    let world = World::new().await;
    let began = world.now();
    world.host(world.job()).stop_after(1).await;
    let minute = began.duration_since(UNIX_EPOCH).unwrap().as_secs() / 60 + 3;
    let store = Unreadable { store: world.store.clone(), id: (minute * 60_000).to_string() };
    minutes(5).await;
    let (epoch, start) = (world.epoch, world.start);
    let job = ScheduledJob::new(&World::scope(), Every::new(MINUTE).unwrap(), Arc::new(store));
    let counts = world.host(job.with_clock(move || epoch + start.elapsed())).stop_after(2).await;
    assert_eq!((counts.skipped, counts.buried), (3, 1), "{counts:?}");
    assert_eq!(world.minutes(began).last(), Some(&8), "{:?}", world.minutes(began));
}
