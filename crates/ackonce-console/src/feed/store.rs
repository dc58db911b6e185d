//! The store, asked for its numbers while a page is open.

use std::sync::Weak;
use std::time::{Duration, Instant};

use ackonce::store::{Description, Entry, Filter, Query, ScopeStats, State};
use ackonce::{Error, ErrorKind};

use super::{Feed, lock, millis, now_ms};
use crate::names;
use crate::snapshot::{RunningMessageView, RunningView, ScopeView, StateCounts, StoreAnswer, StoreView};

/// The shortest interval between two questions.
const EVERY: Duration = Duration::from_secs(5);
/// The share of the time that questions may take: a twentieth.
const SHARE: u32 = 20;
/// The longest interval, of a store that takes long.
const RARELY: Duration = Duration::from_secs(600);
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most scopes, and the most messages, that are listed.
pub(super) const LISTED: usize = 100;

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Answered {
    at: Option<Instant>,
    answer: StoreAnswer,
    /// The records under a claim.
    pub(super) claims: RunningView,
    trouble: Option<String>,
}

impl Answered {
    pub(super) fn view(&self, description: &Description) -> StoreView {
        let answer = self.at.map(|at| StoreAnswer { age_ms: millis(at.elapsed()), ..self.answer.clone() });
        StoreView {
            name: description.name.to_string(),
            weaknesses: description.weaknesses.iter().map(ToString::to_string).collect(),
            answer,
            trouble: self.trouble.clone(),
        }
    }
}

/// Asks for ever, with pauses that leave the store its time.
pub(super) async fn ask(feed: Weak<Feed>) {
    let Some(mut viewers) = feed.upgrade().map(|feed| feed.viewers.subscribe()) else { return };
    while viewers.wait_for(|viewers| *viewers > 0).await.is_ok() {
        let Some(feed) = feed.upgrade() else { return };
        let began = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, feed.ask_store()).await;
        let took = began.elapsed();
        let asked = asked.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("no answer within {} s", PATIENCE.as_secs())))
        });
        feed.keep(asked, took);
        drop(feed);
        tokio::time::sleep((took * SHARE).clamp(EVERY, RARELY)).await;
    }
}

impl Feed {
    async fn ask_store(&self) -> Result<(StoreAnswer, RunningView), Error> {
        let stats = self.store.stats().await?;
        let scopes = self.store.scopes().await?;
        let mut claims = RunningView { total: stats.claimed, messages: Vec::new() };
        if self.activity.is_none() && stats.claimed > 0 {
            let filter = Filter { state: Some(State::Claimed), ..Filter::default() };
            let page = self.store.list(&Query { filter, limit: LISTED, after: None }).await?;
            claims.messages = page.entries.iter().map(claim).collect();
            claims.messages.sort_by_key(|message| std::cmp::Reverse(message.age_ms));
        }
        let total = StateCounts {
            claimed: stats.claimed,
            released: stats.released,
            done: stats.done,
            buried: stats.buried,
        };
        let mut scopes: Vec<_> = scopes.into_iter().map(scope_view).collect();
        scopes.sort_by(|a, b| b.counts.sum().cmp(&a.counts.sum()).then_with(|| a.scope.cmp(&b.scope)));
        let further_scopes = scopes.len().saturating_sub(LISTED);
        scopes.truncate(LISTED);
        Ok((
            StoreAnswer { bytes: stats.bytes, total, scopes, further_scopes, ..StoreAnswer::default() },
            claims,
        ))
    }

    fn keep(&self, asked: Result<(StoreAnswer, RunningView), Error>, took: Duration) {
        let mut answered = lock(&self.answered);
        match asked {
            Ok((answer, claims)) => {
                if self.activity.is_none() {
                    lock(&self.charts).add_store(now_ms(), answer.total);
                }
                let answer = StoreAnswer { took_ms: millis(took), ..answer };
                *answered = Answered { at: Some(Instant::now()), answer, claims, trouble: None };
            }
            Err(error) => answered.trouble = Some(ackonce::chain(&error).to_string()),
        }
    }
}

fn claim(entry: &Entry) -> RunningMessageView {
    RunningMessageView {
        scope: entry.scope.clone(),
        id: entry.id.as_deref().map(names::shown),
        attempt: entry.record.attempt,
        age_ms: millis(entry.record.age),
        lease_ms: Some(millis(entry.free_in)),
    }
}

fn scope_view(stats: ScopeStats) -> ScopeView {
    let ScopeStats { scope, claimed, released, done, buried, .. } = stats;
    ScopeView { scope, counts: StateCounts { claimed, released, done, buried } }
}
