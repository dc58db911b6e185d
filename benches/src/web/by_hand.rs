//! The check by hand in front of a route: a map under a lock that forgets nothing. It has no lease, no fence and no
//! window; a handler that panics or whose client hangs up leaves its key taken for good.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use ackonce_http::IDEMPOTENCY_KEY;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::response::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The longest body that is read, in bytes.
const LONGEST: usize = 1 << 20;

type Sha = [u8; 32];
/// The digest of its payload, and the answer once there is one.
type Kept = (Sha, Option<(Parts, axum::body::Bytes)>);

/// Answers by key.
pub(super) type Answers = Arc<Mutex<HashMap<Sha, Kept>>>;
/// Event IDs that were seen.
pub(super) type Seen = Arc<Mutex<HashSet<String>>>;

pub(super) async fn idempotent(
    State(answers): State<Answers>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).map(HeaderValue::as_bytes);
    let key = header(IDEMPOTENCY_KEY).ok_or(StatusCode::BAD_REQUEST)?;
    let principal = header(AUTHORIZATION).ok_or(StatusCode::UNAUTHORIZED)?;
    let parts = [principal, head.method.as_str().as_bytes(), head.uri.path().as_bytes(), key];
    let key: Sha = parts
        .iter()
        .fold(Sha256::new(), |sha, part| sha.chain_update(part.len().to_be_bytes()).chain_update(part))
        .finalize()
        .into();
    let body = to_bytes(body, LONGEST).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let payload: Sha = Sha256::digest(&body).into();
    match answers.lock().unwrap_or_else(PoisonError::into_inner).entry(key) {
        Entry::Vacant(vacant) => drop(vacant.insert((payload, None))),
        Entry::Occupied(taken) => {
            let (was, answer) = taken.get();
            return match answer {
                _ if *was != payload => Err(StatusCode::UNPROCESSABLE_ENTITY),
                None => Err(StatusCode::CONFLICT),
                Some((head, body)) => Ok(Response::from_parts(head.clone(), body.clone().into())),
            };
        }
    }
    let (head, body) = next.run(Request::from_parts(head, body.into())).await.into_parts();
    let body = to_bytes(body, LONGEST).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let kept = (payload, Some((head.clone(), body.clone())));
    answers.lock().unwrap_or_else(PoisonError::into_inner).insert(key, kept);
    Ok(Response::from_parts(head, body.into()))
}

#[derive(serde::Deserialize)]
struct Event {
    id: String,
}

/// Stripe's scheme, as its documentation has it.
pub(super) async fn verified(
    State((secret, seen)): State<(&'static str, Seen)>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, LONGEST).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let signature = head.headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let (time, signature) = signature
        .and_then(|value| value.strip_prefix("t=")?.split_once(",v1="))
        .and_then(|(time, signature)| Some((time, hex::decode(signature).ok()?)))
        .ok_or(StatusCode::BAD_REQUEST)?;
    Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?
        .chain_update(time)
        .chain_update(".")
        .chain_update(&body)
        .verify_slice(&signature)
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    let Event { id } = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if !seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
        return Ok("seen".into_response());
    }
    Ok(next.run(Request::from_parts(head, Body::from(body))).await)
}
