//! What the layer costs: signed events a second into a JSON handler on axum, bare and behind the layer with the
//! in-memory store. Keep-alive connections, a new event for every request, both arms interleaved, medians.
//!
//! ```sh
//! cargo bench -p ackonce-webhook --bench overhead
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on should stop")]
#![allow(clippy::cast_precision_loss, clippy::print_stdout, reason = "it prints figures")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ackonce::{MemoryStore, Scope};
use ackonce_webhook::{Stripe, Webhook};
use axum::routing::post;
use axum::{Json, Router};
use hmac::{Hmac, KeyInit, Mac};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 5;
const SECRET: &str = "whsec_bench";

fn main() {
    let seconds = std::env::var("SECONDS_PER_ROUND").ok().and_then(|s| s.parse().ok()).unwrap_or(3.0);
    let length = Duration::from_secs_f64(seconds);
    let server = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let app = || Router::new().route("/webhook", post(async |Json(_): Json<serde_json::Value>| "ok"));
    let bare = server.block_on(serve(app()));
    let guarded = server.block_on(async {
        let scope = Scope::new("bench").unwrap();
        let webhook =
            Webhook::new(Stripe::new([SECRET]).unwrap(), &scope, Arc::new(MemoryStore::new())).layer();
        serve(app().layer(webhook.unwrap())).await
    });
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = |at| client.block_on(load(at, length));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    run(bare);
    for _ in 0..ROUNDS {
        without.push(run(bare));
        with.push(run(guarded));
    }
    println!("bare:    {without:.0?} events/s");
    println!("guarded: {with:.0?} events/s");
    let (without, with) = (median(without), median(with));
    println!("medians: bare {without:.0}, guarded {with:.0}, ratio {:.3}", with / without);
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// A signed event nobody has sent before; both arms pay for the signing.
fn request() -> String {
    static EVENT: AtomicU64 = AtomicU64::new(0);
    let event = EVENT.fetch_add(1, Ordering::Relaxed);
    let body = format!(
        r#"{{"id":"evt_{event:024}","object":"event","type":"invoice.paid","data":{{"object":{{"id":"in_1","amount":1999}}}}}}"#
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    format!(
        "POST /webhook HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         stripe-signature: t={now},v1={signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Events a second.
async fn load(at: SocketAddr, length: Duration) -> f64 {
    let (start, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let connections = (0..CONNECTIONS).map(|_| {
        let count = count.clone();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 4096];
            while start.elapsed() < length {
                stream.write_all(request().as_bytes()).await.unwrap();
                let mut len = 0;
                while !buffer[..len].ends_with(b"ok") {
                    let read = stream.read(&mut buffer[len..]).await.unwrap();
                    assert_ne!(read, 0, "the server hung up");
                    len += read;
                }
                assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..len]));
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for connection in connections.collect::<Vec<_>>() {
        connection.await.unwrap();
    }
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}
