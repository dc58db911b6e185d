//! The answers of the console to programs: lists, one record, reasons, and the stream.

use std::sync::Arc;
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_console::snapshot::Snapshot;
use ackonce_console::{Console, ConsoleOptions};
use futures_util::StreamExt as _;
use http::Method;
use serde_json::Value;

use crate::common::{Records, serve, writing};
use crate::refusals::{ask, text};

const LONG: Duration = Duration::from_secs(60);

async fn json(console: &Console, path: &str) -> Value {
    let answer = ask(console, Method::GET, path, &[], "").await;
    let text = text(answer).await;
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
}

async fn over(records: &Records) -> Console {
    Console::start(Arc::new(records.store.clone()), ConsoleOptions::default(), CancellationToken::new())
}

#[tokio::test]
async fn records_are_found_by_filter_and_page_by_page() {
    let records = Records::some().await;
    for n in 0..25 {
        records.buried("mail/send", &format!("m{n}"), "mailbox full").await;
    }
    let console = over(&records).await;
    let of = |path: &'static str| {
        let console = console.clone();
        async move { json(&console, path).await["records"].as_array().unwrap().len() }
    };
    assert_eq!(of("/api/records?state=buried&scope=billing/charge").await, 3);
    assert_eq!(of("/api/records?state=buried&reason=stolen").await, 2);
    assert_eq!(of("/api/records?state=buried&reason=stolen&scope=mail/send").await, 0);
    assert_eq!(of("/api/records?older_than=3600&state=buried").await, 0);
    assert_eq!(of("/api/records?state=claimed").await, 1);

    let (mut found, mut after) = (std::collections::HashSet::new(), String::new());
    loop {
        let page = json(&console, &format!("/api/records?state=buried&reason=full&limit=10{after}")).await;
        let listed = page["records"].as_array().unwrap();
        assert!(listed.len() <= 10);
        found.extend(listed.iter().map(|record| record["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found.len(), 25);

    let reasons = json(&console, "/api/reasons").await;
    let counted: Vec<_> = reasons["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["reason"].as_str().unwrap(), r["records"].as_u64().unwrap()))
        .collect();
    assert_eq!(counted, [("mailbox full", 25), ("the card was stolen", 2), ("unknown currency XXX", 1)]);
    assert_eq!((reasons["looked_at"].as_u64(), reasons["complete"].as_bool()), (Some(28), Some(true)));
}

#[tokio::test]
async fn one_message_is_explained_in_each_state() {
    let records = Records::some().await;
    let console = over(&records).await;
    for (id, state) in [
        ("evt_running", "claimed"),
        ("evt_done", "done"),
        ("evt_waiting", "released"),
        ("evt_buried", "buried"),
        ("hex:6576745f646f6e65", "done"),
    ] {
        let shown = json(&console, &format!("/api/show?scope=billing/charge&id={id}")).await;
        assert_eq!(shown["record"]["state"], state, "{shown}");
        assert!(!shown["sentence"].as_str().unwrap().is_empty());
        assert_eq!(shown["record"]["free_at"].is_u64(), ["claimed", "released"].contains(&state), "{shown}");
    }
    let done = json(&console, "/api/show?scope=billing/charge&id=evt_done").await;
    assert_eq!(done["record"]["outcome"]["text"], "{\"charged\": 1200}");
    let buried = json(&console, "/api/show?scope=billing/charge&id=evt_buried").await;
    assert!(buried["sentence"].as_str().unwrap().contains("the card was stolen"), "{buried}");
    let unknown = json(&console, "/api/show?scope=billing/charge&id=evt_unheard_of").await;
    assert!(unknown["record"].is_null() && !unknown["sentence"].as_str().unwrap().is_empty());
}

/// Reads the stream until a state satisfies the condition.
async fn until(console: &Console, condition: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let answer = ask(console, Method::GET, "/api/live", &[], "").await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body().into_data_stream();
    let mut text = String::new();
    let read = async {
        loop {
            text.push_str(
                std::str::from_utf8(&body.next().await.expect("the stream goes on").unwrap()).unwrap(),
            );
            while let Some((event, rest)) = text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let is_state = event.contains("event: state");
                let state =
                    data.filter(|_| is_state).map(|data| serde_json::from_str::<Snapshot>(data).unwrap());
                if let Some(state) = state.filter(&condition) {
                    return state;
                }
                text = rest.to_owned();
            }
        }
    };
    tokio::time::timeout(LONG, read).await.expect("such a state within a minute")
}

#[tokio::test]
async fn the_stream_tells_the_state_of_the_store() {
    let records = Records::some().await;
    let console = over(&records).await;
    let state = until(&console, |state| state.store.answer.is_some()).await;
    let answer = state.store.answer.unwrap();
    assert_eq!(
        (answer.total.claimed, answer.total.released, answer.total.done, answer.total.buried),
        (1, 1, 2, 3)
    );
    let billing =
        answer.scopes.iter().find(|scope| scope.scope.as_deref() == Some("billing/charge")).unwrap();
    assert_eq!((billing.counts.done, billing.counts.buried), (1, 3));
    assert_eq!((state.running.total, state.running.messages.len()), (1, 1));
    let running = &state.running.messages[0];
    assert_eq!((running.id.as_deref(), running.attempt), (Some("evt_running"), 1));
    assert!(running.lease_ms.unwrap() > 0);
    assert!(!state.writes && state.program.is_none() && state.runners.is_empty());
}

#[tokio::test]
async fn streams_end_with_the_console_so_that_its_server_ends() {
    let records = Records::new();
    let served = serve(Arc::new(records.store.clone()), writing()).await;
    let mut connection = tokio::net::TcpStream::connect(served.address).await.unwrap();
    let request = format!("GET /api/live HTTP/1.1\r\nhost: {}\r\n\r\n", served.address);
    tokio::io::AsyncWriteExt::write_all(&mut connection, request.as_bytes()).await.unwrap();
    let mut first = [0; 64];
    tokio::io::AsyncReadExt::read_exact(&mut connection, &mut first).await.unwrap();
    served.stop.cancel();
    tokio::time::timeout(LONG, served.server).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn pages_beyond_the_limit_are_told_to_come_later() {
    let records = Records::new();
    let console = over(&records).await;
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(ask(&console, Method::GET, "/api/live", &[], "").await);
    }
    let refused = ask(&console, Method::GET, "/api/live", &[], "").await;
    assert_eq!(refused.status(), 503);
    open.pop();
    assert_eq!(ask(&console, Method::GET, "/api/live", &[], "").await.status(), 200);
}
