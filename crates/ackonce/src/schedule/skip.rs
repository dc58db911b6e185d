//! Missed slots that are not to run: recorded as done, with an outcome that says so, and told in one line.

use std::time::Duration;

use bytes::Bytes;

use crate::observe::Throttle;
use crate::{
    Attempt, ClaimRequest, Claimed, Handler, Previous, Result, Runner, Settle, Settled, Settlement,
};

use super::first::shared_token;
use super::slots::{Slot, Utc};

/// The outcome of a slot that was not run.
pub(super) const SKIPPED: &[u8] = b"skipped";

/// Skips those of these slots that nobody has begun; the others are given back, to be finished.
///
/// All hosts claim a slot to skip it with the same token. So a host that dies in between leaves nothing that looks like
/// a run: the next one is answered as it was, and skips the slot.
pub(super) async fn skip<H: Handler<Slot>>(
    runner: &Runner<Slot, H>,
    slots: &[Slot],
    said: &Throttle,
) -> Result<Vec<Slot>> {
    let (lease, window) = (runner.settings().lease, runner.settings().window);
    let (mut skipped, mut begun) = (Vec::new(), Vec::new());
    for slots in slots.chunks(runner.settings().chunk) {
        let mut requests = Vec::with_capacity(slots.len());
        for slot in slots {
            let key = runner.key(slot.id()).map_err(super::invalid)?;
            let token = shared_token(&key);
            requests.push(ClaimRequest { key, token, lease, window, fingerprint: None });
        }
        let (mut settlements, mut to_skip) = (Vec::new(), Vec::new());
        for (slot, claimed) in slots.iter().zip(runner.ask(&requests).await?) {
            match claimed {
                Claimed::Acquired(lease) if lease.attempt == 1 && lease.previous == Previous::None => {
                    settlements.push(Settlement::new(&lease, complete(window)));
                    to_skip.push(Some(*slot));
                }
                Claimed::Acquired(lease) => {
                    let release = Settle::Release { attempt: Attempt::Refunded, window };
                    settlements.push(Settlement::new(&lease, release));
                    to_skip.push(None);
                    begun.push(*slot);
                }
                Claimed::Busy { .. } => begun.push(*slot),
                Claimed::Done(_) | Claimed::Mismatch(_) => {}
            }
        }
        if !settlements.is_empty() {
            let settled = to_skip.into_iter().zip(runner.settle(&settlements).await?);
            skipped.extend(settled.filter_map(|(slot, settled)| slot.filter(|_| settled == Settled::Yes)));
        }
    }
    tell(runner, &skipped, said);
    Ok(begun)
}

fn complete(window: Duration) -> Settle {
    Settle::Complete { window, outcome: Some(Bytes::from_static(SKIPPED)) }
}

fn tell<H: Handler<Slot>>(runner: &Runner<Slot, H>, skipped: &[Slot], said: &Throttle) {
    let (Some(oldest), Some(newest)) = (skipped.first(), skipped.last()) else { return };
    runner.count_skipped(skipped.len() as u64);
    said.warn(|more| {
        tracing::info!(target: "ackonce", decision = "skipped", scope = runner.scope().name(),
            slots = skipped.len(), oldest = %Utc(oldest.start), newest = %Utc(newest.start), more,
            "missed slots are not run, by ScheduledJob::with_missed");
    });
}
