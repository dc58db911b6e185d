//! Several processes on one file, and a disk that fails under one.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Barrier;

use ackonce::store::{Claimed, DeduplicatorExt, Repeat};
use ackonce::{Deduplicator, ErrorKind};
use ackonce_sqlite::SqliteStore;
use common::{HOUR, acquire, complete, is_done, place, request};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Set in the child, which then plays its part in the same test.
const FILE: &str = "ACKONCE_TEST_FILE";

fn child_of(test: &str, shell: &str) -> Command {
    let mut command = Command::new("sh");
    let program = std::env::current_exe().unwrap();
    command.args(["-c", &format!("{shell} exec \"$0\" \"$@\"")]).arg(program);
    command.args(["--exact", test, "--nocapture"]).stdout(Stdio::piped());
    command
}

const KEYS: u32 = 1000;
const OPENERS: usize = 8;
const ROUNDS: usize = 100;

async fn claim_all(file: PathBuf) -> Vec<u32> {
    let store = SqliteStore::open(file).unwrap();
    println!("ready");
    let mut mine = Vec::new();
    for id in 0..KEYS {
        if matches!(store.claim_one(request(id)).await.unwrap(), Claimed::Acquired(_)) {
            mine.push(id);
        }
    }
    mine
}

#[tokio::test]
async fn of_two_processes_one_acquires_each_key() {
    if let Ok(file) = std::env::var(FILE) {
        for id in claim_all(file.into()).await {
            println!("acquired={id}");
        }
        return;
    }
    let place = place();
    let blocker = place.connection();
    drop(place.store());
    // Both wait for this lock with their first claim, so that they meet.
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut children = [(); 2].map(|()| {
        child_of("of_two_processes_one_acquires_each_key", "").env(FILE, &place.file).spawn().unwrap()
    });
    let mut outputs = children.each_mut().map(|child| BufReader::new(child.stdout.take().unwrap()).lines());
    for output in &mut outputs {
        assert!(output.any(|line| line.unwrap() == "ready"), "the child ended early");
    }
    blocker.execute_batch("ROLLBACK").unwrap();
    let mut acquired = Vec::new();
    for (mut child, output) in children.into_iter().zip(outputs) {
        let lines: Vec<_> = output.map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success(), "{lines:?}");
        acquired.extend(lines.iter().filter_map(|line| line.split_once("acquired=")?.1.parse::<u32>().ok()));
    }
    acquired.sort_unstable();
    assert_eq!(acquired, (0..KEYS).collect::<Vec<_>>());
}

/// SQLite waits for no lock while it switches a new file to its log, even with a busy time-out.
#[test]
fn a_new_file_is_opened_by_many_at_once() {
    for _ in 0..ROUNDS {
        let (place, start) = (place(), Barrier::new(OPENERS));
        std::thread::scope(|scope| {
            let open = || {
                start.wait();
                SqliteStore::open(&place.file).unwrap()
            };
            let stores: Vec<_> = (0..OPENERS).map(|_| scope.spawn(open)).collect();
            stores.into_iter().for_each(|store| drop(store.join().unwrap()));
        });
    }
}

/// A limit on the size of files makes a write fail as a broken disk does; the shell ignores the signal that
/// would end the process first.
#[tokio::test]
async fn after_a_failed_write_the_file_is_opened_anew() {
    let Ok(file) = std::env::var(FILE) else {
        let place = place();
        let mut child = child_of("after_a_failed_write_the_file_is_opened_anew", "trap '' XFSZ;");
        let output = child.env(FILE, &place.file).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        return assert!(output.status.success(), "{}", text.concat());
    };
    let store = SqliteStore::open(&file).unwrap();
    let lease = acquire(&store, request("before")).await;
    complete(&store, &lease, HOUR).await;
    // The log must be longer than its index, which is written anew when the file is opened.
    store.claim(&(10_000..10_500).map(request).collect::<Vec<_>>()).await.unwrap();
    let limit = getrlimit(Resource::Fsize);
    let log = std::fs::metadata(format!("{file}-wal")).unwrap().len();
    setrlimit(Resource::Fsize, Rlimit { current: Some(log + 6000), ..limit }).unwrap();
    let big: Vec<_> = (0..2000).map(request).collect();
    for _ in 0..2 {
        let error = store.claim(&big).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Unknown), "{error}");
        assert!(ackonce::chain(&error).to_string().contains("disk"), "{error}");
        assert!(is_done(&store, "before").await, "reading goes on");
    }
    setrlimit(Resource::Fsize, limit).unwrap();
    for answer in store.claim(&big).await.unwrap() {
        assert!(matches!(answer, Claimed::Acquired(lease) if lease.attempt == 1));
    }
    assert!(is_done(&store, "before").await);
}
