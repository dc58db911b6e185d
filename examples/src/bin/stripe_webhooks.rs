//! Dedupe webhooks of Stripe, of GitHub and of Standard Webhooks:
//! `cargo run -p examples --bin stripe_webhooks -- --secret whsec_test --github-secret s3cret`
//!
//! The effect of an event is its line in the ledger. To see it with Stripe's own events:
//! `stripe listen --forward-to localhost:8080/webhooks/stripe`, with the secret that it shows.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ackonce_cli::stores::Opened;
use ackonce_webhook::{GitHub, Provider, StandardWebhooks, Stripe, Webhook, WebhookService};
use anyhow::{Context as _, Result};
use axum::Router;
use clap::Parser;
use examples::{Flags, Usage, serve};
use tokio::net::TcpListener;

/// Answers webhooks; each event takes effect once
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Signing secret of POST /webhooks/stripe; if given again, any of them may match
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Tolerance for a signature's timestamp, in both directions
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

fn main() -> ExitCode {
    let mut args = Args::parse();
    args.flags.panic_first = args.panic_first;
    examples::log();
    examples::run(answer(args))
}

async fn answer(args: Args) -> Result<()> {
    if !args.flags.id.is_empty() {
        return Err(Usage("--id: an event is identified by its provider".into()).into());
    }
    if args.secret.is_empty() && args.github_secret.is_empty() && args.standard_secret.is_empty() {
        return Err(Usage("give a --secret, a --github-secret or a --standard-secret".into()).into());
    }
    let shutdown = ackonce::shutdown_on_signals()?;
    let store = args.flags.open(&shutdown).await?;
    let tolerance = Duration::from_secs(args.tolerance_s);
    let mut endpoints = Vec::new();
    if !args.secret.is_empty() {
        let stripe = Stripe::new(args.secret.clone())
            .map_err(|why| Usage(format!("--secret: {why}")))?
            .with_tolerance(tolerance);
        endpoints.push(("/webhooks/stripe", endpoint(&args, &store, stripe).await?));
    }
    if !args.github_secret.is_empty() {
        let github = GitHub::new(args.github_secret.clone())
            .map_err(|why| Usage(format!("--github-secret: {why}")))?;
        endpoints.push(("/webhooks/github", endpoint(&args, &store, github).await?));
    }
    if !args.standard_secret.is_empty() {
        let standard = StandardWebhooks::new(args.standard_secret.clone())
            .map_err(|why| Usage(format!("--standard-secret: {why}")))?
            .with_tolerance(tolerance);
        endpoints.push(("/webhooks/standard", endpoint(&args, &store, standard).await?));
    }
    let route =
        |app: Router, (path, endpoint): &(&str, WebhookService)| app.route_service(path, endpoint.clone());
    let app = endpoints.iter().fold(Router::new(), route);
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("--listen {}", args.listen))?;
    serve(listener, app, shutdown).await?;
    for (path, endpoint) in &endpoints {
        let left = endpoint.drain().await;
        eprintln!("{path}: {:?}, {left} left running", endpoint.counts());
    }
    Ok(())
}

async fn endpoint(args: &Args, store: &Opened, provider: impl Provider) -> Result<WebhookService> {
    let flags = &args.flags;
    let scope = flags.scope(&format!("webhooks/{}", provider.name()))?;
    let webhook =
        Webhook::new(provider, &scope, store.deduplicator()).with_settings(|settings| flags.apply(settings));
    Ok(webhook.handle(examples::handler(flags, store).await?)?)
}
