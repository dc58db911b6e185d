//! Leases and heartbeats in real time: long handlers, blocked executors, stores that go away.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ackonce::adapter::{Mode, Ordered, RecordOnly, SettledAs, Why};
use ackonce::store::{
    Attempt, ClaimRequest, Claimed, DeduplicatorExt, Description, Settle, Settled, Settlement, Token,
};
use ackonce::{Context, Deduplicator, Failure, Handler, MemoryStore, Result, Runner};
use async_trait::async_trait;
use common::{Late, Number, Scripted, delivery, job, scope, settings};

const LEASE: Duration = Duration::from_millis(600);

fn runner<H: Handler<u64>>(store: &Scripted, handler: H) -> Runner<Number, H> {
    let settings = settings().with_lease(LEASE);
    Runner::with(Arc::new(store.clone()), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap()
}

#[tokio::test]
async fn a_handler_longer_than_its_lease_keeps_it() {
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let runner = runner(&Scripted::default(), move |_: Context, _: u64| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(LEASE * 3).await;
            Ok::<_, Failure>(())
        }
    });
    let (first, twin) = tokio::join!(runner.process(job(1)), runner.process(job(1)));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!([first, twin].into_iter().any(|r| r.unwrap().how() == SettledAs::Run));
    assert_eq!(runner.counts().lease_lost, 0);
}

