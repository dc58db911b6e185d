//! A topic that is deleted and created again under a running consumer: all new records run, and are committed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce::{CancellationToken, Context, Counts, Failure, MemoryStore, Scope};
use ackonce_kafka::rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use ackonce_kafka::rdkafka::{Offset, TopicPartitionList};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaHealth, KafkaMessage, RetryTopic, Signs};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use tokio::task::JoinHandle;

const PARTITIONS: i32 = 2;
const SECOND: Duration = Duration::from_secs(1);
const NONE: Signs = Signs { driver_line: false, commits_every: None, records_every: None };
/// The driver's line alone.
const LINE: Signs = Signs { driver_line: true, ..NONE };

/// A topic with a consumer, whose messages have IDs of their own.
struct Site {
    kafka: Kafka,
    topic: String,
    group: String,
    store: Arc<MemoryStore>,
    ran: Arc<Mutex<Vec<String>>>,
    /// Messages whose IDs end like this wait in their handler.
    held: Arc<Mutex<Option<&'static str>>>,
    config: ClientConfig,
    signs: Signs,
    /// Reads the group's commits without joining it.
    commits: BaseConsumer,
}

struct Running {
    health: KafkaHealth,
    shutdown: CancellationToken,
    task: JoinHandle<ackonce::Result<Counts>>,
}

impl Site {
    /// The consumer has the driver's defaults, and `settings`.
    async fn new(stem: &str, signs: Signs, settings: &[(&str, &str)]) -> Option<Self> {
        let kafka = Kafka::real()?;
        let topic = kafka.name(stem);
        let group = format!("{topic}-group");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.brokers()).set("group.id", &group);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let store = Arc::new(MemoryStore::new());
        let commits = kafka.config().set("group.id", &group).create().unwrap();
        let site = Self {
            kafka,
            topic,
            group,
            store,
            ran: Arc::default(),
            held: Arc::default(),
            config,
            signs,
            commits,
        };
        site.create(&site.topic, PARTITIONS).await;
        Some(site)
    }

    /// Creates a topic, and waits until the broker tells of it.
    async fn create(&self, topic: &str, partitions: i32) {
        self.kafka.create(topic, partitions).await;
        until("the topic is known", || {
            let known = self.commits.fetch_metadata(Some(topic), 10 * SECOND).unwrap();
            known.topics().iter().any(|topic| topic.error().is_none() && !topic.partitions().is_empty())
        })
        .await;
    }

    fn start(&self) -> Running {
        self.start_with(|consumer| consumer)
    }

    fn start_with(&self, with: impl FnOnce(KafkaConsumer) -> KafkaConsumer) -> Running {
        let shutdown = CancellationToken::new();
        let scope = Scope::new(self.group.clone()).unwrap();
        let consumer = KafkaConsumer::new(self.config.clone(), &[&self.topic], &scope, self.store.clone())
            .with_signs(self.signs)
            .with_shutdown(shutdown.clone());
        let consumer = with(consumer);
        let (health, ran, held) = (consumer.health(), self.ran.clone(), self.held.clone());
        let running = consumer.run(move |cx: Context, message: KafkaMessage| {
            let (ran, held) = (ran.clone(), held.clone());
            async move {
                let id = String::from_utf8_lossy(cx.key().id()).into_owned();
                while held.lock().unwrap().as_ref().is_some_and(|end| id.ends_with(end)) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                if message.payload() == b"fail once" && cx.attempt() == 1 {
                    return Err(Failure::from("as the payload says"));
                }
                ran.lock().unwrap().push(id);
                Ok::<(), Failure>(())
            }
        });
        let task = tokio::spawn(async move {
            let ended = running.await;
            if let Err(error) = &ended {
                eprintln!("the consumer ended: {error}");
            }
            ended
        });
        Running { health, shutdown, task }
    }

    /// So many messages in each partition.
    fn publish(&self, kind: &str, range: std::ops::Range<i64>) {
        self.publish_saying(kind, range, "ok");
    }

    fn publish_saying(&self, kind: &str, range: std::ops::Range<i64>, payload: &str) {
        let ids = ids(kind, range);
        self.kafka.publish(&self.topic, ids.iter().map(|(p, id)| (*p, "k", Some(id.as_str()), payload)));
    }

    fn ran(&self, kind: &str) -> usize {
        self.ran.lock().unwrap().iter().filter(|id| id.starts_with(kind)).count()
    }

    async fn all_run(&self, kind: &str, each: i64) {
        let all = usize::try_from(each).unwrap() * 2;
        until(&format!("{}: all {kind} messages ran", self.topic), || self.ran(kind) >= all).await;
        let ran =
            self.ran.lock().unwrap().iter().filter(|id| id.starts_with(kind)).cloned().collect::<Vec<_>>();
        assert_eq!(ran.len(), all, "each once");
        let expected: BTreeSet<_> = ids(kind, 0..each).into_iter().map(|(_, id)| id).collect();
        assert_eq!(ran.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    fn commits(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, PARTITIONS - 1);
        self.commits.committed_offsets(list, Duration::from_secs(20)).unwrap()
    }

    fn committed(&self) -> Vec<Option<i64>> {
        let offset = |offset| match offset {
            Offset::Offset(next) => Some(next),
            _ => None,
        };
        self.commits().elements().iter().map(|element| offset(element.offset())).collect()
    }

    async fn all_committed(&self, each: i64) {
        let expected = vec![Some(each); 2];
        until(&format!("{}: all is committed", self.topic), || self.committed() == expected).await;
    }

    async fn recreate(&self, away: Duration) {
        self.kafka.delete(&self.topic).await;
        tokio::time::sleep(away).await;
        self.create(&self.topic, PARTITIONS).await;
    }

    /// Commits for the group, which has no members now.
    fn commit(&self, next: i64, metadata: &str) {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let mut element = list.add_partition(&self.topic, partition);
            element.set_offset(Offset::Offset(next)).unwrap();
            element.set_metadata(metadata);
        }
        self.commits.commit(&list, CommitMode::Sync).unwrap();
    }

    fn metadata(&self, partition: i32) -> String {
        self.commits().find_partition(&self.topic, partition).unwrap().metadata().to_owned()
    }
}

