//! From the hook to the exporter.

use ackonce::trace::{TARGET, set_trace_hook};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::Traces;
use super::bridge::{Bridge, PlacedIds};
use super::client::Collector;
use super::sampler::Decision;
use super::variables::{variable, wanted};
use crate::refusal::Refusal;

/// The layer that hands our spans to OpenTelemetry.
pub(crate) type SpanLayer<S> =
    tracing_subscriber::filter::Filtered<OpenTelemetryLayer<S, SdkTracer>, Targets, S>;

/// The layer and the traces of this process, if they are wanted; the hook is installed with them.
///
/// # Errors
/// A variable that cannot be honoured.
pub(crate) fn layer<S>() -> Result<Option<(SpanLayer<S>, Traces)>, Refusal>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if !wanted()? {
        return Ok(None);
    }
    let decision = Decision::of_environment()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Collector::new()?)
        .build()
        .map_err(|error| {
            Refusal::usage(format!(
                "traces cannot be sent as the variables OTEL_EXPORTER_OTLP_… say: {error}"
            ))
        })?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // The hook has asked before.
        .with_sampler(Sampler::AlwaysOn)
        .with_id_generator(PlacedIds::default())
        .with_resource(resource())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("ackonce"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
    set_trace_hook(Box::new(Bridge { decision }))
        .map_err(|_| Refusal::environment("this process has another hook for traces already"))?;
    Ok(Some((layer, Traces { provider: Some(provider) })))
}

/// The attributes of this process. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go over ours.
fn resource() -> Resource {
    let builder = Resource::builder();
    let is_named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
    let builder = if is_named { builder } else { builder.with_service_name("ackonce") };
    builder.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build()
}
