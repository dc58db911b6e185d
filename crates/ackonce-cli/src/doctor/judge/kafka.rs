//! Kafka: the properties of the URL, the consumed topics, the group and the brokers.

use ackonce_kafka::rdkafka::error::RDKafkaErrorCode as Code;
use ackonce_kafka::{ClientConfig, KafkaSurvey, TopicFacts};

use crate::doctor::checks::Check;
use crate::doctor::checks::kafka as check;
use crate::doctor::exam::{Exam, Subject, when};
use crate::doctor::plan::{RelayPlan, millis, outlasts, time};

/// The checks of a topic's settings.
const OF_SETTINGS: [&Check; 6] = [
    &check::WINDOW,
    &check::COMPACT,
    &check::RETENTION_BYTES,
    &check::MIN_INSYNC,
    &check::MIN_INSYNC_HIGH,
    &check::UNCLEAN,
];
const DAY_MINUTES: i64 = 24 * 60;

/// The consumed topics, the group and the brokers.
pub(in crate::doctor) fn judge(
    config: &ClientConfig,
    survey: &KafkaSurvey,
    plan: &RelayPlan,
    exam: &mut Exam,
) {
    properties(config, plan, &mut exam.of("--from"));
    for topic in survey.topics.iter().filter(|topic| survey.consumed.contains(&topic.name)) {
        let mut place = exam.of(format!("topic {}", topic.name));
        if !presence(survey, topic, &mut place, &check::TOPIC) {
            continue;
        }
        replicas(topic, &mut place);
        match &topic.settings {
            Ok(_) => source(topic, plan, &mut place),
            Err(why) => {
                place.cannot_all(&OF_SETTINGS, &format!("the broker does not tell its settings: {why}"))
            }
        }
    }
    group(config, survey, exam);
    let mut brokers = exam.of("brokers");
    match &survey.broker {
        Err(why) => {
            brokers.cannot(&check::OFFSETS_RETENTION, format!("a broker does not tell its settings: {why}"))
        }
        Ok(settings) => {
            let minutes = settings.get("offsets.retention.minutes").and_then(|text| text.parse::<i64>().ok());
            let fault = minutes.filter(|minutes| *minutes < DAY_MINUTES);
            brokers.look(&check::OFFSETS_RETENTION, fault.map(|m| format!("offsets.retention.minutes={m}")));
        }
    }
}

/// The properties of the URL.
fn properties(config: &ClientConfig, plan: &RelayPlan, place: &mut Subject<'_>) {
    let is =
        |name: &str, value: &str| config.get(name).is_some_and(|given| given.eq_ignore_ascii_case(value));
    let named = |name: &str| format!("kafka.{name}={}", config.get(name).unwrap_or_default());
    let commits =
        ["enable.auto.commit", "enable.auto.offset.store"].into_iter().find(|name| is(name, "true"));
    place.look(&check::AUTO_COMMIT, commits.map(named));
    let reset = "auto.offset.reset";
    let skips = ["latest", "largest", "end"].iter().any(|value| is(reset, value));
    place.look(&check::OFFSET_RESET, when(skips, || named(reset)));
    let level = "isolation.level";
    place.look(&check::UNCOMMITTED, when(is(level, "read_uncommitted"), || named(level)));
    let member = "group.instance.id";
    place.look(&check::STATIC_MEMBER, when(config.get(member).is_some(), || named(member)));
    // The driver's default.
    let interval = config.get("max.poll.interval.ms").and_then(|ms| ms.parse().ok()).unwrap_or(300_000);
    let shorter = !outlasts(interval, plan.lease) && plan.lease.as_millis() != interval.unsigned_abs().into();
    let fault = when(shorter, || format!("max.poll.interval.ms={interval}, --lease {}", time(plan.lease)));
    place.look(&check::POLL_INTERVAL, fault);
}

