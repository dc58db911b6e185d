//! The recorder of this process, and its text for Prometheus.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::refusal::Refusal;

/// The upper ends of the buckets of durations, in seconds: from a record in memory to a message that waits for its retries.
const SECONDS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

pub(super) fn install() -> Result<PrometheusHandle, Refusal> {
    let built =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS);
    let recorder = built
        .map_err(|error| Refusal::environment(format!("the buckets of durations were refused: {error}")))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|_| Refusal::environment("--admin: this process has another recorder of metrics already"))?;
    Ok(handle)
}
