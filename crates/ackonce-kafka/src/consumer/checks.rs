//! Settings that are refused, or completed, before anything is connected.

use std::time::Duration;

use ackonce::{Error, ErrorKind, OnMismatch, Result, Settings};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::delays::Ladder;

/// The driver's pause before it fetches again for a full prefetch queue. Its default of a second is longer than
/// a fast consumer takes to empty the queue, which then stands still.
const FETCH_BACKOFF_MS: &str = "20";
/// Prefetched records of one partition, in KiB. The driver's default of 64 MiB was for all partitions together.
const PREFETCH_KIB: &str = "2048";
const STATISTICS_MS: &str = "5000";
/// A readiness that is older says nothing.
const MOST_STATISTICS_MS: u64 = 30_000;
/// The most that a revocation may wait: more is an hour in which a group stands still.
const MOST_REBALANCE: Duration = Duration::from_secs(3600);

/// The consumer's configuration as it is given to the driver.
///
/// # Errors
/// [`ErrorKind::Config`], naming the setting that cannot be honoured.
pub(crate) fn config(user: &ClientConfig, commit_interval: Duration) -> Result<ClientConfig> {
    let refuse = |text: &str| Err(Error::new(ErrorKind::Config, text));
    if user.get("group.id").is_none_or(str::is_empty) {
        return refuse("group.id is not set: a consumer commits its offsets for a group");
    }
    for name in ["enable.auto.commit", "enable.auto.offset.store"] {
        if user.get(name).is_some_and(is_true) {
            return refuse(&format!(
                "{name}=true: an offset is committed once its message is settled, which is this consumer's work; leave \
                {name} out"
            ));
        }
    }
    if user.get("transactional.id").is_some() {
        return refuse(
            "transactional.id: dead letters and retries are published outside of transactions, and a producer with a \
            transactional.id takes nothing outside of one; leave transactional.id out",
        );
    }
    let statistics = user.get("statistics.interval.ms").and_then(|ms| ms.trim().parse().ok());
    if statistics.is_some_and(|ms: u64| ms == 0 || ms > MOST_STATISTICS_MS) {
        return refuse(&format!(
            "statistics.interval.ms is 0 or over {MOST_STATISTICS_MS}: whether a broker answers, the lag, and so the health of the \
            consumer, are known from the driver's statistics; leave statistics.interval.ms out"
        ));
    }
    let mut config = user.clone();
    for (name, value) in [
        ("auto.offset.reset", "earliest"),
        ("fetch.queue.backoff.ms", FETCH_BACKOFF_MS),
        ("queued.max.messages.kbytes", PREFETCH_KIB),
        ("statistics.interval.ms", STATISTICS_MS),
    ] {
        if config.get(name).is_none() {
            config.set(name, value);
        }
    }
    // The driver commits stored offsets in the background and reports each partition's answer; commits by hand it
    // reports not at all, or waits for without a limit.
    config.set("enable.auto.commit", "true").set("enable.auto.offset.store", "false");
    config.set("auto.commit.interval.ms", commit_interval.as_millis().clamp(1, 86_400_000).to_string());
    // The one sign of a topic that was deleted and created again is a line of this kind.
    let debug = user.get("debug").map_or_else(|| "metadata".to_owned(), |debug| format!("{debug},metadata"));
    config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
    Ok(config)
}

/// True if the driver reads the value as true.
fn is_true(value: &str) -> bool {
    ["true", "t", "1"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

/// Settings of the runner that a topic cannot honour, and lengths that the clock cannot represent.
pub(crate) fn settings(settings: &Settings, rebalance_timeout: Duration) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(ErrorKind::Config, text));
    if settings.on_mismatch == OnMismatch::HandBack {
        return refuse(
            "OnMismatch::HandBack: the partition would deliver the message again, for ever; use OnMismatch::Bury or \
            OnMismatch::Fail",
        );
    }
    if rebalance_timeout > MOST_REBALANCE {
        return refuse(
            "KafkaConsumer::with_rebalance_timeout is over an hour: the group waits with it, and without an answer within \
            max.poll.interval.ms it gives the partitions to others",
        );
    }
    Ok(())
}

