use std::path::Path;

use ackonce_amqp::lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::lapin::{BasicProperties, ExchangeKind};
use ackonce_tests::amqp::{Admin, Kind, Rabbit};

use crate::Examined;

struct Setting {
    rabbit: Rabbit,
    admin: Admin,
    /// An exchange for dead letters with a queue behind it.
    exchange: String,
    store: String,
    _directory: tempfile::TempDir,
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

impl Setting {
    async fn new() -> Option<Self> {
        let rabbit = Rabbit::real()?;
        let admin = rabbit.connect().await;
        let exchange = rabbit.name("doctor-dead");
        let setting = {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("dedup.db");
            store(&path);
            Self {
                rabbit,
                admin,
                exchange,
                store: format!("sqlite:{}", path.display()),
                _directory: directory,
            }
        };
        setting.admin.declare(&setting.exchange, Kind::Classic, &[]).await;
        setting.declare_exchange(&setting.exchange).await;
        setting.bind(&setting.exchange, &setting.exchange).await;
        Some(setting)
    }

    async fn declare_exchange(&self, name: &str) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let channel = &self.admin.channel;
        channel
            .exchange_declare(name.into(), ExchangeKind::Fanout, options, FieldTable::default())
            .await
            .unwrap();
    }

    async fn bind(&self, queue: &str, exchange: &str) {
        let (options, table) = (QueueBindOptions::default(), FieldTable::default());
        self.admin
            .channel
            .queue_bind(queue.into(), exchange.into(), "".into(), options, table)
            .await
            .unwrap();
    }

    async fn queue(&self, kind: Kind, arguments: &[(&str, AMQPValue)]) -> String {
        let name = self.rabbit.name("doctor");
        self.admin.declare(&name, kind, arguments).await;
        name
    }

    async fn look_with(&self, queue: &str, args: &[&str]) -> Examined {
        let management = self.rabbit.management();
        let from = format!("{}?queue={queue}&management={management}", self.rabbit.url());
        self.look_from(&from, args).await
    }

