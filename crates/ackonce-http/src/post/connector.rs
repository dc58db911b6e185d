//! Connections to services.

use std::time::Duration;

use ackonce::Result;
#[cfg(feature = "tls")]
use ackonce::{Error, ErrorKind};
use hyper_util::client::legacy::connect::HttpConnector;

/// The time limit for a connection.
const CONNECT: Duration = Duration::from_secs(10);

#[cfg(feature = "tls")]
pub(super) type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
pub(super) type Connector = HttpConnector;

/// # Errors
/// `secure`, and the system has no root certificates.
pub(super) fn connector(secure: bool) -> Result<Connector> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    http.enforce_http(false);
    over_tls(http, secure)
}

#[cfg(feature = "tls")]
fn over_tls(http: HttpConnector, secure: bool) -> Result<Connector> {
    // The only failure is that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match hyper_rustls::HttpsConnectorBuilder::new().with_native_roots() {
        Ok(builder) => builder,
        // Plain HTTP needs none.
        Err(_) if !secure => {
            let none = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(none.with_no_client_auth())
        }
        Err(error) => {
            let text = "https:// needs the system's root certificates; install ca-certificates";
            return Err(Error::new(ErrorKind::Config, text).with_source(error));
        }
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "as with TLS")]
fn over_tls(http: HttpConnector, _: bool) -> Result<Connector> {
    Ok(http)
}
