//! Requests that are not served: each is answered by one sentence, and nothing has changed.

use std::sync::Arc;

use ackonce::store::{Inspect as _, State};
use ackonce::{CancellationToken, Scope};
use ackonce_console::{Console, ConsoleOptions};
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use tower::ServiceExt as _;

use crate::common::{Records, TOKEN, writing};

/// Asks the console with these headers beside `Host: localhost:7070`, which one of them may replace.
pub async fn ask(
    console: &Console,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:7070");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    console.router().oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

pub async fn text(answer: Response<Body>) -> String {
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

const OWN: [(&str, &str); 4] = [
    ("origin", "http://localhost:7070"),
    ("sec-fetch-site", "same-origin"),
    ("content-type", "application/json"),
    ("x-ackonce-console", "1"),
];

/// The headers of the page itself, with some of them replaced; an empty value leaves one out.
fn own_but<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = OWN.iter().copied().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    kept.chain(changed.iter().copied().filter(|(_, value)| !value.is_empty())).collect()
}

/// The body of a change of this record.
async fn change_of(records: &Records, id: &str) -> String {
    let key = Scope::new("billing/charge").unwrap().key(id.to_owned()).unwrap();
    let entry = records.store.look(&key).await.unwrap().unwrap();
    serde_json::json!({
        "scope": "billing/charge", "id": id, "state": entry.record.state.as_str(),
        "fence": entry.record.fence.to_string(), "actor": "ada", "reason": "ticket 4711",
    })
    .to_string()
}

async fn state_of(records: &Records, id: &str) -> Option<State> {
    let key = Scope::new("billing/charge").unwrap().key(id.to_owned()).unwrap();
    records.store.look(&key).await.unwrap().map(|entry| entry.record.state)
}

async fn refused(answer: Response<Body>, status: StatusCode, part: &str) {
    let (got, head) = (answer.status(), answer.headers().clone());
    let text = text(answer).await;
    assert_eq!(got, status, "{text}");
    assert!(text.contains(part), "{part:?} is not in {text}");
    assert!(!text.contains(TOKEN), "{text}");
    assert_eq!(head["x-content-type-options"], "nosniff");
    assert!(head["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert_eq!(head["cache-control"], "no-store");
}

#[tokio::test]
async fn a_change_is_refused_unless_all_is_right() {
    let records = Records::some().await;
    let body = change_of(&records, "evt_buried").await;
    let (store, stop) = (Arc::new(records.store.clone()), CancellationToken::new());
    let reading = Console::start(store.clone(), ConsoleOptions::default(), stop.clone());
    let console = Console::start(store, writing(), stop.clone());
    use StatusCode as S;
    for path in ["/api/redrive", "/api/forget"] {
        let answer = ask(&reading, Method::POST, path, &OWN, body.clone()).await;
        refused(answer, S::FORBIDDEN, "--allow-writes").await;
        for (changed, status, part) in [
            (&[("origin", "http://evil.example")][..], S::FORBIDDEN, "another origin"),
            (&[("origin", "null")], S::FORBIDDEN, "another origin"),
            (&[("origin", "http://localhost:9999")], S::FORBIDDEN, "another origin"),
            (&[("sec-fetch-site", "cross-site")], S::FORBIDDEN, "another origin"),
            (&[("sec-fetch-site", "same-site"), ("origin", "")], S::FORBIDDEN, "another origin"),
            (&[("host", "evil.example"), ("origin", "http://evil.example")], S::FORBIDDEN, "--console-host"),
            (&[("x-ackonce-console", "")], S::FORBIDDEN, "x-ackonce-console"),
            (&[("content-type", "text/plain")], S::UNSUPPORTED_MEDIA_TYPE, "application/json"),
            (&[("content-type", "")], S::UNSUPPORTED_MEDIA_TYPE, "application/json"),
        ] {
            let answer = ask(&console, Method::POST, path, &own_but(changed), body.clone()).await;
            refused(answer, status, part).await;
        }
        for (wrong, status, part) in [
            (body.replace("ticket 4711", " "), S::BAD_REQUEST, "reason"),
            (body.replace("\"ada\"", "\"\""), S::BAD_REQUEST, "actor"),
            (body.replace("ada", "a\\nb"), S::BAD_REQUEST, "control character"),
            (body.replace("buried\"", "burried\""), S::BAD_REQUEST, "state"),
            (body.replace("evt_buried", "hex:0"), S::BAD_REQUEST, "hex:"),
            (body.replace("\"fence\":\"", "\"fence\":\"x"), S::BAD_REQUEST, "fence"),
            (body.replace("\"actor\"", "\"author\""), S::BAD_REQUEST, "author"),
            ("{}".to_owned(), S::BAD_REQUEST, "state"),
            ("no JSON".to_owned(), S::BAD_REQUEST, "body"),
            ("x".repeat(20_000), S::PAYLOAD_TOO_LARGE, "limit"),
        ] {
            let answer = ask(&console, Method::POST, path, &OWN, wrong).await;
            refused(answer, status, part).await;
        }
        refused(ask(&console, Method::GET, path, &[], "").await, S::METHOD_NOT_ALLOWED, "no such method")
            .await;
    }
    assert_eq!(state_of(&records, "evt_buried").await, Some(State::Buried));

    // A record that has changed since it was shown stays as it is.
    let stale = change_of(&records, "evt_buried_2").await;
    let answer = ask(&console, Method::POST, "/api/redrive", &OWN, stale.clone()).await;
    assert!(text(answer).await.contains("\"yes\""));
    let again = ask(&console, Method::POST, "/api/forget", &OWN, stale).await;
    assert!(text(again).await.contains("\"nothing\""));
    assert_eq!(state_of(&records, "evt_buried_2").await, Some(State::Released));
    // A held message is left alone.
    let held = change_of(&records, "evt_running").await;
    let answer = ask(&console, Method::POST, "/api/forget", &OWN, held).await;
    assert!(text(answer).await.contains("\"in-flight\""));

    assert!(text(ask(&console, Method::POST, "/api/forget", &OWN, body).await).await.contains("\"yes\""));
    assert_eq!(state_of(&records, "evt_buried").await, None);
    let key = Scope::new("billing/charge").unwrap().key("evt_buried").unwrap();
    let audit = records.store.audit(&key).await.unwrap();
    let [forgotten] = &audit[..] else { panic!("{audit:?}") };
    assert_eq!((forgotten.actor.as_str(), forgotten.reason.as_str()), ("ada", "ticket 4711"));
    stop.cancel();
}

#[tokio::test]
async fn reading_is_refused_to_other_names_and_origins_and_beyond_its_bounds() {
    let records = Records::some().await;
    let stop = CancellationToken::new();
    let console = Console::start(Arc::new(records.store.clone()), ConsoleOptions::default(), stop.clone());
    use StatusCode as S;
    for (path, headers, status, part) in [
        ("/", &[("host", "evil.example")][..], S::FORBIDDEN, "--console-host"),
        ("/", &[("host", "localhost.evil.example:7070")], S::FORBIDDEN, "--console-host"),
        ("/api/live", &[("host", "192.168.0.7:7070")], S::FORBIDDEN, "--console-host"),
        ("/api/records", &[("sec-fetch-site", "cross-site")], S::FORBIDDEN, "another origin"),
        ("/api/live", &[("origin", "http://evil.example")], S::FORBIDDEN, "another origin"),
        ("/api/records?limit=0", &[], S::BAD_REQUEST, "limit"),
        ("/api/records?limit=100000", &[], S::BAD_REQUEST, "limit"),
        ("/api/records?state=dead", &[], S::BAD_REQUEST, "state"),
        ("/api/records?after=xyz", &[], S::BAD_REQUEST, "after"),
        ("/api/records?after=00", &[], S::BAD_REQUEST, "store"),
        ("/api/records?older_than=-1", &[], S::BAD_REQUEST, "older_than"),
        ("/api/records?colour=red", &[], S::BAD_REQUEST, "colour"),
        ("/api/show?scope=s", &[], S::BAD_REQUEST, "id"),
        ("/api/show?scope=&id=x", &[], S::BAD_REQUEST, "scope name is empty"),
        ("/api/show?scope=s&id=", &[], S::BAD_REQUEST, "message ID is empty"),
        ("/api/show?scope=s&id=hex:zz", &[], S::BAD_REQUEST, "hex:"),
        ("/api/nothing", &[], S::NOT_FOUND, "no such answer"),
        ("/../etc/passwd", &[], S::NOT_FOUND, "no such page"),
        ("/index.html", &[], S::NOT_FOUND, "no such page"),
    ] {
        refused(ask(&console, Method::GET, path, headers, "").await, status, part).await;
    }
    // A link of another site may lead to the page, and to nothing else.
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(ask(&console, Method::GET, "/", &link, "").await.status(), S::OK);
    refused(ask(&console, Method::OPTIONS, "/api/redrive", &[], "").await, S::METHOD_NOT_ALLOWED, "method")
        .await;
    for host in ["127.0.0.1", "[::1]:7070", "LOCALHOST:1"] {
        assert_eq!(ask(&console, Method::GET, "/", &[("host", host)], "").await.status(), S::OK, "{host}");
    }
    stop.cancel();
}

#[tokio::test]
async fn without_the_token_nothing_is_shown() {
    let records = Records::some().await;
    let (store, stop) = (Arc::new(records.store.clone()), CancellationToken::new());
    let mut options = writing();
    options.token = Some(TOKEN.parse().unwrap());
    let console = Console::start(store.clone(), options.clone(), stop.clone());
    use StatusCode as S;
    let body = change_of(&records, "evt_buried").await;
    let right = format!("Bearer {TOKEN}");
    for wrong in ["", "Bearer wrong-horse-battery-staple", "Basic Y29ycmVjdA==", TOKEN, "Bearer"] {
        let headers = own_but(&[("authorization", wrong)]);
        for path in ["/api/live", "/api/records", "/api/reasons", "/api/show?scope=s&id=x", "/api/nothing"] {
            refused(ask(&console, Method::GET, path, &headers, "").await, S::UNAUTHORIZED, "token").await;
        }
        refused(
            ask(&console, Method::POST, "/api/redrive", &headers, body.clone()).await,
            S::UNAUTHORIZED,
            "token",
        )
        .await;
    }
    // In place of the page stands the form.
    let form = ask(&console, Method::GET, "/", &[], "").await;
    assert_eq!(form.status(), S::UNAUTHORIZED);
    assert!(text(form).await.contains("<form method=\"post\" action=\"login\">"));

    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://localhost:7070")];
    let wrong = ask(&console, Method::POST, "/login", &form, "token=guess-guess-guess-guess").await;
    assert_eq!(wrong.status(), S::UNAUTHORIZED);
    assert!(wrong.headers().get("set-cookie").is_none());
    let foreign = [form[0], ("origin", "http://evil.example")];
    let entry = format!("token={TOKEN}");
    let refusal = ask(&console, Method::POST, "/login", &foreign, entry.clone()).await;
    refused(refusal, S::FORBIDDEN, "another origin").await;
    let entered = ask(&console, Method::POST, "/login", &form, entry).await;
    assert_eq!(entered.status(), S::SEE_OTHER);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    for allowed in [("cookie", session), ("authorization", right.as_str())] {
        // With a token any name will do: no other site has the cookie.
        for host in [("host", "localhost:7070"), ("host", "ops.example.com")] {
            let answer = ask(&console, Method::GET, "/api/records", &[allowed, host], "").await;
            assert_eq!(answer.status(), S::OK, "{allowed:?} {host:?}");
        }
    }
    let (name, _) = session.split_once('=').unwrap();
    let forged = format!("{name}={}", "0".repeat(64));
    let answer = ask(&console, Method::GET, "/api/records", &[("cookie", &forged)], "").await;
    refused(answer, S::UNAUTHORIZED, "token").await;

    // Unless names are listed.
    options.hosts = vec!["ops.example.com".to_owned()];
    let listed = Console::start(store, options, stop.clone());
    let known = [("authorization", right.as_str()), ("host", "OPS.example.com:443")];
    assert_eq!(ask(&listed, Method::GET, "/api/records", &known, "").await.status(), S::OK);
    let other = [known[0], ("host", "evil.example")];
    refused(ask(&listed, Method::GET, "/api/records", &other, "").await, S::FORBIDDEN, "--console-host")
        .await;
    stop.cancel();
}
