//! Each program, as printed: everything is sent twice, and takes effect once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use hmac::{Hmac, KeyInit, Mac};
use tempfile::TempDir;

/// A program in a folder of its own, and the lines that it has printed.
struct Program {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Program {
    fn start(program: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.current_dir(folder.path()).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = Arc::<Mutex<Vec<String>>>::default();
        let (lines, output) = (printed.clone(), child.stdout.take().unwrap());
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| lines.lock().unwrap().push(line));
        });
        Self { child, printed, _folder: folder }
    }

    /// The address that it listens on; the rest of its stderr is passed on.
    fn address(&mut self) -> String {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned));
        thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        address.unwrap()
    }

    fn printed(&self, part: &str) -> usize {
        self.printed.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    /// SIGTERM: it drains and exits 0.
    fn end(mut self) {
        let signal = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(signal.success() && self.child.wait().unwrap().success(), "it ends in good order");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program in the README is this one.
#[test]
fn the_readme_shows_the_program() {
    let program = include_str!("../src/bin/kafka.rs");
    let (_, code) = program.split_once("\n\n").unwrap();
    assert!(
        include_str!("../../../README.md").contains(&format!("```rust,no_run\n{}\n```", code.trim_end()))
    );
}

#[tokio::test]
async fn kafka() {
    let kafka = Kafka::get();
    let topic = kafka.name("minimal");
    kafka.create(&topic, 1).await;
    for _ in 0..2 {
        kafka.publish(&topic, ["a", "b"].map(|id| (0, id, Some(id), id)));
    }
    let program =
        Program::start(env!("CARGO_BIN_EXE_kafka"), &[("BROKERS", kafka.brokers()), ("TOPIC", &topic)]);
    until("all four are committed", || kafka.committed("billing", &topic, 0) == Some(4)).await;
    assert_eq!([program.printed("charged a "), program.printed("charged b ")], [1, 1]);
    program.end();
}

#[tokio::test]
async fn rabbitmq() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("minimal", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    for id in ["a", "b", "a", "b"] {
        admin.publish(&queue, Some(id), id.as_bytes()).await;
    }
    let program =
        Program::start(env!("CARGO_BIN_EXE_rabbitmq"), &[("AMQP_URL", rabbit.url()), ("QUEUE", &queue)]);
    rabbit.until_empty(&queue).await;
    assert_eq!([program.printed("charged a "), program.printed("charged b ")], [1, 1]);
    program.end();
}

#[test]
fn webhook() {
    let variables = [("LISTEN", "127.0.0.1:0"), ("STRIPE_SECRET", "whsec_test")];
    let mut program = Program::start(env!("CARGO_BIN_EXE_webhook"), &variables);
    let address = program.address();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let body = r#"{"id":"evt_1","type":"invoice.paid"}"#;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"whsec_test").unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    let signature = format!("Stripe-Signature: t={now},v1={}", hex::encode(mac.finalize().into_bytes()));
    for settled in ["run", "duplicate"] {
        let answer = post(&address, "/webhooks/stripe", &signature, body);
        assert!(
            answer.starts_with("HTTP/1.1 20") && answer.contains(&format!("ackonce-settled: {settled}")),
            "{answer}"
        );
    }
    assert!(
        post(&address, "/webhooks/stripe", "Stripe-Signature: t=1,v1=00", body).starts_with("HTTP/1.1 401")
    );
    program.end();
}

#[test]
fn http() {
    let mut program = Program::start(env!("CARGO_BIN_EXE_http"), &[("LISTEN", "127.0.0.1:0")]);
    let address = program.address();
    for _ in 0..2 {
        let answer = post(&address, "/payments", "Idempotency-Key: \"8e03978e\"", "12 EUR");
        assert!(answer.starts_with("HTTP/1.1 201") && answer.ends_with("paid 12 EUR\n"), "{answer}");
    }
    program.end();
}

#[tokio::test]
async fn schedule() {
    let program = Program::start(env!("CARGO_BIN_EXE_schedule"), &[("EVERY_SECONDS", "1")]);
    until("two slots have run", || program.printed("report of") >= 2).await;
    let printed = program.printed.lock().unwrap().clone();
    assert_eq!(printed.iter().collect::<std::collections::HashSet<_>>().len(), printed.len(), "{printed:?}");
    program.end();
}

fn post(address: &str, path: &str, header: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
