//! An endpoint on a real socket: axum in front, senders that come twice, at once, slowly, forged.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ackonce::store::{Filter, Inspect, Query, State};
use ackonce::{Context, Failure, Key, MemoryStore, OnMismatch, Scope};
use ackonce_testkit::FaultyStore;
use ackonce_webhook::{
    Adyen, Background, Event, Fingerprints, GitHub, Permanent, Provider, Slack, StandardWebhooks, Stripe,
    Webhook, record_scope,
};
use axum::routing::post;
use axum::{Extension, Router};
use common::server::{serve, settled};
use common::{STANDARD_KEY, Signed, now};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

const SECRET: &str = "whsec_test";
const ADYEN_KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

fn scope() -> Scope {
    Scope::new("test/webhooks").unwrap()
}

/// The scope of Stripe's events.
fn filed(id: &str) -> Key {
    record_scope(&scope(), "stripe", [""; 0]).unwrap().key(id.to_owned()).unwrap()
}

fn webhook(provider: impl Provider, store: &MemoryStore) -> Webhook {
    Webhook::new(provider, &scope(), Arc::new(store.clone()))
}

fn stripe() -> Stripe {
    Stripe::new([SECRET]).unwrap()
}

fn stripe_event(id: &str) -> Signed {
    Signed::stripe_at(SECRET, &now().to_string(), &format!(r#"{{"id":"{id}","type":"invoice.paid"}}"#))
}

async fn records(store: &MemoryStore) -> Vec<State> {
    let page = store.list(&Query { filter: Filter::default(), limit: 100, after: None }).await.unwrap();
    page.entries.into_iter().map(|entry| entry.record.state).collect()
}

/// A handler behind the layer that counts its runs and then does as told.
fn counting(
    runs: &Arc<AtomicU32>,
    answer: impl Fn(u32) -> StatusCode + Clone + Send + Sync + 'static,
) -> axum::routing::MethodRouter {
    let runs = runs.clone();
    post(move |Extension(_): Extension<Event>, Extension(_): Extension<Context>| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer(runs.fetch_add(1, Ordering::SeqCst) + 1)
    })
}

/// A sender that writes all of its body before it reads, as most clients do, is told and finds no broken connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_writes_a_large_body_before_it_reads_gets_its_413() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let layer = webhook(stripe(), &store).layer().unwrap();
    let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
    let body = vec![b'x'; 3 << 20];
    let head = "POST /w HTTP/1.1\r\nhost: test\r\nconnection: close\r\n";
    let whole = [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let start = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len());
    let chunked = [start.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    for request in [whole, chunked] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", answer.escape_ascii());
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_are_one_run_and_no_early_answer() {
    let (store, go) = (MemoryStore::new(), Arc::new(Notify::new()));
    let layer = webhook(stripe(), &store).layer().unwrap();
    let gate = go.clone();
    let handler = post(|| async move {
        gate.notified().await;
        StatusCode::NO_CONTENT
    });
    let server = serve(Router::new().route("/w", handler).layer(layer.clone())).await;
    let event = stripe_event("evt_1");
    let mut answers: FuturesUnordered<_> = (0..50).map(|_| server.post("/w", &event)).collect();
    for _ in 0..49 {
        let answer = answers.next().await.unwrap();
        assert_eq!(answer.status(), 409, "the first one runs: the sender must come again");
        assert!(answer.headers().contains_key("retry-after"));
    }
    go.notify_one();
    let ran = answers.next().await.unwrap();
    assert_eq!((ran.status().as_u16(), settled(&ran)), (204, "run"), "the handler's own answer");
    let again = server.post("/w", &event).await;
    assert_eq!((again.status().as_u16(), settled(&again)), (200, "duplicate"));
    assert_eq!(layer.counts().run, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_wait_answers_all_of_them_with_2xx() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let webhook = webhook(stripe(), &store).with_settings(|s| s.with_busy_timeout(Duration::from_secs(20)));
    let app = Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(webhook.layer().unwrap());
    let server = serve(app).await;
    let event = stripe_event("evt_1");
    let answers = join_all((0..20).map(|_| server.post("/w", &event))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_and_a_panic_are_5xx_and_the_redelivery_runs() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let handler = counting(&runs, |run| match run {
        1 => StatusCode::BAD_GATEWAY,
        2 => StatusCode::IM_A_TEAPOT,
        3 => panic!("on purpose"),
        _ => StatusCode::OK,
    });
    let server =
        serve(Router::new().route("/w", handler).layer(webhook(stripe(), &store).layer().unwrap())).await;
    let event = stripe_event("evt_1");
    for status in [502, 418, 500, 200, 200] {
        assert_eq!(server.post("/w", &event).await.status(), status);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 4);
    assert_eq!(records(&store).await, [State::Done]);
    let record = store.look(&filed("evt_1")).await.unwrap().unwrap().record;
    assert_eq!(record.attempt, 3, "502 says that something else is down, and is not charged");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_never_succeed_is_buried_and_answered_2xx() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let counted = runs.clone();
    let handler = post(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        Extension(Permanent("no such account".into()))
    });
    let server =
        serve(Router::new().route("/w", handler).layer(webhook(stripe(), &store).layer().unwrap())).await;
    let answers =
        [server.post("/w", &stripe_event("evt_1")).await, server.post("/w", &stripe_event("evt_1")).await];
    assert_eq!(answers.each_ref().map(|answer| answer.status().as_u16()), [200, 200]);
    assert_eq!(answers.each_ref().map(settled), ["buried", "duplicate"]);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let record = store.look(&filed("evt_1")).await.unwrap().unwrap().record;
    assert_eq!(record.reason.as_deref(), Some("no such account"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_503_and_the_handler_is_not_called() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let faulty = Arc::new(FaultyStore::scripted(Arc::new(store.clone()), [None; 0]));
    let layer = Webhook::new(stripe(), &scope(), faulty.clone())
        .with_settings(|s| s.with_store_timeout(Duration::from_millis(50)))
        .layer()
        .unwrap();
    let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
    faulty.pause();
    let answer = server.post("/w", &stripe_event("evt_1")).await;
    assert_eq!((answer.status().as_u16(), runs.load(Ordering::SeqCst)), (503, 0));
    assert!(answer.headers().contains_key("retry-after"));
    assert!(!String::from_utf8_lossy(answer.body()).contains("injected"), "nothing a store says is shown");
    faulty.resume();
    assert_eq!(server.post("/w", &stripe_event("evt_1")).await.status(), 200);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_4xx_and_leave_no_record() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let layer = webhook(stripe(), &store).layer().unwrap();
    let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
    let body = r#"{"id":"evt_1"}"#;
    let at = |seconds: u64| Signed::stripe_at(SECRET, &seconds.to_string(), body);
    for (what, request, status) in [
        ("unsigned", Signed::new(&[], body), 401),
        ("forged", Signed::stripe_at("another", &now().to_string(), body), 401),
        ("expired", at(now() - 400), 401),
        ("early", at(now() + 400), 401),
        ("no ID", Signed::stripe_at(SECRET, &now().to_string(), "{}"), 400),
        ("an ID over a kilobyte", stripe_event(&"x".repeat(1025)), 400),
    ] {
        let answer = server.post("/w", &request).await;
        assert_eq!(answer.status(), status, "{what}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{what}");
    }
    // Announced only: it is answered at once.
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /w HTTP/1.1\r\nhost: test\r\ncontent-length: 2097152\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status.escape_ascii().to_string(), "HTTP/1.1 413");

    assert_eq!(records(&store).await, []);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    assert_eq!(server.post("/w", &at(now())).await.status(), 200, "and the honest one is the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_the_same_id_is_met_by_policy() {
    for (policy, status, runs_after) in [(OnMismatch::HandBack, 422, 1), (OnMismatch::Bury, 200, 1)] {
        let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
        let layer = webhook(StandardWebhooks::new([STANDARD_KEY]).unwrap(), &store)
            .with_fingerprints(Fingerprints::Always)
            .with_settings(|s| s.with_on_mismatch(policy))
            .layer()
            .unwrap();
        let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
        let post = |body: &str| {
            let signed = Signed::standard("msg_1", &now().to_string(), body);
            let server = server.clone();
            async move { server.post("/w", &signed).await.status().as_u16() }
        };
        assert_eq!(post("one").await, 200);
        assert_eq!(post("two").await, status);
        assert_eq!(post("one").await, 200);
        assert_eq!(runs.load(Ordering::SeqCst), runs_after);
    }
    // The signature does not cover an ID beside it, so a changed body is noticed by default.
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let layer = webhook(GitHub::new([SECRET]).unwrap(), &store).layer().unwrap();
    let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
    assert_eq!(server.post("/w", &Signed::github(SECRET, "d1", "{}")).await.status(), 200);
    assert_eq!(server.post("/w", &Signed::github(SECRET, "d1", "[]")).await.status(), 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slack_handshake_leaves_no_record() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let layer = webhook(Slack::new([SECRET]).unwrap(), &store).layer().unwrap();
    let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
    let handshake =
        Signed::slack_at(SECRET, &now().to_string(), r#"{"type":"url_verification","challenge":"abc"}"#);
    let answer = server.post("/w", &handshake).await;
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"abc"[..]));
    assert_eq!((records(&store).await.len(), runs.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn adyen_items_take_effect_one_by_one() {
    let key = ADYEN_KEY;
    let (store, failing) = (MemoryStore::new(), Arc::new(AtomicU32::new(1)));
    let (seen, fail) = (Arc::new(std::sync::Mutex::new(Vec::new())), failing.clone());
    let log = seen.clone();
    let handler = post(move |Extension(event): Extension<Event>, body: bytes::Bytes| async move {
        assert_eq!(event.payload(), &body);
        let id = String::from_utf8(event.id().to_vec()).unwrap();
        let failed = id.contains(":p2:") && fail.swap(0, Ordering::SeqCst) == 1;
        log.lock().unwrap().push(id);
        if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    });
    let layer = webhook(Adyen::new([key]).unwrap(), &store).layer().unwrap();
    let server = serve(Router::new().route("/w", handler).layer(layer)).await;
    let request = Signed::adyen(key, &[("p1", "a"), ("p2", "b"), ("p1", "a")]);
    assert_eq!(server.post("/w", &request).await.status(), 500, "one of them failed: all come again");
    let answer = server.post("/w", &request).await;
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"[accepted]"[..]));
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, ["AUTHORISATION:p1:true", "AUTHORISATION:p2:true", "AUTHORISATION:p2:true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_longer_than_the_places_is_settled_whole() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let webhook = webhook(Adyen::new([ADYEN_KEY]).unwrap(), &store).with_settings(|s| s.with_concurrency(2));
    let app = Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(webhook.layer().unwrap());
    let server = serve(app).await;
    let items = [("p1", "a"), ("p2", "b"), ("p3", "c"), ("p4", "d"), ("p5", "e")];
    let answer = server.post("/w", &Signed::adyen(ADYEN_KEY, &items)).await;
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"[accepted]"[..]));
    assert_eq!(runs.load(Ordering::SeqCst), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_hooks_are_scopes_of_their_own() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let layer = webhook(stripe(), &store).layer().unwrap();
    let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
    for account in ["null", r#""acct_1""#, r#""acct_2""#, r#""acct/2""#, r#""acct%2F2""#, r#""acct_1""#] {
        let body = format!(r#"{{"id":"evt_1","account":{account}}}"#);
        let signed = Signed::stripe_at(SECRET, &now().to_string(), &body);
        assert_eq!(server.post("/w", &signed).await.status(), 200);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 5);
    let account = record_scope(&scope(), "stripe", ["acct_1"]).unwrap();
    let key = account.key("evt_1").unwrap();
    assert!(store.look(&key).await.unwrap().is_some(), "an operator can find it");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_senders_do_not_keep_a_good_one_waiting() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let webhook = webhook(stripe(), &store).with_settings(|s| s.with_concurrency(4));
    let app = Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(webhook.layer().unwrap());
    let server = serve(app).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"POST /w HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
        slow.push(stream);
    }
    // Each of them has sent a head and a byte of its body, and none of them takes room from those that verify.
    assert_eq!(server.post("/w", &stripe_event("evt_1")).await.status(), 200);
    for stream in &mut slow {
        stream.write_all(b" ").await.unwrap();
    }
    assert_eq!(server.post("/w", &stripe_event("evt_2")).await.status(), 200);
    assert_eq!((runs.load(Ordering::SeqCst), records(&store).await.len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_up_does_not_stop_the_work() {
    let (store, started, go) = (MemoryStore::new(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, gate) = (started.clone(), go.clone());
    let handler = move |_: Context, _: Event| {
        let (begun, gate) = (begun.clone(), gate.clone());
        async move {
            begun.notify_one();
            gate.notified().await;
            Ok::<(), Failure>(())
        }
    };
    let service = webhook(stripe(), &store).handle(handler).unwrap();
    let server = serve(Router::new().route_service("/w", service.clone())).await;
    let event = stripe_event("evt_1");
    let impatient = tokio::spawn({
        let (server, event) = (server.clone(), event.clone());
        async move { server.post("/w", &event).await }
    });
    started.notified().await;
    impatient.abort();
    assert_eq!(server.post("/w", &event).await.status(), 409);
    go.notify_one();
    assert_eq!(service.drain().await, 0);
    assert_eq!(records(&store).await, [State::Done]);
    assert_eq!(server.post("/w", &event).await.status(), 503, "it is shutting down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_answered_before_the_work_and_refused_without_room() {
    let (store, go) = (MemoryStore::new(), Arc::new(Notify::new()));
    let (gate, done) = (go.clone(), Arc::new(AtomicU32::new(0)));
    let count = done.clone();
    let background = Background::new(1, move |cx: Context, event: Event| {
        let (gate, count) = (gate.clone(), count.clone());
        async move {
            assert_eq!(cx.key().id(), event.id());
            gate.notified().await;
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<(), Failure>(())
        }
    });
    let service = webhook(stripe(), &store).handle(background.clone()).unwrap();
    let server = serve(Router::new().route_service("/w", service)).await;
    assert_eq!(settled(&server.post("/w", &stripe_event("evt_1")).await), "run");
    assert_eq!(settled(&server.post("/w", &stripe_event("evt_1")).await), "duplicate");
    assert_eq!(done.load(Ordering::SeqCst), 0, "answered before the work");
    let refused = server.post("/w", &stripe_event("evt_2")).await;
    assert_eq!(refused.status(), 503, "no room: its sender comes again");
    go.notify_one();
    assert_eq!(background.drain(Duration::from_secs(60)).await, 0);
    assert_eq!(settled(&server.post("/w", &stripe_event("evt_2")).await), "run");
    go.notify_one();
    assert_eq!(background.drain(Duration::from_secs(60)).await, 0);
    assert_eq!(done.load(Ordering::SeqCst), 2);
}

/// A worker that is gone: its claim is live and nobody renews it.
async fn claim_of_a_dead_worker(store: &MemoryStore, id: &str, lease: Duration) {
    use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Token};
    let request = ClaimRequest {
        key: filed(id),
        token: Token::random(),
        lease,
        window: Duration::from_secs(3600),
        fingerprint: None,
    };
    assert!(matches!(store.claim_one(request).await.unwrap(), Claimed::Acquired(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_holds_is_409_until_its_lease_ends_and_then_runs_once() {
    let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
    let layer = webhook(stripe(), &store).layer().unwrap();
    let server = serve(Router::new().route("/w", counting(&runs, |_| StatusCode::OK)).layer(layer)).await;
    claim_of_a_dead_worker(&store, "evt_1", Duration::from_millis(400)).await;
    let mut refused = 0;
    loop {
        let answer = server.post("/w", &stripe_event("evt_1")).await;
        match answer.status().as_u16() {
            200 => break assert_eq!(settled(&answer), "run"),
            status => assert_eq!(status, 409),
        }
        refused += 1;
    }
    assert!(refused > 0);
    assert_eq!(settled(&server.post("/w", &stripe_event("evt_1")).await), "duplicate");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// An error that came by `?` answers by its kind, as the settings know it.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_type_that_is_known_to_the_settings_is_answered_by_its_kind() {
    let store = MemoryStore::new();
    let handler = |_: Context, event: Event| async move {
        match &event.id()[..] {
            b"evt_down" => Err(std::io::Error::other("the ledger is away"))?,
            b"evt_bad" => Err(std::fmt::Error)?,
            _ => Ok(()),
        }
    };
    let service = webhook(stripe(), &store)
        .with_settings(|s| {
            s.with_failure_kind(|_: &std::io::Error| ackonce::FailureKind::Infrastructure)
                .with_failure_kind(|_: &std::fmt::Error| ackonce::FailureKind::Permanent)
        })
        .handle(handler)
        .unwrap();
    let server = serve(Router::new().route_service("/w", service)).await;
    for (id, status) in [("evt_down", 503), ("evt_bad", 200), ("evt_fine", 200), ("evt_down", 503)] {
        assert_eq!(server.post("/w", &stripe_event(id)).await.status(), status, "{id}");
    }
    let record = store.look(&filed("evt_bad")).await.unwrap().unwrap().record;
    assert_eq!(record.state, State::Buried);
}
