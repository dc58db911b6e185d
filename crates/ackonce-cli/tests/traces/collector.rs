//! A collector of traces: OTLP over HTTP in, spans to look at.

use std::sync::{Arc, Mutex};

use ackonce_tests::until;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

#[derive(Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    services: Mutex<Vec<String>>,
}

pub(crate) struct Collector {
    address: std::net::SocketAddr,
    received: Arc<Received>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, received) = (listener.local_addr().unwrap(), Arc::<Received>::default());
        let router = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, received }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that have this attribute of text.
    pub(crate) fn with(&self, name: &str, value: &str) -> Vec<Span> {
        let all = self.received.spans.lock().unwrap();
        all.iter().filter(|span| attribute(span, name).as_deref() == Some(value)).cloned().collect()
    }

    /// Waits for so many spans about a message.
    pub(crate) async fn spans_of(&self, id: &str, count: usize) -> Vec<Span> {
        let about = || self.with("messaging.message.id", id);
        until(&format!("{count} spans of {id}"), || about().len() >= count).await;
        let mut spans = about();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        assert_eq!(spans.len(), count, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        spans
    }

    pub(crate) fn count(&self) -> usize {
        self.received.spans.lock().unwrap().len()
    }

    /// The values of `service.name` so far.
    pub(crate) fn services(&self) -> Vec<String> {
        self.received.services.lock().unwrap().clone()
    }
}

async fn take(State(received): State<Arc<Received>>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of_resource in request.resource_spans {
        let attributes = of_resource.resource.iter().flat_map(|resource| &resource.attributes);
        let service = attributes.clone().find(|attribute| attribute.key == "service.name");
        received
            .services
            .lock()
            .unwrap()
            .extend(service.and_then(|of| text(of.value.as_ref()?.value.as_ref()?)));
        let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.spans.lock().unwrap().extend(spans);
    }
}

/// An attribute as text.
pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    text(found.value.as_ref()?.value.as_ref()?)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}
