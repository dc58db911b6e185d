//! The time limit and the certificates of each connection.

#[cfg(feature = "tls")]
use redis::{ClientTlsConfig, TlsCertificates};

use crate::RedisConfig;

/// The time limit for an answer. It includes a blocking `WAIT`, which must not count as a server that hangs.
pub(super) fn patience(config: &RedisConfig) -> std::time::Duration {
    let replicas = config.replicas.map_or_else(Default::default, |replicas| replicas.timeout);
    config.response_timeout.saturating_add(replicas)
}

/// The certificates that replace those of the system.
#[cfg(feature = "tls")]
pub(super) fn certificates(config: &RedisConfig) -> Option<TlsCertificates> {
    if config.root_certificate.is_none() && config.client_certificate.is_none() {
        return None;
    }
    Some(TlsCertificates {
        client_tls: config
            .client_certificate
            .clone()
            .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
        root_cert: config.root_certificate.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Replicas;

    #[test]
    fn timeouts_for_ever_are_no_panic() {
        let replicas = Replicas { count: 1, timeout: Duration::from_secs(1) };
        let config = RedisConfig::new("redis://localhost")
            .with_response_timeout(Duration::MAX)
            .with_replicas(replicas);
        assert_eq!(patience(&config), Duration::MAX);
    }
}
