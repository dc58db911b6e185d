//! Whole worker processes: kills, poison, re-created topics; batches, and a loop of one's own.
use std::collections::HashSet;

use ackonce_kafka::headers;
use ackonce_kafka::rdkafka::Message as _;
use ackonce_kafka::rdkafka::message::Headers;
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use ackonce_tests::worker::Plan;

fn ids(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("m{n}")).collect()
}

/// One partition, a key per message: `m0`, `m1`, … with payload `ok`, but for `special`.
fn publish(kafka: &Kafka, topic: &str, ids: &[String], special: &[(&str, &str)]) {
    let payload = |id: &str| special.iter().find(|(s, _)| *s == id).map_or("ok", |(_, p)| *p);
    kafka.publish(topic, ids.iter().map(|id| (0, id.as_str(), Some(id.as_str()), payload(id))));
}

#[tokio::test]
async fn after_a_kill_only_the_unfinished_message_runs() {
    let kafka = Kafka::get();
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka.name("hole");
    kafka.create(&topic, 1).await;
    let gate = dir.path().join("gate");
    std::fs::write(&gate, "").unwrap();
    let all = ids(0..101);
    publish(&kafka, &topic, &all, &[("m50", &format!("hold:{}", gate.display()))]);
    let plan = Plan::new(&kafka, &topic, dir.path());
    let mut first = plan.start();
    until("all but m50 are done", || plan.effects().len() == 100).await;
    until("offset 50 is the next", || kafka.committed(&plan.group, &topic, 0) == Some(50)).await;
    first.kill();
    std::fs::remove_file(&gate).unwrap();
    let mut second = plan.start();
    until("the hole is closed", || kafka.committed(&plan.group, &topic, 0) == Some(101)).await;
    let after: Vec<_> = plan.effects().into_iter().filter(|e| e.pid == second.pid()).collect();
    assert_eq!(after.iter().map(|e| (e.id.as_str(), e.attempt)).collect::<Vec<_>>(), [("m50", 2)]);
    assert!(second.terminate(), "SIGTERM drains and ends with 0");
    assert_eq!(plan.ids().iter().collect::<HashSet<_>>().len(), 101);
}

#[tokio::test]
async fn a_poison_message_is_buried_and_its_partition_goes_on() {
    let kafka = Kafka::get();
    let dir = tempfile::tempdir().unwrap();
    let (topic, dead) = (kafka.name("poison"), kafka.name("poison-dead"));
    kafka.create(&topic, 1).await;
    kafka.create(&dead, 1).await;
    publish(&kafka, &topic, &ids(0..30), &[("m10", "abort")]);
    let plan =
        Plan { dead_letters: Some(dead.clone()), attempts: 3, ..Plan::new(&kafka, &topic, dir.path()) };
    for _ in 0..3 {
        assert!(plan.start().ended_by_signal(), "the message aborts its worker");
    }
    let mut last = plan.start();
    until("the partition is through", || kafka.committed(&plan.group, &topic, 0) == Some(30)).await;
    assert!(last.terminate());
    let done: HashSet<_> = plan.ids().into_iter().collect();
    assert_eq!(done.len(), 29, "all but the poison, its neighbours included");
    let letters = kafka.read(&dead);
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.payload(), letter.key()), (Some(&b"abort"[..]), Some(&b"m10"[..])));
    let header = |name: &str| {
        let all = letter.headers().unwrap();
        all.iter()
            .find(|h| h.key == name)
            .and_then(|h| h.value)
            .map(|v| String::from_utf8_lossy(v).into_owned())
    };
    assert_eq!(header("message-id").as_deref(), Some("m10"), "the original headers are kept");
    assert_eq!(header(headers::MESSAGE_ID).as_deref(), Some("m10"));
    assert_eq!(header(headers::TOPIC), Some(topic));
    assert_eq!(
        (header(headers::PARTITION).as_deref(), header(headers::OFFSET).as_deref()),
        (Some("0"), Some("10"))
    );
    assert_eq!(header(headers::SCOPE), Some(plan.group));
    assert_eq!(
        header(headers::ATTEMPTS).as_deref(),
        Some("4"),
        "three that died and the claim that buried it"
    );
    assert!(header(headers::ERROR).unwrap().contains("without a word"));
}

#[tokio::test]
async fn a_failing_message_is_buried_after_its_attempts_in_one_process() {
    let kafka = Kafka::get();
    let dir = tempfile::tempdir().unwrap();
    let (topic, dead) = (kafka.name("failing"), kafka.name("failing-dead"));
    kafka.create(&topic, 1).await;
    kafka.create(&dead, 1).await;
    publish(&kafka, &topic, &ids(0..5), &[("m2", "fail")]);
    let plan = Plan {
        dead_letters: Some(dead.clone()),
        order: "partition",
        ..Plan::new(&kafka, &topic, dir.path())
    };
    let mut worker = plan.start();
    until("the partition is through", || kafka.committed(&plan.group, &topic, 0) == Some(5)).await;
    assert!(worker.terminate());
    assert_eq!(plan.ids(), ["m0", "m1", "m3", "m4"], "in order, around the failing one");
    assert_eq!(kafka.read(&dead).len(), 1);
}

