//! Whose key it is, and for which target.

use ackonce_http::{Options, Principal, Target};
use axum::Router;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::middleware::{Next, from_fn};
use http::Request;
use tower::ServiceExt;

use crate::common::{Answer, Api, post};

/// Sends `POST path` to `host` with this token and the key `k`.
async fn pay(app: &Router, host: &str, path: &str, token: &str) -> Answer {
    let request = Request::post(path).header("host", host).header("idempotency-key", "k");
    let request = request.header("authorization", format!("Bearer {token}")).body(Body::from("{}")).unwrap();
    Answer::of(app.clone().oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn a_token_that_is_renewed_between_two_tries_does_not_charge_twice() {
    #[derive(Clone)]
    struct Account(String);
    // Its tokens are `ACCOUNT.SERIAL`.
    let authenticate = from_fn(async |mut request: Request<Body>, next: Next| {
        let token = request.headers()["authorization"].to_str().unwrap();
        let account = token.trim_start_matches("Bearer ").split('.').next().unwrap().to_owned();
        request.extensions_mut().insert(Account(account));
        next.run(request).await
    });
    let principal = Principal::subject(|account: &Account| account.0.clone());
    let app = Api::numbering_for(principal, Options::default()).app.layer(authenticate);
    assert_eq!(pay(&app, "api", "/payments", "acct_1.a").await.body, "1");
    let renewed = pay(&app, "api", "/payments", "acct_1.b").await;
    assert!(renewed.is_replay() && renewed.body == "1");
    assert_eq!(pay(&app, "api", "/payments", "acct_2.a").await.body, "2", "another's");
}

#[tokio::test]
async fn one_layer_behind_two_hosts_does_not_share_keys_if_it_is_told_of_them() {
    let options = Options::default().with_target(Target::host_and_path());
    let app = Api::numbering(options).app;
    assert_eq!(pay(&app, "us.example", "/pay", "a").await.body, "1");
    assert_eq!(pay(&app, "eu.example", "/pay", "a").await.body, "2");
    assert!(pay(&app, "US.example", "/pay", "a").await.is_replay());

    // One service of several names, which is the default.
    let app = Api::numbering(Options::default()).app;
    assert_eq!(pay(&app, "10.0.0.1:80", "/pay", "a").await.body, "1");
    assert!(pay(&app, "10.0.0.2:80", "/pay", "a").await.is_replay(), "a retry may go to another replica");
}

#[tokio::test]
async fn one_layer_in_two_nests_does_not_share_keys_if_it_files_under_the_path_that_was_sent() {
    let sent = Target::by(|parts| match parts.extensions.get::<OriginalUri>() {
        Some(uri) => uri.path().to_owned(),
        None => parts.uri.path().to_owned(),
    });
    let api = Api::numbering(Options::default().with_target(sent)).app;
    let app = Router::new().nest("/us", api.clone()).nest("/eu", api);
    for repeat in [false, true] {
        for (path, run) in [("/us/pay", "1"), ("/eu/pay", "2")] {
            let answer = pay(&app, "api", path, "a").await;
            assert_eq!((&answer.body[..], answer.is_replay()), (run.as_bytes(), repeat), "{path}");
        }
    }
}

#[tokio::test]
async fn a_target_of_any_text_is_a_key_of_its_own() {
    let targets = ["/p", "/p x", "/p\0", "sha256:/p", "", "é"].map(str::to_owned);
    let long = ["a", "b"].map(|end| "x".repeat(600) + end);
    let options = Options::default()
        .with_target(Target::by(|parts| parts.extensions.get::<String>().cloned().unwrap_or_default()));
    let api = Api::numbering(options);
    for (n, target) in targets.iter().chain(&long).enumerate() {
        for repeat in [false, true] {
            let mut request = post("k").body(Body::empty()).unwrap();
            request.extensions_mut().insert(target.clone());
            let answer = api.send(request).await;
            assert_eq!((answer.is_replay(), answer.body), (repeat, (n + 1).to_string().into()), "{target:?}");
        }
    }
}