impl Running {
    fn recreated(&self) -> u64 {
        self.health.report().topics_recreated
    }

    async fn end(self) -> Counts {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap()
    }
}

fn ids(kind: &str, range: std::ops::Range<i64>) -> Vec<(i32, String)> {
    range
        .flat_map(|n| (0..PARTITIONS).map(move |p| (p, format!("{p}-{n}"))))
        .map(|(p, id)| (p, format!("{kind}-{id}")))
        .collect()
}

/// A topic with `old` messages in each partition, all committed, goes away and comes back with `new` ones.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    signs: Signs,
    settings: &'static [(&'static str, &'static str)],
    /// How long the commit is old before the topic goes away.
    before: Duration,
    away: Duration,
    old: i64,
    new: i64,
}

const PLAN: Plan = Plan {
    name: "again",
    signs: LINE,
    settings: &[],
    before: Duration::ZERO,
    away: SECOND,
    old: 100,
    new: 200,
};

impl Plan {
    async fn run(self) {
        let Some(site) = Site::new(self.name, self.signs, self.settings).await else { return };
        // A commit to begin from, for `latest`.
        site.commit(0, "");
        let running = site.start();
        site.publish("old", 0..self.old);
        site.all_run("old", self.old).await;
        site.all_committed(self.old).await;
        tokio::time::sleep(self.before).await;
        site.recreate(self.away).await;
        let created = Instant::now();
        site.publish("new", 0..self.new);
        if self.signs == LINE && self.away <= SECOND {
            until("the topic's new ID is noticed", || running.recreated() == 1).await;
        }
        site.all_run("new", self.new).await;
        site.all_committed(self.new).await;
        println!("{}: all ran and were committed {:?} after the creation", self.name, created.elapsed());
        // A commit of an old record that comes late, or is repeated by the driver, would show now.
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(site.committed(), vec![Some(self.new); 2], "{}: the commit stays", self.name);
        println!("{}: {} signs", self.name, running.recreated());
        running.end().await;
        assert_eq!(site.committed(), vec![Some(self.new); 2], "{}: after the end, too", self.name);
        // And the next process goes on where this one ended.
        let running = site.start();
        site.publish("more", 0..5);
        site.all_run("more", 5).await;
        site.all_committed(self.new + 5).await;
        assert_eq!(running.recreated(), 0);
        assert_eq!(running.end().await.duplicate, 0, "{}: nothing was read again", self.name);
    }
}

