//! The address of `--admin`: loopback, unless its exposure is asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::AdminArgs;
use crate::refusal::Refusal;

/// `9090`, `:9090`, `127.0.0.1:9090`, `[::1]:9090`, `localhost:9090`.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    named
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| "write PORT or ADDRESS:PORT, such as 127.0.0.1:9090".to_owned())
}

pub(super) fn allowed(args: AdminArgs) -> Result<Option<SocketAddr>, Refusal> {
    match args.admin {
        None if args.admin_exposed => {
            Err(Refusal::usage("--admin-exposed is about the address of --admin, which is not set"))
        }
        Some(address) if !address.ip().is_loopback() && !args.admin_exposed => Err(Refusal::usage(format!(
            "--admin: other hosts reach {address}, and nothing asks for a password there; choose a loopback address such as \
             127.0.0.1:{}, or allow it with --admin-exposed",
            address.port()
        ))),
        address => Ok(address),
    }
}
