//! The relay's settings.

use std::time::Duration;

use ackonce_relay::{IdPlace, SourceKind};

use crate::doctor::checks::settings as check;
use crate::doctor::exam::{Exam, when};
use crate::doctor::plan::{RelayPlan, time};

/// The settings by themselves, and beside the store's time limit; `kind` is that of the source, if there is one.
pub(in crate::doctor) fn judge(
    plan: &RelayPlan,
    store_timeout: Option<Duration>,
    kind: Option<SourceKind>,
    exam: &mut Exam,
) {
    let mut place = exam.of("settings");
    if let Some(limit) = store_timeout {
        let fault = when(limit > plan.lease / 3, || {
            format!("--lease {}, the store's limit {}", time(plan.lease), time(limit))
        });
        place.look(&check::STORE_TIMEOUT, fault);
    }
    let Some(kind) = kind else { return };
    let longest = plan.retry_topics.iter().map(|(_, delay)| *delay).max();
    let longest = longest.map_or(plan.backoff, |delay| delay.max(plan.backoff));
    let fault = when(plan.window <= longest, || {
        format!("--window {}, the longest wait {}", time(plan.window), time(longest))
    });
    place.look(&check::WAIT, fault);
    // A webhook's sender keeps the event.
    if kind != SourceKind::Webhook {
        let fault = when(plan.dead_letter.is_none(), || "--dead-letter is not set".to_owned());
        place.look(&check::NO_DEAD_LETTER, fault);
    }
    for (check, id) in [(&check::ID_KEY, IdPlace::Key), (&check::ID_PAYLOAD, IdPlace::Payload)] {
        place.look(check, when(plan.ids.contains(&id), || format!("--id {id}")));
    }
}
