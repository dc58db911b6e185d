//! Connections to services.

use std::time::Duration;

use ackonce::Result;
#[cfg(feature = "tls")]
use ackonce::{Error, ErrorKind};
use hyper_util::client::legacy::connect::HttpConnector;

use super::within::ConnectWithin;

/// The longest time limit for a connection.
const CONNECT: Duration = Duration::from_secs(10);

pub(super) type Connector = ConnectWithin<Secure>;
#[cfg(feature = "tls")]
type Secure = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Secure = HttpConnector;

/// A connector for requests whose answer is waited for this long. A connection has half of that at most: one that comes to
/// nothing then ends before the wait does, and is not taken for an answer that did not come.
///
/// # Errors
/// `secure`, and the system has no root certificates.
pub(super) fn connector(secure: bool, answer: Duration) -> Result<Connector> {
    let limit = CONNECT.min(answer / 2);
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(limit));
    http.enforce_http(false);
    Ok(ConnectWithin::new(over_tls(http, secure)?, limit))
}

#[cfg(feature = "tls")]
fn over_tls(http: HttpConnector, secure: bool) -> Result<Secure> {
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
fn over_tls(http: HttpConnector, _: bool) -> Result<Secure> {
    Ok(http)
}
