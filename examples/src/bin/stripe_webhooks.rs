//! Dedupe webhooks of Stripe, of GitHub and of Standard Webhooks:
//! `cargo run -p examples --bin stripe_webhooks -- --secret whsec_test --github-secret s3cret`
//!
//! The effect of an event is its line in the ledger. To see it with Stripe's own events:
//! `stripe listen --forward-to localhost:8080/webhooks/stripe`, with the secret that it shows.

use std::net::SocketAddr;
use std::time::Duration;

use ackonce::{Context, Failure, Keyed};
use ackonce_cli::stores::Opened;
use ackonce_sqlite::InboxTx;
use ackonce_webhook::{Event, GitHub, Provider, StandardWebhooks, Stripe, Webhook, WebhookService};
use anyhow::{Result, ensure};
use axum::Router;
use clap::Parser;
use examples::{Flags, HandlerClass, ToFile, ToTable, serve};
use tokio::net::TcpListener;

/// Answers webhooks; each event takes effect once
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Signing secret of POST /webhooks/stripe; if given again, any of them may match
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// How far the timestamp of a signature may be off, either way
    #[arg(long, value_name = "S", default_value_t = 300)]
    tolerance_s: u64,
    /// Secret of POST /webhooks/github; may be given again
    #[arg(long, value_name = "SECRET")]
    github_secret: Vec<String>,
    /// Secret of POST /webhooks/standard: whsec_ and base64; may be given again
    #[arg(long, value_name = "SECRET")]
    standard_secret: Vec<String>,
    /// Panic in the first N attempts of each event, before the effect
    #[arg(long, value_name = "N", default_value_t = 0)]
    panic_first: u32,
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    examples::log();
    ensure!(args.flags.id.is_empty(), "--id: what identifies an event is its provider's to say");
    let shutdown = ackonce::shutdown_on_signals()?;
    let store = args.flags.open().await?;
    let tolerance = Duration::from_secs(args.tolerance_s);
    let mut endpoints = Vec::new();
    if !args.secret.is_empty() {
        let stripe = Stripe::new(args.secret.clone())?.with_tolerance(tolerance);
        endpoints.push(("/webhooks/stripe", endpoint(&args, &store, stripe)?));
    }
    if !args.github_secret.is_empty() {
        let github = GitHub::new(args.github_secret.clone())?;
        endpoints.push(("/webhooks/github", endpoint(&args, &store, github)?));
    }
    if !args.standard_secret.is_empty() {
        let standard = StandardWebhooks::new(args.standard_secret.clone())?.with_tolerance(tolerance);
        endpoints.push(("/webhooks/standard", endpoint(&args, &store, standard)?));
    }
    ensure!(!endpoints.is_empty(), "give a --secret, a --github-secret or a --standard-secret");
    let route =
        |app: Router, (path, endpoint): &(&str, WebhookService)| app.route_service(path, endpoint.clone());
    let app = endpoints.iter().fold(Router::new(), route);
    serve(TcpListener::bind(args.listen).await?, app, shutdown).await?;
    for (path, endpoint) in &endpoints {
        let left = endpoint.drain().await;
        eprintln!("{path}: {:?}, {left} left running", endpoint.counts());
    }
    Ok(())
}

fn endpoint(args: &Args, store: &Opened, provider: impl Provider) -> Result<WebhookService> {
    let Args { flags, panic_first, .. } = args;
    let scope = flags.scope(&format!("webhooks/{}", provider.name()))?;
    let webhook =
        Webhook::new(provider, &scope, store.deduplicator()).with_settings(|settings| flags.apply(settings));
    let panic_first = *panic_first;
    if flags.class == HandlerClass::Inbox {
        let (effect, sqlite) = ToTable::new(flags, store)?;
        let inbox = sqlite.inbox(move |tx: &InboxTx<'_>, cx: &Context, _: &Event| {
            may_panic(panic_first, cx);
            effect.apply(tx, cx)
        });
        return Ok(webhook.handle(effect.delayed(inbox.with_window(flags.window())))?);
    }
    let effect = ToFile::new(flags)?;
    let handler = move |cx: Context, _: Event| {
        let effect = effect.clone();
        async move {
            may_panic(panic_first, &cx);
            effect.apply(cx).await?;
            Ok::<(), Failure>(())
        }
    };
    Ok(match flags.class {
        HandlerClass::Keyed => webhook.handle(Keyed(handler))?,
        _ => webhook.handle(handler)?,
    })
}

#[allow(clippy::panic, reason = "asked for, to show what a panic does")]
fn may_panic(first: u32, cx: &Context) {
    if cx.attempt() <= first {
        panic!("--panic-first {first}: attempt {} panics", cx.attempt());
    }
}
