//! The payments API as the README runs it: real processes on one SQLite store, asked over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use rustix::process::{Pid, Signal, kill_process};

/// A running API; killed when dropped.
struct Api {
    child: Child,
    address: String,
}

impl Api {
    fn start(directory: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payments_api"));
        command.args(["--listen", "127.0.0.1:0"]).args(args).current_dir(directory).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("listening on http://").map(str::to_owned)
        });
        // Read on, or it would block on a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Self { child, address: address.unwrap() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn ask(&self, request: &str) -> Answer {
        Answer::read(self.open(request))
    }

    fn pay(&self, key: &str, card: &str) -> Answer {
        self.ask(&payment(key, card))
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, path: &str, key: Option<&str>, body: &str) -> String {
    let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\nauthorization: Bearer sk_1\r\n{key}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn payment(key: &str, card: &str) -> String {
    let body = format!(r#"{{"amount":1999,"currency":"eur","customer":"cus_1","card":"{card}"}}"#);
    request("POST", "/payments", Some(key), &body)
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Self {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {all:?}"));
        let head: String = all[..end].iter().map(|b| char::from(*b)).collect();
        Self { status: head[9..12].parse().unwrap(), head, body: all[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// Its head without what may differ between an answer and its replay.
    fn lasting_head(&self) -> Vec<&str> {
        let differs = ["date: ", "idempotent-replayed: "];
        self.head.lines().filter(|line| !differs.iter().any(|d| line.starts_with(d))).collect()
    }
}

fn ledger(directory: &Path) -> Vec<LedgerEntry> {
    Ledger::read(directory.join("ledger.jsonl")).unwrap().entries
}

fn wait_for_lines(directory: &Path, count: usize) -> Vec<LedgerEntry> {
    let until = Instant::now() + Duration::from_secs(60);
    while ledger(directory).len() < count && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let lines = ledger(directory);
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

#[test]
fn test_cards_answer_as_they_should_and_only_successes_are_kept_by_default() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &[]);
    let first = api.pay("visa", "tok_visa");
    assert_eq!(first.status, 201);
    let paid = first.json();
    assert_eq!((&paid["amount"], &paid["currency"]), (&1999.into(), &"eur".into()));
    assert_eq!(paid["status"], "completed");
    let location = format!("/payments/{}", paid["id"].as_str().unwrap());
    assert!(location.starts_with("/payments/pay_"));
    assert_eq!(first.header("location"), Some(&*location));
    let second = api.pay("\"visa\"", "tok_visa");
    assert!(second.is_replay());
    assert_eq!((second.status, &second.body), (201, &first.body));

    for (card, status) in [("tok_chargeDeclined", 402), ("tok_processing_error", 500), ("tok_panic", 500)] {
        for _ in 0..2 {
            let answer = api.pay(card, card);
            assert_eq!((answer.status, answer.is_replay()), (status, false), "{card}");
        }
    }
    assert_eq!(api.pay("mended", "tok_chargeDeclined").status, 402);
    assert_eq!(api.pay("mended", "tok_visa").status, 201, "another card under the same key");
    assert_eq!(api.ask(&request("GET", &location, None, "")).json(), paid);
    for _ in 0..2 {
        let answer = api.ask(&request("PATCH", &location, Some("amend"), r#"{"amount":5}"#));
        assert_eq!((answer.status, &answer.json()["amount"]), (200, &5.into()));
    }
    assert_eq!(api.ask(&request("POST", "/payments", None, "{}")).json()["error"], "missing_idempotency_key");
    let runs = |id: &str| ledger(directory.path()).iter().filter(|line| line.id == id).count();
    assert_eq!(
        ["visa", "tok_chargeDeclined", "tok_processing_error", "tok_panic", "amend"].map(runs),
        [1, 0, 2, 2, 1]
    );
}

#[test]
fn answers_are_replayed_to_the_byte_on_the_wire_whatever_their_status() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &["--policy", "all", "--store", "memory:"]);
    let scripts = [
        r#"{"status":204}"#,
        r#"{"status":304,"headers":[["etag","\"1\""],["content-length","27"]]}"#,
        r#"{"status":201,"headers":[["x-many","b, a"],["x-many","caf\u00e9\u00ff"],["a","1"]],"text":"h\u00e9llo"}"#,
        r#"{"status":418,"headers":[["content-encoding","gzip"]],"hex":"1f8b08000000000000ff010500faff68656c6c6f86a6103605000000"}"#,
        r#"{"status":503,"hex":"00ff0d0a0d0a"}"#,
        r#"{"status":200,"headers":[["www-authenticate","x"]],"text":""}"#,
    ];
    for (n, script) in scripts.iter().enumerate() {
        let ask = || api.ask(&request("POST", "/simulate", Some(&format!("k{n}")), script));
        let (first, second) = (ask(), ask());
        assert!(!first.is_replay() && second.is_replay(), "{script}");
        assert_eq!((first.status, &first.body), (second.status, &second.body), "{script}");
        assert_eq!(first.lasting_head(), second.lasting_head(), "{script}");
        if [204, 304].contains(&first.status) {
            assert!(first.body.is_empty() && second.body.is_empty());
        }
    }
    assert_eq!(ledger(directory.path()).len(), scripts.len());
}

#[test]
fn a_killed_process_leaves_a_409_until_the_lease_ends_then_the_request_runs_once_more() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--lease-ms", "2000", "--delay-ms", "600000"];
    let mut killed = Api::start(directory.path(), &args);
    let _client = killed.open(&payment("k", "tok_slow"));
    wait_for_lines(directory.path(), 1);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();

    let heir = Api::start(directory.path(), &["--lease-ms", "2000", "--delay-ms", "0"]);
    let busy = heir.pay("k", "tok_slow");
    assert_eq!((busy.status, &busy.json()["error"]), (409, &"request_in_progress".into()));
    assert!(busy.header("retry-after").is_some());
    let answer = loop {
        let answer = heir.pay("k", "tok_slow");
        if answer.status != 409 {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((answer.status, answer.is_replay()), (201, false));
    assert!(heir.pay("k", "tok_slow").is_replay());
    let lines = ledger(directory.path());
    let runs: Vec<_> = lines.iter().map(|line| (line.attempt, line.pid)).collect();
    assert_eq!(runs, [(1, killed.child.id()), (2, heir.child.id())]);
    assert_eq!(lines[0].key, lines[1].key, "the card network would have known it");
}

#[test]
fn a_zombies_late_completion_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let zombie = Api::start(directory.path(), &["--lease-ms", "1000", "--delay-ms", "3000"]);
    let client = zombie.open(&payment("k", "tok_slow"));
    wait_for_lines(directory.path(), 1);
    zombie.signal(Signal::STOP);

    let heir = Api::start(directory.path(), &["--lease-ms", "1000", "--delay-ms", "0"]);
    let answer = loop {
        let answer = heir.pay("k", "tok_slow");
        if answer.status != 409 {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((answer.status, answer.is_replay()), (201, false));
    // It wakes past its lease, and whatever it still does is fenced off.
    zombie.signal(Signal::CONT);
    let late = Answer::read(client);
    assert!(late.status == 201 && late.is_replay() || late.status == 503, "{late:?}");
    let replay = heir.pay("k", "tok_slow");
    assert!(replay.is_replay());
    assert_eq!(replay.body, answer.body);
    assert_eq!(ledger(directory.path()).len(), 2);
}

#[test]
fn a_client_that_hangs_up_and_retries_gets_the_replay_of_the_one_run() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &["--delay-ms", "300", "--in-flight", "wait"]);
    let client = api.open(&payment("k", "tok_slow"));
    wait_for_lines(directory.path(), 1);
    drop(client);
    let retry = api.pay("k", "tok_slow");
    assert_eq!((retry.status, retry.is_replay()), (201, true));
    assert_eq!(ledger(directory.path()).len(), 1);
}

#[test]
fn a_shutdown_waits_for_what_runs_and_records_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut api = Api::start(directory.path(), &["--delay-ms", "500"]);
    let client = api.open(&payment("k", "tok_slow"));
    wait_for_lines(directory.path(), 1);
    drop(client);
    api.signal(Signal::TERM);
    assert_eq!(api.child.wait().unwrap().code(), Some(0));
    let next = Api::start(directory.path(), &[]);
    assert!(next.pay("k", "tok_slow").is_replay());
}

#[test]
fn an_export_arrives_line_by_line_and_its_repeat_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &[]);
    let export = request("POST", "/exports", Some("k"), "");
    let mut lines = BufReader::new(api.open(&export)).lines().map(Result::unwrap);
    lines.find(|line| line == "{\"line\":1}").unwrap();
    // The first line is here, the last is not made yet, and a repeat is told already.
    let repeat = api.ask(&export);
    assert_eq!((repeat.status, &repeat.json()["error"]), (410, &"response_not_kept".into()));
    lines.find(|line| line == "{\"line\":10}").unwrap();
    assert_eq!(api.ask(&export).header("idempotency-replay-unavailable"), Some("streamed"));
    let first = api.ask(&request("POST", "/exports", Some("another"), ""));
    assert_eq!(
        first.header("idempotency-replay-unavailable"),
        Some("streamed"),
        "its first client is told, too"
    );
    assert_eq!(ledger(directory.path()).len(), 2);
}

#[test]
fn the_limit_on_bodies_holds_for_chunked_ones_and_for_lengths_that_lie() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &["--max-body-bytes", "1000", "--store", "memory:"]);
    let head = "POST /payments HTTP/1.1\r\nhost: api\r\nconnection: close\r\nauthorization: Bearer sk_1\r\nidempotency-key: k\r\n";
    let error = |answer: Answer| (answer.status, answer.json()["error"].as_str().unwrap().to_owned());
    // Announced and never sent: refused by its announcement.
    assert_eq!(
        error(api.ask(&format!("{head}content-length: 1001\r\n\r\n"))),
        (413, "body_too_large".into())
    );
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(error(api.ask(&chunked)), (413, "body_too_large".into()));
    // Fewer bytes than announced, then the end: nothing was claimed.
    let stream = api.open(&format!("{head}content-length: 500\r\n\r\nshort"));
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = (&stream).read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&rest));
    assert!(ledger(directory.path()).is_empty());
    assert_eq!(api.pay("k", "tok_visa").status, 201, "and the key is free");
}

