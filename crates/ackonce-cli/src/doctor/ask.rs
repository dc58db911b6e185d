//! The questions to the store and to the source, and their answers' way into an examination.

use std::time::Duration;

use ackonce::{Error, ErrorKind, MessageIds};
use ackonce_amqp::{AmqpPlace, AmqpSurvey};
use ackonce_kafka::{ClientConfig, KafkaSurvey};
use ackonce_relay::{SourceParts, SourceUrl};

use super::checks;
use super::exam::{Exam, when};
use super::judge;
use super::plan::RelayPlan;
use crate::refusal::Refusal;
use crate::stores::{OPTIONS_OF, Place, StoreUrl};

/// The messages of a Kafka sample.
const SAMPLE: usize = 100;

/// Examines the store. Also its time limit, for the settings; `None` of a store that answers at once.
pub(super) async fn store(url: &StoreUrl, deep: bool) -> Result<(Exam, Option<Duration>), Refusal> {
    #[cfg(feature = "tls")]
    // The only failure is that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let refused = |error: &Error| {
        let why = ackonce::chain(error).to_string();
        let options = crate::flags_named(&why, OPTIONS_OF);
        let options = if options.is_empty() { options } else { format!(" (in the URL: {options})") };
        Refusal::environment(format!("--store: {url}: {why}{options}{}", fix(error)))
    };
    let mut exam = Exam::default();
    let limit = match url.place() {
        Place::Memory => {
            exam.of("store").look(&checks::sqlite::MEMORY, when(true, || "memory:".to_owned()));
            None
        }
        Place::Redis(redis) => {
            let survey = redis.config().survey().await.map_err(|e| refused(&e))?;
            judge::redis::judge(&survey, &mut exam);
            Some(
                survey.response_timeout + survey.replicas.map_or(Duration::ZERO, |replicas| replicas.timeout),
            )
        }
        Place::Postgres(postgres) => {
            let survey = postgres.config().survey().await.map_err(|e| refused(&e))?;
            judge::postgres::judge(&survey, &mut exam);
            Some(survey.request_timeout)
        }
        Place::Sqlite(sqlite) => {
            let config = sqlite.config().clone();
            let looking = tokio::task::spawn_blocking(move || config.survey(deep));
            let survey = looking.await.map_err(|e| Refusal::environment(format!("--store: {url}: {e}")))?;
            let survey = survey.map_err(|e| refused(&e))?;
            judge::sqlite::judge(&survey, deep, &mut exam);
            Some(survey.busy_timeout)
        }
    };
    Ok((exam, limit))
}

/// The way out for a server that is away.
fn fix(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Timeout => "; start it, or mend its address",
        _ => "",
    }
}

/// Examines the source, and a sample of its messages.
pub(super) async fn source(
    source: &SourceUrl,
    ids: &MessageIds,
    sample: Option<usize>,
    limit: Duration,
    plan: &RelayPlan,
) -> Result<Exam, Refusal> {
    let refused = |error: Error| {
        let why = format!("--from: {source}: {}{}", ackonce::chain(&error), fix(&error));
        Refusal::environment(why)
    };
    let mut exam = Exam::default();
    match source.parts() {
        SourceParts::Kafka { config, topics } => {
            let written = plan.retry_topics.iter().map(|(name, _)| name);
            let written: Vec<String> = plan.dead_letter.iter().chain(written).cloned().collect();
            // Several questions in a row have to fit.
            let each = limit / 4;
            let survey = KafkaSurvey::of(config, topics, &written, each).await.map_err(refused)?;
            judge::kafka::judge(config, &survey, plan, &mut exam);
            judge::letters::judge(&survey, plan, &mut exam);
            kafka_sample(config, &survey, ids, sample.unwrap_or(SAMPLE), each, &mut exam).await;
        }
        SourceParts::Amqp { url, queue, management } => {
            let exchange = plan.dead_letter.as_deref();
            let survey = AmqpSurvey::of(url, queue, exchange, management).await.map_err(refused)?;
            judge::amqp::judge(queue, &survey, plan, &mut exam);
            amqp_sample(url, queue, &survey, ids, sample.unwrap_or(0), &mut exam).await;
        }
        _ => {}
    }
    if let Some(survey) = source.webhook_survey().await.map_err(refused)? {
        judge::webhook::judge(&survey, plan, &mut exam);
        if sample.is_some_and(|count| count > 0) {
            let why = "nobody keeps the events of a webhook to be looked at; they arrive or they do not";
            exam.of("messages").cannot_all(&judge::messages::ALL, why);
        }
    }
    Ok(exam)
}

async fn kafka_sample(
    config: &ClientConfig,
    survey: &KafkaSurvey,
    ids: &MessageIds,
    count: usize,
    limit: Duration,
    exam: &mut Exam,
) {
    let there = survey.topics.iter().filter(|t| t.refusal.is_none() && survey.consumed.contains(&t.name));
    let there: Vec<String> = there.map(|topic| topic.name.clone()).collect();
    if count == 0 || there.is_empty() {
        return;
    }
    match KafkaSurvey::sample(config, &there, count, limit).await {
        Ok(messages) => {
            judge::messages::judge(&messages, ids, |message| format!("{message:?}"), "messages", exam);
        }
        Err(error) => {
            exam.of("messages").cannot_all(&judge::messages::ALL, &ackonce::chain(&error).to_string());
        }
    }
}

async fn amqp_sample(
    url: &str,
    queue: &str,
    survey: &AmqpSurvey,
    ids: &MessageIds,
    count: usize,
    exam: &mut Exam,
) {
    if count == 0 || !matches!(survey.queue, AmqpPlace::There { .. }) {
        return;
    }
    let mut cannot = |why: &str| exam.of("messages").cannot_all(&judge::messages::ALL, why);
    match &survey.facts {
        Some(Ok(facts)) if facts.is_stream() => return cannot("the queue is a stream"),
        Some(Ok(facts)) if facts.delivery_limit().is_some() => {
            return cannot("a sample would count against the delivery limit of the queue");
        }
        Some(Ok(_)) => {}
        _ => {
            return cannot(
                "a sample would count against a delivery limit, and only the management API tells whether there is one \
                 (management=HOST:PORT in --from)",
            );
        }
    }
    match AmqpSurvey::sample(url, queue, count).await {
        Ok(messages) => {
            let show = |message: &ackonce_amqp::AmqpMessage| {
                let id = message.message_id().unwrap_or("none");
                format!("routing key {:?}, message_id {id:?}", message.routing_key())
            };
            judge::messages::judge(&messages, ids, show, "messages", exam);
        }
        Err(error) => {
            exam.of("messages").cannot_all(&judge::messages::ALL, &ackonce::chain(&error).to_string());
        }
    }
}
