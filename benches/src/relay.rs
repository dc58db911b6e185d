//! The relay: Kafka to standard output beside a bare consumer that writes the same lines, and Kafka to an HTTP service.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackonce::trace::{TraceContext, TraceHook, set_trace_hook};
use ackonce::{MemoryStore, Order, Scope};
use ackonce_relay::Relay;
use ackonce_sqlite::SqliteStore;
use anyhow::Context as _;
use axum::Router;
use axum::routing::post;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tracing::Span;

use crate::harness::{Arm, Round, compare};
use crate::kafka::topic::Topic;
use crate::web::server;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Bootstrap servers; without them a cluster in this process, which needs more of it than a broker does
    #[arg(long)]
    brokers: Option<String>,
    #[arg(long, default_value_t = 200_000)]
    messages: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// The process that is measured.
#[derive(clap::Args)]
pub(crate) struct ChildOptions {
    from: String,
    to: String,
    /// A directory for the store, or nothing for memory.
    store: Option<String>,
    /// With a hook for traces that records none.
    #[arg(long)]
    sampled_out: bool,
}

/// As `parentbased_always_off` decides.
struct NoTraces;

impl TraceHook for NoTraces {
    fn samples(&self, _: [u8; 16], parent: Option<&TraceContext>) -> bool {
        parent.is_some_and(TraceContext::is_sampled)
    }

    fn place(&self, _: &Span, _: &TraceContext, _: Option<&TraceContext>, _: Option<&TraceContext>) {}
}

/// The sink of the bare consumer.
const BARE: &str = "bare";
/// Lines between two flushes, as many as a chunk of the relay has.
const CHUNK: usize = 500;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let topic = Topic::fill(options.brokers.as_deref(), options.messages)?;
    let dir = tempfile::tempdir()?;
    let sqlite = |group: &str| dir.path().join(group).display().to_string();
    let to_lines = |to, store| lines(&ChildOptions::new(source(&topic)?, to, store), topic.messages);
    let arms = vec![
        Arm::timed("bare consumer that prints", || to_lines(BARE, None)),
        Arm::timed("relay to stdout:, memory", || to_lines("stdout:", None)),
        Arm::timed("relay to stdout:, SQLite", || to_lines("stdout:", Some(sqlite(&topic.group())))),
    ];
    compare("Kafka to stdout:", options.rounds, arms)?;
    let posts = vec![
        Arm::timed("relay to http://, memory", || to_http(&topic, None)),
        Arm::timed("relay to http://, SQLite", || to_http(&topic, Some(sqlite(&topic.group())))),
    ];
    compare("Kafka to http://", options.rounds, posts)
}

/// The topic, under a group of its own.
pub(crate) fn source(topic: &Topic) -> anyhow::Result<String> {
    let group = topic.group();
    let brokers = topic.config(&group);
    let brokers = brokers.get("bootstrap.servers").context("the topic's brokers")?;
    Ok(format!("kafka://{brokers}/{}?group={group}", topic.name))
}

fn start(child: &ChildOptions) -> anyhow::Result<Running> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay-child", &child.from, &child.to]).args(&child.store).stdout(Stdio::piped());
    command.args(child.sampled_out.then_some("--sampled-out"));
    Ok(Running(command.spawn()?))
}

impl ChildOptions {
    pub(crate) fn new(from: String, to: &str, store: Option<String>) -> Self {
        Self { from, to: to.to_owned(), store, sampled_out: false }
    }

    pub(crate) fn sampled_out(self) -> Self {
        Self { sampled_out: true, ..self }
    }
}

/// So many lines, from the first to the last.
fn lines(child: &ChildOptions, messages: usize) -> anyhow::Result<Round> {
    let began = read_lines(&mut start(child)?, messages)?;
    Ok(Round::of(messages, began))
}

/// The same with the processor time of the process, from its start: that of others beside it does not count.
pub(crate) fn lines_by_processor(child: &ChildOptions, messages: usize) -> anyhow::Result<Round> {
    let mut child = start(child)?;
    read_lines(&mut child, messages)?;
    Ok(Round::taking(messages, processor_time(child.0.id())?))
}

/// Reads so many lines; the moment of the first.
fn read_lines(child: &mut Running, messages: usize) -> anyhow::Result<Option<Instant>> {
    let mut output = BufReader::new(child.0.stdout.take().context("its output")?);
    let (mut lines, mut began) = (0, None);
    while lines < messages {
        let chunk = output.fill_buf()?;
        let length = chunk.len();
        anyhow::ensure!(length > 0, "it ended after {lines} lines");
        began.get_or_insert_with(Instant::now);
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        output.consume(length);
    }
    Ok(began)
}

/// The processor time of all threads of a process, in user and kernel, in steps of 10 ms.
fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets, which may hold spaces.
    let fields = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

/// From the first request to the last.
fn to_http(topic: &Topic, store: Option<String>) -> anyhow::Result<Round> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (taken, began) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::OnceLock::new()));
    let (count, first) = (taken.clone(), began.clone());
    let service = post(move || {
        first.get_or_init(Instant::now);
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    let address = runtime.block_on(server::serve(Router::new().route("/", service)))?;
    let mut child = start(&ChildOptions::new(source(topic)?, &format!("http://{address}/"), store))?;
    while taken.load(Ordering::Relaxed) < topic.messages {
        anyhow::ensure!(child.0.try_wait()?.is_none(), "the relay has ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Round::of(taken.load(Ordering::Relaxed), began.get().copied()))
}

/// Killed when its turn is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run_child(options: &ChildOptions) -> anyhow::Result<()> {
    if options.to == BARE {
        return print_all(&options.from);
    }
    if options.sampled_out {
        set_trace_hook(Box::new(NoTraces)).map_err(|_| anyhow::anyhow!("a second hook for traces"))?;
    }
    let scope = Scope::new("bench")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store: Arc<dyn ackonce::Deduplicator> = match &options.store {
            Some(file) => Arc::new(SqliteStore::open(file)?),
            None => Arc::new(MemoryStore::new()),
        };
        let mut of_relay = ackonce_relay::RelayOptions::default();
        of_relay.order = Some(Order::Unordered);
        of_relay.concurrency = Some(256);
        let relay = Relay::new(options.from.parse()?, options.to.parse()?, &scope, store, of_relay)?;
        Box::pin(relay.run()).await?;
        Ok(())
    })
}

/// The loop that one writes: poll, print, let the driver commit.
fn print_all(from: &str) -> anyhow::Result<()> {
    let rest = from.strip_prefix("kafka://").context("a Kafka source")?;
    let (brokers, rest) = rest.split_once('/').context("a topic")?;
    let (topic, group) = rest.split_once("?group=").context("a group")?;
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group).set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.set("fetch.queue.backoff.ms", "20").create()?;
    consumer.subscribe(&[topic])?;
    let mut output = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut unflushed = 0;
    loop {
        match consumer.poll(Duration::from_millis(if unflushed > 0 { 0 } else { 100 })) {
            Some(message) => {
                output.write_all(message?.payload().unwrap_or_default())?;
                output.write_all(b"\n")?;
                unflushed += 1;
            }
            None if unflushed > 0 => unflushed = CHUNK,
            None => continue,
        }
        if unflushed >= CHUNK {
            output.flush()?;
            unflushed = 0;
        }
    }
}