    async fn look_from(&self, from: &str, args: &[&str]) -> Examined {
        let fixed = ["--store", &self.store, "--from", from];
        let mut all: Vec<String> = fixed.iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        if !args.contains(&"--dead-letter") {
            all.extend(["--dead-letter".to_owned(), self.exchange.clone()]);
        }
        let run = move || Examined::of(&all.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn look(&self, queue: &str) -> Examined {
        self.look_with(queue, &[]).await
    }
}

fn store(path: &Path) {
    drop(ackonce_sqlite::SqliteStore::open(path).unwrap());
    crate::own::until("the file is closed", || !path.with_file_name("dedup.db-wal").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_queues_are_not_accused() {
    let Some(setting) = Setting::new().await else { return };
    let classic = setting.queue(Kind::Classic, &[]).await;
    setting.look(&classic).await.is_sound();
    let arguments = [
        ("x-delivery-limit", AMQPValue::LongLongInt(5)),
        ("x-dead-letter-exchange", text(&setting.exchange)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    let quorum = setting.queue(Kind::Quorum, &arguments).await;
    setting.look(&quorum).await.is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_lose_messages_are_found() {
    let Some(setting) = Setting::new().await else { return };
    let number = AMQPValue::LongLongInt;
    let dead = ("x-dead-letter-exchange", text(&setting.exchange));
    type Arguments<'a> = Vec<(&'a str, AMQPValue)>;
    let cases: Vec<(Kind, Arguments<'_>, &str, i32)> = vec![
        (Kind::Quorum, vec![("x-delivery-limit", number(3))], "amqp-delivery-limit", 4),
        (Kind::Quorum, vec![dead.clone()], "amqp-at-most-once", 1),
        (Kind::Classic, vec![("x-message-ttl", number(60_000))], "amqp-ttl", 4),
        (Kind::Classic, vec![("x-max-length", number(10))], "amqp-max-length", 4),
        (Kind::Classic, vec![("x-max-length-bytes", number(10_000))], "amqp-max-length", 4),
        (Kind::Classic, vec![("x-expires", number(600_000))], "amqp-expires", 4),
        (Kind::Classic, vec![("x-max-priority", AMQPValue::LongInt(5))], "amqp-priority", 1),
        (
            Kind::Classic,
            vec![("x-dead-letter-exchange", text("no-such-exchange"))],
            "amqp-dead-letter-exchange",
            4,
        ),
    ];
    for (kind, arguments, name, code) in cases {
        let queue = setting.queue(kind, &arguments).await;
        setting.look(&queue).await.finds(&[name], code);
    }
    // These mend it.
    let mended = [("x-max-length", number(10)), ("x-overflow", text("reject-publish"))];
    let queue = setting.queue(Kind::Classic, &mended).await;
    setting.look(&queue).await.is_sound();
    let queue = setting.queue(Kind::Classic, &[("x-message-ttl", number(60_000)), dead]).await;
    setting.look(&queue).await.is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_do_not_last_are_found() {
    let Some(setting) = Setting::new().await else { return };
    for (durable, exclusive, auto_delete, name) in [
        (false, false, false, "amqp-durable"),
        (true, false, true, "amqp-auto-delete"),
        (true, true, false, "amqp-exclusive"),
    ] {
        let queue = setting.rabbit.name("doctor");
        let options =
            QueueDeclareOptions { durable, exclusive, auto_delete, ..QueueDeclareOptions::default() };
        setting
            .admin
            .channel
            .queue_declare(queue.as_str().into(), options, FieldTable::default())
            .await
            .unwrap();
        setting.look(&queue).await.finds(&[name], 4);
    }
    setting.look("no-such-queue").await.finds(&["amqp-queue"], 4);
    let stream = setting.rabbit.name("doctor");
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), text("stream"));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    setting.admin.channel.queue_declare(stream.as_str().into(), options, table).await.unwrap();
    setting.look(&stream).await.finds(&["amqp-stream"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_for_dead_letters_are_judged() {
    let Some(setting) = Setting::new().await else { return };
    let queue = setting.queue(Kind::Classic, &[]).await;
    setting.look_with(&queue, &["--dead-letter", "no-such-exchange"]).await.finds(&["amqp-dead-letter"], 4);
    let bare = setting.rabbit.name("doctor-bare");
    setting.declare_exchange(&bare).await;
    setting.look_with(&queue, &["--dead-letter", &bare]).await.finds(&["amqp-dead-letter"], 4);
    setting.bind(&queue, &bare).await;
    setting.look_with(&queue, &["--dead-letter", &bare]).await.finds(&["amqp-dead-letter-circle"], 4);
    let own = setting.rabbit.name("doctor-own");
    setting.declare_exchange(&own).await;
    let unbound = setting.queue(Kind::Classic, &[("x-dead-letter-exchange", text(&own))]).await;
    setting.look(&unbound).await.finds(&["amqp-dead-letter-exchange"], 4);
    let timely = setting.queue(Kind::Classic, &[]).await;
    setting.look_with(&timely, &["--lease", "1h"]).await.finds(&["amqp-consumer-timeout"], 1);
    setting.look_with(&timely, &["--timeout", "45m"]).await.finds(&["amqp-consumer-timeout"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_without_the_management_api_are_left_out_with_their_reason() {
    let Some(setting) = Setting::new().await else { return };
    let queue = setting.queue(Kind::Classic, &[]).await;
    let from = format!("{}?queue={queue}", setting.rabbit.url());
    let names = ["amqp-durable", "amqp-delivery-limit", "amqp-dead-letter-circle"];
    setting.look_from(&from, &[]).await.leaves_out(&names, "management=HOST:PORT");
    let from = format!("{from}&management=127.0.0.1:1");
    setting.look_from(&from, &[]).await.leaves_out(&["amqp-durable"], "127.0.0.1:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_takes_nothing_from_the_queue() {
    let Some(setting) = Setting::new().await else { return };
    let queue = setting.queue(Kind::Classic, &[]).await;
    for (id, payload) in [("a", "1"), ("b", "2"), ("c", "3")] {
        setting.admin.publish(&queue, Some(id), payload.as_bytes()).await;
    }
    let examined = setting.look_with(&queue, &["--sample", "2"]).await;
    examined.is_sound();
    assert_eq!(examined.json["sampled_messages"], 2);
    setting.admin.publish(&queue, None, b"4").await;
    setting.admin.publish(&queue, Some("a"), b"5").await;
    let mut table = FieldTable::default();
    table.insert("other".into(), text("x"));
    setting.admin.publish_with(&queue, b"6", BasicProperties::default().with_headers(table)).await;
    let examined = setting.look_with(&queue, &["--sample", "10"]).await;
    examined.finds(&["message-shared-id", "message-without-id"], 4);
    setting.admin.until_ready(&queue, 6).await;
    let left: Vec<_> = setting.admin.take(&queue).await.into_iter().map(|one| one.data).collect();
    assert_eq!(left, [b"1", b"2", b"3", b"4", b"5", b"6"], "in their order");
    let arguments = [
        ("x-delivery-limit", AMQPValue::LongLongInt(5)),
        ("x-dead-letter-exchange", text(&setting.exchange)),
    ];
    let quorum = setting.queue(Kind::Quorum, &arguments).await;
    let examined = setting.look_with(&quorum, &["--sample", "10"]).await;
    examined.leaves_out(&["message-without-id"], "delivery limit");
}
