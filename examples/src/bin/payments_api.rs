//! Guard an HTTP API with Idempotency-Key: `cargo run -p examples --bin payments_api -- --help`

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::store::Token;
use ackonce_http::body::Limits;
use ackonce_http::{IdempotencyLayer, InFlight, Need, Operation, Options, Policy, Principal};
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::{ArgAction, Parser, ValueEnum};
use examples::Flags;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// A payments API in which a request that is sent twice charges once
#[derive(Debug, Parser)]
#[command(mut_arg("window_s", |arg| arg.default_value("86400")))]
#[command(mut_arg("delay_ms", |arg| arg.default_value("1000").help("How long the card tok_slow takes")))]
#[command(mut_arg("concurrency", |arg| arg.default_value("1024")))]
#[command(mut_arg("class", |arg| arg.hide(true)), mut_arg("id", |arg| arg.hide(true)))]
#[command(mut_arg("fail_first", |arg| arg.hide(true)), mut_arg("on", |arg| arg.hide(true)))]
struct Args {
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Which answers are kept and replayed
    #[arg(long, value_enum, default_value_t = Keep::Success)]
    policy: Keep,
    /// Answer to a repeat while the first request is in flight: 409, or a wait and then the first answer
    #[arg(long, value_enum, default_value_t = Meanwhile::Conflict)]
    in_flight: Meanwhile,
    /// Longest wait
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    wait_ms: u64,
    /// The longest request that is taken, and the longest answer that is kept
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    max_body_bytes: usize,
    /// Require a key for POST and PATCH
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true)]
    required: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Keep {
    /// 2xx
    Success,
    /// Everything but 5xx
    #[value(name = "not-5xx")]
    Not5xx,
    /// Everything
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Meanwhile {
    Conflict,
    Wait,
}

impl Args {
    fn options(&self) -> Options {
        let flags = &self.flags;
        let settings = Options::settings()
            .with_lease(Duration::from_millis(flags.lease_ms))
            .with_window(flags.window())
            .with_attempts(flags.attempts);
        Options::default()
            .with_settings(settings)
            .with_policy(match self.policy {
                Keep::Success => Policy::success(),
                Keep::Not5xx => Policy::not_5xx(),
                Keep::All => Policy::all(),
            })
            .with_in_flight(match self.in_flight {
                Meanwhile::Conflict => InFlight::Conflict,
                Meanwhile::Wait => InFlight::Wait(Duration::from_millis(self.wait_ms)),
            })
            .with_need(if self.required { Need::Required } else { Need::Optional })
            .with_body(Limits { max_len: self.max_body_bytes, ..Limits::default() })
            .with_body_budget(BODIES.max(self.max_body_bytes))
            .with_max_response(self.max_body_bytes)
            .with_max_in_flight(flags.concurrency.into())
    }
}

/// The memory for the bodies of all requests, at least that of one.
const BODIES: usize = 64 << 20;

fn main() -> ExitCode {
    let args = Args::parse();
    examples::log();
    examples::run(answer(args))
}

async fn answer(args: Args) -> anyhow::Result<()> {
    args.flags.without_handler()?;
    let shutdown = ackonce::shutdown_on_signals()?;
    let scope = args.flags.scope("payments-api")?;
    let store = args.flags.open(&shutdown).await?;
    let ledger = &args.flags.ledger;
    let bank = Bank {
        ledger: Arc::new(Ledger::open(ledger).with_context(|| format!("--ledger {}", ledger.display()))?),
        payments: Arc::default(),
        slow: Duration::from_millis(args.flags.delay_ms),
    };
    // The account, not its token, which a client may renew between two tries of one payment.
    let principal = Principal::subject(|account: &Account| account.0.clone())
        .with_challenge(HeaderValue::from_static("Bearer"));
    let idempotency = IdempotencyLayer::with(store.deduplicator(), &scope, principal, args.options())?;
    let app = Router::new()
        .route("/payments", post(pay))
        .route("/payments/{id}", get(look).patch(amend))
        .route("/exports", post(export))
        .route("/simulate", post(simulate))
        .layer(idempotency.clone())
        // Outside of the layer, which files a request under its account.
        .layer(middleware::from_fn(authenticate))
        .layer(DefaultBodyLimit::disable())
        .with_state(bank);
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("--listen {}", args.listen))?;
    examples::serve(listener, app, shutdown).await?;
    // The server has ended; runs without a client end, too, and are recorded.
    let left = idempotency.drain().await;
    eprintln!("{:?}, {left} left running", idempotency.counts());
    Ok(())
}

#[derive(Clone)]
struct Bank {
    ledger: Arc<Ledger>,
    payments: Arc<Mutex<HashMap<String, Payment>>>,
    slow: Duration,
}

#[derive(Debug, Clone, Serialize)]
struct Payment {
    id: String,
    amount: u64,
    currency: String,
    status: &'static str,
}

impl Bank {
    fn payments(&self) -> std::sync::MutexGuard<'_, HashMap<String, Payment>> {
        self.payments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line for a run that is going to have its effect: its request has been found valid.
    fn book(&self, operation: Option<&Operation>) -> Result<(), Response> {
        self.ledger.append(&line(operation)).map_err(|error| {
            tracing::error!(%error, "the ledger cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        })
    }
}

/// Whose request it is.
#[derive(Debug, Clone)]
struct Account(String);

/// Finds the account of a token. A real service checks the token, too; here it is the account's name, or the name, a dot
/// and a part that changes when the token is renewed.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let mut sent = request.headers().get_all(header::AUTHORIZATION).iter();
    // Several credentials are nobody's.
    let account = match (sent.next(), sent.next()) {
        (Some(sole), None) => sole.to_str().ok().and_then(account),
        _ => None,
    };
    if let Some(account) = account {
        request.extensions_mut().insert(account);
    }
    next.run(request).await
}

fn account(credential: &str) -> Option<Account> {
    let (scheme, token) = credential.split_once(' ')?;
    let token = token.trim();
    let name = token.rsplit_once('.').map_or(token, |(name, _)| name);
    (scheme.eq_ignore_ascii_case("bearer") && !name.is_empty()).then(|| Account(name.to_owned()))
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error }))).into_response()
}

