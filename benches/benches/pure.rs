//! The parts without a store or a broker: their cost for each message.
//!
//! ```sh
//! cargo bench -p ackonce-benches --bench pure
//! ```
#![allow(missing_docs, reason = "criterion's macros write functions without any")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce::adapter::{Delivery, Job, Mode, Ordered};
use ackonce::store::{ClaimRequest, Coalesce, Fingerprint, Token};
use ackonce::{Context, Deduplicator, Failure, MemoryStore, Runner, Scope};
use ackonce_amqp::tracker::{AckTracker, Reach};
use ackonce_kafka::tracker::{PartitionTracker, Status};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Messages of a batch.
const BATCH: usize = 1000;

fn keys(c: &mut Criterion) {
    let Ok(scope) = Scope::new("billing/charge") else { return };
    let id = "8f14e45fceea167a5a36dedd4bea2543c9f0f895";
    c.bench_function("key of an ID of 40 bytes", |b| b.iter(|| scope.key(black_box(id))));
    let mut group = c.benchmark_group("fingerprint of a payload");
    for size in [200, 4096] {
        let payload = vec![b'x'; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} bytes"), |b| b.iter(|| Fingerprint::of(black_box(&payload))));
    }
    group.finish();
    c.bench_function("token", |b| b.iter(Token::random));
}

/// A batch is delivered, settled out of order, and committed past.
fn offsets(c: &mut Criterion) {
    let mut group = c.benchmark_group("a batch of 1000");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("offset tracker: delivered, settled, committed", |b| {
        let (mut tracker, mut next) = (PartitionTracker::new(), 0_i64);
        b.iter(|| {
            let now = Instant::now();
            let offsets = next..next + 1000;
            for offset in offsets.clone() {
                black_box(tracker.delivered(offset, now));
            }
            for offset in offsets.rev() {
                tracker.mark(offset, Status::Settled, now);
            }
            if let Some(to) = tracker.to_store() {
                tracker.stored(to);
                tracker.committed(to);
            }
            next += 1000;
        });
    });
    group.bench_function("ack tracker: delivered, settled, told", |b| {
        let (mut tracker, mut next) = (AckTracker::new(), 1);
        b.iter(|| {
            let tags = next..next + BATCH as u64;
            for tag in tags.clone() {
                let _ = black_box(tracker.delivered(tag));
            }
            for tag in tags.rev() {
                tracker.settled(tag);
            }
            next += BATCH as u64;
            tracker.take(Reach::All)
        });
    });
    group.finish();
}

/// Claims of one message each from many tasks, in memory: the cost of shared trips where they save nothing.
fn coalescer(c: &mut Criterion) {
    const TASKS: u64 = 64;
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else { return };
    let Ok(scope) = Scope::new("billing/charge") else { return };
    let mut group = c.benchmark_group("64 tasks claim one message each");
    group.throughput(Throughput::Elements(TASKS));
    let alone: Arc<dyn Deduplicator> = Arc::new(MemoryStore::new());
    let shared: Arc<dyn Deduplicator> = {
        let _runtime = runtime.enter();
        Arc::new(Coalesce::new(Arc::new(MemoryStore::new())))
    };
    let next = AtomicU64::new(0);
    for (name, store) in [("straight to the store", alone), ("through the coalescer", shared)] {
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| async {
                let claims = (0..TASKS).filter_map(|_| {
                    let key = scope.key(next.fetch_add(1, Ordering::Relaxed).to_string()).ok()?;
                    let (token, lease) = (Token::random(), Duration::from_secs(1));
                    Some(ClaimRequest { key, token, lease, window: lease, fingerprint: None })
                });
                let tasks = claims.map(|claim| {
                    let store = store.clone();
                    tokio::spawn(async move { store.claim(&[claim]).await.is_ok() })
                });
                for task in tasks.collect::<Vec<_>>() {
                    let _ = black_box(task.await);
                }
            });
        });
    }
    group.finish();
}

struct Number(u64);

impl Delivery for Number {
    type Message = u64;

    fn message(&self) -> u64 {
        self.0
    }
}

/// Messages through the runner, in memory and on one thread: its own cost.
fn runner(c: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let Ok(scope) = Scope::new("billing/charge") else { return };
    let handler = |_: Context, _: u64| async { Ok::<(), Failure>(()) };
    let runner = {
        let _runtime = runtime.enter();
        Runner::new(Arc::new(MemoryStore::new()), &scope, handler)
    };
    let Ok(runner) = runner else { return };
    let next = AtomicU64::new(0);
    let job = || {
        let n = next.fetch_add(1, Ordering::Relaxed);
        scope.key(n.to_string()).ok().map(|key| Job::new(key, Number(n)))
    };
    let mut group = c.benchmark_group("messages through the runner");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one alone", |b| {
        b.to_async(&runtime).iter(|| async {
            if let Some(job) = job() {
                let _ = black_box(runner.process(job).await.map(|receipt| receipt.redeem()));
            }
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("a thousand lanes", |b| {
        b.to_async(&runtime).iter(|| async {
            let (input, chunks) = tokio::sync::mpsc::channel(1);
            let lanes =
                (0..BATCH as u64).filter_map(|lane| job().map(|job| Ordered { lane: Some(lane), job }));
            let _ = input.send(lanes.collect()).await;
            drop(input);
            let _ = black_box(runner.consume(chunks, Mode::Each, |ended| drop(black_box(ended))).await);
        });
    });
    group.finish();
}

criterion_group!(pure, keys, offsets, coalescer, runner);
criterion_main!(pure);