#[test]
fn a_broken_or_invalid_request_leaves_no_line_in_the_ledger_and_can_be_mended_under_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &[]);
    let order = |amount: &str, currency: &str| {
        format!(r#"{{"amount":{amount},"currency":"{currency}","customer":"cus_1","card":"tok_visa"}}"#)
    };
    let broken = [
        String::new(),
        "{\"amount\":".into(),
        "[]".into(),
        r#"{"amount":1999}"#.into(),
        order("-1", "eur"),
        order("\"1999\"", "eur"),
        order("19.99", "eur"),
        order("0", "eur"),
        order("1999", ""),
        order("1999", "euro"),
    ];
    for body in &broken {
        let answer = api.ask(&request("POST", "/payments", Some("k"), body));
        assert!((400..500).contains(&answer.status) && answer.status != 409, "{body}: {answer:?}");
    }
    for (method, path, body) in [
        ("PATCH", "/payments/none", r#"{"amount":5}"#),
        ("POST", "/simulate", r#"{"status":99}"#),
        ("POST", "/nowhere", "{}"),
    ] {
        assert!((400..500).contains(&api.ask(&request(method, path, Some("k"), body)).status), "{path}");
    }
    assert_eq!(ledger(directory.path()), []);
    assert_eq!(api.pay("k", "tok_visa").status, 201);
    assert_eq!(ledger(directory.path()).len(), 1);
}

#[test]
fn a_token_that_is_renewed_between_two_tries_does_not_charge_twice() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &[]);
    let pay = |token: &str| api.ask(&payment("k", "tok_visa").replace("Bearer sk_1", token));
    let (first, renewed) = (pay("Bearer acct_1.x81j"), pay("bearer acct_1.p02k"));
    assert_eq!((first.status, first.is_replay()), (201, false));
    assert!(renewed.is_replay());
    assert_eq!(renewed.body, first.body);
    assert!(!pay("Bearer acct_2.x81j").is_replay(), "another account's");
    for nobody in ["Basic acct_1", "Bearer ", "Bearer .x", "Bearer a\r\nauthorization: Bearer b"] {
        let answer = pay(nobody);
        assert_eq!((answer.status, &answer.json()["error"]), (401, &"anonymous_caller".into()), "{nobody:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(ledger(directory.path()).len(), 2);
}

#[test]
fn two_hundred_slow_connections_do_not_keep_a_good_request_from_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::start(directory.path(), &["--store", "memory:"]);
    let slow: Vec<_> = (0..200)
        .map(|n| match n % 2 {
            0 => api.open("POST /payments HTTP/1.1\r\nhost: a"),
            _ => api.open("POST /payments HTTP/1.1\r\nhost: api\r\nauthorization: Bearer sk_1\r\nidempotency-key: k\r\ncontent-length: 100\r\n\r\n{"),
        })
        .collect();
    assert_eq!(api.pay("k", "tok_visa").status, 201);
    // And they are ended, by the time-out for heads or for bodies.
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
    }
}