#[tokio::test]
async fn messages_of_a_re_created_topic_all_run() {
    // The mock cluster cannot delete topics.
    let Some(kafka) = Kafka::real() else { return };
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka.name("again");
    let plan = Plan { order: "partition", ..Plan::new(&kafka, &topic, dir.path()) };
    for round in 1..=2_usize {
        kafka.create(&topic, 1).await;
        // Without an ID: topic, partition and offset identify them, and repeat in the second round.
        kafka.publish(&topic, (0..20).map(|_| (0, "k", None, "ok")));
        let mut worker = plan.start();
        until("all of this round ran", || plan.effects().len() >= 20 * round).await;
        until("they are committed", || kafka.committed(&plan.group, &topic, 0) == Some(20)).await;
        assert!(worker.terminate());
        // And a redelivery is still recognised: nothing runs again after a restart.
        assert_eq!(plan.effects().len(), 20 * round);
        kafka.delete(&topic).await;
    }
}

/// A whole chunk per handler call and one transaction, with the effect in the store's own file.
#[tokio::test]
async fn batches_into_the_inbox_take_effect_once() {
    use ackonce::{Context, Failure, Scope};
    use ackonce_kafka::{KafkaConsumer, KafkaMessage};
    use ackonce_sqlite::{InboxTx, SqliteStore, rusqlite};
    let kafka = Kafka::get();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.db");
    let store = SqliteStore::open(&file).unwrap();
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch("CREATE TABLE effects (id TEXT NOT NULL)").unwrap();
    let topic = kafka.name("batches");
    kafka.create(&topic, 2).await;
    let all = ids(0..400);
    for _ in 0..2 {
        kafka.publish(&topic, all.iter().zip(0..).map(|(id, n)| (n % 2, "k", Some(id.as_str()), "ok")));
    }
    let shutdown = ackonce::CancellationToken::new();
    let group = format!("{topic}-group");
    let inbox = store.inbox(|tx: &InboxTx<'_>, cx: &Context, _: &KafkaMessage| {
        let id = String::from_utf8_lossy(cx.key().id()).into_owned();
        if id == "m7" && cx.attempt() == 1 {
            return Err(Failure::from("undone alone"));
        }
        tx.execute("INSERT INTO effects (id) VALUES (?1)", [id])?;
        Ok::<(), Failure>(())
    });
    let scope = Scope::new(group.clone()).unwrap();
    let consumer =
        KafkaConsumer::new(kafka.group(&group), &[&topic], &scope, std::sync::Arc::new(store.clone()))
            .with_shutdown(shutdown.clone());
    let running = tokio::spawn(consumer.run_batch(inbox));
    let committed = || (0..2).filter_map(|p| kafka.committed(&group, &topic, p)).sum::<i64>();
    until("all are committed", || committed() == 800).await;
    shutdown.cancel();
    let counts = running.await.unwrap().unwrap();
    assert_eq!((counts.run, counts.duplicate, counts.retried), (401, 400, 1));
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM effects"), 400);
    assert_eq!(count("SELECT count(DISTINCT id) FROM effects"), 400);
}

/// The low level: a loop of one's own, with the processing wrapped. A message that is not settled holds the commit back.
#[tokio::test]
async fn a_loop_of_ones_own_commits_receipts_up_to_the_first_unsettled_message() {
    use ackonce::adapter::{Job, SettledAs};
    use ackonce::{Context, Failure, MemoryStore, Runner, Scope};
    use ackonce_kafka::rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
    use ackonce_kafka::{KafkaMessage, Offsets, commit};
    let kafka = Kafka::get();
    let topic = kafka.name("own-loop");
    kafka.create(&topic, 1).await;
    let twice: Vec<_> = ids(0..10).into_iter().chain(ids(0..10)).collect();
    publish(&kafka, &topic, &twice, &[]);
    let group = format!("{topic}-group");
    let mut config = kafka.group(&group);
    let consumer: StreamConsumer =
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    let scope = Scope::new(group.clone()).unwrap();
    let handler = |_: Context, _: KafkaMessage| async { Ok::<(), Failure>(()) };
    let runner = Runner::new(std::sync::Arc::new(MemoryStore::new()), &scope, handler).unwrap();
    let offsets = Offsets::new();
    let (mut ran, mut first) = (0, None);
    for n in 0..20 {
        let incoming = offsets.deliver(consumer.recv().await.unwrap().detach());
        let id = incoming.as_message().header("message-id").unwrap().to_vec();
        let receipt = runner.process(Job::new(scope.key(id).unwrap(), incoming)).await.unwrap();
        ran += usize::from(receipt.how() == SettledAs::Run);
        match n {
            0 => first = Some(receipt),
            _ => commit(receipt, &consumer, CommitMode::Sync).unwrap(),
        }
    }
    assert_eq!(ran, 10);
    assert_eq!(kafka.committed(&group, &topic, 0), None, "the first message is not acknowledged yet");
    commit(first.unwrap(), &consumer, CommitMode::Sync).unwrap();
    assert_eq!(kafka.committed(&group, &topic, 0), Some(20));
}
