//! The time that pages of a list take, on a store of yours: one line for each filter.
//!
//! ```sh
//! cargo run -p ackonce-cli --example list_times -- STORE [FEW]
//! ```
//!
//! With a number it first adds so many records of each kind that operators look for: buried in the scope `few/buried`,
//! released in `few/released`, claimed. It only reads otherwise, as `ackonce list` does.
#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::error::Error;
use std::time::{Duration, Instant};

use ackonce::Scope;
use ackonce::store::{
    Attempt, ClaimRequest, Claimed, Filter, Inspect, Query, Settle, Settlement, State, Token,
};
use ackonce_cli::stores::StoreUrl;

type Any = Box<dyn Error + Send + Sync>;

const WINDOW: Duration = Duration::from_secs(24 * 3600);

#[tokio::main]
async fn main() -> Result<(), Any> {
    let url: StoreUrl = std::env::args().nth(1).ok_or("a store's URL is missing")?.parse()?;
    let few: u32 = std::env::args().nth(2).map_or(Ok(0), |n| n.parse())?;
    let store = url.open().await?.inspect();
    let bury = Settle::Bury { window: WINDOW, reason: "the bank is closed".into() };
    let wait =
        Settle::Release { attempt: Attempt::Counts, window: WINDOW, not_before: Duration::from_secs(600) };
    for (scope, end) in [("few/buried", Some(bury)), ("few/released", Some(wait)), ("few/claimed", None)] {
        add(&*store, scope, end, few).await?;
    }
    println!(
        "{:<44} {:>8} {:>10} {:>7} {:>9} {:>9}",
        "", "entries", "first page", "pages", "all pages", "slowest"
    );
    let text = |text: &str| Some(text.to_owned());
    let any = Filter::default;
    let old = Some(Duration::from_secs(365 * 24 * 3600));
    for (name, filter) in [
        ("all, the first pages", any()),
        ("claimed", Filter { state: Some(State::Claimed), ..any() }),
        ("released", Filter { state: Some(State::Released), ..any() }),
        ("buried", Filter { state: Some(State::Buried), ..any() }),
        ("buried, of a scope", Filter { state: Some(State::Buried), scope: text("few/buried"), ..any() }),
        ("of a scope", Filter { scope: text("few/released"), ..any() }),
        ("of a scope that has none", Filter { scope: text("nowhere"), ..any() }),
        (
            "done, of a scope that has none",
            Filter { state: Some(State::Done), scope: text("nowhere"), ..any() },
        ),
        ("by reason", Filter { reason: text("bank"), ..any() }),
        ("by a reason that none has", Filter { reason: text("river"), ..any() }),
        (
            "buried, older than a minute",
            Filter { state: Some(State::Buried), older_than: Some(Duration::from_secs(60)), ..any() },
        ),
        ("claimed, older than any", Filter { state: Some(State::Claimed), older_than: old, ..any() }),
        ("done, older than any", Filter { state: Some(State::Done), older_than: old, ..any() }),
    ] {
        time(&*store, name, filter).await?;
    }
    for (name, began) in [("stats", Instant::now())] {
        let stats = store.stats().await?;
        println!("{name}: {stats:?} in {:.2} s", began.elapsed().as_secs_f64());
    }
    let began = Instant::now();
    let scopes = store.scopes().await?.len();
    println!("scopes: {scopes} in {:.2} s", began.elapsed().as_secs_f64());
    Ok(())
}

async fn time(store: &dyn Inspect, name: &str, filter: Filter) -> Result<(), Any> {
    let is_everything = filter == Filter::default();
    let mut query = Query { filter, limit: 500, after: None };
    let (mut entries, mut pages, mut first, mut slowest) = (0, 0, None, Duration::ZERO);
    let all = Instant::now();
    loop {
        let began = Instant::now();
        let page = store.list(&query).await?;
        (entries, pages) = (entries + page.entries.len(), pages + 1);
        slowest = slowest.max(began.elapsed());
        first = first.or(Some(began.elapsed()));
        query.after = page.next;
        if query.after.is_none() || is_everything && pages == 10 {
            break;
        }
    }
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let (first, all, slowest) =
        (seconds(first.unwrap_or_default()), seconds(all.elapsed()), seconds(slowest));
    println!("{name:<44} {entries:>8} {first:>10} {pages:>7} {all:>9} {slowest:>9}");
    Ok(())
}

async fn add(store: &dyn Inspect, scope: &str, end: Option<Settle>, records: u32) -> Result<(), Any> {
    let scope = Scope::new(scope)?;
    let ids: Vec<_> = (0..records).collect();
    for ids in ids.chunks(500) {
        let mut requests = Vec::new();
        for id in ids {
            let key = scope.key(format!("id {id}"))?;
            let (token, lease) = (Token::random(), Duration::from_secs(3600));
            requests.push(ClaimRequest { key, token, lease, window: WINDOW, fingerprint: None });
        }
        let answers = store.claim(&requests).await?;
        let leases = answers.iter().filter_map(|answer| match answer {
            Claimed::Acquired(lease) => Some(lease),
            _ => None,
        });
        if let Some(end) = &end {
            let settlements: Vec<_> = leases.map(|lease| Settlement::new(lease, end.clone())).collect();
            store.settle(&settlements).await?;
        }
    }
    Ok(())
}
