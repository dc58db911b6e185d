//! The questions of a survey.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::{Error, ErrorKind, Result};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{GroupPlace, KafkaSurvey, TopicFacts, on_thread};
use crate::driver::{Probe, client_error, connection, is_refusal};

/// The partitions whose log ends are asked for, one after another.
const PLACES: usize = 64;

/// The settings of a topic that are of interest.
const OF_TOPIC: [&str; 7] = [
    "cleanup.policy",
    "max.message.bytes",
    "min.insync.replicas",
    "message.timestamp.type",
    "retention.bytes",
    "retention.ms",
    "unclean.leader.election.enable",
];
/// The settings of a broker that are of interest.
const OF_BROKER: [&str; 3] =
    ["auto.create.topics.enable", "offsets.retention.minutes", "group.max.session.timeout.ms"];

type Settings = std::result::Result<BTreeMap<String, String>, String>;

pub(super) async fn survey(
    config: ClientConfig,
    consumes: Vec<String>,
    others: Vec<String>,
    limit: Duration,
) -> Result<KafkaSurvey> {
    let name: Arc<str> = "survey".into();
    let mut plain = connection(&config);
    // A question must not create the topic that it is about.
    plain.set("allow.auto.create.topics", "false");
    let (asked, probe, wanted) = (plain.clone(), name.clone(), (consumes, others));
    let (facts, brokers, consumed) =
        on_thread(move || topics(&asked, &wanted.0, &wanted.1, &probe, limit)).await?;
    let names = consumed.iter().map(|(name, _)| name.clone()).collect();
    let admin: AdminClient<Probe> = plain.create_with_context(Probe::new(&name)).map_err(client_error)?;
    let broker = match brokers.first() {
        Some(id) => settings(&admin, &[ResourceSpecifier::Broker(*id)], &OF_BROKER, limit).await.pop(),
        None => None,
    };
    let there: Vec<_> =
        facts.iter().filter(|topic| topic.refusal.is_none()).map(|t| t.name.clone()).collect();
    let resources: Vec<_> = there.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let mut told = there.iter().cloned().zip(settings(&admin, &resources, &OF_TOPIC, limit).await);
    let mut told: BTreeMap<_, _> = told.by_ref().collect();
    let places = on_thread(move || Ok(places(&config, &consumed, &name, limit))).await?;
    let topics = facts.into_iter().map(|facts| TopicFacts {
        settings: told.remove(&facts.name).unwrap_or_else(|| Err("the topic is not there".to_owned())),
        ..facts
    });
    Ok(KafkaSurvey {
        brokers: brokers.len(),
        broker: broker.unwrap_or_else(|| Err("there is no broker".to_owned())),
        topics: topics.collect(),
        consumed: names,
        places,
    })
}

/// A consumed topic and its partitions that have a leader.
type Consumed = Vec<(String, Vec<i32>)>;

fn topics(
    config: &ClientConfig,
    consumes: &[String],
    others: &[String],
    scope: &Arc<str>,
    limit: Duration,
) -> Result<(Vec<TopicFacts>, Vec<i32>, Consumed)> {
    let client: BaseConsumer<Probe> = config.create_with_context(Probe::new(scope)).map_err(client_error)?;
    let brokers = config.get("bootstrap.servers").unwrap_or("");
    let failed = |error: KafkaError| {
        // The driver's errors come by `poll`, the cause of a refusal among them.
        let _ = client.poll(Duration::from_millis(100));
        let (code, text) = match client.context().cause() {
            Some((code, text)) => (Some(code), text),
            None => (error.rdkafka_error_code(), error.to_string()),
        };
        let refused = code.is_some_and(is_refusal);
        let kind = if refused { ErrorKind::Config } else { ErrorKind::Unavailable };
        Error::new(kind, format!("Kafka at {brokers} cannot be used: {text}"))
    };
    let (mut names, mut read) = (Vec::new(), Vec::new());
    for topic in consumes {
        match topic.starts_with('^') {
            true => read.extend(matching(topic, &client.fetch_metadata(None, limit).map_err(failed)?)),
            false => read.push(topic.clone()),
        }
    }
    names.extend(read.iter().chain(others).cloned());
    let (mut facts, mut ids, mut consumed): (Vec<TopicFacts>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        if facts.iter().any(|topic| topic.name == name) {
            continue;
        }
        let metadata = client.fetch_metadata(Some(&name), limit).map_err(failed)?;
        ids = metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect();
        let (topic, partitions) = topic(name, &metadata);
        if read.contains(&topic.name) {
            consumed.push((topic.name.clone(), partitions));
        }
        facts.push(topic);
    }
    Ok((facts, ids, consumed))
}

