use ackonce_kafka::ClientConfig;
use ackonce_kafka::rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use ackonce_kafka::rdkafka::{Offset, TopicPartitionList};
use ackonce_tests::kafka::{Kafka, Record};

use crate::Examined;

/// A store that is sound, and a topic of the test's own on a single broker, which cannot have a second replica.
struct Setting {
    kafka: Kafka,
    topic: String,
    dead: String,
    store: String,
    _directory: tempfile::TempDir,
}

impl Setting {
    async fn new(topic: &[(&str, &str)], dead: &[(&str, &str)]) -> Option<Self> {
        let kafka = Kafka::real()?;
        let (name, letters) = (kafka.name("doctor"), kafka.name("doctor-dead"));
        kafka.create_with(&name, 2, topic).await;
        kafka.create_with(&letters, 1, dead).await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dedup.db");
        drop(ackonce_sqlite::SqliteStore::open(&path).unwrap());
        crate::own::until("the file is closed", || !path.with_file_name("dedup.db-wal").exists());
        let store = format!("sqlite:{}", path.display());
        Some(Self { kafka, topic: name, dead: letters, store, _directory: directory })
    }

    fn from(&self, options: &str) -> String {
        format!("kafka://{}/{}?group={}{options}", self.kafka.brokers(), self.topic, self.topic)
    }

