//! Traces by OpenTelemetry: the spans of [`ackonce::trace`], sent to a collector by OTLP over HTTP.
//!
//! The variables `OTEL_…` of the environment set it up, as OpenTelemetry's
//! [specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/) names them. Spans wait in
//! a bounded queue for a thread of their own: a collector that is away costs spans, and nothing else.

#[cfg(feature = "otel")]
mod bridge;
#[cfg(feature = "otel")]
mod client;
#[cfg(feature = "otel")]
mod pipeline;
#[cfg(feature = "otel")]
mod sampler;
mod variables;

use std::fmt;

#[cfg(feature = "otel")]
pub(crate) use self::pipeline::layer;
#[cfg(not(feature = "otel"))]
pub(crate) use self::variables::wanted;

/// The traces of this process.
#[derive(Default)]
pub struct Traces {
    #[cfg(feature = "otel")]
    pub(crate) provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Traces {
    /// Sends the spans that wait, for two seconds at most. Call it after the last message has ended.
    pub fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(provider) = self.provider
            && provider.shutdown_with_timeout(std::time::Duration::from_secs(2)).is_err()
        {
            tracing::warn!(target: "ackonce", "the last spans of this process did not reach the collector of traces");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}
