//! The facts of a webhook source before it runs.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use ackonce_webhook::Terms;
use tokio::net::{TcpSocket, lookup_host};

/// The facts of a webhook source, for those who judge it before it runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebhookSurvey {
    /// The provider's name.
    pub provider: String,
    /// The provider's terms.
    pub terms: Terms,
    /// The secrets, in the URL's order.
    pub secrets: Vec<WebhookSecret>,
    /// The address that it would listen at.
    pub address: String,
    /// Why it cannot listen there; `None` if it can, or if somebody does already.
    pub unbound: Option<String>,
}

/// The environment variable of a secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebhookSecret {
    /// Its name.
    pub variable: String,
    /// The length of its value in bytes; 0 if it has none.
    pub bytes: usize,
    /// Why its value cannot be the provider's secret; it quotes nothing of the value.
    pub fault: Option<String>,
}

impl WebhookSecret {
    pub(super) fn new(variable: &str, bytes: usize, fault: Option<String>) -> Self {
        Self { variable: variable.to_owned(), bytes, fault }
    }
}

/// Why nobody could listen there. The address is bound and given back: nothing is accepted, and a program that takes it at
/// the same moment is not in the way, nor has this in its own.
pub(super) async fn unbound(address: &str) -> Option<String> {
    let addresses = match lookup_host(address).await {
        Ok(addresses) => addresses,
        Err(error) => return Some(format!("its host is not found: {error}")),
    };
    let mut fault = "its host has no address".to_owned();
    for address in addresses {
        match bind(address) {
            // Most likely by the relay that is examined.
            Err(error) if error.kind() == ErrorKind::AddrInUse => return None,
            Err(error) => fault = error.to_string(),
            Ok(()) => return None,
        }
    }
    Some(fault)
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}
