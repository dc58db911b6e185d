//! From a delivered record to a job.

use ackonce::adapter::{Intake, Ordered, burial_proof};
use ackonce::{Error, ErrorKind, Result};

use crate::partition::PartitionDelivery;

/// # Errors
/// A record without a usable ID, under [`OnMissing::Stop`](ackonce::OnMissing::Stop).
pub(crate) fn admit(intake: &Intake, delivery: PartitionDelivery) -> Result<Ordered<PartitionDelivery>> {
    let message = delivery.message.clone();
    let source = (message.topic(), message.partition());
    intake.admit(delivery, source, burial_proof(&message), missing)
}

fn missing(delivery: &PartitionDelivery, why: &str) -> Error {
    let message = &delivery.message;
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    Error::new(
        ErrorKind::Invalid,
        format!(
            "the message at topic {topic}, partition {partition}, offset {offset} has no usable message ID: {why}. \
            Name the place of its IDs (KafkaConsumer::with_ids), or let such messages be buried in a dead-letter topic \
            (with_dead_letters)"
        ),
    )
}
