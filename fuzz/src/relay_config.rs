//! Any flags and any file of `ackonce relay`: understood, or refused with the name of a setting.
//!
//! Input: the file, a line `--`, and an argument in each line. Nothing is connected.

use std::io::Write;

use ackonce_cli::layers::{self, Layered, Stop};
use ackonce_cli::relay::{self, RelayArgs};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "ackonce")]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Relay(Box<RelayArgs>),
}

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (settings, arguments) = text.split_once("\n--\n").unwrap_or((&text, ""));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(settings.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = arguments.lines().filter(|line| !line.contains("--config"));
    let all = ["ackonce", "relay", "--config", path].into_iter().chain(arguments);
    let refusal = match layers::parse::<Program>(all) {
        // The text of `--help`.
        Err(Stop::Clap(_)) => return,
        Err(Stop::Refused(refusal)) => refusal,
        Ok(Layered { program: Program { verb: Verb::Relay(args) }, settings }) => {
            match relay::understand(&args, &settings) {
                Ok(_) => return,
                Err(refusal) => refusal,
            }
        }
    };
    let told = refusal.to_string();
    let names = told.contains("--") || told.contains("unexpected argument");
    assert!(names, "{text:?} is refused without the name of a setting: {told}");
    assert!(!told.contains("panicked"), "{told}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let from = "from = 'kafka://h:9092/orders?group=g'\nto = 'http://h:8080/orders'\nstore = 'memory:'\n";
    let amqp = "from = 'amqp://u:p@h:5672/%2f?queue=q'\nto = 'kafka://h:9092/t'\nstore = 'memory:'\n";
    let hook = "from = 'webhook://127.0.0.1:8080/x?provider=stripe&secret-env=PATH'\nto = 'stdout:'\nstore = 'memory:'\n";
    let outbox = "from = 'outbox:sqlite:a.db'\nto = 'kafka://h:9092'\n";
    [
        format!("{from}window = '7d'\nlease = '15s'\nid = ['header:id', 'payload']\n--\n--attempts\n5"),
        format!("{from}retry-topics = 'a=1m,b=10m'\ndead_letter = 'd'\norder = 'key'\n--\n--class\nkeyed"),
        format!("{amqp}backoff = '1s..5m'\nconcurrency = 8\n--\n--order\nnone\n--scope\na/b"),
        format!("{hook}timeout = '1s'\nshutdown-timeout = '2s'\nstart-timeout = '0s'\n--\n--id\njson:/id"),
        format!("{outbox}attempts = 3\n--\n--timeout\n5s\n--concurrency\n4"),
        "\n--\n--from\namqp://h/v?queue=q\n--to\nexec:./a b\n--store\nmemory:\n--class\nleased".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}
