//! A handler of Stripe's events, bare, behind a check by hand and behind the webhook layer; all are sent signed
//! events, each of them new.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ackonce::{MemoryStore, Scope};
use ackonce_webhook::{Stripe, Webhook};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use axum::{Json, Router};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::by_hand::{Seen, verified};
use super::load::Load;
use super::server::serve;
use super::{Options, measure, runtime};

const SECRET: &str = "whsec_bench";

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let server = runtime()?;
    let app = || Router::new().route("/webhook", post(async |Json(_): Json<serde_json::Value>| "ok"));
    let bare = server.block_on(serve(app()))?;
    let by_hand = from_fn_with_state((SECRET, Seen::default()), verified);
    let by_hand = server.block_on(serve(app().layer(by_hand)))?;
    let guarded = server.block_on(async {
        let store = Arc::new(MemoryStore::new());
        let webhook = Webhook::new(Stripe::new([SECRET])?, &Scope::new("bench")?, store);
        serve(app().layer(webhook.layer()?)).await
    })?;
    let servers = vec![
        ("bare route", bare),
        ("behind a check and a set by hand", by_hand),
        ("behind the layer", guarded),
    ];
    measure("Webhook, Stripe's events", options, servers, &Load::new(request, b"ok"))
}

/// Both arms pay for the signing.
fn request(number: u64) -> String {
    let body = format!(
        r#"{{"id":"evt_{number:024}","object":"event","type":"invoice.paid","data":{{"object":{{"id":"in_1","amount":1999}}}}}}"#
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let signature = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())
        .map(|mac| mac.chain_update(format!("{now}.{body}")).finalize().into_bytes())
        .map(hex::encode)
        .unwrap_or_default();
    format!(
        "POST /webhook HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         stripe-signature: t={now},v1={signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
