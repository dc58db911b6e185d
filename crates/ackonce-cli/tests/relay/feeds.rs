//! Sources with messages in them, some of them twice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::kafka::Kafka;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Deliveries of one run; one in five repeats another.
const MESSAGES: usize = 1500;
/// They come over so many seconds, so that there is work while processes are killed.
const SECONDS: usize = 12;
const PARTITIONS: i32 = 4;
const SECRET: &str = "a secret of the test";

/// A source.
pub(crate) enum Feed {
    Kafka(Kafka, String),
    Rabbit(Rabbit, String),
    /// The address that the relay listens at.
    Webhook(String),
}

impl Feed {
    pub(crate) async fn kafka() -> Option<Self> {
        let kafka = Kafka::real()?;
        let topic = kafka.name("relay");
        kafka.create(&topic, PARTITIONS).await;
        Some(Self::Kafka(kafka, topic))
    }

    pub(crate) async fn rabbit() -> Option<Self> {
        let rabbit = Rabbit::real()?;
        let queue = rabbit.queue("relay", Kind::Classic).await;
        Some(Self::Rabbit(rabbit, queue))
    }

    pub(crate) fn webhook() -> Self {
        Self::Webhook(free_address())
    }

    /// The URL, for the `n`-th relay. As static members a killed relay and its successor need no rebalance.
    pub(crate) fn url(&self, n: usize) -> String {
        match self {
            Self::Kafka(kafka, topic) => format!(
                "kafka://{}/{topic}?group={topic}&kafka.group.instance.id=r{n}&kafka.session.timeout.ms=6000\
                 &kafka.topic.metadata.refresh.interval.ms=1000",
                kafka.brokers()
            ),
            Self::Rabbit(rabbit, queue) => format!("{}?queue={queue}", rabbit.url()),
            Self::Webhook(address) => {
                format!("webhook://{address}/hook?provider=github&secret-env=RELAY_TEST_SECRET")
            }
        }
    }

    /// The relays that can run side by side.
    pub(crate) fn relays(&self) -> usize {
        if matches!(self, Self::Webhook(_)) { 1 } else { 2 }
    }

    pub(crate) fn environment() -> (&'static str, &'static str) {
        ("RELAY_TEST_SECRET", SECRET)
    }

    /// Publishes all deliveries over some seconds.
    pub(crate) async fn publish_slowly(&self) {
        let all: Vec<_> = (0..MESSAGES).map(id_of_delivery).collect();
        for slice in all.chunks(MESSAGES / SECONDS) {
            self.publish(slice).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    pub(crate) async fn publish(&self, ids: &[String]) {
        match self {
            Self::Kafka(kafka, topic) => {
                let (brokers, topic, ids) = (kafka.brokers().to_owned(), topic.clone(), ids.to_vec());
                let publishing = move || {
                    let records = ids
                        .iter()
                        .zip(0..)
                        .map(|(id, n)| (n % PARTITIONS, id.as_str(), Some(id.as_str()), "{}"));
                    ackonce_tests::kafka::publish(&brokers, &topic, records);
                };
                tokio::task::spawn_blocking(publishing).await.unwrap();
            }
            Self::Rabbit(rabbit, queue) => {
                let all = ids.iter().map(|id| (id.as_str(), "{}"));
                rabbit.connect().await.publish_all(queue, all).await;
            }
            Self::Webhook(address) => {
                let sending = ids.iter().map(|id| {
                    let (address, id) = (address.clone(), id.clone());
                    tokio::task::spawn_blocking(move || send_until_taken(&address, &id))
                });
                for sent in sending.collect::<Vec<_>>() {
                    sent.await.unwrap();
                }
            }
        }
    }

    /// True if everything is acknowledged.
    pub(crate) async fn is_through(&self, messages: usize) -> bool {
        match self {
            Self::Kafka(kafka, topic) => {
                let committed = (0..PARTITIONS).filter_map(|p| kafka.committed(topic, topic, p)).sum::<i64>();
                committed == i64::try_from(messages).unwrap()
            }
            Self::Rabbit(rabbit, queue) => rabbit.messages(queue).await == Some((0, 0)),
            // Its sender was answered.
            Self::Webhook(_) => true,
        }
    }

    pub(crate) fn messages() -> usize {
        MESSAGES
    }

    /// The message IDs of a run.
    pub(crate) fn ids() -> std::collections::BTreeSet<String> {
        (0..MESSAGES).map(id_of_delivery).collect()
    }
}

/// Every fifth delivery repeats one of the last hundred or so.
fn id_of_delivery(n: usize) -> String {
    match n % 5 {
        4 => format!("m{}", n - 1 - (n * 7919) % n.min(100)),
        _ => format!("m{n}"),
    }
}

/// Sends an event as GitHub does, again and again until it is answered 2xx.
fn send_until_taken(address: &str, id: &str) {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(b"{}");
    let signature = hex::encode(mac.finalize().into_bytes());
    let request = format!(
        "POST /hook HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
         x-github-delivery: {id}\r\nx-hub-signature-256: sha256={signature}\r\ncontent-length: 2\r\n\
         connection: close\r\n\r\n{{}}"
    );
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    while !ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 2")) {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An address of this host that nobody has right now.
pub(crate) fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The program, with a relay's arguments.
pub(crate) fn relay(from: &str, to: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ackonce"));
    command.args([
        "relay",
        "--from",
        from,
        "--to",
        to,
        "--store",
        &format!("sqlite:{}", dir.join("dedup.db").display()),
    ]);
    // A flag of a test goes over them.
    command.env("ACKONCE_LEASE", "1s").env("ACKONCE_BACKOFF", "50ms..500ms");
    let (name, value) = Feed::environment();
    command.env(name, value).env("RUST_LOG", "warn,ackonce=info");
    command
}
