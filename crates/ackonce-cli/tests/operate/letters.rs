//! Ten thousand dead letters of Kafka and of RabbitMQ, moved back by a filter with a kill -9 midway and a second start. `ackonce
//! relay` has buried them, and runs them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce_amqp::lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::lapin::{BasicProperties, ExchangeKind};
use ackonce_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::kafka::Kafka;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use rustix::process::{Pid, Signal, kill_process};

use crate::program::{command, json, output, refused};

const LETTERS: usize = 10_000;
const PARTITIONS: i32 = 4;

/// A service that refuses each message until it is mended.
#[derive(Clone, Default)]
struct Service(Arc<State>);

#[derive(Default)]
struct State {
    is_mended: AtomicBool,
    /// Effects by message ID.
    effects: Mutex<BTreeMap<String, u32>>,
}

impl Service {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let service = self.clone();
        let answer = async move |headers: HeaderMap| {
            if !service.0.is_mended.load(Ordering::SeqCst) {
                return StatusCode::UNPROCESSABLE_ENTITY;
            }
            let id = headers["ackonce-message-id"].to_str().unwrap().to_owned();
            *service.0.effects.lock().unwrap().entry(id).or_default() += 1;
            StatusCode::OK
        };
        let app = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    fn effects(&self) -> usize {
        self.0.effects.lock().unwrap().len()
    }
}

/// A relay that ends with its test.
struct Relay(Child);

impl Relay {
    fn start(from: &str, to: &str, dead_letter: &str, dir: &Path, log: &str) -> Self {
        let store = format!("sqlite:{}", dir.join("dedup.db").display());
        let mut relay = Command::new(env!("CARGO_BIN_EXE_ackonce"));
        relay.args(["relay", "--from", from, "--to", to, "--dead-letter", dead_letter, "--store", &store]);
        relay.args(["--scope", "billing", "--order", "none"]).env("RUST_LOG", "error,ackonce=warn");
        let log = std::fs::File::create(dir.join(log)).unwrap();
        Self(relay.stderr(Stdio::from(log)).spawn().unwrap())
    }
}