/// One executor thread, blocked for three leases: the heartbeat has a thread of its own.
#[tokio::test]
async fn a_handler_that_blocks_the_executor_keeps_its_lease() {
    let store = Scripted::default();
    let runner = runner(&store, |cx: Context, _: u64| async move {
        std::thread::sleep(LEASE * 3);
        assert!(!cx.is_cancelled());
        Ok::<_, Failure>(())
    });
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runner.counts().completed_not_recorded, 0);
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_cancels_the_handler_and_the_message_runs_again() {
    let store = Scripted::default();
    let down = store.settles_down.clone();
    let warned = Arc::new(AtomicU32::new(0));
    let tell = warned.clone();
    let runner = runner(&store, move |cx: Context, _: u64| {
        let (down, tell) = (down.clone(), tell.clone());
        async move {
            if cx.attempt() > 1 {
                down.store(false, Ordering::SeqCst);
                return Ok::<_, Failure>(());
            }
            down.store(true, Ordering::SeqCst);
            cx.cancelled().await;
            tell.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    });
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(warned.load(Ordering::SeqCst), 1, "told before it was dropped");
}

/// Longer than any handler here needs to be told of a lost lease; without a word it would wait for ever.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_lease_that_the_store_calls_lost_cancels_the_handler_and_the_message_runs_again() {
    let store = Scripted::default();
    let (memory, runs, told) =
        (store.store.clone(), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (count, tell) = (runs.clone(), told.clone());
    let runner = runner(&store, move |cx: Context, _: u64| {
        let (memory, tell, run) = (memory.clone(), tell.clone(), count.fetch_add(1, Ordering::SeqCst));
        async move {
            if run > 0 {
                return Ok::<_, Failure>(());
            }
            // As an operator would, who takes the worker for dead: the store answers its next renewal with Lost.
            let release =
                Settle::Release { attempt: Attempt::Counts, window: LONG, not_before: Duration::ZERO };
            memory.settle(&[Settlement::new(cx.lease(), release)]).await.unwrap();
            if tokio::time::timeout(LONG, cx.cancelled()).await.is_ok() {
                tell.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(
        (told.load(Ordering::SeqCst), runs.load(Ordering::SeqCst)),
        (1, 2),
        "told, dropped, and run again"
    );
    assert_eq!(runner.counts().lease_lost, 1);
}

#[tokio::test]
async fn aborting_cancels_the_handler_and_leaves_its_claim_to_the_lease() {
    let store = Scripted::default();
    let runner =
        runner(&store, |_: Context, _: u64| std::future::pending::<std::result::Result<(), Failure>>());
    let working = runner.clone();
    let working = tokio::spawn(async move { working.process(job(1)).await });
    while runner.counts().run == 0 {
        tokio::task::yield_now().await;
    }
    runner.abort();
    assert!(matches!(working.await.unwrap().unwrap_err().why(), Why::Stopped));
}

/// Connects where it is called, as a store of somebody else's may, and panics at its first renewal.
#[derive(Debug)]
struct Connects {
    store: MemoryStore,
    address: std::net::SocketAddr,
    renewals: AtomicU32,
}

#[async_trait]
impl Deduplicator for Connects {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.store.claim(requests).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if matches!(settlements[0].action, Settle::Extend { .. }) {
            if self.renewals.fetch_add(1, Ordering::SeqCst) == 0 {
                // A backtrace on a busy machine takes longer than the lease.
                std::panic::resume_unwind(Box::new("the store panics once"));
            }
            tokio::net::TcpStream::connect(self.address).await.unwrap();
        }
        self.store.settle(settlements).await
    }
    fn describe(&self) -> Description {
        self.store.describe()
    }
}

#[tokio::test]
async fn a_store_that_panics_once_and_connects_where_it_is_called_keeps_its_leases() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(Connects { store: MemoryStore::new(), address, renewals: AtomicU32::new(0) });
    let settings = settings().with_lease(LEASE);
    let handler = |_: Context, _: u64| async {
        tokio::time::sleep(LEASE * 3).await;
        Ok::<_, Failure>(())
    };
    let runner = Runner::with(store.clone(), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap();
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runner.counts().lease_lost, 0);
    assert!(store.renewals.load(Ordering::SeqCst) > 2);
}

#[tokio::test]
async fn a_runner_that_is_dropped_under_a_long_lease_lets_its_store_go() {
    let store = Arc::new(MemoryStore::new());
    let settings = settings().with_lease(Duration::from_secs(24 * 3600));
    let handler = |_: Context, _: u64| std::future::pending::<std::result::Result<(), Failure>>();
    let runner = Runner::with(store.clone(), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap();
    let working = runner.clone();
    let working = tokio::spawn(async move { working.process(job(1)).await });
    while runner.counts().run == 0 {
        tokio::task::yield_now().await;
    }
    working.abort();
    drop((working.await, runner));
    // The thread has nothing to wait for; a loaded machine may be slow to let it.
    for _ in 0..1000 {
        if Arc::strong_count(&store) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the heartbeat's thread keeps the store");
}

/// Nothing of it may begin: the first poll of a handler may be a payment.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_answered_after_its_lease_runs_nothing_while_another_holds_the_message() {
    let late = Arc::new(Late::new(0, LEASE * 2));
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let handler = move |_: Context, _: u64| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Failure>(()) }
    };
    let settings = settings().with_lease(LEASE);
    let runner =
        Runner::with_heartbeat_task(late.clone(), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap();
    let rival = async {
        tokio::time::sleep(LEASE * 3 / 2).await;
        let request = ClaimRequest {
            key: scope().key("1").unwrap(),
            token: Token::random(),
            lease: LEASE * 5,
            window: LEASE * 100,
            fingerprint: None,
        };
        let Claimed::Acquired(lease) = late.store.claim_one(request).await.unwrap() else {
            panic!("the lease of the first claim is over")
        };
        tokio::time::sleep(LEASE * 2).await;
        let done = Settle::Complete { window: LEASE * 100, outcome: None };
        assert_eq!(late.store.settle_one(Settlement::new(&lease, done)).await.unwrap(), Settled::Yes);
    };
    let (receipt, ()) = tokio::join!(runner.process(job(1)), rival);
    assert!(matches!(receipt.unwrap().how(), SettledAs::Duplicate { .. }));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

/// Takes a delivery back while its batch is claimed, and answers releases late.
#[derive(Debug)]
struct Revoking {
    store: MemoryStore,
    current: Arc<AtomicBool>,
    released: Arc<AtomicBool>,
}

#[async_trait]
impl Deduplicator for Revoking {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.current.store(false, Ordering::SeqCst);
        self.store.claim(requests).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if settlements.iter().any(|s| matches!(s.action, Settle::Release { .. })) {
            tokio::time::sleep(LEASE * 2).await;
            self.released.store(true, Ordering::SeqCst);
        }
        self.store.settle(settlements).await
    }
    fn describe(&self) -> Description {
        self.store.describe()
    }
}

/// Its handler would be started after its lease, which nobody renews before it is started.
#[tokio::test(start_paused = true)]
async fn a_batch_does_not_wait_for_the_hand_back_of_a_delivery_that_was_taken_back() {
    let released = Arc::new(AtomicBool::new(false));
    let taken = delivery(1);
    let store =
        Revoking { store: MemoryStore::new(), current: taken.current.clone(), released: released.clone() };
    let was_late = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (noted, looked) = (was_late.clone(), released.clone());
    let handler = move |_: Context, n: u64| {
        noted.lock().unwrap().push((n, looked.load(Ordering::SeqCst)));
        async { Ok::<_, Failure>(()) }
    };
    let settings = settings().with_lease(LEASE);
    let runner =
        Runner::with_heartbeat_task(Arc::new(store), &scope(), handler, settings, Arc::new(RecordOnly))
            .unwrap();
    let (feed, input) = tokio::sync::mpsc::channel(1);
    let taken = ackonce::adapter::Job::new(scope().key("1").unwrap(), taken);
    let jobs = [taken, job(2), job(3)].map(|job| Ordered { lane: None, job });
    feed.send(jobs.into_iter().collect()).await.unwrap();
    drop(feed);
    runner.consume(input, Mode::Batches, |_| {}).await.unwrap();
    assert_eq!(*was_late.lock().unwrap(), [(2, false), (3, false)]);
    assert!(released.load(Ordering::SeqCst), "the hand-back is not forgotten");
    assert_eq!((runner.counts().completed, runner.counts().handed_back), (2, 1));
}