/// The subscription: the user's topics and the retry topics.
///
/// # Errors
/// [`ErrorKind::Config`]: a dead-letter topic that the subscription would read. Each letter would be consumed, and
/// could be buried again.
pub(crate) fn subscription(
    topics: &[String],
    ladder: &Ladder,
    dead_letters: Option<&str>,
) -> Result<Vec<String>> {
    let refuse = |text: String| Err(Error::new(ErrorKind::Config, text));
    if topics.is_empty() {
        return refuse("KafkaConsumer::new: no topic is given".to_owned());
    }
    // The driver refuses the whole subscription, and does not say which topic it is.
    if let Some((_, topic)) = topics.iter().enumerate().find(|(at, topic)| topics[..*at].contains(topic)) {
        return refuse(format!("KafkaConsumer::new: topic {topic} is given twice"));
    }
    if let Some(dead) = dead_letters {
        if dead.is_empty() || dead.starts_with('^') {
            return refuse(format!("KafkaConsumer::with_dead_letters: {dead:?} is not the name of a topic"));
        }
        if ladder.iter().any(|(name, _)| name == dead) {
            return refuse(format!("KafkaConsumer::with_dead_letters: {dead} is a retry topic, too"));
        }
        if let Some(topic) = topics.iter().find(|topic| reads(topic, dead)) {
            return refuse(format!(
                "KafkaConsumer::with_dead_letters: the subscription to {topic} reads the dead-letter topic {dead} \
                itself: each letter would come back as a message; choose a topic outside of the subscription"
            ));
        }
    }
    if let Some((name, _)) = ladder.iter().find(|(name, _)| topics.contains(name)) {
        return refuse(format!(
            "KafkaConsumer::with_retry_topics: {name} is consumed itself: its new messages would wait behind failed \
            ones that are not due; give failed messages a topic of their own"
        ));
    }
    let mut all = topics.to_vec();
    for (name, _) in ladder {
        all.push(name.clone());
    }
    Ok(all)
}

/// True if a subscription to `topic`, a name or a pattern, reads the topic `name`. A pattern that cannot be understood
/// here is taken to read nothing; the driver then judges it.
fn reads(topic: &str, name: &str) -> bool {
    match topic.starts_with('^') {
        true => regex_lite::Regex::new(topic).is_ok_and(|pattern| pattern.is_match(name)),
        false => topic == name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn base() -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("group.id", "g");
        config
    }

    #[test]
    fn a_dead_letter_topic_that_the_subscription_reads_is_refused() {
        let none = Ladder::new();
        for (topic, dead) in [("orders", "orders"), ("^orders.*", "orders-dead"), ("^orders", "orders")] {
            let error = subscription(&[topic.into()], &none, Some(dead)).unwrap_err();
            assert!(error.to_string().contains("with_dead_letters"), "{error}");
        }
        assert!(subscription(&["^orders$".into()], &none, Some("orders-dead")).is_ok());
        let ladder = vec![("later".to_owned(), Duration::from_secs(1))];
        assert!(subscription(&["orders".into()], &ladder, Some("later")).is_err());
        let error = subscription(&["later".into()], &ladder, None).unwrap_err();
        assert!(error.to_string().contains("with_retry_topics"), "{error}");
        assert_eq!(subscription(&["orders".into()], &ladder, Some("dead")).unwrap(), ["orders", "later"]);
    }

    #[test]
    fn settings_that_cannot_be_honoured_are_refused_by_name() {
        let interval = Duration::from_millis(200);
        let refused = [
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "True"),
            ("enable.auto.commit", "1"),
            ("transactional.id", "mine"),
            ("statistics.interval.ms", "0"),
            ("statistics.interval.ms", "600000"),
        ];
        for (name, value) in refused {
            let error = config(base().set(name, value), interval).unwrap_err();
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(name), "{error}");
        }
        assert!(config(&ClientConfig::new(), interval).unwrap_err().to_string().contains("group.id"));
        let hand_back = Settings::default().with_on_mismatch(OnMismatch::HandBack);
        let refused = |settings_of: &Settings, drain| settings(settings_of, drain).unwrap_err().to_string();
        assert!(refused(&hand_back, Duration::ZERO).contains("OnMismatch::HandBack"));
        assert!(refused(&Settings::default(), Duration::MAX).contains("with_rebalance_timeout"));
        settings(&Settings::default(), Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_topic_that_is_given_twice_is_named() {
        let topics = ["a", "b", "a"].map(str::to_owned);
        let error = subscription(&topics, &Ladder::new(), None).unwrap_err().to_string();
        assert!(error.contains("KafkaConsumer::new: topic a is given twice"), "{error}");
    }

    #[test]
    fn the_users_own_values_are_kept() {
        let config =
            config(base().set("debug", "cgrp").set("auto.offset.reset", "latest"), Duration::ZERO).unwrap();
        assert_eq!(config.get("debug"), Some("cgrp,metadata"));
        assert_eq!(config.get("auto.offset.reset"), Some("latest"));
        assert_eq!(config.get("auto.commit.interval.ms"), Some("1"));
    }
}
