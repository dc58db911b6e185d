//! The variables of the environment that say whether there are traces.

use crate::refusal::Refusal;

/// The value of a variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// True if a collector is named, or an exporter is asked for. The specification's default, a collector at localhost for each
/// process that can have one, would be a surprise in a program that was built for both.
///
/// # Errors
/// An exporter or a protocol that there is not.
pub(crate) fn wanted() -> Result<bool, Refusal> {
    is_wanted(variable)
}

fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> Result<bool, Refusal> {
    let first =
        |names: [&str; 2]| names.into_iter().find_map(|name| Some((name.to_owned(), variable(name)?)));
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let endpoint = first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
    let is_wanted = match variable("OTEL_TRACES_EXPORTER").as_deref() {
        None => endpoint.is_some(),
        Some("none") => false,
        Some("otlp") => true,
        Some(other) => {
            return Err(refused("OTEL_TRACES_EXPORTER", other, "there are otlp and none"));
        }
    };
    let protocol = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    match protocol {
        Some((name, value)) if is_wanted && value != "http/protobuf" => Err(refused(
            &name,
            &value,
            "traces are sent by http/protobuf alone; set it to that, with the collector's port for HTTP (4318 as a rule)",
        )),
        _ => Ok(is_wanted),
    }
}

pub(super) fn refused(name: &str, value: &str, why: &str) -> Refusal {
    Refusal::usage(format!("the variable {name} of the environment is {value:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<bool, Refusal> {
        is_wanted(|name| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_sent_if_a_collector_is_named_or_an_exporter_asked_for() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(of(&[]), Ok(false));
        assert_eq!(of(&[endpoint]), Ok(true));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")]), Ok(true));
        assert_eq!(of(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(of(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(of(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(false));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Ok(false), "of other programs");
    }

    #[test]
    fn an_exporter_or_protocol_that_there_is_not_is_refused_by_its_variable() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        for (name, value, fix) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp"),
        ] {
            let refused = of(&[endpoint, (name, value)]).unwrap_err();
            assert_eq!(refused.exit_code(), 2);
            let text = refused.to_string();
            assert!(text.contains(name) && text.contains(value) && text.contains(fix), "{text}");
        }
    }
}
