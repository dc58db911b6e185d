//! Scopes that endpoints share, sizes, and memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use ackonce::{Context, Failure, MemoryStore, Scope};
use ackonce_webhook::{
    Adyen, ConfigError, Event, GitHub, Limits, Paddle, Provider, Shopify, Slack, Square, StandardWebhooks,
    Stripe, Twilio, Webhook, WebhookService,
};
use bytes::Bytes;
use common::{STANDARD_KEY, Signed, hmac_sha256, now};
use futures_util::future::join_all;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};

const SECRET: &str = "whsec_test";

fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

/// An endpoint that counts its runs.
fn counting(webhook: Webhook, runs: &Arc<AtomicU32>) -> WebhookService {
    let runs = runs.clone();
    let handler = move |_: Context, _: Event| {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Ok::<(), Failure>(()) }
    };
    webhook.handle(handler).unwrap()
}

async fn send(service: &WebhookService, signed: &Signed) -> Response<Bytes> {
    let mut request = Request::post(signed.uri.clone());
    *request.headers_mut().unwrap() = signed.headers.clone();
    let request = request.body(Full::new(signed.body.clone())).unwrap();
    let (head, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn settled(answer: &Response<Bytes>) -> &str {
    answer.headers()["ackonce-settled"].to_str().unwrap()
}

fn stripe_event(body: &str) -> Signed {
    Signed::stripe_at(SECRET, &now().to_string(), body)
}

#[tokio::test]
async fn an_account_and_a_scope_of_its_name_share_no_record() {
    let (store, runs) = (Arc::new(MemoryStore::new()), Arc::new(AtomicU32::new(0)));
    let stripe = || Stripe::new([SECRET]).unwrap();
    let all = counting(Webhook::new(stripe(), &scope("billing/stripe"), store.clone()), &runs);
    let other = counting(Webhook::new(stripe(), &scope("billing/stripe/acct_1"), store.clone()), &runs);
    let of_account = stripe_event(r#"{"id":"evt_1","account":"acct_1"}"#);
    let of_nobody = stripe_event(r#"{"id":"evt_1"}"#);
    assert_eq!(settled(&send(&all, &of_account).await), "run");
    assert_eq!(settled(&send(&other, &of_nobody).await), "run");
    assert_eq!(settled(&send(&all, &of_nobody).await), "run");
    assert_eq!(settled(&send(&all, &of_account).await), "duplicate");
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn two_providers_under_one_scope_share_no_ids() {
    let (store, runs) = (Arc::new(MemoryStore::new()), Arc::new(AtomicU32::new(0)));
    let stripe = Webhook::new(Stripe::new([SECRET]).unwrap(), &scope("hooks"), store.clone());
    let github = Webhook::new(GitHub::new([SECRET]).unwrap(), &scope("hooks"), store.clone());
    let (stripe, github) = (counting(stripe, &runs), counting(github, &runs));
    assert_eq!(settled(&send(&stripe, &stripe_event(r#"{"id":"x1"}"#)).await), "run");
    assert_eq!(settled(&send(&github, &Signed::github(SECRET, "x1", "{}")).await), "run");
    assert_eq!(settled(&send(&github, &Signed::github(SECRET, "x1", "{}")).await), "duplicate");
}

#[tokio::test]
async fn an_account_too_long_for_a_scope_is_400() {
    let runs = Arc::new(AtomicU32::new(0));
    let webhook = Webhook::new(Stripe::new([SECRET]).unwrap(), &scope("hooks"), Arc::new(MemoryStore::new()));
    let service = counting(webhook, &runs);
    let event = stripe_event(&format!(r#"{{"id":"evt_1","account":"{}"}}"#, "a".repeat(300)));
    assert_eq!(send(&service, &event).await.status(), 400);
}

#[test]
fn the_size_of_a_body_is_one_of_the_providers_terms() {
    const MIB: usize = 1 << 20;
    for (provider, mib) in [
        (&GitHub::new([SECRET]).unwrap() as &dyn Provider, 25),
        (&Shopify::new([SECRET]).unwrap(), 16),
        (&Twilio::new([SECRET], "https://h").unwrap(), 4),
        (&Stripe::new([SECRET]).unwrap(), 1),
        (&StandardWebhooks::new([STANDARD_KEY]).unwrap(), 1),
        (&Slack::new([SECRET]).unwrap(), 1),
        (&Square::new([SECRET], "https://h").unwrap(), 1),
        (&Paddle::new([SECRET]).unwrap(), 1),
        (&Adyen::new(["00ff"]).unwrap(), 1),
    ] {
        assert_eq!(provider.terms().max_body, mib * MIB, "{}", provider.name());
    }
}

#[tokio::test]
async fn a_push_of_github_over_a_mebibyte_is_taken() {
    let runs = Arc::new(AtomicU32::new(0));
    let webhook = || Webhook::new(GitHub::new([SECRET]).unwrap(), &scope("s"), Arc::new(MemoryStore::new()));
    let service = counting(webhook(), &runs);
    for (delivery, mib, status) in [("d1", 2, 200), ("d2", 24, 200), ("d3", 26, 413)] {
        let push = Signed::github(SECRET, delivery, &" ".repeat(mib << 20));
        assert_eq!(send(&service, &push).await.status(), status, "{mib} MiB");
    }
    let small = Limits { max_len: 10, ..Limits::default() };
    let service = counting(webhook().with_limits(small), &runs);
    assert_eq!(send(&service, &Signed::github(SECRET, "d4", "more than ten")).await.status(), 413);
}

/// The source of a body's length.
#[derive(Clone, Copy, PartialEq)]
enum Length {
    Body,
    /// The header alone: a layer before has wrapped the body.
    Header,
    Nobody,
}

/// A body in frames, which notes how many of its bytes are held until it is dropped with its request.
struct Upload {
    frames: VecDeque<Bytes>,
    announced: bool,
    held: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = self.frames.pop_front() else { return Poll::Ready(None) };
        let held = self.held.fetch_add(frame.len(), Ordering::SeqCst) + frame.len();
        self.most.fetch_max(held, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.announced {
            true => SizeHint::with_exact(self.frames.iter().map(|frame| frame.len() as u64).sum()),
            false => SizeHint::new(),
        }
    }
}

/// Sends that many uploads of a MiB at once; how many were run, refused with 503, and the most bytes that were held.
async fn uploads(webhook: Webhook, count: usize, length: Length, run: Duration) -> (usize, usize, usize) {
    let held = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let given_back = held.clone();
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let given_back = given_back.clone();
        async move {
            tokio::time::sleep(run).await;
            // From here on, the layer gives back the memory it holds for this event.
            given_back.fetch_sub(1 << 20, Ordering::SeqCst);
            drop(request);
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let service = webhook.layer().unwrap().layer(service);
    let body = "x".repeat(1 << 20);
    let all = (0..count).map(|n| {
        let signed = Signed::github(SECRET, &format!("d{n}"), &body);
        let chunk = |at: usize| signed.body.slice(at << 13..(at + 1) << 13);
        let frames = (0..128).map(chunk).collect();
        let upload =
            Upload { frames, announced: length == Length::Body, held: held.clone(), most: most.clone() };
        let mut request = Request::post("/");
        *request.headers_mut().unwrap() = signed.headers.clone();
        if length == Length::Header {
            request = request.header("content-length", signed.body.len());
        }
        let request = request.body(upload).unwrap();
        let service = service.clone();
        tokio::spawn(async move { service.oneshot(request).await.unwrap().status() })
    });
    let statuses: Vec<StatusCode> =
        join_all(all.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    (count(StatusCode::OK), count(StatusCode::SERVICE_UNAVAILABLE), most.load(Ordering::SeqCst))
}

fn uploaded(budget: usize) -> Webhook {
    let github = GitHub::new([SECRET]).unwrap();
    Webhook::new(github, &scope("s"), Arc::new(MemoryStore::new()))
        .with_limits(Limits { timeout: Duration::from_secs(600), ..Limits::default() })
        .with_body_budget(budget)
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_uploads_take_what_the_budget_says() {
    for length in [Length::Body, Length::Header, Length::Nobody] {
        let webhook = uploaded(8 << 20).with_settings(|s| s.with_store_timeout(Duration::from_secs(300)));
        let (run, refused, most) = uploads(webhook, 400, length, Duration::from_millis(1)).await;
        assert_eq!((run, refused), (400, 0), "each has its turn");
        // Besides the budget, each may have had three frames of 8 KiB.
        let bound = (8 << 20) + 400 * 3 * (8 << 10);
        assert!(most <= bound, "{most} of {bound} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_room_is_503_and_small_ones_pass() {
    let runs = Arc::new(AtomicU32::new(0));
    for (length, at_once) in [(Length::Body, 4), (Length::Header, 4), (Length::Nobody, 1)] {
        let webhook = uploaded(4 << 20)
            .with_limits(Limits { max_len: 4 << 20, ..Limits::default() })
            .with_settings(|s| s.with_store_timeout(Duration::from_secs(1)));
        let (run, refused, _) = uploads(webhook, 10, length, Duration::from_secs(100)).await;
        assert_eq!((run, refused), (at_once, 10 - at_once), "they fill it for longer than the others wait");
    }

    // Strangers who send half of a large body, and no more.
    let service =
        counting(uploaded(1 << 20).with_settings(|s| s.with_store_timeout(Duration::from_secs(1))), &runs);
    let stranger = || {
        let chunk =
            stream::iter([Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b'x'; 1 << 19])))]);
        let never = futures_util::StreamExt::chain(chunk, stream::pending());
        let service = service.clone();
        tokio::spawn(async move {
            service.oneshot(Request::post("/").body(http_body_util::StreamBody::new(never)).unwrap()).await
        })
    };
    let strangers: Vec<_> = (0..3).map(|_| stranger()).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let small = Signed::github(SECRET, "small", &" ".repeat(16 << 10));
    assert_eq!(send(&service, &small).await.status(), 200);
    let large = Signed::github(SECRET, "large", &" ".repeat(17 << 10));
    let refused = send(&service, &large).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    strangers.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(send(&service, &large).await.status(), 200, "their room is given back with their connections");
}

#[tokio::test]
async fn a_budget_under_one_body_is_refused_by_name() {
    let refused = uploaded((1 << 20) - 1).layer().unwrap_err();
    assert!(
        matches!(refused, ConfigError::Setting { setting: "Webhook::with_body_budget", .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn another_body_under_the_unsigned_id_of_a_described_provider_is_noticed() {
    use ackonce::{IdSource, MessageIds};
    use ackonce_webhook::{Algorithm, Custom};
    let ids = MessageIds::first_of([IdSource::Header("x-delivery".into())]);
    let custom = Custom::new("c", "x-signature", [SECRET], Algorithm::HmacSha256, ids).unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let service = counting(Webhook::new(custom, &scope("c"), Arc::new(MemoryStore::new())), &runs);
    let delivery = |body: &str| {
        let signature = hex::encode(hmac_sha256(SECRET.as_bytes(), &[body.as_bytes()]));
        Signed::new(&[("x-signature", &signature), ("x-delivery", "d1")], body)
    };
    assert_eq!(send(&service, &delivery("one")).await.status(), 200);
    assert_eq!(send(&service, &delivery("two")).await.status(), 422);
    assert_eq!(send(&service, &delivery("one")).await.status(), 200);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}
