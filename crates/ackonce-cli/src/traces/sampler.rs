//! The sampler, asked before a span is built: a span that is dropped later costs ten times as much.

use ackonce::trace::TraceContext;
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

use super::variables::{refused, variable};
use crate::refusal::Refusal;

/// The sampler of `OTEL_TRACES_SAMPLER`.
#[derive(Debug)]
pub(super) struct Decision {
    /// A message that came with a context is traced if its producer's trace is.
    by_parent: bool,
    /// For the others, or for all.
    root: Sampler,
}

impl Decision {
    /// # Errors
    /// A sampler that there is not, or a ratio that is no number from 0 to 1.
    pub(super) fn of_environment() -> Result<Self, Refusal> {
        Self::of(
            variable("OTEL_TRACES_SAMPLER").as_deref().unwrap_or("parentbased_always_on"),
            variable("OTEL_TRACES_SAMPLER_ARG").as_deref(),
        )
    }

    fn of(name: &str, argument: Option<&str>) -> Result<Self, Refusal> {
        let by_parent = name.starts_with("parentbased_");
        let root = match name.strip_prefix("parentbased_").unwrap_or(name) {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(ratio(argument.unwrap_or("1"))?),
            _ => {
                let why = "there are always_on, always_off and traceidratio, and the same with parentbased_ before them";
                return Err(refused("OTEL_TRACES_SAMPLER", name, why));
            }
        };
        Ok(Self { by_parent, root })
    }

    pub(super) fn samples(&self, trace_id: [u8; 16], parent: Option<&TraceContext>) -> bool {
        match (parent, &self.root) {
            (Some(parent), _) if self.by_parent => parent.is_sampled(),
            (_, Sampler::AlwaysOn) => true,
            (_, Sampler::AlwaysOff) => false,
            (_, root) => {
                let id = TraceId::from_bytes(trace_id);
                let result = root.should_sample(None, id, "", &SpanKind::Consumer, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }
}

fn ratio(text: &str) -> Result<f64, Refusal> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| refused("OTEL_TRACES_SAMPLER_ARG", text, "it is a number from 0 to 1, such as 0.05"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(sampled: bool) -> TraceContext {
        TraceContext::new([1; 16], [1; 8], sampled).unwrap()
    }

    #[test]
    fn a_producer_decides_for_its_messages_and_the_sampler_for_the_others() {
        let samples = |name, argument, parent: Option<bool>| {
            let decision = Decision::of(name, argument).unwrap();
            decision.samples([7; 16], parent.map(self::parent).as_ref())
        };
        for name in ["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"] {
            assert!(samples(name, None, Some(true)) && !samples(name, None, Some(false)), "{name}");
        }
        assert!(samples("parentbased_always_on", None, None));
        assert!(!samples("parentbased_always_off", None, None));
        assert!(samples("always_on", None, Some(false)) && !samples("always_off", None, Some(true)));
    }

    #[test]
    fn a_ratio_takes_its_share_of_the_traces() {
        let decision = Decision::of("traceidratio", Some("0.25")).unwrap();
        let id = |n: u64| {
            let mut id = [0; 16];
            id[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            id
        };
        let taken = (1..=4000).filter(|n| decision.samples(id(*n), None)).count();
        assert!((900..1100).contains(&taken), "{taken} of 4000");
    }

    #[test]
    fn a_sampler_that_there_is_not_is_refused_by_its_variable() {
        for (name, argument, said) in [
            ("jaeger_remote", None, "OTEL_TRACES_SAMPLER "),
            ("traceidratio", Some("2"), "OTEL_TRACES_SAMPLER_ARG"),
            ("traceidratio", Some("NaN"), "OTEL_TRACES_SAMPLER_ARG"),
        ] {
            let refused = Decision::of(name, argument).unwrap_err();
            assert!(refused.exit_code() == 2 && refused.to_string().contains(said), "{refused}");
        }
    }
}