/// The line of a run: its client's key, and the fields that tell one run from another.
fn line(operation: Option<&Operation>) -> LedgerEntry {
    if let Some(operation) = operation {
        return LedgerEntry {
            id: operation.key().to_string(),
            ..LedgerEntry::now(operation.context(), "request")
        };
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let at = u64::try_from(at).unwrap_or(u64::MAX);
    LedgerEntry { id: String::new(), key: String::new(), attempt: 1, fence: 0, pid: std::process::id(), at }
}

#[derive(Debug, Deserialize)]
struct Order {
    amount: u64,
    currency: String,
    customer: String,
    card: String,
}

impl Order {
    fn is_valid(&self) -> bool {
        let is_currency = self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_alphabetic());
        self.amount > 0 && is_currency && !self.customer.is_empty() && !self.card.is_empty()
    }
}

async fn pay(
    State(bank): State<Bank>,
    operation: Option<Operation>,
    Json(order): Json<Order>,
) -> Result<Response, Response> {
    if !order.is_valid() {
        return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "invalid_order"));
    }
    // A refusal is no effect, and is found before there is one.
    match order.card.as_str() {
        "tok_chargeDeclined" => return Err(refused(StatusCode::PAYMENT_REQUIRED, "card_declined")),
        "tok_visa" | "tok_slow" | "tok_panic" | "tok_processing_error" => {}
        _ => return Err(refused(StatusCode::PAYMENT_REQUIRED, "card_unknown")),
    }
    bank.book(operation.as_ref())?;
    match order.card.as_str() {
        "tok_processing_error" => return Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "processing_error")),
        #[allow(clippy::panic, reason = "what this card is for")]
        "tok_panic" => panic!("the card is tok_panic"),
        "tok_slow" => tokio::time::sleep(bank.slow).await,
        _ => {}
    }
    // A second run of one operation, after a crash, makes the same payment and not another.
    let name = match operation {
        Some(operation) => operation.idempotency_key("payment").replace('-', ""),
        None => format!("{:032x}", u128::from_be_bytes(Token::random().0)),
    };
    let payment = Payment {
        id: format!("pay_{name}"),
        amount: order.amount,
        currency: order.currency,
        status: "completed",
    };
    bank.payments().insert(payment.id.clone(), payment.clone());
    let location = [(header::LOCATION, format!("/payments/{}", payment.id))];
    Ok((StatusCode::CREATED, location, Json(payment)).into_response())
}

async fn look(State(bank): State<Bank>, Path(id): Path<String>) -> Result<Json<Payment>, StatusCode> {
    bank.payments().get(&id).cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Debug, Deserialize)]
struct Amendment {
    amount: u64,
}

async fn amend(
    State(bank): State<Bank>,
    Path(id): Path<String>,
    operation: Option<Operation>,
    Json(amendment): Json<Amendment>,
) -> Result<Json<Payment>, Response> {
    if amendment.amount == 0 {
        return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "invalid_amount"));
    }
    let mut payments = bank.payments();
    let payment = payments.get_mut(&id).ok_or_else(|| StatusCode::NOT_FOUND.into_response())?;
    bank.book(operation.as_ref())?;
    payment.amount = amendment.amount;
    Ok(Json(payment.clone()))
}

async fn export(State(bank): State<Bank>, operation: Option<Operation>) -> Result<Response, Response> {
    bank.book(operation.as_ref())?;
    let lines = stream::iter(1..=10).then(|n| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, std::io::Error>(format!("{{\"line\":{n}}}\n"))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// An answer to be made: a bench for replays.
#[derive(Debug, Deserialize)]
struct Script {
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    hex: Option<String>,
}

async fn simulate(
    State(bank): State<Bank>,
    operation: Option<Operation>,
    Json(script): Json<Script>,
) -> Result<Response, Response> {
    let bad = |error: String| (StatusCode::UNPROCESSABLE_ENTITY, error).into_response();
    let body = match (script.text, script.hex) {
        (Some(_), Some(_)) => return Err(bad("text or hex, not both".into())),
        (_, Some(hex)) => Bytes::from(hex::decode(hex).map_err(|e| bad(format!("hex: {e}")))?),
        (text, None) => text.unwrap_or_default().into(),
    };
    let mut response = Response::new(if body.is_empty() { Body::empty() } else { Body::from(body) });
    let status = StatusCode::from_u16(script.status.unwrap_or(200)).ok().filter(|s| !s.is_informational());
    *response.status_mut() = status.ok_or_else(|| bad("status: 200 to 999".into()))?;
    for (name, value) in script.headers {
        let name = HeaderName::try_from(name).map_err(|e| bad(format!("headers: {e}")))?;
        response.headers_mut().append(name, header_value(&value).map_err(|e| bad(format!("headers: {e}")))?);
    }
    bank.book(operation.as_ref())?;
    Ok(response)
}

/// A character up to U+00FF is the byte of its number, so that any bytes can be asked for.
fn header_value(text: &str) -> Result<HeaderValue, header::InvalidHeaderValue> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    HeaderValue::from_bytes(&bytes.unwrap_or_else(|| text.as_bytes().to_vec()))
}
