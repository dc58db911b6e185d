//! A duplicate's span leads to the run that it repeats.

use ackonce_tests::kafka::Kafka;
use ackonce_tests::worker::Worker;

use crate::collector::{Collector, attribute};
use crate::service::Service;
use crate::{SPAN, TRACE, program, publish, traceparent};

const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_linked_to_the_run_that_it_repeats() {
    let Some(kafka) = Kafka::real() else { return };
    let topic = kafka.name("orders");
    kafka.create(&topic, 1).await;
    let (collector, service) = (Collector::start().await, Service::start(&[]).await);
    let dir = tempfile::tempdir().unwrap();
    let from = format!("kafka://{}/{topic}?group={topic}", kafka.brokers());
    let args = ["relay", "--from", &from, "--to", &service.url()];
    let other = format!("00-{OTHER_TRACE}-{SPAN}-01");
    let deliveries = [traceparent(), traceparent(), other];
    // Another process finds the record.
    for (count, context) in (1..).zip(&deliveries) {
        let mut relay = Worker::start(&mut program(&args, dir.path(), &collector));
        publish(&kafka, &topic, b"{}", &[("message-id", b"m1"), ("traceparent", context.as_bytes())]);
        collector.spans_of("m1", count).await;
        assert!(relay.terminate());
    }
    assert_eq!(service.calls().len(), 1);
    let spans = collector.spans_of("m1", 3).await;
    let run = hex::encode(&spans[0].span_id);
    assert!(spans[0].links.is_empty());
    let link = |at: usize| {
        let [link] = &spans[at].links[..] else { panic!("{:?}", spans[at].links) };
        (hex::encode(&link.trace_id), hex::encode(&link.span_id))
    };
    assert_eq!(link(1), (TRACE.to_owned(), run.clone()), "the run of the same trace");
    for (duplicate, trace) in [(&spans[1], TRACE), (&spans[2], OTHER_TRACE)] {
        assert_eq!(attribute(duplicate, "ackonce.answer").as_deref(), Some("duplicate"));
        assert_eq!(hex::encode(&duplicate.trace_id), trace);
        // In another trace, the link cannot name the run's own; this leads to it.
        assert_eq!(attribute(duplicate, "ackonce.repeats"), Some(run.clone()));
    }
    assert_eq!(attribute(&spans[0], "ackonce.run"), Some(run));
}
