//! The cost of traces that are not recorded: the same messages through a runner, without a hook and with one that samples
//! none of them, in processes that take turns. Prints the processor time of a message in both, and their ratio.
//!
//! ```sh
//! cargo run --release -p ackonce --example sampled_out
//! ```
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ackonce::adapter::{Delivery, Job, Mode, Ordered};
use ackonce::trace::{self, TARGET, TRACEPARENT, TRACESTATE, TraceContext, TraceHook};
use ackonce::{Context, Failure, MemoryStore, Runner, Scope};
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::{Identity, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

const MESSAGES: usize = 300_000;
const ROUNDS: usize = 11;
const ARMS: [&str; 2] = ["off", "sampled-out"];

/// A message with the headers that one usually has.
struct Sent([(&'static str, &'static [u8]); 3]);

impl Delivery for Sent {
    type Message = ();

    fn message(&self) {}

    fn trace_context(&self) -> Option<TraceContext> {
        let values = |name: &'static str| {
            self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        };
        TraceContext::of_headers(values(TRACEPARENT), values(TRACESTATE))
    }
}

/// As the producer decides.
struct ByParent;

impl TraceHook for ByParent {
    fn samples(&self, _: [u8; 16], parent: Option<&TraceContext>) -> bool {
        parent.is_none_or(TraceContext::is_sampled)
    }

    fn place(&self, _: &tracing::Span, _: &TraceContext, _: Option<&TraceContext>, _: Option<&TraceContext>) {
    }
}

/// The log and the layer for spans, put together as the program does.
fn install(arm: &str) {
    let filter = EnvFilter::new("warn,ackonce=info");
    if arm == "off" {
        return Registry::default().with(filter).with(tracing_subscriber::fmt::layer()).init();
    }
    let lines =
        tracing_subscriber::fmt::layer().with_filter(filter.and(filter_fn(|of| of.target() != TARGET)));
    let spans = Identity::new().with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
    Registry::default().with(spans).with(lines).init();
    trace::set_trace_hook(Box::new(ByParent)).ok().unwrap();
}

/// Runs all messages; the nanoseconds of processor time of one.
fn run(mode: Mode) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let scope = Scope::new("cost").unwrap();
        let handler = |_: Context, ()| async { Ok::<(), Failure>(()) };
        let runner = Runner::new(Arc::new(MemoryStore::new()), &scope, handler).unwrap();
        let (feed, input) = tokio::sync::mpsc::channel(4);
        let done = Arc::new(AtomicUsize::new(0));
        let counted = done.clone();
        let consuming = runner.consume(input, mode, move |ended| {
            counted.fetch_add(ended.len(), Ordering::Relaxed);
        });
        let feeding = async {
            for chunk in (0..MESSAGES).collect::<Vec<_>>().chunks(256) {
                let jobs = chunk.iter().map(|n| {
                    let traceparent = &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"[..];
                    let sent = Sent([
                        ("message-id", b"m"),
                        ("content-type", b"application/json"),
                        ("traceparent", traceparent),
                    ]);
                    Ordered { lane: None, job: Job::new(scope.key(n.to_string()).unwrap(), sent) }
                });
                feed.send(jobs.collect()).await.unwrap();
            }
            drop(feed);
        };
        let began = processor();
        let (consumed, ()) = tokio::join!(consuming, feeding);
        consumed.unwrap();
        assert_eq!(done.load(Ordering::Relaxed), MESSAGES);
        (processor() - began) * 1e9 / MESSAGES as f64
    })
}

/// The processor time of this process in seconds, from its threads.
fn processor() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let spent = threads.map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|spent| spent.parse::<f64>().ok()).unwrap_or(0.0)
    });
    spent.sum::<f64>() / 1e9
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    if let Some(arm) = std::env::args().nth(1) {
        let mode = if std::env::args().nth(2).is_some() { Mode::Batches } else { Mode::Each };
        install(&arm);
        return println!("{}", run(mode));
    }
    let program = std::env::current_exe().unwrap();
    for mode in [&[][..], &["batches"]] {
        let measured = |arm: &str| -> f64 {
            let output = Command::new(&program).arg(arm).args(mode).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
        };
        let rounds: Vec<_> = (0..ROUNDS)
            .map(|round| {
                // Each goes first in every second round.
                let first = measured(ARMS[round % 2]);
                let second = measured(ARMS[1 - round % 2]);
                if round % 2 == 0 { (first, second) } else { (second, first) }
            })
            .collect();
        let (off, on) = rounds.iter().copied().unzip();
        let ratio = median(rounds.iter().map(|(off, on)| on / off).collect());
        println!(
            "{}: off {:.0} ns, sampled out {:.0} ns a message; ratio {ratio:.3} (median of {ROUNDS} rounds)",
            mode.first().unwrap_or(&"one at a time"),
            median(off),
            median(on),
        );
    }
}
