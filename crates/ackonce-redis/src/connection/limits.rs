//! The time limit and the certificates of each connection.

#[cfg(feature = "tls")]
use redis::{ClientTlsConfig, TlsCertificates};

use crate::RedisConfig;

/// The time limit for an answer. It includes a blocking `WAIT`, which must not count as a server that hangs.
pub(super) fn patience(config: &RedisConfig) -> std::time::Duration {
    config.response_timeout + config.replicas.map_or_else(Default::default, |r| r.timeout)
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
