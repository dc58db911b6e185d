//! The page, the form that asks for the token, and the headers of every answer.

use std::sync::{Arc, LazyLock};

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{StatusCode, Uri};
use serde::Deserialize;

use crate::problem::Problem;
use crate::shared::Shared;

/// The whole console: one file with its styles and its script.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let page = include_str!("console.html");
    page.replace("{{style}}", include_str!("console.css")).replace("{{script}}", include_str!("console.js"))
});
/// Asks for the token.
const LOGIN: &str = include_str!("login.html");
/// Stands in the pages for a number that only this answer has: a script without it does not run.
const NONCE: &str = "{{nonce}}";

/// Headers of every answer.
const ALWAYS: [(HeaderName, HeaderValue); 6] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Not `no-referrer`, with which a browser says nothing about the origin of a form either.
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

pub(crate) async fn page(State(shared): State<Arc<Shared>>) -> Response {
    let logs_out = if shared.access.has_token() { "" } else { "hidden" };
    html(&PAGE.replace("{{log-out}}", logs_out))
}

/// Who asks without the token gets the form for it, in place of the page.
pub(crate) fn login(wrong: bool) -> Response {
    let sentence = if wrong { "That is not the token." } else { "" };
    let mut answer = html(&LOGIN.replace("{{sentence}}", sentence));
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    answer
}

#[derive(Debug, Deserialize)]
pub(crate) struct Token {
    token: String,
}

pub(crate) async fn log_in(
    State(shared): State<Arc<Shared>>,
    form: Result<Form<Token>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(Token { token }) = form.map_err(|e| Problem::new(e.status(), e.body_text()))?;
    Ok(match shared.access.log_in(&token).await {
        Some(cookie) => with_cookie(&cookie),
        None => login(true),
    })
}

pub(crate) async fn log_out(State(shared): State<Arc<Shared>>) -> Response {
    match shared.access.log_out() {
        Some(cookie) => with_cookie(&cookie),
        None => Redirect::to("./").into_response(),
    }
}

/// Back to the page.
fn with_cookie(cookie: &str) -> Response {
    let mut answer = Redirect::to("./").into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}

pub(crate) async fn nothing_there(uri: Uri) -> Problem {
    // Not the path itself: it is not ours.
    let sentence = match uri.path().starts_with("/api/") {
        true => "the console has no such answer",
        false => "the console has no such page; its page is at ./",
    };
    Problem::new(StatusCode::NOT_FOUND, sentence)
}

pub(crate) async fn other_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the console takes no such method here")
}

/// Sets the headers of every answer; a page has set its own policy.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.extend(ALWAYS.clone());
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    answer
}

fn html(page: &str) -> Response {
    let nonce = hex::encode(rand::random::<[u8; 16]>());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut answer = Html(page.replace(NONCE, &nonce)).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}
