//! Sinks that honour the idempotency key, as processes: an effect is a file whose name is the message ID and the key, made
//! once or not at all.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Variables of the environment that make a process of the test program a sink.
pub(crate) const HTTP: &str = "RELAY_TEST_HTTP_SINK";
pub(crate) const EXEC: &str = "RELAY_TEST_EXEC_SINK";
/// Set to have programs kill themselves now and then.
pub(crate) const DIES: &str = "RELAY_TEST_EXEC_DIES";
/// Milliseconds that the HTTP sink takes for an answer.
pub(crate) const SLOW: &str = "RELAY_TEST_SLOW_MS";

/// The arguments that make the test program a sink.
const SINK: [&str; 3] = ["sink_process", "--exact", "--nocapture"];

/// A process that serves the HTTP sink at `address`, with its effects in `dir`.
pub(crate) fn http_sink(address: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(SINK).env(HTTP, format!("{address} {}", dir.display()));
    command
}

/// The URL of the program that is a sink.
pub(crate) fn exec_sink() -> String {
    format!("exec:{} {}", std::env::current_exe().unwrap().display(), SINK.join(" "))
}

/// Makes an effect, unless it is there.
fn take_effect(dir: &Path, id: &str, key: &str) {
    let made = OpenOptions::new().write(true).create_new(true).open(dir.join(format!("{id}.{key}")));
    assert!(made.is_ok() || dir.join(format!("{id}.{key}")).exists(), "{made:?}");
}

/// The keys of each message ID that took effect.
pub(crate) fn read(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in std::fs::read_dir(dir).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let (id, key) = name.split_once('.').unwrap();
        all.entry(id.to_owned()).or_default().push(key.to_owned());
    }
    all
}

pub(crate) fn serve(plan: &str) {
    let (address, dir) = plan.split_once(' ').unwrap();
    let slow = std::env::var(SLOW).map_or(0, |ms| ms.parse().unwrap());
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let (stream, dir) = (stream.unwrap(), dir.to_owned());
        std::thread::spawn(move || answer(&stream, Path::new(&dir), Duration::from_millis(slow)));
    }
}

/// Answers requests until the connection ends.
fn answer(stream: &TcpStream, dir: &Path, slow: Duration) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut lines = BufReader::new(stream);
    loop {
        let (mut id, mut key, mut length) = (String::new(), String::new(), 0);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line == "\r\n" {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "ackonce-message-id" => id = value.to_owned(),
                "idempotency-key" => key = value.to_owned(),
                "content-length" => length = value.parse().ok()?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        std::thread::sleep(slow);
        take_effect(dir, &id, &key);
        (&mut (&*stream)).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

pub(crate) fn run(dir: &str) {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).unwrap();
    die_now_and_then();
    let variable = |name| std::env::var(name).unwrap();
    assert!(
        std::env::vars().all(|(name, _)| name != "ACKONCE_STORE"),
        "settings of the relay are not handed on"
    );
    take_effect(Path::new(dir), &variable("ACKONCE_MESSAGE_ID"), &variable("ACKONCE_IDEMPOTENCY_KEY"));
    die_now_and_then();
}

/// One time in sixteen.
fn die_now_and_then() {
    if std::env::var_os(DIES).is_none() {
        return;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    if (now / 1000 + std::process::id()).is_multiple_of(16) {
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
    }
}