impl Relay {
    /// SIGTERM, so that its group has no member left.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a condition holds. Ten thousand burials take a busy machine minutes.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(600);
    while !condition() {
        assert!(Instant::now() < end, "waited ten minutes: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn ids() -> Vec<String> {
    (0..LETTERS).map(|n| format!("m{n}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_kafka() {
    let Some(kafka) = Kafka::real() else { return };
    let (topic, dead) = (kafka.name("redriven"), kafka.name("redriven-dead"));
    kafka.create(&topic, PARTITIONS).await;
    kafka.create(&dead, PARTITIONS).await;
    let (brokers, to) = (kafka.brokers().to_owned(), topic.clone());
    let publishing = move || {
        let ids = ids();
        let records =
            ids.iter().zip(0..).map(|(id, n)| (n % PARTITIONS, id.as_str(), Some(id.as_str()), "{}"));
        ackonce_tests::kafka::publish(&brokers, &to, records);
    };
    tokio::task::spawn_blocking(publishing).await.unwrap();
    let from = format!("kafka://{}/{topic}?group={topic}", kafka.brokers());
    let letters = format!("kafka://{}/{dead}", kafka.brokers());
    let buried = || (0..PARTITIONS).map(|p| kafka.end(&dead, p)).sum::<i64>() >= 10_000;
    let reader: BaseConsumer = kafka.config().create().unwrap();
    let moved = || {
        let ends =
            (0..PARTITIONS).map(|p| reader.fetch_watermarks(&topic, p, Duration::from_secs(60)).unwrap().1);
        ends.sum::<i64>() - 10_000
    };
    // A pass begins behind the last letter that was moved, so that a second look finds none.
    let left = || json(&["dead-letters", "list", "--from", &letters]).len();
    let first = killed_midway(&from, &letters, &dead, buried, moved, left, true).await;
    // Letters go back to the partitions that they came from.
    let ends: Vec<_> = (0..PARTITIONS).map(|p| kafka.end(&topic, p)).collect();
    assert!(ends.iter().all(|end| *end >= 5000), "{ends:?}");
    println!("{first}; ends {ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rabbitmq() {
    of_a_queue(Kind::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rabbitmq_in_a_quorum_queue() {
    of_a_queue(Kind::Quorum).await;
}

async fn dead_letter_place(rabbit: &Rabbit, kind: Kind) -> (String, String) {
    let (exchange, dead) = (rabbit.name("redriven-exchange"), rabbit.queue("redriven-dead", kind).await);
    let admin = rabbit.connect().await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let name = || exchange.as_str().into();
    let table = FieldTable::default;
    admin.channel.exchange_declare(name(), ExchangeKind::Fanout, durable, table()).await.unwrap();
    let bind = QueueBindOptions::default();
    admin.channel.queue_bind(dead.as_str().into(), name(), "".into(), bind, table()).await.unwrap();
    (exchange, dead)
}

async fn of_a_queue(kind: Kind) {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("redriven", kind).await;
    let (exchange, dead) = dead_letter_place(&rabbit, kind).await;
    let ids = ids();
    let admin = rabbit.connect().await;
    admin.publish_all(&queue, ids.iter().map(|id| (id.as_str(), "{}"))).await;
    let from = format!("{}?queue={queue}", rabbit.url());
    let letters = format!("{}?queue={dead}", rabbit.url());
    let ready = |queue: &str| {
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| handle.block_on(admin.ready(queue))).0
    };
    let (buried, moved) = (|| ready(&dead) >= 10_000, || i64::from(ready(&queue)));
    let left = || ready(&dead) as usize;
    let looks = kind == Kind::Classic;
    println!("{}", killed_midway(&from, &letters, &exchange, buried, moved, left, looks).await);
    let pair = [(queue, 0), (dead, 0)];
    for (queue, messages) in pair {
        admin.until_ready(&queue, messages).await;
        admin.delete(&queue).await;
    }
}

async fn killed_midway(
    from: &str,
    letters: &str,
    dead_letter: &str,
    buried: impl Fn() -> bool,
    moved: impl Fn() -> i64,
    left: impl Fn() -> usize,
    looks: bool,
) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::default();
    let to = service.start().await;
    let relay = Relay::start(from, &to, dead_letter, dir.path(), "first.log");
    until("all are buried", buried).await;
    // The records, too.
    let store = format!("sqlite:{}", dir.path().join("dedup.db").display());
    until("all records are buried", || json(&["stats", "--store", &store])[0]["buried"] == 10_000).await;
    relay.end();
    service.0.is_mended.store(true, Ordering::SeqCst);
    // Each look takes all letters and gives them back, which a quorum queue on a busy machine does for minutes.
    if looks {
        look(letters);
    }
    let verb =
        ["dead-letters", "redrive", "--from", letters, "--scope", "billing", "--reason-contains", "422"];
    let note = ["--reason", "the bank is back", "--actor", "ada", "--yes"];
    let all = [&verb[..], &note[..]].concat();
    let mut first = command(&all).stdout(Stdio::null()).spawn().unwrap();
    while moved() < 100 {
        assert!(first.try_wait().unwrap().is_none(), "it has ended before it was killed");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let second = json(&all).remove(0);
    assert!(second["moved"].as_u64().unwrap() > 0, "it was not killed midway: {second}");
    let _relay = Relay::start(from, &to, dead_letter, dir.path(), "second.log");
    // RabbitMQ gives the letters that the killed process had in hand back once it notices its end, which may be after the
    // second pass has counted them: an operator repeats the command until none is left.
    let is_done = || {
        let is_empty = left() == 0;
        if !is_empty {
            json(&all);
        }
        is_empty && service.effects() == LETTERS
    };
    until("none is left and all took effect", is_done).await;
    // Second copies, if the kill has left some.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let doubled: Vec<_> = service
        .0
        .effects
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, n)| **n != 1)
        .map(|(id, _)| id.clone())
        .collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let log = std::fs::read_to_string(dir.path().join("second.log")).unwrap();
    let redrives = log.lines().filter(|line| line.contains("decision=\"redrive\"")).collect::<Vec<_>>();
    assert_eq!(redrives.len(), LETTERS, "one audit line each");
    assert!(redrives.iter().all(|line| line.contains("actor=\"ada\"") && line.contains("the bank is back")));
    second
}

/// The letters as an operator sees them before anything is changed.
fn look(letters: &str) {
    let listed = json(&["dead-letters", "list", "--from", letters, "--limit", "0"]);
    assert_eq!(listed.len(), LETTERS);
    assert!(listed.iter().all(|letter| letter["scope"] == "billing" && letter["obstacle"].is_null()));
    assert!(listed[0]["reason"].as_str().unwrap().contains("422"), "{}", listed[0]);
    let none = ["dead-letters", "list", "--from", letters, "--older-than", "1h"];
    assert_eq!(json(&none).len(), 0);
    let table = output(&["dead-letters", "list", "--from", letters, "--limit", "3", "--reason", "422"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    let plan = output(&["dead-letters", "redrive", "--from", letters, "--dry-run", "--scope", "billing"]);
    assert!(plan.starts_with("Letters would be moved: 10,000 to redriven"), "{plan}");
    refused(&["dead-letters", "redrive", "--from", letters, "--reason", "x"], 2, &["10,000 to", "add --yes"]);
}

/// A letter that is no whole one, and a message of others, stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_moved_stays_and_is_told() {
    let Some(rabbit) = Rabbit::real() else { return };
    let dead = rabbit.queue("strangers", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    admin.publish(&dead, Some("a stranger's"), b"{}").await;
    let letters = format!("{}?queue={dead}", rabbit.url());
    let redrive = ["dead-letters", "redrive", "--from", &letters, "--reason", "x", "--yes", "--json"];
    for _ in 0..8 {
        let output = crate::program::run(&redrive);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("1 letter could not be moved") && said.contains("ackonce-burial"), "{said}");
        assert_eq!(json(&["dead-letters", "list", "--from", &letters]).len(), 1);
    }
    // Each look counts as a delivery; the queue must not drop it for that.
    let left = admin.take(&dead).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].properties.message_id().as_ref().unwrap().as_str(), "a stranger's");
    admin.delete(&dead).await;
    let gone = format!("{}?queue=no-such-queue", rabbit.url());
    refused(&["dead-letters", "list", "--from", &gone], 3, &["--from", "no-such-queue"]);
    let Some(kafka) = Kafka::real() else { return };
    let gone = format!("kafka://{}/no-such-topic", kafka.brokers());
    refused(&["dead-letters", "list", "--from", &gone], 3, &["--from", "no-such-topic"]);
}

/// With `CC` a copy of it would go to more queues, and the broker takes a `user_id` from its own login alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_others_is_listed_again_and_again_and_goes_nowhere() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (dead, orders) =
        (rabbit.queue("others", Kind::Quorum).await, rabbit.queue("orders", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let mut table = FieldTable::default();
    let also = AMQPValue::LongString(orders.as_str().into());
    table.insert("CC".into(), AMQPValue::FieldArray(vec![also].into()));
    let with_id = |id: &str| BasicProperties::default().with_message_id(id.into());
    admin.publish_with(&dead, b"{}", with_id("with copies").with_headers(table)).await;
    admin.publish_with(&dead, b"{}", with_id("of a login").with_user_id("guest".into())).await;
    assert_eq!(admin.take(&orders).await.len(), 1, "its producer's own copy");
    let reader = rabbit.name("reader");
    rabbit.ctl(&["add_user", &reader, "secret"]);
    rabbit.ctl(&["set_permissions", &reader, ".*", ".*", ".*"]);
    let letters = format!("amqp://{reader}:secret@{}/%2f?queue={dead}", rabbit.address());
    for _ in 0..8 {
        assert_eq!(json(&["dead-letters", "list", "--from", &letters]).len(), 2);
    }
    rabbit.ctl(&["delete_user", &reader]);
    assert_eq!(admin.take(&orders).await.len(), 0);
    let left = admin.take(&dead).await;
    let mut kept: Vec<_> = left
        .iter()
        .flat_map(|letter| letter.properties.headers().iter().flat_map(|table| table.inner().keys()))
        .map(|name| name.as_str())
        .filter(|name| name.starts_with("ackonce-") && *name != "ackonce-letter")
        .collect();
    kept.sort_unstable();
    assert_eq!((left.len(), kept), (2, vec!["ackonce-cc", "ackonce-user-id"]));
    admin.delete(&dead).await;
    admin.delete(&orders).await;
}
