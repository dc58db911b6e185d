//! Hostile and unsampled trace contexts.

use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use ackonce_tests::worker::Worker;

use crate::collector::Collector;
use crate::service::Service;
use crate::{SPAN, TRACE, program, publish, traceparent};

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_context_is_none_and_its_message_runs() {
    let Some(kafka) = Kafka::real() else { return };
    let topic = kafka.name("hostile");
    kafka.create(&topic, 1).await;
    let (collector, service) = (Collector::start().await, Service::start(&[]).await);
    let dir = tempfile::tempdir().unwrap();
    let from = format!("kafka://{}/{topic}?group={topic}", kafka.brokers());
    let args = ["relay", "--from", &from, "--to", &service.url()];
    let mut relay = Worker::start(&mut program(&args, dir.path(), &collector));
    let good = traceparent();
    let long = [good.as_bytes(), &b"0".repeat(100_000)].concat();
    let hostile: [(&str, Vec<&[u8]>); 5] = [
        ("garbage", vec![b"\xff\0garbage\r\n"]),
        ("two", vec![good.as_bytes(), b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
        ("long", vec![&long]),
        ("zeros", vec![b"00-00000000000000000000000000000000-0000000000000000-01"]),
        ("empty", vec![b""]),
    ];
    for (id, contexts) in &hostile {
        let mut headers = vec![("message-id", id.as_bytes()), ("tracestate", b"\r\nx: y")];
        headers.extend(contexts.iter().map(|context| ("traceparent", *context)));
        publish(&kafka, &topic, b"{}", &headers);
    }
    for (id, _) in &hostile {
        let [span] = &collector.spans_of(id, 1).await[..] else { unreachable!() };
        assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty(), "{id}: a trace of its own");
        assert_ne!(hex::encode(&span.trace_id), TRACE, "{id}");
    }
    assert!(relay.terminate());
    assert_eq!(service.calls().len(), hostile.len());
    let contexts = service.contexts();
    assert!(contexts.iter().flatten().all(|sent| sent.len() == 55 && !sent.contains(TRACE)), "{contexts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_producer_does_not_record_has_no_span_and_passes() {
    let Some(kafka) = Kafka::real() else { return };
    let topic = kafka.name("unsampled");
    kafka.create(&topic, 1).await;
    let (collector, service) = (Collector::start().await, Service::start(&[]).await);
    let dir = tempfile::tempdir().unwrap();
    let from = format!("kafka://{}/{topic}?group={topic}", kafka.brokers());
    let args = ["relay", "--from", &from, "--to", &service.url()];
    let mut command = program(&args, dir.path(), &collector);
    command.env("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let mut relay = Worker::start(&mut command);
    let context = format!("00-{TRACE}-{SPAN}-00");
    let state = ("tracestate", &b"vendor=1"[..]);
    publish(&kafka, &topic, b"{}", &[("message-id", b"m1"), ("traceparent", context.as_bytes()), state]);
    publish(&kafka, &topic, b"{}", &[("message-id", b"m2")]);
    until("both are there", || service.calls().len() == 2).await;
    assert!(relay.terminate());
    assert_eq!(service.contexts(), [Some(context), None]);
    assert_eq!(service.calls()[0]["tracestate"], "vendor=1");
    assert_eq!(collector.count(), 0);
}
