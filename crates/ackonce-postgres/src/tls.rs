//! TLS as the URL asks for it.

use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;

use crate::PostgresConfig;
use crate::connector::Connector;

#[cfg(feature = "tls")]
mod rustls;

/// TLS with `sslmode=require` alone. `prefer`, which is what a URL without a word of it means, promises nothing
/// to begin with, and would fail where the server's certificate is one that it made up at its installation.
pub(crate) fn connector(config: &PostgresConfig) -> Result<Connector> {
    match config.server.get_ssl_mode() {
        SslMode::Disable | SslMode::Prefer => {
            let mut server = config.server.clone();
            server.ssl_mode(SslMode::Disable);
            Ok(Connector::new(&server, NoTls))
        }
        #[cfg(feature = "tls")]
        _ => Ok(Connector::new(&config.server, rustls::Rustls::from_system()?)),
        #[cfg(not(feature = "tls"))]
        _ => Err(refused(
            "the URL asks for TLS (sslmode); build ackonce-postgres with its feature `tls`, or use \
             PostgresConfig::connect_with",
        )),
    }
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Config, format!("postgres: {message}"))
}