fn matching(pattern: &str, metadata: &Metadata) -> Vec<String> {
    let Ok(pattern) = regex_lite::Regex::new(pattern) else { return Vec::new() };
    let names = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name);
    names.filter(|name| pattern.is_match(name) && !name.starts_with("__")).map(str::to_owned).collect()
}

fn topic(name: String, metadata: &Metadata) -> (TopicFacts, Vec<i32>) {
    let mut facts = TopicFacts {
        name,
        refusal: None,
        partitions: 0,
        leaderless: 0,
        replicas: 0,
        behind: 0,
        settings: Err(String::new()),
    };
    let Some(found) = metadata.topics().iter().find(|topic| topic.name() == facts.name) else {
        facts.refusal = Some(RDKafkaErrorCode::UnknownTopicOrPartition);
        return (facts, Vec::new());
    };
    let partitions = found.partitions();
    facts.refusal = match found.error() {
        Some(code) => Some(code.into()),
        None if partitions.is_empty() => Some(RDKafkaErrorCode::UnknownTopicOrPartition),
        None => None,
    };
    let led: Vec<_> = partitions.iter().filter(|p| p.leader() >= 0).map(|p| p.id()).collect();
    facts.partitions = partitions.len();
    facts.leaderless = partitions.len() - led.len();
    facts.replicas = partitions.iter().map(|p| p.replicas().len()).min().unwrap_or(0);
    facts.behind =
        partitions.iter().map(|p| p.replicas().len().saturating_sub(p.isr().len())).max().unwrap_or(0);
    (facts, led)
}

/// The settings of these resources, in order.
async fn settings(
    admin: &AdminClient<Probe>,
    resources: &[ResourceSpecifier<'_>],
    names: &[&str],
    limit: Duration,
) -> Vec<Settings> {
    if resources.is_empty() {
        return Vec::new();
    }
    let options = AdminOptions::new().request_timeout(Some(limit));
    // The driver's own limit is the request's; the wait for a broker comes on top.
    let asked = tokio::time::timeout(limit * 2, admin.describe_configs(resources, &options)).await;
    let all = |why: String| resources.iter().map(|_| Err(why.clone())).collect();
    match asked {
        Err(_) => all(format!("no answer within {:?}", limit * 2)),
        Ok(Err(error)) => all(error.to_string()),
        Ok(Ok(answers)) => answers.into_iter().map(|answer| read(answer, names)).collect(),
    }
}

fn read(
    answer: std::result::Result<rdkafka::admin::ConfigResource, RDKafkaErrorCode>,
    names: &[&str],
) -> Settings {
    let resource = answer.map_err(|code| code.to_string())?;
    let known = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
    Ok(names.iter().filter_map(|name| Some(((*name).to_owned(), known(name)?))).collect())
}

fn places(
    config: &ClientConfig,
    consumed: &Consumed,
    scope: &Arc<str>,
    limit: Duration,
) -> std::result::Result<Vec<GroupPlace>, String> {
    let group = config.get("group.id").unwrap_or_default().to_owned();
    let mut asking = connection(config);
    asking.set("group.id", group).set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    let text = |error: KafkaError| error.to_string();
    let client: BaseConsumer<Probe> = asking.create_with_context(Probe::new(scope)).map_err(text)?;
    let mut list = TopicPartitionList::new();
    for (topic, partitions) in consumed {
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
    }
    if list.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = client.committed_offsets(list, limit).map_err(text)?;
    let deadline = Instant::now() + limit;
    let mut places = Vec::new();
    for element in committed.elements().iter().take(PLACES) {
        element.error().map_err(text)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let (topic, partition) = (element.topic(), element.partition());
        let (first, end) = client.fetch_watermarks(topic, partition, left).map_err(text)?;
        let next = match element.offset() {
            Offset::Offset(next) => Some(next),
            _ => None,
        };
        places.push(GroupPlace { topic: topic.to_owned(), partition, next, first, end });
    }
    Ok(places)
}
