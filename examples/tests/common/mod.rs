//! Examples as processes: started in a folder of their own, ended by a signal or by -9, and asked over HTTP.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ackonce::{Inspect, Query, State};
use ackonce_cli::stores::StoreUrl;
use ackonce_testkit::ledger::{Entry, Ledger};
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

pub(crate) fn ledger(directory: &Path) -> Vec<Entry> {
    Ledger::read(directory.join("ledger.jsonl")).unwrap().entries
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
    let url = format!("sqlite:{}", directory.join("ackonce.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Ok(store) = runtime.block_on(url.parse::<StoreUrl>().unwrap().open()) else { return BTreeSet::new() };
    let query = Query { state: Some(State::Claimed), limit: 100, after: None };
    let page = runtime.block_on(store.sqlite().unwrap().list(&query)).unwrap();
    page.entries.into_iter().map(|entry| String::from_utf8(entry.id.unwrap().to_vec()).unwrap()).collect()
}
