//! Webhooks: the address, the secrets, and the provider's terms beside the relay's settings.

use ackonce_relay::WebhookSurvey;

use crate::doctor::checks::webhook as check;
use crate::doctor::exam::{Exam, size, when};
use crate::doctor::plan::{RelayPlan, time};

/// A key below that can be tried out; the providers' own have 24 bytes and more.
const SHORT: usize = 16;

pub(in crate::doctor) fn judge(survey: &WebhookSurvey, plan: &RelayPlan, exam: &mut Exam) {
    let WebhookSurvey { provider, terms, secrets, address, unbound, .. } = survey;
    let mut place = exam.of(format!("address {address}"));
    place.look(&check::ADDRESS, unbound.clone());
    for secret in secrets {
        let mut place = exam.of(format!("variable {}", secret.variable));
        place.look(&check::SECRET, secret.fault.clone());
        if secret.fault.is_none() {
            place.look(&check::SHORT_SECRET, when(secret.bytes < SHORT, || size(secret.bytes as u64)));
        }
    }
    let mut place = exam.of(format!("provider {provider}"));
    place.look(&check::ALONE, when(!terms.retries_alone, || "only on request".to_owned()));
    let fault = when(plan.backoff >= terms.retries, || {
        format!("--backoff up to {}, retries for {}", time(plan.backoff), time(terms.retries))
    });
    place.look(&check::BACKOFF, fault);
    let replays = terms.tolerance.unwrap_or_default().saturating_mul(2);
    let fault = when(plan.window < terms.retries.max(replays), || {
        format!(
            "--window {}, retries for {}, twice the tolerance {}",
            time(plan.window),
            time(terms.retries),
            time(replays)
        )
    });
    place.look(&check::WINDOW, fault);
    let Some(limit) = plan.sink_limit else { return };
    // 1 MiB is the bound for providers whose events do not come near it.
    let is_long = terms.max_body > 1 << 20;
    let fault = when(is_long && limit < terms.max_body, || {
        format!("the sink {}, the provider {}", size(limit as u64), size(terms.max_body as u64))
    });
    place.look(&check::BODY, fault);
}
