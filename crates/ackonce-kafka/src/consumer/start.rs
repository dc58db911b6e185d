//! Before the first poll: whether the brokers answer, whether the topics are there.
//!
//! The driver's calls wait for brokers, so they run on a thread of their own, which a dropped consumer leaves behind.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{Backoff, CancellationToken, Error, ErrorKind, OnStart, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::driver::{Probe, client_error, connection, is_refusal};
use crate::log::Quiet;

/// The time limit for a broker to answer one question.
const ASK: Duration = Duration::from_secs(10);
/// Waits between two looks.
const AGAIN: Backoff = Backoff { min: Duration::from_millis(200), max: Duration::from_secs(10) };

/// The topics that must exist.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    /// Topics that are consumed, without patterns; and whether there are patterns.
    pub(crate) topics: Vec<String>,
    pub(crate) patterns: bool,
    /// Topics that are written to, with the setting that names them.
    pub(crate) targets: Vec<(String, &'static str)>,
}

/// The reasons against a start.
#[derive(Debug)]
enum Wrong {
    /// The brokers do not answer.
    Away(String),
    /// No topic is there to read.
    Missing(String),
    /// The brokers refuse.
    Refused(String),
    /// A setting names something that does not exist.
    Setting(String),
}

/// Waits until all is there, or ends as `policy` says. `false` if shut down first.
pub(crate) async fn wait(
    config: &ClientConfig,
    needs: Needs,
    policy: OnStart,
    shutdown: &CancellationToken,
    scope: &Arc<str>,
) -> Result<bool> {
    let mut config = connection(config);
    // A consumer without a group, so that the question does not create topics.
    config.set("allow.auto.create.topics", "false");
    let (mut quiet, mut failures) = (Quiet::default(), 0);
    loop {
        let wrong = tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            wrong = look(config.clone(), needs.clone(), scope.clone()) => match wrong? {
                None => break,
                Some(wrong) => wrong,
            },
        };
        // The driver's texts about one trouble differ in their numbers.
        let key = match &wrong {
            Wrong::Away(_) => "away".to_owned(),
            Wrong::Missing(text) | Wrong::Refused(text) | Wrong::Setting(text) => text.clone(),
        };
        let (kind, ends, text) = match wrong {
            Wrong::Away(text) => (ErrorKind::Unavailable, policy == OnStart::End, text),
            Wrong::Missing(text) => (ErrorKind::Config, policy == OnStart::End, text),
            Wrong::Refused(text) => (ErrorKind::Config, policy != OnStart::Wait, text),
            Wrong::Setting(text) => (ErrorKind::Config, true, text),
        };
        if ends {
            return Err(Error::new(kind, text));
        }
        failures += 1;
        let wait = AGAIN.after(failures);
        if quiet.ask(&key).is_some() {
            tracing::warn!(target: "ackonce", scope = &**scope, "waiting: {text} (Settings::on_start)");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(wait) => {}
        }
    }
    if failures > 0 {
        // At the level of the line that it ends, so that all who saw that see this.
        tracing::warn!(target: "ackonce", scope = &**scope, failures, "Kafka and the topics are there");
    }
    Ok(true)
}

async fn look(config: ClientConfig, needs: Needs, scope: Arc<str>) -> Result<Option<Wrong>> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("ackonce-kafka-start".into())
        .spawn(move || drop(answer.send(ask(&config, &needs, &scope))))
        .map_err(|e| Error::new(ErrorKind::Unavailable, "a thread did not start").with_source(e))?;
    answered.await.map_err(|_| Error::new(ErrorKind::Protocol, "the look at Kafka panicked"))?
}

fn ask(config: &ClientConfig, needs: &Needs, scope: &Arc<str>) -> Result<Option<Wrong>> {
    let brokers = config.get("bootstrap.servers").unwrap_or("").to_owned();
    let client: BaseConsumer<Probe> = config.create_with_context(Probe::new(scope)).map_err(client_error)?;
    let away = |error: KafkaError| {
        // The driver's errors come by `poll`, the cause of a refusal among them.
        let _ = client.poll(Duration::from_millis(100));
        let cause = client.context().cause();
        let text = format!(
            "Kafka at {brokers} cannot be used: {}",
            cause.as_ref().map_or(error.to_string(), |c| c.1.clone())
        );
        match cause.map(|(code, _)| code).or(error.rdkafka_error_code()).is_some_and(is_refusal) {
            true => Wrong::Refused(text),
            false => Wrong::Away(text),
        }
    };
    if let Some(wrong) = sources(&client, needs, &brokers, scope, &away) {
        return Ok(Some(wrong));
    }
    for (topic, setting) in &needs.targets {
        match exists(&client, topic) {
            Ok(None) => {}
            Ok(Some(code)) if is_refusal(code) => {
                return Ok(Some(Wrong::Refused(format!(
                    "{setting}: Kafka at {brokers} refuses topic {topic}: {code}"
                ))));
            }
            Ok(Some(RDKafkaErrorCode::InvalidTopic)) => return Ok(Some(invalid(setting, topic))),
            Ok(Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                return Ok(Some(Wrong::Setting(format!(
                    "{setting}: topic {topic} does not exist at {brokers}; create it first"
                ))));
            }
            Ok(Some(code)) => return Ok(Some(Wrong::Away(format!("{setting}: topic {topic}: {code}")))),
            Err(error) => return Ok(Some(away(error))),
        }
    }
    Ok(None)
}

/// True if there is something to read. A topic that is missing beside others does not hold those back: the driver
/// finds it when it is created.
fn sources(
    client: &BaseConsumer<Probe>,
    needs: &Needs,
    brokers: &str,
    scope: &str,
    away: &impl Fn(KafkaError) -> Wrong,
) -> Option<Wrong> {
    let mut missing = Vec::new();
    for topic in &needs.topics {
        match exists(client, topic) {
            Ok(None) => {}
            Ok(Some(code)) if is_refusal(code) => {
                return Some(Wrong::Refused(format!(
                    "Kafka at {brokers} refuses to read topic {topic}: {code}"
                )));
            }
            Ok(Some(RDKafkaErrorCode::InvalidTopic)) => return Some(invalid("KafkaConsumer::new", topic)),
            Ok(Some(code)) => missing.push(format!("topic {topic} cannot be read at {brokers}: {code}")),
            Err(error) => return Some(away(error)),
        }
    }
    if needs.topics.is_empty() {
        return client.fetch_metadata(None, ASK).err().map(away);
    }
    if missing.len() == needs.topics.len() && !needs.patterns {
        return missing.pop().map(Wrong::Missing);
    }
    for text in missing {
        tracing::warn!(target: "ackonce", scope, "{text}; the driver looks again each topic.metadata.refresh.interval.ms");
    }
    None
}

/// No topic of that name can ever be created, so that no waiting helps.
fn invalid(setting: &str, topic: &str) -> Wrong {
    Wrong::Setting(format!(
        "{setting}: {topic:?} is not the name of a topic: a name has 1 to 249 letters, digits, dots, hyphens and \
        underscores, and is not . or .."
    ))
}

/// `None` if the topic can be used, else the broker's code.
fn exists(
    client: &BaseConsumer<Probe>,
    topic: &str,
) -> std::result::Result<Option<RDKafkaErrorCode>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), ASK)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(match found {
        None => Some(RDKafkaErrorCode::UnknownTopicOrPartition),
        Some(found) => match found.error() {
            Some(code) => Some(code.into()),
            None if found.partitions().is_empty() => Some(RDKafkaErrorCode::UnknownTopicOrPartition),
            None => None,
        },
    })
}
