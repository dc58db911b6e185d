//! The TLS connector that the URL asks for.

use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use super::Connector;

/// Makes a TLS connector for `sslmode=require` only. `prefer`, the default of a URL without `sslmode`, promises nothing
/// in any case, and would fail with the self-signed certificate of a default installation.
pub(crate) fn connector(server: &Config) -> Result<Connector> {
    match server.get_ssl_mode() {
        SslMode::Disable | SslMode::Prefer => {
            let mut server = server.clone();
            server.ssl_mode(SslMode::Disable);
            Ok(Connector::new(&server, NoTls))
        }
        #[cfg(feature = "tls")]
        _ => Ok(Connector::new(server, from_system()?)),
        #[cfg(not(feature = "tls"))]
        _ => Err(refused(
            "the URL asks for TLS (sslmode); build ackonce-postgres with its feature `tls`, or use \
             PostgresConfig::connect_with",
        )),
    }
}

/// Uses the program's crypto provider and the system's root certificates. Certificate and host
/// name are verified under every `sslmode`: TLS without verification is as good as none.
#[cfg(feature = "tls")]
fn from_system() -> Result<tokio_postgres_rustls::MakeRustlsConnect> {
    use rustls::crypto::CryptoProvider;
    use rustls::{ClientConfig, RootCertStore};

    // A library must not choose the program's crypto provider, and rustls panics if none is installed.
    let provider = CryptoProvider::get_default().cloned().ok_or_else(|| {
        refused(
            "no crypto provider is installed for TLS; call \
             rustls::crypto::ring::default_provider().install_default() first",
        )
    })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(refused("the system has no root certificates; use PostgresConfig::connect_with"));
    }
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| refused("the crypto provider supports no TLS version").with_source(e))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Config, format!("postgres: {message}"))
}
