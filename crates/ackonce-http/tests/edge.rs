//! Deliveries outlive their connections, are bounded in number, and end in good order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, RecordOnly, SettledAs, Why};
use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement};
use ackonce::{Context, Deduplicator, Failure, Handler, MemoryStore, OnFailure, Runner, Scope, Settings};
use ackonce_http::edge::{Edge, EdgeError};
use async_trait::async_trait;
use futures_util::poll;
use tokio::sync::Notify;
use tokio::task::yield_now;

#[derive(Debug)]
struct Number(u32);

impl Delivery for Number {
    type Message = u32;
    fn message(&self) -> u32 {
        self.0
    }
}

fn job(n: u32) -> Job<Number> {
    Job::new(Scope::new("edge").unwrap().key(n.to_string()).unwrap(), Number(n))
}

fn edge<H: Handler<u32>>(settings: Settings, most: usize, handler: H) -> Edge<Number, H> {
    edge_on(Arc::new(MemoryStore::new()), settings, most, handler)
}

fn edge_on<H: Handler<u32>>(
    store: Arc<dyn Deduplicator>,
    settings: Settings,
    most: usize,
    handler: H,
) -> Edge<Number, H> {
    let settings = settings.with_busy_timeout(Duration::ZERO).with_on_failure(OnFailure::HandBack);
    let scope = Scope::new("edge").unwrap();
    Edge::new(Runner::with(store, &scope, handler, settings, Arc::new(RecordOnly)).unwrap(), most)
}

/// A handler that says when it starts and waits to be let go.
#[derive(Clone, Default)]
struct Gate {
    started: Arc<Notify>,
    go: Arc<Notify>,
    ended: Arc<AtomicU32>,
}

impl Gate {
    fn handler(&self) -> impl Handler<u32> + use<> {
        let gate = self.clone();
        move |_: Context, _: u32| {
            let gate = gate.clone();
            async move {
                gate.started.notify_one();
                gate.go.notified().await;
                gate.ended.fetch_add(1, Ordering::SeqCst);
                Ok::<(), Failure>(())
            }
        }
    }
}

#[tokio::test]
async fn a_delivery_outlives_the_future_that_waits_for_it() {
    let gate = Gate::default();
    let edge = edge(Settings::default(), 10, gate.handler());
    let connection = tokio::spawn({
        let edge = edge.clone();
        async move { edge.process(job(1)).await }
    });
    gate.started.notified().await;
    connection.abort();
    assert!(connection.await.unwrap_err().is_cancelled());
    let twin = edge.process(job(1)).await.unwrap_err();
    assert_eq!(twin.problem().error(), "request_in_progress");
    gate.go.notify_one();
    assert_eq!(edge.drain().await, 0);
    assert_eq!(gate.ended.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn more_than_there_is_room_for_are_refused_unseen() {
    let gate = Gate::default();
    let edge = edge(Settings::default(), 1, gate.handler());
    let first = tokio::spawn({
        let edge = edge.clone();
        async move { edge.process(job(1)).await }
    });
    gate.started.notified().await;
    assert!(matches!(edge.process(job(2)).await, Err(EdgeError::Full)));
    gate.go.notify_one();
    assert_eq!(first.await.unwrap().unwrap().how(), SettledAs::Run);
    gate.go.notify_one();
    assert_eq!(edge.process(job(2)).await.unwrap().how(), SettledAs::Run, "the room is free again");
}

#[tokio::test]
async fn a_drain_refuses_what_is_new_and_cancels_what_does_not_end() {
    let gate = Gate::default();
    let edge = edge(Settings::default().with_shutdown_timeout(Duration::from_millis(10)), 10, gate.handler());
    let stuck = tokio::spawn({
        let edge = edge.clone();
        async move { edge.process(job(1)).await }
    });
    gate.started.notified().await;
    assert_eq!(edge.drain().await, 0);
    let refused = stuck.await.unwrap().unwrap_err();
    assert!(matches!(refused.why(), Some(Why::Stopped)), "{refused:?}");
    assert!(edge.last_call().is_cancelled());
    assert_eq!(edge.process(job(2)).await.unwrap_err().problem().status(), 503);
    assert_eq!(gate.ended.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_failure_is_a_500_and_the_next_try_runs() {
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let edge = edge(Settings::default(), 10, move |_: Context, _: u32| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Err(Failure::from("secret")) } else { Ok(()) } }
    });
    let problem = edge.process(job(1)).await.unwrap_err().problem();
    assert_eq!((problem.status().as_u16(), problem.error()), (500, "handler_failed"));
    assert!(!String::from_utf8_lossy(&problem.to_json()).contains("secret"));
    assert_eq!(edge.process(job(1)).await.unwrap().how(), SettledAs::Run);
}

/// A store that makes its caller wait before and after each trip.
#[derive(Debug, Default)]
struct Slow(MemoryStore);

#[async_trait]
impl Deduplicator for Slow {
    async fn claim(&self, requests: &[ClaimRequest]) -> ackonce::Result<Vec<Claimed>> {
        yield_now().await;
        let answers = self.0.claim(requests).await;
        yield_now().await;
        answers
    }
    async fn settle(&self, settlements: &[Settlement]) -> ackonce::Result<Vec<Settled>> {
        yield_now().await;
        let answers = self.0.settle(settlements).await;
        yield_now().await;
        answers
    }
    fn describe(&self) -> Description {
        self.0.describe()
    }
}

#[tokio::test]
async fn a_client_may_hang_up_wherever_its_delivery_waits() {
    let mut hung_up = 0;
    for patience in 0.. {
        let ran = Arc::new(AtomicU32::new(0));
        let count = ran.clone();
        let handler = move |_: Context, _: u32| {
            let count = count.clone();
            async move {
                yield_now().await;
                count.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
                Ok::<(), Failure>(())
            }
        };
        let edge = edge_on(Arc::new(Slow::default()), Settings::default(), 10, handler);
        let mut first = Box::pin(edge.process(job(1)));
        let mut answered = false;
        for _ in 0..patience {
            answered |= poll!(&mut first).is_ready();
            yield_now().await;
        }
        drop(first);
        let second = loop {
            match edge.process(job(1)).await {
                Ok(receipt) => break receipt.how(),
                Err(refused) => assert!(matches!(refused.why(), Some(Why::Busy { .. })), "{refused:?}"),
            }
            yield_now().await;
        };
        assert_eq!(ran.load(Ordering::SeqCst), 1, "hung up after {patience} looks");
        // One that was never looked at has not begun.
        assert_eq!(second == SettledAs::Run, patience == 0);
        assert_eq!(edge.drain().await, 0);
        if answered {
            break;
        }
        hung_up += 1;
    }
    assert!(hung_up >= 6, "at the claim, in the handler and at the settle, {hung_up} places");
}

#[tokio::test]
async fn a_drain_waits_for_a_run_whose_client_has_gone() {
    let gate = Gate::default();
    let edge = edge(Settings::default(), 10, gate.handler());
    let mut left = Box::pin(edge.process(job(1)));
    assert!(poll!(&mut left).is_pending());
    drop(left);
    let mut drain = Box::pin(edge.drain());
    for _ in 0..10 {
        assert!(poll!(&mut drain).is_pending());
        yield_now().await;
    }
    gate.go.notify_one();
    assert_eq!(drain.await, 0);
    assert_eq!(gate.ended.load(Ordering::SeqCst), 1);
}
