//! Examples as processes: started in a folder of their own, ended by a signal or by -9, and asked over HTTP.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ackonce::store::{Filter, Query, State};
use ackonce_cli::ledger::Table;
use ackonce_cli::stores::StoreUrl;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_testkit::servers::address;
use hmac::{Hmac, KeyInit, Mac};
use rustix::process::{Pid, Signal, kill_process};

/// Starts it there. Killed when dropped: a test that fails leaves nothing behind.
pub(crate) fn start(program: &str, directory: &Path, args: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.args(args).current_dir(directory).stderr(Stdio::piped()).stdout(Stdio::null());
    Process(command.spawn().unwrap())
}

pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it says it listens on; the rest of its output is passed on.
    pub(crate) fn address(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            eprintln!("{line}");
            line.strip_prefix("listening on http://").map(str::to_owned)
        });
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        address.expect("it listens")
    }

    /// SIGTERM: it drains and exits 0.
    pub(crate) fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }

    /// Waits for it to end by itself: its exit code, or the signal that ended it.
    pub(crate) fn ended(mut self) -> Result<i32, i32> {
        let status = self.0.wait().unwrap();
        status.code().ok_or_else(|| status.signal().unwrap())
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn ledger(directory: &Path) -> Vec<LedgerEntry> {
    Ledger::read(directory.join("ledger.jsonl")).unwrap().entries
}

/// An answer over HTTP: its status, its head and its body.
pub(crate) fn get(address: &str, path: &str, accept: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

/// The Redis of `scripts/servers` as a store, with keys of the caller's own; or loudly none.
pub(crate) fn redis(name: &str) -> Option<String> {
    let url = address("ACKONCE_TEST_REDIS")?;
    Some(format!("{url}?prefix={name}-{}&unsafe=downgrade", std::process::id()))
}

/// The PostgreSQL of `scripts/servers` as a store, with records and effects in a schema of the caller's own; or loudly
/// none.
pub(crate) fn postgres(name: &str) -> Option<String> {
    let url = address("ACKONCE_TEST_POSTGRES")?;
    let schema = format!("{name}_{}", std::process::id());
    Some(format!("{url}?tables=create&names=keep&schema={schema}&options=-c%20search_path%3D{schema}"))
}

/// The rows of the table `ledger` in the store's database; none before there is a table.
pub(crate) async fn rows(store: &str) -> Vec<LedgerEntry> {
    let url: StoreUrl = store.parse().unwrap();
    let table = Table::of(&url, &url.open().await.unwrap()).unwrap();
    table.read(0).await.unwrap_or_default()
}

/// The same, for tests that have no runtime.
pub(crate) fn rows_of(store: &str) -> Vec<LedgerEntry> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(rows(store))
}

/// POST, and the status of the answer; `None` if the connection broke.
pub(crate) fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    let mut text = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// The IDs of what is claimed now.
pub(crate) fn claimed(directory: &Path) -> BTreeSet<String> {
    claimed_in(&format!("sqlite:{}", directory.join("ackonce.db").display()))
}

/// The same in any store.
pub(crate) fn claimed_in(store: &str) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let opened = runtime.block_on(store.parse::<StoreUrl>().unwrap().open());
    let Ok(store) = opened else { return BTreeSet::new() };
    let query = Query {
        filter: Filter { state: Some(State::Claimed), ..Filter::default() },
        limit: 100,
        after: None,
    };
    let page = runtime.block_on(store.inspect().list(&query)).unwrap();
    let ids = page.entries.into_iter().filter_map(|entry| entry.id);
    ids.map(|id| String::from_utf8(id.to_vec()).unwrap()).collect()
}
