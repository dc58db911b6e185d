//! `kafka://HOST:PORT[,HOST:PORT]/TOPIC[,TOPIC]?kafka.NAME=VALUE`, of sources and sinks alike.

use ackonce_kafka::ClientConfig;
use ackonce_kafka::rdkafka::error::KafkaError;

use crate::url::{Parts, RelayUrlError, Result, decoded};

/// Brokers, topics and the driver's properties.
#[derive(Debug)]
pub(crate) struct KafkaUrl {
    pub(crate) config: ClientConfig,
    pub(crate) topics: Vec<String>,
}

impl KafkaUrl {
    pub(crate) fn of(parts: &mut Parts<'_>) -> Result<Self> {
        let topics: Vec<String> = parts.path.split(',').map(decoded).collect::<Result<_>>()?;
        if topics.iter().any(String::is_empty) {
            return Err(RelayUrlError::new("it names no topic; write kafka://HOST:PORT/TOPIC"));
        }
        Ok(Self { config: Self::brokers(parts)?, topics })
    }

    /// The brokers and the driver's properties.
    pub(crate) fn brokers(parts: &mut Parts<'_>) -> Result<ClientConfig> {
        if parts.user.is_some() {
            let why =
                "user and password of Kafka are properties: kafka.sasl.username=…&kafka.sasl.password=…";
            return Err(RelayUrlError::new(why));
        }
        let mut config = ClientConfig::new();
        for (name, value) in parts.take_with_prefix("kafka.") {
            if config.get(&name).is_some() {
                return Err(RelayUrlError::new(format!("its option `kafka.{name}` is there twice")));
            }
            config.set(name, value);
        }
        config.set("bootstrap.servers", parts.hosts);
        Ok(config)
    }
}

/// Properties that the promise needs as they are.
const OWN: [&str; 3] = ["acks", "request.required.acks", "enable.idempotence"];

/// The configuration of a producer.
pub(crate) fn producer(mut config: ClientConfig) -> Result<ClientConfig> {
    if let Some(name) = OWN.into_iter().find(|name| config.get(name).is_some()) {
        return Err(RelayUrlError::new(format!(
            "its option `kafka.{name}` is not yours to set: records are confirmed by all replicas"
        )));
    }
    // Waits for company for a moment: a record alone in its request costs ten times as much.
    if config.get("linger.ms").is_none() {
        config.set("linger.ms", "2");
    }
    refused_property(&config)?;
    Ok(config)
}

/// Asks the driver whether it knows these properties.
pub(crate) fn refused_property(config: &ClientConfig) -> Result<()> {
    match config.create_native_config() {
        Ok(_) => Ok(()),
        // Its value may be a secret.
        Err(KafkaError::ClientConfig(_, _, name, _)) => Err(RelayUrlError::new(format!(
            "its option `kafka.{name}` is no property of librdkafka, or has a value that it does not take"
        ))),
        Err(error) => Err(RelayUrlError::new(error.to_string())),
    }
}
