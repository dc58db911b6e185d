//! The promise, with a network and a process in between.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;

use crate::service::{Service, breaks_off};
use crate::started::Proxy;

fn sqlite(directory: &tempfile::TempDir) -> String {
    format!("sqlite:{}", directory.path().join("dedup.db").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_answer_after_a_kill_too() {
    let (service, directory) = (Service::start().await, tempfile::tempdir().unwrap());
    let store = sqlite(&directory);
    let proxy = Proxy::start(&service.url(), &["--store", &store]);
    assert_eq!(proxy.post("/number", "k").await, (201, "1".to_owned(), false));
    assert_eq!(proxy.post("/number", "k").await, (201, "1".to_owned(), true));
    proxy.signal(Signal::KILL);
    let proxy = Proxy::start(&service.url(), &["--store", &store]);
    assert_eq!(proxy.post("/number", "k").await, (201, "1".to_owned(), true));
    assert_eq!(service.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_midway_leaves_the_key_busy_for_its_lease_and_then_the_policy_decides() {
    for (policy, runs) in [("run-again", 2), ("park", 1)] {
        let (service, directory) = (Service::start().await, tempfile::tempdir().unwrap());
        let store = sqlite(&directory);
        let flags = ["--store", &store, "--lease", "2s", "--on-unknown", policy];
        let proxy = Proxy::start(&service.url(), &flags);
        let url = format!("{}/slow", proxy.url);
        let first =
            tokio::spawn(reqwest::Client::new().post(url).header("idempotency-key", "k").body("{}").send());
        while service.runs() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.signal(Signal::KILL);
        assert!(first.await.unwrap().is_err());
        let proxy = Proxy::start(&service.url(), &flags);
        // Busy, until the lease is over.
        let settled = loop {
            match proxy.post("/slow", "k").await {
                (409, problem, _) if problem.contains("request_in_progress") => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                settled => break settled,
            }
        };
        match policy {
            "park" => assert!(settled.0 == 409 && settled.1.contains("outcome_unknown"), "{settled:?}"),
            _ => {
                assert_eq!(settled, (201, "2".to_owned(), false));
                assert_eq!(proxy.post("/slow", "k").await, (201, "2".to_owned(), true));
            }
        }
        assert_eq!(service.runs(), runs, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_down_is_a_502_and_frees_the_key() {
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(&format!("http://{place}"), &["--policy", "all"]);
    for _ in 0..3 {
        let (status, problem, _) = proxy.post("/number", "k").await;
        assert!(status == 502 && problem.contains("upstream_unreachable"), "{status} {problem}");
    }
    let service = Service::at(place).await;
    assert_eq!(proxy.post("/number", "k").await, (201, "1".to_owned(), false));
    assert_eq!(proxy.post("/number", "k").await, (201, "1".to_owned(), true));
    assert_eq!(service.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_midway_leaves_the_outcome_unknown_and_the_policy_decides() {
    for answer in ["", "HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\nhalf"] {
        for (policy, again) in [("run-again", 2), ("park", 1)] {
            let (upstream, runs) = breaks_off(answer).await;
            let proxy =
                Proxy::start(&format!("http://{upstream}"), &["--on-unknown", policy, "--policy", "all"]);
            let (status, problem, _) = proxy.post("/", "k").await;
            assert!(status >= 500, "{status} {problem}");
            let (status, problem, replayed) = proxy.post("/", "k").await;
            assert!(!replayed, "{problem}");
            if policy == "park" {
                assert!(status == 409 && problem.contains("outcome_unknown"), "{status} {problem}");
            }
            assert_eq!(runs.load(Ordering::SeqCst), again, "{policy} {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_says_which_answers_are_kept() {
    let service = Service::start().await;
    let proxy = Proxy::start(&service.url(), &[]);
    for (run, word) in [("1", "false"), ("2", "False"), ("3", "FALSE"), ("4", "false")] {
        let url = format!("{}/refuse?{word}", proxy.url);
        let answer = reqwest::Client::new().post(url).header("idempotency-key", "a");
        let answer = answer.send().await.unwrap();
        assert!(answer.headers().get("ackonce-replayable").is_none());
        assert_eq!(answer.text().await.unwrap(), run);
    }
    for (run, word) in [("5", "true"), ("6", "True")] {
        let path = format!("/refuse?{word}");
        assert_eq!(proxy.post(&path, word).await, (422, run.to_owned(), false));
        assert_eq!(proxy.post(&path, word).await, (422, run.to_owned(), true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_unknown_length_is_held_back_and_kept_or_passed_on() {
    let service = Service::start().await;
    for (collect, kept) in [("10m", true), ("0s", false)] {
        let proxy = Proxy::start(&service.url(), &["--collect", collect]);
        let before = service.runs();
        assert_eq!(proxy.post("/chunks", "k").await, (200, "now later".to_owned(), false));
        let (status, text, replayed) = proxy.post("/chunks", "k").await;
        match kept {
            true => assert_eq!((status, &*text, replayed), (200, "now later", true)),
            false => assert!(status == 410 && text.contains("response_not_kept"), "{status} {text}"),
        }
        assert_eq!(service.runs(), before + 1);
    }
}

/// Over HTTP/2 requests wait for one connection: the second one begins when the first has given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waited_for_another_ones_connection_was_not_sent() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // Its queue is full, so that further connections hang.
    let upstream = socket.listen(1).unwrap();
    let (address, mut queue) = (upstream.local_addr().unwrap(), Vec::new());
    let connect = || tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address));
    while let Ok(connected) = connect().await {
        queue.push(connected.unwrap());
    }
    let flags = ["--connect-timeout", "1s", "--upstream-timeout", "1500ms", "--on-unknown", "park"];
    let proxy = Proxy::start(&format!("h2c://{address}"), &flags);
    for _ in 0..2 {
        let (a, b, c) = tokio::join!(proxy.post("/", "a"), proxy.post("/", "b"), proxy.post("/", "c"));
        for (status, problem, _) in [a, b, c] {
            assert!(status == 502 && problem.contains("upstream_unreachable"), "{status} {problem}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_in_flight_is_a_409_or_waits() {
    let service = Service::start().await;
    for (flags, second) in [(&["--in-flight", "wait", "--wait", "30s"][..], 201), (&[], 409)] {
        let proxy = Proxy::start(&service.url(), flags);
        let before = service.runs();
        let first = async { proxy.post("/slow", "k").await };
        let repeat = async {
            while service.runs() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            proxy.post("/slow", "k").await
        };
        let (first, repeat) = tokio::join!(first, repeat);
        assert_eq!((first.0, repeat.0), (201, second));
        assert_eq!(service.runs(), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_and_comes_again_gets_the_answer_of_the_one_run() {
    let service = Service::start().await;
    let proxy = Proxy::start(&service.url(), &["--in-flight", "wait", "--wait", "30s"]);
    let url = format!("{}/slow", proxy.url);
    let hasty =
        tokio::spawn(reqwest::Client::new().post(url).header("idempotency-key", "k").body("{}").send());
    while service.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hasty.abort();
    assert_eq!(proxy.post("/slow", "k").await, (201, "1".to_owned(), true));
    assert_eq!(service.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_lets_the_request_under_way_finish() {
    let (service, directory) = (Service::start().await, tempfile::tempdir().unwrap());
    let store = sqlite(&directory);
    let mut proxy = Proxy::start(&service.url(), &["--store", &store]);
    let url = format!("{}/slow", proxy.url);
    let first = reqwest::Client::new().post(url).header("idempotency-key", "k").body("{}").send();
    let first = tokio::spawn(first);
    while service.runs() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.signal(Signal::TERM);
    assert_eq!(first.await.unwrap().unwrap().status(), 201);
    assert_eq!(proxy.wait().code(), Some(0));
    let proxy = Proxy::start(&service.url(), &["--store", &store]);
    assert_eq!(proxy.post("/slow", "k").await, (201, "1".to_owned(), true));
}