/// True if the topic can be asked about further.
pub(super) fn presence(
    survey: &KafkaSurvey,
    topic: &TopicFacts,
    place: &mut Subject<'_>,
    missing: &'static Check,
) -> bool {
    let Some(code) = topic.refusal else {
        place.look(missing, None);
        place.look(&check::TOPIC_REFUSED, None);
        return true;
    };
    if matches!(code, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) {
        place.look(&check::TOPIC_REFUSED, Some(code.to_string()));
        return false;
    }
    let creates = survey.broker.as_ref().ok().and_then(|settings| settings.get("auto.create.topics.enable"));
    let creates = creates.map_or("unknown", String::as_str);
    place.look(missing, Some(format!("{code}; auto.create.topics.enable={creates}")));
    false
}

pub(super) fn replicas(topic: &TopicFacts, place: &mut Subject<'_>) {
    let fault =
        when(topic.leaderless > 0, || format!("{} of {} partitions", topic.leaderless, topic.partitions));
    place.look(&check::LEADER, fault);
    place
        .look(&check::BEHIND, when(topic.behind > 0, || format!("{} replicas of a partition", topic.behind)));
    let fault = when(topic.replicas < 2, || format!("replication factor {}", topic.replicas));
    place.look(&check::REPLICATION, fault);
}

/// The settings that a topic has to have, whether it is consumed or written to.
pub(super) fn kept(topic: &TopicFacts, place: &mut Subject<'_>) {
    let least = topic.number("min.insync.replicas").unwrap_or(1);
    let replicas = i64::try_from(topic.replicas).unwrap_or(i64::MAX);
    let fault = when(least < 2 && replicas >= 2, || format!("min.insync.replicas={least}"));
    place.look(&check::MIN_INSYNC, fault);
    let fault =
        when(least > replicas, || format!("min.insync.replicas={least}, replication factor {replicas}"));
    place.look(&check::MIN_INSYNC_HIGH, fault);
    let name = "unclean.leader.election.enable";
    place.look(&check::UNCLEAN, when(topic.setting(name) == Some("true"), || format!("{name}=true")));
}

fn source(topic: &TopicFacts, plan: &RelayPlan, place: &mut Subject<'_>) {
    kept(topic, place);
    let policy = topic.setting("cleanup.policy").unwrap_or("delete");
    let compacts = policy.contains("compact");
    place.look(&check::COMPACT, when(compacts, || format!("cleanup.policy={policy}")));
    let bytes = topic.number("retention.bytes").unwrap_or(-1);
    place.look(&check::RETENTION_BYTES, when(bytes >= 0, || format!("retention.bytes={bytes}")));
    // A topic that is compacted only deletes nothing by its age.
    let retention = if policy == "compact" { -1 } else { topic.number("retention.ms").unwrap_or(-1) };
    let fault = when(outlasts(retention, plan.window), || {
        format!("messages are kept {}, --window {}", millis(retention), time(plan.window))
    });
    place.look(&check::WINDOW, fault);
}

fn group(config: &ClientConfig, survey: &KafkaSurvey, exam: &mut Exam) {
    let group = config.get("group.id").unwrap_or_default();
    let places = match &survey.places {
        Ok(places) => places,
        Err(why)
            if why.contains("GroupAuthorizationFailed") || why.contains("Group authorization failed") =>
        {
            return exam.of(format!("group {group}")).look(&check::GROUP_REFUSED, Some(why.clone()));
        }
        Err(why) => {
            return exam.of(format!("group {group}")).cannot_all(&[&check::LOST, &check::BEYOND], why);
        }
    };
    exam.of(format!("group {group}")).look(&check::GROUP_REFUSED, None);
    for place in places {
        let Some(next) = place.next else { continue };
        let mut subject = exam.of(format!("group {group}, {}/{}", place.topic, place.partition));
        let shown = || format!("next offset {next}, there are {} to {}", place.first, place.end);
        subject.look(&check::LOST, when(next < place.first, shown));
        subject.look(&check::BEYOND, when(next > place.end, shown));
    }
}
