//! One message through all of its stations is one trace.

use ackonce_amqp::lapin::BasicProperties;
use ackonce_amqp::lapin::ExchangeKind;
use ackonce_amqp::lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use ackonce_tests::worker::Worker;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rdkafka::Message as _;
use rdkafka::message::Headers;

use crate::collector::{Collector, attribute};
use crate::service::Service;
use crate::{SPAN, TRACE, program, publish, traceparent};

/// Producer, first attempt, retry topic, second attempt, dead letter, redrive, third attempt, sink.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_kafka_producer_through_retry_topic_dead_letter_and_redrive_to_the_sink() {
    let Some(kafka) = Kafka::real() else { return };
    let [orders, retry, dead] = ["orders", "retry", "dead"].map(|stem| kafka.name(stem));
    for topic in [&orders, &retry, &dead] {
        kafka.create(topic, 1).await;
    }
    let (collector, service) = (Collector::start().await, Service::start(&[500, 422]).await);
    let dir = tempfile::tempdir().unwrap();
    let from = format!("kafka://{}/{orders}?group={orders}", kafka.brokers());
    let retries = format!("{retry}=500ms");
    let args = [
        "relay",
        "--from",
        &from,
        "--to",
        &service.url(),
        "--dead-letter",
        &dead,
        "--retry-topics",
        &retries,
    ];
    let mut relay = Worker::start(&mut program(&args, dir.path(), &collector));
    publish(&kafka, &orders, b"{}", &[("message-id", b"m1"), ("traceparent", traceparent().as_bytes())]);
    until("the dead letter is there", || kafka.end(&dead, 0) == 1).await;
    let letter = kafka.read(&dead).remove(0);
    let headers: Vec<_> = letter.headers().unwrap().iter().map(|h| (h.key, h.value.unwrap())).collect();
    publish(&kafka, &orders, letter.payload().unwrap(), &headers);
    until("the service is called a third time", || service.calls().len() == 3).await;
    assert!(relay.terminate(), "exit code 0");
    let spans = collector.spans_of("m1", 4).await;
    let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
    let process = format!("process {orders}");
    assert_eq!(names, [process.clone(), format!("process {retry}"), format!("bury {dead}"), process]);
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) == TRACE), "one trace");
    for run in [&spans[0], &spans[1], &spans[3]] {
        assert_eq!((hex::encode(&run.parent_span_id).as_str(), run.kind()), (SPAN, SpanKind::Consumer));
    }
    assert_eq!((&spans[2].parent_span_id, spans[2].kind()), (&spans[1].span_id, SpanKind::Producer));
    let answers: Vec<_> = spans.iter().map(|span| attribute(span, "ackonce.answer")).collect();
    assert_eq!(
        answers,
        [Some("failed"), Some("buried"), None, Some("completed")].map(|a| a.map(str::to_owned))
    );
    has_its_attributes(&spans[0], &orders);
    // The calls of the service are of the same trace, each below its run.
    let posts = collector.with("http.request.method", "POST");
    assert_eq!(posts.len(), 3);
    for (post, run) in posts.iter().zip([&spans[0], &spans[1], &spans[3]]) {
        assert_eq!((&post.parent_span_id, post.kind()), (&run.span_id, SpanKind::Client));
    }
    let sent: Vec<_> =
        posts.iter().map(|post| Some(format!("00-{TRACE}-{}-01", hex::encode(&post.span_id)))).collect();
    assert_eq!(service.contexts(), sent);
    assert!(collector.services().iter().all(|name| name == "ackonce"));
}

/// The names of OpenTelemetry's messaging conventions.
fn has_its_attributes(run: &Span, topic: &str) {
    for (name, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", topic),
        ("messaging.destination.partition.id", "0"),
        ("messaging.consumer.group.name", topic),
        ("messaging.kafka.offset", "0"),
        ("messaging.message.body.size", "2"),
        ("ackonce.attempt", "1"),
        ("ackonce.class", "keyed"),
        ("error.type", "retry"),
    ] {
        assert_eq!(attribute(run, name).as_deref(), Some(value), "{name}: {:?}", run.attributes);
    }
    let run_id = hex::encode(&run.span_id);
    assert_eq!(attribute(run, "ackonce.run"), Some(run_id));
    assert!(run.status.as_ref().unwrap().message.contains("500"), "{:?}", run.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_rabbitmq_producer_through_retry_dead_letter_and_redrive_to_a_kafka_sink() {
    let (Some(rabbit), Some(kafka)) = (Rabbit::real(), Kafka::real()) else { return };
    let [queue, dead, exchange] = ["orders", "dead", "dlx"].map(|stem| rabbit.name(stem));
    let admin = rabbit.connect().await;
    for queue in [&queue, &dead] {
        admin.declare(queue, Kind::Quorum, &[]).await;
    }
    let (fanout, all) = (ExchangeKind::Fanout, FieldTable::default);
    let name = || exchange.as_str().into();
    admin.channel.exchange_declare(name(), fanout, ExchangeDeclareOptions::default(), all()).await.unwrap();
    let bound =
        admin.channel.queue_bind(dead.as_str().into(), name(), "".into(), QueueBindOptions::default(), all());
    bound.await.unwrap();
    let (collector, service) = (Collector::start().await, Service::start(&[500, 422]).await);
    let dir = tempfile::tempdir().unwrap();
    let from = format!("{}?queue={queue}", rabbit.url());
    let args =
        |to| ["relay", "--from", &from, "--to", to, "--dead-letter", &exchange, "--backoff", "50ms..100ms"];
    let to = service.url();
    let mut relay = Worker::start(&mut program(&args(&to), dir.path(), &collector));
    let mut table = FieldTable::default();
    table.insert("traceparent".into(), AMQPValue::LongString(traceparent().into()));
    let properties = BasicProperties::default().with_message_id("r1".into()).with_headers(table);
    admin.publish_with(&queue, b"{}", properties).await;
    admin.until_ready(&dead, 1).await;
    assert!(relay.terminate());
    let letter = admin.take(&dead).await.remove(0);
    // The next relay has another sink.
    let done = kafka.name("done");
    kafka.create(&done, 1).await;
    let to = format!("kafka://{}/{done}", kafka.brokers());
    let mut relay = Worker::start(&mut program(&args(&to), dir.path(), &collector));
    admin.publish_with(&queue, &letter.data, letter.properties).await;
    until("the record is there", || kafka.end(&done, 0) == 1).await;
    assert!(relay.terminate());
    let spans = collector.spans_of("r1", 5).await;
    let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
    let process = format!("process {queue}");
    assert_eq!(
        names,
        [process.clone(), process.clone(), format!("bury {exchange}"), process, format!("send {done}")]
    );
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) == TRACE), "one trace");
    assert_eq!((&spans[4].parent_span_id, spans[4].kind()), (&spans[3].span_id, SpanKind::Producer));
    assert_eq!(attribute(&spans[0], "messaging.system").as_deref(), Some("rabbitmq"));
    assert_eq!(attribute(&spans[0], "messaging.rabbitmq.destination.routing_key"), Some(queue));
    let record = kafka.read(&done).remove(0);
    let context = record.headers().unwrap().iter().filter(|header| header.key == "traceparent");
    let context: Vec<_> =
        context.map(|header| String::from_utf8(header.value.unwrap().to_vec()).unwrap()).collect();
    assert_eq!(context, [format!("00-{TRACE}-{}-01", hex::encode(&spans[4].span_id))], "one header");
}
