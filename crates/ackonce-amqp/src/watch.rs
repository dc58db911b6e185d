//! Gauges, and a warning once a minute for a message that has been in hand for long.

use std::time::Duration;

use metrics::gauge;

use crate::Health;

/// How often the gauges are set, and from which age on, and how often, the oldest message is named in the log.
const GAUGES: Duration = Duration::from_secs(1);
const OLD: Duration = Duration::from_secs(60);

/// Until it is dropped.
pub(crate) async fn watch(health: Health, scope: String) {
    let named = |name: &'static str| gauge!(name, "scope" => scope.clone());
    let in_flight = named("ackonce_amqp_in_flight");
    let oldest_age = named("ackonce_amqp_oldest_seconds");
    let (live, ready) = (named("ackonce_amqp_live"), named("ackonce_amqp_ready"));
    let blocked = named("ackonce_amqp_blocked");
    let mut every = tokio::time::interval(GAUGES);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut quiet_until = tokio::time::Instant::now();
    loop {
        every.tick().await;
        let report = health.report();
        let truth = |yes| if yes { 1.0 } else { 0.0 };
        in_flight.set(f64::from(u32::try_from(report.in_flight).unwrap_or(u32::MAX)));
        oldest_age.set(report.oldest.as_ref().map_or(0.0, |oldest| oldest.age.as_secs_f64()));
        live.set(truth(report.stuck.is_none()));
        ready.set(truth(report.is_ready));
        blocked.set(truth(report.blocked));
        let now = tokio::time::Instant::now();
        let Some(oldest) = report.oldest.filter(|oldest| oldest.age >= OLD && now >= quiet_until) else {
            continue;
        };
        quiet_until = now + OLD;
        tracing::warn!(target: "ackonce", scope, queue = report.queue, delivery_tag = oldest.delivery_tag,
            message_id = oldest.message_id, in_hand_s = oldest.age.as_secs(), why = %oldest.waits,
            waiting_s = oldest.waiting.as_secs(), in_flight = report.in_flight,
            "a message has been in hand for more than a minute");
    }
}
