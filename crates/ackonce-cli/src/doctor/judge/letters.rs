//! Kafka: the topics that the relay writes to.

use std::time::Duration;

use ackonce_kafka::{KafkaSurvey, TopicFacts};

use super::kafka::{kept, presence, replicas};
use crate::doctor::checks::Check;
use crate::doctor::checks::letters as check;
use crate::doctor::exam::{Exam, Subject, when};
use crate::doctor::plan::{RelayPlan, millis, outlasts, time};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The dead-letter topic and the retry topics, beside the consumed ones.
pub(in crate::doctor) fn judge(survey: &KafkaSurvey, plan: &RelayPlan, exam: &mut Exam) {
    let largest = |topic: &TopicFacts| topic.number("max.message.bytes").unwrap_or(0);
    let sources = survey.topics.iter().filter(|topic| survey.consumed.contains(&topic.name));
    let needed = sources.map(largest).max().unwrap_or(0);
    let find = |name: &str| survey.topics.iter().find(|topic| topic.name == name);
    if let Some(topic) = plan.dead_letter.as_deref().and_then(find) {
        let mut place = exam.of(format!("topic {} of --dead-letter", topic.name));
        if written(survey, topic, needed, &check::DEAD_TOPIC, &mut place) {
            let retention = topic.number("retention.ms").unwrap_or(-1);
            let fault = when(!outlasts(retention, DAY), || format!("letters are kept {}", millis(retention)));
            place.look(&check::DEAD_RETENTION, fault);
            let fault = when(outlasts(retention, plan.window), || {
                format!("letters are kept {}, --window {}", millis(retention), time(plan.window))
            });
            place.look(&check::DEAD_WINDOW, fault);
        }
    }
    for (name, delay) in &plan.retry_topics {
        let Some(topic) = find(name) else { continue };
        let mut place = exam.of(format!("topic {name} of --retry-topics"));
        if written(survey, topic, needed, &check::RETRY_TOPIC, &mut place) {
            let retention = topic.number("retention.ms").unwrap_or(-1);
            let short = !outlasts(retention, delay.saturating_mul(2));
            let fault = when(short, || {
                format!("messages are kept {}, their delay is {}", millis(retention), time(*delay))
            });
            place.look(&check::RETRY_RETENTION, fault);
        }
    }
}

/// The checks of a topic that the relay writes to; true if its settings are known.
fn written(
    survey: &KafkaSurvey,
    topic: &TopicFacts,
    needed: i64,
    missing: &'static Check,
    place: &mut Subject<'_>,
) -> bool {
    let circle = survey.consumed.contains(&topic.name);
    place.look(&check::DEAD_CIRCLE, when(circle, || format!("--from reads {}", topic.name)));
    if !presence(survey, topic, place, missing) {
        return false;
    }
    replicas(topic, place);
    if let Err(why) = &topic.settings {
        let why = format!("the broker does not tell its settings: {why}");
        place.cannot_all(&[&check::DEAD_COMPACT, &check::DEAD_SIZE], &why);
        return false;
    }
    kept(topic, place);
    let policy = topic.setting("cleanup.policy").unwrap_or("delete");
    place.look(&check::DEAD_COMPACT, when(policy.contains("compact"), || format!("cleanup.policy={policy}")));
    let most = topic.number("max.message.bytes").unwrap_or(i64::MAX);
    let fault = when(most < needed, || format!("max.message.bytes={most}, that of the source is {needed}"));
    place.look(&check::DEAD_SIZE, fault);
    true
}
