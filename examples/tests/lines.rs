//! Consumers that share a process can be told apart by their log lines: each names its scope.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Delivery, Job};
use ackonce::schedule::{Every, ScheduledJob};
use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement};
use ackonce::{
    CancellationToken, Context, Deduplicator, Error, ErrorKind, Failure, MemoryStore, Result, Runner, Scope,
    Settings,
};
use ackonce_amqp::AmqpConsumer;
use ackonce_kafka::{ClientConfig, KafkaConsumer};
use async_trait::async_trait;
use rdkafka::mocking::MockCluster;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The lines of Ackonce and of the Kafka client, each with its scope if it has one.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

type Line = (Option<String>, String);

#[derive(Default)]
struct Fields(Option<String>, String);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "scope" => self.0 = Some(value.to_owned()),
            name => self.1 += &format!(" {name}={value}"),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        let target = event.metadata().target();
        if target.starts_with("ackonce") || target == "librdkafka" {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push((fields.0, format!("{target}:{}", fields.1)));
        }
    }
}

/// It has no answer but for the first claims.
#[derive(Debug)]
struct Away(MemoryStore);

#[async_trait]
impl Deduplicator for Away {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.0.claim(requests).await
    }

    async fn settle(&self, _: &[Settlement]) -> Result<Vec<Settled>> {
        Err(Error::new(ErrorKind::Unavailable, "away"))
    }

    fn describe(&self) -> Description {
        Description { name: "a store that goes away".into(), weaknesses: vec!["it goes away".into()] }
    }
}

#[derive(Debug)]
struct Order(u32);

impl Delivery for Order {
    type Message = u32;

    fn message(&self) -> u32 {
        self.0
    }
}

fn settings() -> Settings {
    Settings::default()
        .with_lease(Duration::from_millis(200))
        .with_shutdown_timeout(Duration::from_millis(100))
}

/// For a while, then dropped.
async fn run(work: impl Future) {
    let _ = tokio::time::timeout(Duration::from_secs(3), work).await;
}

async fn handle<M>(_: Context, _: M) -> std::result::Result<(), Failure> {
    tokio::time::sleep(Duration::from_millis(400)).await;
    Ok(())
}

async fn a_runner(name: &'static str) {
    let scope = Scope::new(name).unwrap();
    let store = Arc::new(Away(MemoryStore::new()));
    let settings = settings().with_store_timeout(Duration::from_secs(1));
    // The first is slow enough for a heartbeat, which fails; the second is done at once, and cannot be recorded.
    let handler = |cx: Context, n: u32| async move { if n == 1 { handle(cx, n).await } else { Ok(()) } };
    let runner =
        Runner::with(store, &scope, handler, settings, Arc::new(ackonce::adapter::RecordOnly)).unwrap();
    runner.announce();
    let [slow, fast] = [1, 2].map(|n| runner.process(Job::new(scope.key(n.to_string()).unwrap(), Order(n))));
    run(futures_util::future::join(slow, fast)).await;
}

async fn a_job(name: &'static str) {
    let (scope, every) = (Scope::new(name).unwrap(), Every::new(Duration::from_secs(1)).unwrap());
    let job = ScheduledJob::new(&scope, every, Arc::new(MemoryStore::new()));
    run(job.run(handle)).await;
}

async fn a_kafka_consumer(name: &'static str, away: &str) {
    let scope = Scope::new(name).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", away).set("group.id", name);
    let store = Arc::new(MemoryStore::new());
    let consumer = KafkaConsumer::new(config, &["orders"], &scope, store).with_dead_letters("dead");
    // The look at the brokers takes ten seconds.
    let _ = tokio::time::timeout(Duration::from_secs(13), consumer.run(handle)).await;
}

/// On a broker that answers: assigned, and ended by its shutdown.
async fn a_member(name: &'static str, brokers: &str) {
    let scope = Scope::new(name).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", name);
    let shutdown = CancellationToken::new();
    let consumer = KafkaConsumer::new(config, &["orders"], &scope, Arc::new(MemoryStore::new()))
        .with_shutdown(shutdown.clone());
    let end = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(consumer.run(handle), end);
    ended.unwrap();
}

