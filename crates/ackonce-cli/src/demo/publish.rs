//! Publishing the deliveries, and seeing that the broker keeps all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::broker::Broker;
use super::plan::Plan;

/// Publishes everything; `each` is called with the number published so far.
pub(crate) fn publish(broker: &Broker, topic: &str, plan: &Plan, each: impl Fn(u64)) -> Result<()> {
    let receipts = Receipts::default();
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", broker.brokers())
        // Nothing is to be published twice but what the plan says.
        .set("enable.idempotence", "true")
        // Repeated shapes compress well, and the in-process broker keeps 5 MiB of each partition as it got them.
        .set("compression.type", "lz4")
        .set("linger.ms", "50")
        .set("batch.size", "1000000")
        .create_with_context(receipts.clone())?;
    for (n, &index) in (1..).zip(&plan.deliveries) {
        let planned = &plan.messages[index];
        let payload = planned.sample.payload(&planned.id);
        let headers = OwnedHeaders::new()
            .insert(Header { key: "message-id", value: Some(&planned.id) })
            .insert(Header { key: "type", value: Some(planned.sample.kind) });
        let mut record = BaseRecord::to(topic).key(&planned.key).payload(&payload).headers(headers);
        while let Err((error, unsent)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error).context("publishing");
            }
            std::thread::sleep(Duration::from_millis(5));
            record = unsent;
        }
        each(n);
    }
    producer.flush(Duration::from_secs(60)).context("publishing: the broker does not confirm")?;
    let confirmed = receipts.confirmed.load(Ordering::Relaxed);
    if confirmed != plan.deliveries.len() as u64 {
        bail!("the broker confirmed {confirmed} of {} messages", plan.deliveries.len());
    }
    Ok(())
}

/// Fails if the broker dropped some: the in-process one keeps 5 MiB of each partition and says nothing.
pub(crate) fn check_kept(ends: &[(i64, i64)], plan: &Plan) -> Result<()> {
    let kept: i64 = ends.iter().map(|(first, next)| next - first).sum();
    let published = plan.deliveries.len();
    if usize::try_from(kept).ok() != Some(published) {
        bail!(
            "the broker kept {kept} of {published} messages; lower --messages, or use a cluster with --brokers \
             whose topics keep them longer"
        );
    }
    Ok(())
}

/// Counts what the broker confirmed.
#[derive(Debug, Clone, Default)]
struct Receipts {
    confirmed: Arc<AtomicU64>,
}

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.confirmed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
