//! Topics and queues by their addresses, so that a relay into its own source is found before it starts.

use crate::url::{Parts, decoded};

/// The topics or queues that a URL of Kafka or AMQP names, an address for each and for each of its servers.
pub(crate) fn queues(parts: &Parts<'_>, names: &[String]) -> Vec<String> {
    let (broker, port, vhost) = match parts.scheme {
        "kafka" => ("kafka", 9092, String::new()),
        scheme => {
            let vhost = decoded(parts.path).ok().filter(|vhost| !vhost.is_empty());
            ("amqp", if scheme == "amqps" { 5671 } else { 5672 }, vhost.unwrap_or_else(|| "/".to_owned()))
        }
    };
    let mut all = Vec::new();
    for host in parts.hosts.split(',') {
        let host = host.trim().to_ascii_lowercase();
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let server = if has_port { host } else { format!("{host}:{port}") };
        all.extend(names.iter().map(|name| format!("{broker} {server} {vhost} {name}")));
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_has_its_default_port_and_virtual_host() {
        let of = |url: &str, name: &str| queues(&Parts::of(url).unwrap(), &[name.to_owned()]);
        assert_eq!(of("kafka://A,b:9093/t", "t"), ["kafka a:9092  t", "kafka b:9093  t"]);
        assert_eq!(of("amqp://u:p@h/%2f", "q"), of("amqp://h:5672", "q"));
        assert_ne!(of("amqp://h/v", "q"), of("amqp://h/%2f", "q"));
    }
}
