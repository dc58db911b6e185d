//! RabbitMQ: the queue and both kinds of dead-letter exchanges.

use std::time::Duration;

use ackonce_amqp::{AmqpPlace, AmqpSurvey, QueueFacts};

use crate::doctor::checks::Check;
use crate::doctor::checks::amqp as check;
use crate::doctor::exam::{Exam, Subject, when};
use crate::doctor::plan::{RelayPlan, time};

/// The checks that only the management API decides.
const OF_MANAGEMENT: [&Check; 12] = [
    &check::STREAM,
    &check::DURABLE,
    &check::AUTO_DELETE,
    &check::EXPIRES,
    &check::DELIVERY_LIMIT,
    &check::AT_MOST_ONCE,
    &check::TTL,
    &check::MAX_LENGTH,
    &check::OWN_EXCHANGE,
    &check::CONSUMER_TIMEOUT,
    &check::PRIORITY,
    &check::MEMBERS,
];

pub(in crate::doctor) fn judge(queue: &str, survey: &AmqpSurvey, plan: &RelayPlan, exam: &mut Exam) {
    let mut place = exam.of(format!("queue {queue}"));
    place.look(&check::EXCLUSIVE, when(survey.queue == AmqpPlace::Locked, || "exclusive".to_owned()));
    let fault = match &survey.queue {
        AmqpPlace::There { .. } | AmqpPlace::Locked => None,
        AmqpPlace::Missing => Some("it does not exist".to_owned()),
        AmqpPlace::Refused(why) => Some(why.clone()),
    };
    let is_there = fault.is_none();
    place.look(&check::QUEUE, fault);
    if is_there {
        match &survey.facts {
            Some(Ok(facts)) => {
                life(facts, &mut place);
                limits(facts, survey, plan, &mut place);
            }
            Some(Err(why)) => place.cannot_all(&OF_MANAGEMENT, why),
            None => place.cannot_all(&OF_MANAGEMENT, "--from has no management=HOST:PORT"),
        }
    }
    let (Some(exchange), Some(answer)) = (&plan.dead_letter, &survey.dead_letters) else { return };
    let mut place = exam.of(format!("exchange {exchange} of --dead-letter"));
    place.look(&check::DEAD_LETTER, target(answer));
    match survey.circle {
        Some(circle) => place.look(&check::CIRCLE, when(circle, || format!("it leads to {queue}"))),
        None if *answer == AmqpPlace::Missing => {}
        None => place.cannot(&check::CIRCLE, "only the management API tells its bindings"),
    }
}

/// The fault of a place for dead letters.
fn target(answer: &AmqpPlace) -> Option<String> {
    match answer {
        AmqpPlace::There { bindings: Some(0) } => Some("nothing is bound to it".to_owned()),
        AmqpPlace::There { .. } => None,
        AmqpPlace::Missing => Some("it does not exist".to_owned()),
        AmqpPlace::Locked => Some("it belongs to one connection".to_owned()),
        AmqpPlace::Refused(why) => Some(why.clone()),
    }
}

fn life(facts: &QueueFacts, place: &mut Subject<'_>) {
    place.look(&check::STREAM, when(facts.is_stream(), || "x-queue-type=stream".to_owned()));
    // The API takes an exclusive queue, which is a finding of its own, for one that is not durable.
    let passing = !facts.is("durable") && !facts.is("exclusive");
    place.look(&check::DURABLE, when(passing, || "durable=false".to_owned()));
    place.look(&check::AUTO_DELETE, when(facts.is("auto_delete"), || "auto_delete=true".to_owned()));
    for (check, name) in [(&check::EXPIRES, "expires"), (&check::PRIORITY, "max-priority")] {
        place.look(check, facts.argument(name).map(|value| format!("{name}={value}")));
    }
    let away = facts.members_away();
    place.look(&check::MEMBERS, when(away > 0, || format!("{away} members are away")));
}

fn limits(facts: &QueueFacts, survey: &AmqpSurvey, plan: &RelayPlan, place: &mut Subject<'_>) {
    let own = facts.argument("dead-letter-exchange");
    let (buried, kind) = (own.is_some(), facts.kind());
    let limit = facts.delivery_limit().filter(|_| !buried);
    place.look(
        &check::DELIVERY_LIMIT,
        limit.map(|limit| format!("delivery-limit {limit}, no dead-letter-exchange")),
    );
    let strategy = facts.argument("dead-letter-strategy").unwrap_or_else(|| "at-most-once".to_owned());
    let weak = buried && kind == "quorum" && strategy != "at-least-once";
    place.look(&check::AT_MOST_ONCE, when(weak, || format!("dead-letter-strategy {strategy}")));
    let ttl = facts.argument("message-ttl").filter(|_| !buried);
    place.look(&check::TTL, ttl.map(|ttl| format!("message-ttl {ttl}, no dead-letter-exchange")));
    let overflow = facts.argument("overflow").unwrap_or_else(|| "drop-head".to_owned());
    let full =
        ["max-length", "max-length-bytes"].into_iter().find_map(|name| Some((name, facts.argument(name)?)));
    let full = full.filter(|_| overflow == "drop-head" && !buried);
    place.look(&check::MAX_LENGTH, full.map(|(name, value)| format!("{name} {value}, overflow {overflow}")));
    let fault = survey.own_dead_letters.as_ref().and_then(|(exchange, answer)| {
        target(answer).map(|why| format!("dead-letter-exchange {exchange:?}: {why}"))
    });
    place.look(&check::OWN_EXCHANGE, fault);
    // RabbitMQ's own default, which the API does not tell, is half an hour.
    let patience = facts.consumer_timeout().unwrap_or(Duration::from_secs(1800));
    let needed = plan.lease.max(plan.timeout);
    let fault = when(patience <= needed, || {
        format!(
            "consumer-timeout {}, --lease {}, --timeout {}",
            time(patience),
            time(plan.lease),
            time(plan.timeout)
        )
    });
    place.look(&check::CONSUMER_TIMEOUT, fault);
}