    async fn look_with(&self, options: &str, args: &[&str]) -> Examined {
        let (store, from, dead) = (self.store.clone(), self.from(options), self.dead.clone());
        let more: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let run = move || {
            let mut args = vec!["--store", &store, "--from", &from, "--accept", "kafka-replication"];
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            if !more.contains(&"--dead-letter") {
                args.extend(["--dead-letter", &dead]);
            }
            args.extend(more);
            Examined::of(&args)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn look(&self, options: &str) -> Examined {
        self.look_with(options, &[]).await
    }

    fn commit(&self, next: i64) {
        let consumer: BaseConsumer = self.kafka.group(&self.topic).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, Offset::Offset(next)).unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_topic_is_not_accused_and_nothing_is_committed() {
    let Some(setting) = Setting::new(&[], &[]).await else { return };
    let records = [
        (0, "k", Some("a"), "1"),
        (1, "k", Some("b"), "2"),
        (0, "k", Some("c"), "3"),
        (0, "k", Some("a"), "1"),
    ];
    setting.kafka.publish(&setting.topic, records);
    let examined = setting.look("").await;
    examined.is_sound();
    assert_eq!(examined.json["sampled_messages"], 4, "{:#}", examined.json);
    assert_eq!(setting.kafka.committed(&setting.topic, &setting.topic, 0), None);
    // Two replicas would be better; a single broker has one.
    let text = Examined::of(&[
        "--store",
        &setting.store,
        "--from",
        &setting.from(""),
        "--dead-letter",
        &setting.dead,
    ]);
    text.finds(&["kafka-replication"], 1);
    setting.commit(2);
    setting.look("").await.is_sound();
    assert_eq!(setting.kafka.committed(&setting.topic, &setting.topic, 0), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_topics_that_lose_messages_are_found() {
    for (of_topic, of_letters, names, code) in [
        (("retention.ms", "2592000000"), None, "kafka-window", 1),
        (("retention.ms", "-1"), None, "kafka-window", 1),
        (("cleanup.policy", "compact,delete"), None, "kafka-compact", 1),
        (("retention.bytes", "100000000"), None, "kafka-retention-bytes", 1),
        (("unclean.leader.election.enable", "true"), None, "kafka-unclean-election", 1),
        (("min.insync.replicas", "2"), None, "kafka-min-insync-high", 4),
        (("retention.ms", "604800000"), Some(("cleanup.policy", "compact")), "kafka-dead-letter-compact", 4),
        (("retention.ms", "604800000"), Some(("retention.ms", "3600000")), "kafka-dead-letter-retention", 1),
        (("retention.ms", "604800000"), Some(("retention.ms", "2592000000")), "kafka-dead-letter-window", 1),
        (("max.message.bytes", "5000000"), None, "kafka-dead-letter-size", 1),
    ] {
        let of_letters: Vec<_> = of_letters.into_iter().collect();
        let Some(setting) = Setting::new(&[of_topic], &of_letters).await else { return };
        setting.look("").await.finds(&[names], code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_and_topics_that_break_the_promise_are_found() {
    let Some(setting) = Setting::new(&[], &[]).await else { return };
    for (options, name, code) in [
        ("&kafka.enable.auto.commit=true", "kafka-auto-commit", 4),
        ("&kafka.auto.offset.reset=latest", "kafka-offset-reset", 4),
        ("&kafka.isolation.level=read_uncommitted", "kafka-isolation", 1),
        ("&kafka.group.instance.id=relay", "kafka-static-member", 1),
        ("&kafka.max.poll.interval.ms=10000&kafka.session.timeout.ms=6000", "kafka-poll-interval", 1),
    ] {
        setting.look(options).await.finds(&[name], code);
    }
    let none = setting.kafka.name("none");
    setting.look_with("", &["--dead-letter", &none]).await.finds(&["kafka-dead-letter"], 4);
    let circle = setting.topic.clone();
    setting.look_with("", &["--dead-letter", &circle]).await.finds(&["kafka-dead-letter-circle"], 4);
    let retry = format!("{none}=1m");
    setting.look_with("", &["--retry-topics", &retry]).await.finds(&["kafka-retry-topic"], 4);
    setting
        .look_with("", &["--window", "1m"])
        .await
        .finds(&["kafka-window", "kafka-dead-letter-window", "settings-window"], 4);
    let later = setting.kafka.name("later");
    setting.kafka.create_with(&later, 1, &[("retention.ms", "3600000")]).await;
    let retry = format!("{later}=50m");
    setting.look_with("", &["--retry-topics", &retry]).await.finds(&["kafka-retry-retention"], 4);
    let missing = setting.from("").replace(&format!("/{}?", setting.topic), &format!("/{none}?"));
    let examined = Examined::of(&["--store", &setting.store, "--from", &missing]);
    examined.finds(&["kafka-topic", "settings-dead-letter"], 4);
    let metadata: BaseConsumer = ClientConfig::clone(&setting.kafka.config()).create().unwrap();
    let metadata = metadata.fetch_metadata(None, std::time::Duration::from_secs(60)).unwrap();
    assert!(metadata.topics().iter().all(|topic| topic.name() != none), "no topic was created");
    let pattern =
        setting.from("").replace(&format!("/{}?", setting.topic), &format!("/%5E{}$?", setting.topic));
    let sound = ["--store", &setting.store, "--from", &pattern, "--dead-letter", &setting.dead];
    Examined::of(&[&sound[..], &["--accept", "kafka-replication"]].concat()).is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_lost_its_place_is_found() {
    let Some(setting) = Setting::new(&[], &[]).await else { return };
    setting.kafka.publish(&setting.topic, [(0, "k", Some("a"), "1"), (0, "k", Some("b"), "2")]);
    setting.commit(7);
    setting.look("").await.finds(&["kafka-recreated"], 4);
    setting.commit(0);
    setting.look("").await.is_sound();
    // Deleted by hand, as retention would.
    let admin: rdkafka::admin::AdminClient<rdkafka::client::DefaultClientContext> =
        setting.kafka.config().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&setting.topic, 0, Offset::Offset(2)).unwrap();
    let options = rdkafka::admin::AdminOptions::new();
    admin.delete_records(&list, &options).await.unwrap();
    setting.look("").await.finds(&["kafka-behind-retention"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_do_not_identify_are_found_in_a_sample() {
    let long = "i".repeat(1025);
    let cases: [(&[Record<'_>], &str, i32); 4] = [
        (&[(0, "k", None, "1"), (0, "k", Some("a"), "2")], "message-without-id", 4),
        (&[(0, "k", Some(""), "1")], "message-bad-id", 4),
        (&[(0, "k", Some("customer"), "1"), (1, "k", Some("customer"), "2")], "message-shared-id", 4),
        (&[(0, "k", Some("a"), "{\"pay\":7}"), (1, "k", Some("b"), "{\"pay\":7}")], "message-unstable-id", 1),
    ];
    for (records, name, code) in cases {
        let Some(setting) = Setting::new(&[], &[]).await else { return };
        setting.kafka.publish(&setting.topic, records.iter().copied());
        setting.look("").await.finds(&[name], code);
        setting.look_with("", &["--sample", "0"]).await.is_sound();
    }
    let Some(setting) = Setting::new(&[], &[]).await else { return };
    setting.kafka.publish(&setting.topic, [(0, "k", Some(long.as_str()), "1")]);
    setting.look("").await.finds(&["message-long-id"], 4);
    // Other places, judged in the same way.
    setting.look_with("", &["--id", "key"]).await.finds(&["settings-id-key"], 1);
    setting.look_with("", &["--id", "payload"]).await.finds(&["settings-id-payload"], 1);
    setting.look_with("", &["--id", "json:/id"]).await.finds(&["message-without-id"], 4);
    let headers: [(&[u8], &[u8]); 2] = [(b"message-id", b"a"), (b"message-id", b"b")];
    let Some(setting) = Setting::new(&[], &[]).await else { return };
    ackonce_tests::raw::publish(setting.kafka.brokers(), &setting.topic, b"1", &headers);
    setting.look("").await.finds(&["message-bad-id"], 4);
}
