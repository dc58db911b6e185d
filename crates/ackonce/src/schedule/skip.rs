//! Missed slots that are not to run: recorded as done, with an outcome that says so, and logged in one line.

use std::time::Duration;

use bytes::Bytes;

use crate::claim::{ClaimRequest, Claimed, Previous, Token};
use crate::error::Result;
use crate::handler::Handler;
use crate::observe::Throttle;
use crate::record::Record;
use crate::runner::Runner;
use crate::settings::Settings;
use crate::settle::{Attempt, Settle, Settled, Settlement};

use super::first_slot::shared_token;
use super::slot::{Slot, Utc};

/// The outcome of a slot that was not run begins with it; the token of the host that recorded it follows.
const SKIPPED: &str = "skipped by ";

/// True for the record of a slot that was not run.
pub(super) fn is_skipped(record: &Record) -> bool {
    record.outcome.as_deref().is_some_and(|outcome| outcome.starts_with(SKIPPED.as_bytes()))
}

/// Skips those of these slots that nobody has begun; the others are given back, to be finished.
///
/// All hosts claim a slot to skip it with the same token. So a host that dies in between leaves nothing that looks like
/// a run: the next one is answered as it was, and skips the slot. Of hosts that skip it at once the first completion is
/// recorded, and the record says whose it was: that host counts it.
pub(super) async fn skip<H: Handler<Slot>>(
    runner: &Runner<Slot, H>,
    slots: &[Slot],
    said: &Throttle,
) -> Result<Vec<Slot>> {
    let outcome = Bytes::from(format!("{SKIPPED}{:032x}", u128::from_be_bytes(Token::random().0)));
    let (mut skipped, mut begun) = (Vec::new(), Vec::new());
    for slots in slots.chunks(runner.settings().chunk) {
        let requests = requests(runner, slots)?;
        let (mut settlements, mut fresh) = (Vec::new(), Vec::new());
        for ((slot, request), claimed) in slots.iter().zip(&requests).zip(runner.ask_each(&requests).await?) {
            match claimed {
                Ok(Claimed::Acquired(lease)) => {
                    let is_fresh = lease.attempt == 1 && lease.previous == Previous::None;
                    let action = action(runner.settings().window, is_fresh.then_some(&outcome));
                    settlements.push(Settlement::new(&lease, action));
                    fresh.push(is_fresh.then(|| (*slot, request.clone())));
                    begun.extend((!is_fresh).then_some(*slot));
                }
                // A record that cannot be read costs its own slot, and not the job: it is buried on its way to the handler.
                Ok(Claimed::Busy { .. }) | Err(_) => begun.push(*slot),
                Ok(Claimed::Done(_) | Claimed::Mismatch(_)) => {}
            }
        }
        let settled = match settlements.is_empty() {
            true => Vec::new(),
            false => runner.settle(&settlements).await?,
        };
        let recorded = fresh.into_iter().zip(settled).filter(|(_, settled)| *settled == Settled::Yes);
        let (slots, requests): (Vec<_>, Vec<_>) = recorded.filter_map(|(fresh, _)| fresh).unzip();
        if !requests.is_empty() {
            let recorded = slots.into_iter().zip(runner.ask(&requests).await?);
            skipped.extend(recorded.filter(|(_, claimed)| is_ours(claimed, &outcome)).map(|(slot, _)| slot));
        }
    }
    report(runner, &skipped, said);
    Ok(begun)
}

fn is_ours(claimed: &Claimed, outcome: &Bytes) -> bool {
    matches!(claimed, Claimed::Done(record) if record.outcome.as_ref() == Some(outcome))
}

fn requests<H: Handler<Slot>>(runner: &Runner<Slot, H>, slots: &[Slot]) -> Result<Vec<ClaimRequest>> {
    let Settings { lease, window, .. } = *runner.settings();
    let request = |slot: &Slot| {
        let key = runner.key(slot.id()).map_err(super::invalid)?;
        let token = shared_token(&key);
        Ok(ClaimRequest { key, token, lease, window, fingerprint: None })
    };
    slots.iter().map(request).collect()
}

/// A slot that somebody has begun is handed back as it was.
fn action(window: Duration, skipped: Option<&Bytes>) -> Settle {
    match skipped {
        Some(outcome) => Settle::Complete { window, outcome: Some(outcome.clone()) },
        None => Settle::Release { attempt: Attempt::Refunded, window, not_before: Duration::ZERO },
    }
}

fn report<H: Handler<Slot>>(runner: &Runner<Slot, H>, skipped: &[Slot], said: &Throttle) {
    let (Some(oldest), Some(newest)) = (skipped.first(), skipped.last()) else { return };
    runner.count_skipped(skipped.len() as u64);
    said.warn(|more| {
        tracing::info!(target: "ackonce", decision = "skipped", scope = runner.scope().name(),
            slots = skipped.len(), oldest = %Utc(oldest.start), newest = %Utc(newest.start), more,
            "missed slots are not run, by ScheduledJob::with_missed");
    });
}