async fn an_amqp_consumer(name: &'static str, away: &str) {
    let scope = Scope::new(name).unwrap();
    let consumer =
        AmqpConsumer::new(&format!("amqp://{away}/%2f"), "orders", &scope, Arc::new(MemoryStore::new()));
    run(consumer.run(handle)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_a_kind_in_one_process_are_told_apart() {
    let lines = Lines::default();
    tracing_subscriber::registry().with(lines.clone()).init();
    // Where nobody listens.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let broker = MockCluster::new(1).unwrap();
    broker.create_topic("orders", 2, 1).unwrap();
    let brokers = broker.bootstrap_servers();
    tokio::join!(
        a_runner("runner/a"),
        a_runner("runner/b"),
        a_job("job/a"),
        a_job("job/b"),
        a_kafka_consumer("kafka/a", &away),
        a_kafka_consumer("kafka/b", &away),
        a_member("member/a", &brokers),
        a_member("member/b", &brokers),
        an_amqp_consumer("amqp/a", &away),
        an_amqp_consumer("amqp/b", &away),
    );
    let lines = lines.0.lock().unwrap();
    let nobodys: Vec<_> = lines.iter().filter(|(scope, _)| scope.is_none()).collect();
    assert!(nobodys.is_empty(), "{nobodys:?}");
    let scopes: BTreeSet<_> = lines.iter().filter_map(|(scope, _)| scope.as_deref()).collect();
    for kind in ["runner", "job", "kafka", "member", "amqp"] {
        for one in ["a", "b"] {
            assert!(scopes.contains(&*format!("{kind}/{one}")), "{kind}/{one} says nothing: {lines:?}");
        }
    }
    assert!(lines.iter().all(|(_, line)| !line.contains(char::is_control)), "{lines:?}");
    for says in [
        "the store does not answer",
        "heartbeat",
        "waiting: Kafka",
        "RabbitMQ cannot be used yet",
        "message=assigned",
        "message=revoked",
    ] {
        let of: BTreeSet<_> =
            lines.iter().filter(|(_, line)| line.contains(says)).map(|(scope, _)| scope).collect();
        assert_eq!(of.len(), 2, "{says}: {of:?}");
    }
}

/// Lines that are no consumer's: of the whole process, of a function that consumers share, or of an HTTP route without a layer.
const OF_NO_SCOPE: [&str; 7] = [
    "signal received",
    "second signal",
    "(Settings::on_start)",
    "can be used now: starting",
    "takes an Option<Operation>",
    "Settings::with_failure_kind panicked",
    "panicked while it was dropped",
];

#[test]
fn every_line_in_the_source_of_a_consumer_has_its_scope() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let (mut lines, mut without) = (0, Vec::new());
    for name in ["ackonce", "ackonce-kafka", "ackonce-amqp", "ackonce-webhook", "ackonce-http"] {
        for file in sources(&crates.join(name).join("src")) {
            // A client of an API is no consumer, and neither is an operator who moves dead letters.
            if file.ends_with("client/middleware.rs") || file.ends_with("redrive/pass.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            for level in ["debug", "info", "warn", "error", "$level"] {
                for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                    let call = call.split(");\n").next().unwrap_or(call);
                    let call = call.split("\")\n").next().unwrap_or(call);
                    lines += 1;
                    if !call.contains("scope") && !OF_NO_SCOPE.iter().any(|known| call.contains(known)) {
                        without.push(format!("{}: {call}", file.display()));
                    }
                    assert!(call.contains("target: \""), "{}: {call}", file.display());
                }
            }
        }
    }
    assert!(lines > 80, "{lines} lines were found");
    assert!(without.is_empty(), "{without:#?}");
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    directories.iter().flat_map(|directory| sources(directory)).chain(files).collect()
}
