//! Requests through the proxy, and a program that a relay runs.

use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use ackonce_tests::worker::Worker;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::collector::{Collector, attribute};
use crate::service::Service;
use crate::{SPAN, TRACE, program, publish, traceparent};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_repetition_are_one_trace() {
    let (collector, service) = (Collector::start().await, Service::start(&[201]).await);
    let dir = tempfile::tempdir().unwrap();
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let upstream = service.url().trim_end_matches("/in").to_owned();
    let args = ["proxy", "--listen", &listen, "--upstream", &upstream, "--principal", "none"];
    let mut proxy = Worker::start(&mut program(&args, dir.path(), &collector));
    let client = reqwest::Client::new();
    let pay = || {
        let request = client.post(format!("http://{listen}/pay")).body("{}");
        request.header("idempotency-key", "\"k1\"").header("traceparent", traceparent()).send()
    };
    until("the proxy listens", || std::net::TcpStream::connect(&listen).is_ok()).await;
    let first = pay().await.unwrap();
    assert_eq!((first.status().as_u16(), pay().await.unwrap().status().as_u16()), (201, 201));
    assert!(proxy.terminate());
    until("both spans are there", || collector.count() == 2).await;
    let spans = collector.with("url.path", "/pay");
    let answers: Vec<_> = spans.iter().map(|span| attribute(span, "ackonce.answer").unwrap()).collect();
    assert_eq!(answers, ["completed", "duplicate"]);
    for span in &spans {
        assert_eq!((span.name.as_str(), span.kind()), ("POST", SpanKind::Server));
        assert_eq!(
            (hex::encode(&span.trace_id), hex::encode(&span.parent_span_id)),
            (TRACE.into(), SPAN.into())
        );
        assert_eq!(attribute(span, "messaging.system"), None, "a request is no message");
    }
    assert_eq!(spans[1].links[0].span_id, spans[0].span_id);
    assert_eq!(service.contexts(), [Some(format!("00-{TRACE}-{}-01", hex::encode(&spans[0].span_id)))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_its_context_in_the_environment() {
    let Some(kafka) = Kafka::real() else { return };
    let topic = kafka.name("exec");
    kafka.create(&topic, 1).await;
    let (collector, dir) = (Collector::start().await, tempfile::tempdir().unwrap());
    let seen = dir.path().join("seen");
    let from = format!("kafka://{}/{topic}?group={topic}", kafka.brokers());
    let to = format!("exec:sh -c 'echo $TRACEPARENT $TRACESTATE >> {}'", seen.display());
    let args = ["relay", "--from", &from, "--to", &to];
    let mut relay = Worker::start(program(&args, dir.path(), &collector).env("TRACESTATE", "of=the-relay"));
    publish(&kafka, &topic, b"{}", &[("message-id", b"m1"), ("traceparent", traceparent().as_bytes())]);
    let [span] = &collector.spans_of("m1", 1).await[..] else { unreachable!() };
    assert!(relay.terminate());
    let seen = std::fs::read_to_string(seen).unwrap();
    assert_eq!(seen.trim_end(), format!("00-{TRACE}-{}-01", hex::encode(&span.span_id)));
}