/// Each on a runtime of its own: some of the driver's calls block.
fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// Side by side, as most of the time is waiting.
fn all<const N: usize>(plans: [Plan; N]) {
    std::thread::scope(|threads| {
        for plan in plans {
            threads.spawn(move || block_on(plan.run()));
        }
    });
}

const COOPERATIVE: &[(&str, &str)] = &[("partition.assignment.strategy", "cooperative-sticky")];
const KIP_848: &[(&str, &str)] = &[("group.protocol", "consumer")];
const REFRESH: &[(&str, &str)] = &[("topic.metadata.refresh.interval.ms", "1000")];

/// Pins the driver's debug line: no other sign is looked for.
#[test]
fn a_topic_gone_for_a_second_is_noticed_by_its_id() {
    all([
        Plan { name: "fast-below", new: 10, ..PLAN },
        Plan { name: "fast-at", new: 100, ..PLAN },
        Plan { name: "fast-above", new: 200, ..PLAN },
        Plan { name: "fast-many", new: 5000, ..PLAN },
        Plan { name: "fast-at-once", away: Duration::ZERO, ..PLAN },
        Plan { name: "fast-cooperative", settings: COOPERATIVE, ..PLAN },
        Plan { name: "fast-kip-848", settings: KIP_848, ..PLAN },
        Plan { name: "fast-latest", settings: &[("auto.offset.reset", "latest")], new: 10, ..PLAN },
        Plan { name: "fast-refresh", settings: REFRESH, ..PLAN },
    ]);
}

/// With the driver's defaults it does not notice that a topic is missing for half a minute; with
/// `topic.metadata.refresh.interval.ms` of a second, and in groups of the new protocol, the group takes the partitions
/// away.
#[test]
fn a_long_absence_of_the_topic_skips_nothing() {
    let slow = Plan { signs: Signs::default(), away: 15 * SECOND, ..PLAN };
    all([
        Plan { name: "slow-below", new: 10, ..slow },
        Plan { name: "slow-at", new: 100, ..slow },
        Plan { name: "slow-above", ..slow },
        Plan { name: "slow-above-line", signs: LINE, ..slow },
        Plan { name: "slow-cooperative", settings: COOPERATIVE, ..slow },
        Plan { name: "slow-kip-848", settings: KIP_848, ..slow },
        Plan { name: "slow-latest", settings: &[("auto.offset.reset", "latest")], new: 10, ..slow },
        Plan { name: "slow-refresh", settings: REFRESH, ..slow },
        Plan { name: "minute-above", away: 60 * SECOND, ..slow },
        Plan { name: "minute-cooperative", settings: COOPERATIVE, away: 60 * SECOND, ..slow },
        Plan { name: "minute-kip-848", settings: KIP_848, away: 60 * SECOND, ..slow },
    ]);
}

/// The broker deletes a topic's commits with it.
#[test]
fn a_commit_that_is_gone_is_noticed_without_the_drivers_line() {
    let commits = |every| Signs { commits_every: Some(every), ..NONE };
    let old = Plan { away: 4 * SECOND, ..PLAN };
    all([
        Plan { name: "commit-gone", signs: commits(SECOND), ..old },
        // The driver notices, and the group takes the partitions away.
        Plan { name: "commit-gone-refresh", signs: commits(3600 * SECOND), settings: REFRESH, ..old },
    ]);
}

/// The consumer sits at the end of the old topic, reads the new one from there, and finds another record before it.
#[test]
fn a_record_that_is_another_one_is_noticed_without_the_drivers_line() {
    let records = Signs { records_every: Some(SECOND), ..NONE };
    let idle = Plan { signs: records, before: 3 * SECOND, ..PLAN };
    all([
        Plan { name: "record-differs", ..idle },
        Plan { name: "record-gone", new: 10, settings: &[("auto.offset.reset", "latest")], ..idle },
    ]);
}

