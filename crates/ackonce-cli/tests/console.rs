//! `ackonce console` and `ackonce watch` as a user runs them: beside a store, on `--admin`, in a terminal, and misused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ackonce_console::snapshot::Snapshot;

const LONG: Duration = Duration::from_secs(60);
const TOKEN: &str = "correct-horse-battery-staple";

/// A process that is ended with its test.
struct Running {
    process: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ackonce(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    command
        .args(args)
        .env("RUST_LOG", "warn,ackonce=info")
        .env("RUST_BACKTRACE", "1")
        .env("TEST_TOKEN", TOKEN);
    command
}

/// Starts a program, and waits until it tells the address of its console.
fn start(args: &[&str]) -> Running {
    let mut process = ackonce(args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("the console is at http://") {
                let _ = sender.send(rest.split('/').next().unwrap().to_owned());
            }
        }
    });
    match told.recv_timeout(LONG) {
        Ok(address) => Running { process, address },
        Err(_) => {
            let _ = process.kill();
            panic!("{args:?}: no console")
        }
    }
}

fn get(address: &str, path: &str, more: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// The URL of a new store.
fn store(directory: &tempfile::TempDir) -> String {
    let file = directory.path().join("dedup.db");
    drop(ackonce_sqlite::SqliteStore::open(&file).unwrap());
    format!("sqlite:{}", file.display())
}

fn run(args: &[&str]) -> Output {
    ackonce(args).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_store_has_a_console_that_can_be_watched() {
    let directory = tempfile::tempdir().unwrap();
    let url = store(&directory);
    let console = start(&["console", "--store", &url, "--listen", "127.0.0.1:0"]);
    let page = get(&console.address, "/", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Why was my message skipped?"), "{page}");
    assert!(get(&console.address, "/", "host: evil.example\r\n").starts_with("HTTP/1.1 4"));

    for place in [["--store", &url], ["--admin", &console.address]] {
        let output = run(&["watch", place[0], place[1], "--once", "--json"]);
        assert!(output.status.success(), "{}", told(&output));
        let state: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
        assert!(state.store.name.starts_with("sqlite") && state.store.answer.is_some(), "{state:?}");
        let output = run(&["watch", place[0], place[1], "--once"]);
        assert!(output.status.success() && told(&output).contains("Running now: 0"), "{}", told(&output));
    }

    // It ends at SIGTERM although a page is open.
    let mut open = TcpStream::connect(&console.address).unwrap();
    write!(open, "GET /api/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    open.read_exact(&mut [0; 32]).unwrap();
    let mut console = console;
    let pid = rustix::process::Pid::from_child(&console.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(console.process.wait().unwrap().success());
}

#[test]
fn a_program_has_a_console_on_its_admin_address() {
    let directory = tempfile::tempdir().unwrap();
    let url = store(&directory);
    let proxy = start(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "http://127.0.0.1:1",
        "--principal",
        "none",
        "--store",
        &url,
        "--scope",
        "shop",
        "--admin",
        "127.0.0.1:0",
        "--console-token",
        "env:TEST_TOKEN",
    ]);
    assert!(get(&proxy.address, "/", "").starts_with("HTTP/1.1 401"));
    assert!(get(&proxy.address, "/metrics", "").starts_with("HTTP/1.1 200"));
    assert!(get(&proxy.address, "/readyz", "").contains("scope: shop"));
    let authorization = format!("authorization: Bearer {TOKEN}\r\n");
    assert!(get(&proxy.address, "/", &authorization).starts_with("HTTP/1.1 200"));

    let refused = run(&["watch", "--admin", &proxy.address, "--once"]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains("--console-token"), "{}", told(&refused));
    let output =
        run(&["watch", "--admin", &proxy.address, "--once", "--json", "--console-token", "env:TEST_TOKEN"]);
    let state: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(state.program.unwrap().name, "proxy");
    assert_eq!(state.runners.iter().map(|runner| runner.scope.as_str()).collect::<Vec<_>>(), ["shop"]);
}

/// `script` gives a program a terminal.
#[test]
fn it_is_watched_in_a_terminal_until_q_is_pressed() {
    let directory = tempfile::tempdir().unwrap();
    let command = format!(
        "stty rows 24 cols 80; exec {} watch --store {}",
        env!("CARGO_BIN_EXE_ackonce"),
        store(&directory)
    );
    let mut terminal = Command::new("script")
        .args(["-qefc", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, mut output) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let (sender, screens) = mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut piece) {
            if sender.send(String::from_utf8_lossy(&piece[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    // Words, because a space that was a space before is not drawn again.
    let mut seen = String::new();
    let mut until = |word: &str| {
        let end = Instant::now() + LONG;
        while !seen.contains(word) {
            let left = end.saturating_duration_since(Instant::now());
            seen += &screens.recv_timeout(left).unwrap_or_else(|e| panic!("{word:?}: {e}: {seen:?}"));
        }
    };
    until("Running");
    keys.write_all(b"?").unwrap();
    keys.flush().unwrap();
    until("these");
    keys.write_all(b"q").unwrap();
    keys.flush().unwrap();
    // The terminal is given back.
    until("\u{1b}[?1049l");
    assert!(terminal.wait().unwrap().success());
}

#[test]
fn misuse_is_answered_by_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let url = store(&directory);
    let misspelt = format!("sqlite:{}", directory.path().join("misspelt.db").display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let proxy = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "http://127.0.0.1:1",
        "--principal",
        "none",
        "--store",
        &url,
    ];
    let with = |more: &[&'static str]| [&proxy[..], more].concat();
    for (args, code, parts) in [
        (vec!["console"], 2, &["--store"][..]),
        (vec!["console", "--store", "memory:"], 2, &["--store", "--admin"]),
        (vec!["console", "--store", "mysql://u:s3cret@h"], 2, &["--store", "scheme"]),
        (vec!["console", "--store", "sqlite:/no/such/folder/x.db"], 3, &["--store"]),
        (vec!["console", "--store", &misspelt, "--listen", "127.0.0.1:0"], 3, &["--store", "no file"]),
        (vec!["watch", "--store", &misspelt, "--once"], 3, &["--store", "no file"]),
        (vec!["console", "--store", "redis://u:s3cret@127.0.0.1:1"], 3, &["--store"]),
        (vec!["console", "--store", &url, "--listen", "0.0.0.0:7070"], 2, &["--listen", "--console-token"]),
        (vec!["console", "--store", &url, "--listen", "port"], 2, &["--listen"]),
        (vec!["console", "--store", &url, "--listen", &taken], 3, &["--listen", "choose another port"]),
        (vec!["console", "--store", &url, "--console-token", "s3cret-s3cret-s3cret"], 2, &["env:NAME"]),
        (vec!["console", "--store", &url, "--console-token", "env:NOT_SET"], 3, &["NOT_SET"]),
        (vec!["console", "--store", &url, "--console-host", "http://x"], 2, &["--console-host"]),
        (vec!["console", "--store", &url, "--alow-writes"], 2, &["--alow-writes", "--allow-writes"]),
        (with(&["--allow-writes"]), 2, &["--allow-writes", "--admin"]),
        (with(&["--console-token", "env:TEST_TOKEN"]), 2, &["--console-token", "--admin"]),
        (vec!["watch"], 2, &["--admin", "--store"]),
        (vec!["watch", "--admin", "9090", "--store", &url], 2, &["--admin", "--store"]),
        (vec!["watch", "--admin", "https://s3cret@h:1", "--once"], 2, &["--admin", "http://"]),
        (vec!["watch", "--admin", "127.0.0.1:1", "--once"], 3, &["--admin", "does not answer"]),
        (vec!["watch", "--store", "memory:", "--once"], 2, &["--store", "--admin"]),
        (
            vec!["watch", "--store", &url, "--console-token", "env:TEST_TOKEN"],
            2,
            &["--console-token", "--admin"],
        ),
        (vec!["watch", "--store", &url], 3, &["--once", "--json"]),
    ] {
        let output = run(&args);
        let said = told(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{args:?} lacks {part:?}: {said}");
        }
        for wrong in ["s3cret", "panicked", "backtrace", TOKEN] {
            assert!(!said.contains(wrong), "{args:?}: {said}");
        }
        assert!(said.trim_end().lines().count() <= 2, "{args:?}: {said}");
    }
    assert!(!directory.path().join("misspelt.db").exists(), "a look creates no store");
}