/// A commit of the old topic is there again when a process starts: it was repeated late, or restored.
#[test]
fn a_commit_of_the_old_topic_is_told_by_its_digest() {
    let records = Signs { records_every: Some(3600 * SECOND), ..NONE };
    let test = |stem, new, settings: &'static [_]| async move {
        let Some(site) = Site::new(stem, records, settings).await else { return };
        site.commit(0, "");
        let running = site.start();
        site.publish("old", 0..100);
        site.all_run("old", 100).await;
        site.all_committed(100).await;
        running.end().await;
        let metadata = site.metadata(0);
        assert!(metadata.starts_with("ackonce1:99:"), "{metadata}");
        site.recreate(Duration::ZERO).await;
        site.publish("new", 0..new);
        site.commit(100, &metadata);
        let running = site.start();
        site.all_run("new", new).await;
        site.all_committed(new).await;
        assert_eq!(running.recreated(), 1);
        running.end().await;
    };
    std::thread::scope(|threads| {
        threads.spawn(|| block_on(test("restart-above", 200, &[])));
        threads.spawn(|| block_on(test("restart-below", 60, &[("auto.offset.reset", "latest")])));
    });
}

/// As a process leaves it that had not heard of the new topic when it was killed. No record is compared, and those of the new
/// topic run in their order.
#[test]
fn a_commit_of_another_id_of_the_topic_is_told_before_anything_runs() {
    let test = |stem, new: i64, settings: &'static [_]| async move {
        let Some(site) = Site::new(stem, Signs::default(), settings).await else { return };
        let running = site.start();
        site.publish("old", 0..100);
        site.all_run("old", 100).await;
        site.all_committed(100).await;
        running.end().await;
        let metadata = site.metadata(0);
        let id = metadata.split(':').nth(3).unwrap();
        site.recreate(Duration::ZERO).await;
        site.publish("new", 0..new);
        site.commit(100, &format!("ackonce1:::{id}"));
        let running = site.start();
        site.all_run("new", new).await;
        site.all_committed(new).await;
        assert_eq!(running.recreated(), 1);
        running.end().await;
        let ran = site.ran.lock().unwrap();
        for partition in 0..PARTITIONS {
            let of = format!("new-{partition}-");
            let order = ran.iter().filter_map(|id| id.strip_prefix(&of)?.parse::<i64>().ok());
            assert!(order.is_sorted(), "{stem}: the order of partition {partition}");
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(|| block_on(test("id-above", 300, &[])));
        threads.spawn(|| block_on(test("id-below", 60, &[])));
    });
}

/// A process that could not compare a commit leaves its mark for the next one.
#[test]
fn a_mark_that_was_not_compared_stays_in_the_commits() {
    block_on(async {
        let records = Signs { records_every: Some(3600 * SECOND), ..NONE };
        let Some(site) = Site::new("mark", records, &[]).await else { return };
        site.publish("old", 0..100);
        let mark = "ackonce1:::4ZbTn8C2Q3mhVYcB0eIr1A";
        site.commit(60, mark);
        // It knows no IDs.
        let running = site.start();
        until("those behind the commit ran", || site.ran("old") == 80).await;
        site.all_committed(100).await;
        running.end().await;
        assert_eq!((site.metadata(0).as_str(), site.metadata(1).as_str()), (mark, mark));
        let site = Site { signs: Signs::default(), ..site };
        let running = site.start();
        site.all_run("old", 100).await;
        assert_eq!(running.recreated(), 1);
        site.all_committed(100).await;
        running.end().await;
        assert_ne!(site.metadata(0), mark);
    });
}

/// The metadata of other clients says nothing, and neither does a record that was deleted.
#[test]
fn a_commit_of_another_client_is_gone_on_from() {
    block_on(async {
        let Some(site) = Site::new("stranger", Signs::default(), &[]).await else { return };
        site.publish("old", 0..100);
        site.commit(100, "somebody else's");
        site.publish("new", 0..50);
        let running = site.start();
        site.all_run("new", 50).await;
        site.all_committed(150).await;
        assert_eq!((running.recreated(), site.ran("old")), (0, 0));
        running.end().await;
    });
}

/// A message of the old topic is settled after its deletion: the driver repeats its commit until the new topic is there,
/// and then it arrives.
#[test]
fn a_commit_of_the_old_topic_that_arrives_at_the_new_one_skips_nothing() {
    let test = |stem, signs, new| async move {
        let Some(site) = Site::new(stem, signs, &[]).await else { return };
        let running = site.start();
        *site.held.lock().unwrap() = Some("-99");
        site.publish("old", 0..100);
        until("all but the last ran", || site.ran("old") == 198).await;
        site.all_committed(99).await;
        site.kafka.delete(&site.topic).await;
        *site.held.lock().unwrap() = None;
        site.all_run("old", 100).await;
        if signs.commits_every.is_some() {
            until("the refused commit is looked for", || running.recreated() == 1).await;
        }
        tokio::time::sleep(SECOND).await;
        site.create(&site.topic, PARTITIONS).await;
        site.publish("new", 0..new);
        site.all_run("new", new).await;
        site.all_committed(new).await;
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(site.committed(), vec![Some(new); 2], "the commit stays");
        running.end().await;
        assert_eq!(site.committed(), vec![Some(new); 2], "after the end, too");
    };
    // The refusal makes the look come early.
    let refused = Signs { commits_every: Some(3600 * SECOND), ..NONE };
    std::thread::scope(|threads| {
        for (stem, signs, new) in [
            ("late-below", LINE, 10),
            ("late-above", LINE, 200),
            ("late-below-all", Signs::default(), 10),
            ("late-above-all", Signs::default(), 200),
            ("late-below-commit", refused, 10),
            ("late-above-commit", refused, 200),
        ] {
            threads.spawn(move || block_on(test(stem, signs, new)));
        }
    });
}

#[test]
fn messages_of_a_re_created_retry_topic_all_run() {
    block_on(async {
        let Some(site) = Site::new("hop", LINE, &[]).await else { return };
        let retry = format!("{}-retry", site.topic);
        site.create(&retry, 1).await;
        let delay = Duration::from_millis(200);
        let running =
            site.start_with(|consumer| consumer.with_retry_topics([RetryTopic::new(&retry, delay)]));
        site.publish_saying("old", 0..20, "fail once");
        site.all_run("old", 20).await;
        until("the hops are committed", || site.kafka.committed(&site.group, &retry, 0) == Some(40)).await;
        site.kafka.delete(&retry).await;
        tokio::time::sleep(SECOND).await;
        site.create(&retry, 1).await;
        site.publish_saying("new", 0..30, "fail once");
        site.all_run("new", 30).await;
        until("the new hops are committed", || site.kafka.committed(&site.group, &retry, 0) == Some(60))
            .await;
        assert_eq!(running.recreated(), 1);
        running.end().await;
    });
}

/// The partitions of the new topic move between members while it is read.
#[test]
fn a_re_created_topic_is_read_once_by_members_that_come_and_go() {
    let test = |stem, settings: &'static [_]| async move {
        let Some(site) = Site::new(stem, Signs::default(), settings).await else { return };
        let running = [site.start(), site.start()];
        site.publish("old", 0..100);
        site.all_run("old", 100).await;
        site.all_committed(100).await;
        site.recreate(SECOND).await;
        site.publish("new", 0..300);
        let third = site.start();
        site.all_run("new", 300).await;
        let [first, second] = running;
        first.end().await;
        second.end().await;
        site.publish("more", 0..10);
        site.all_run("more", 10).await;
        site.all_committed(310).await;
        third.end().await;
        assert_eq!(site.committed(), vec![Some(310); 2]);
    };
    std::thread::scope(|threads| {
        threads.spawn(|| block_on(test("members-eager", &[])));
        threads.spawn(|| block_on(test("members-cooperative", COOPERATIVE)));
        threads.spawn(|| block_on(test("members-kip-848", KIP_848)));
    });
}
