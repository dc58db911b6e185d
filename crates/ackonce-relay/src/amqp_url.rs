//! `amqp[s]://USER:PASSWORD@HOST:PORT/VHOST`, of sources and sinks alike.

use ackonce_amqp::lapin::uri::AMQPUri;

use crate::url::{Parts, RelayUrlError, Result};

/// RelayOptions of the AMQP URI itself.
const OF_AMQP: [&str; 6] =
    ["heartbeat", "frame_max", "channel_max", "connection_timeout", "auth_mechanism", "locale"];

/// The URL for the client, without options of ours.
pub(crate) struct AmqpUrl {
    pub(crate) url: String,
}

impl AmqpUrl {
    /// # Errors
    /// A URL that the client does not take; its own words may repeat the password, so they are not shown.
    pub(crate) fn of(parts: &mut Parts<'_>) -> Result<Self> {
        let user = parts.user.map(|user| format!("{user}@")).unwrap_or_default();
        let vhost = if parts.path.is_empty() { String::new() } else { format!("/{}", parts.path) };
        let mut url = format!("{}://{user}{}{vhost}", parts.scheme, parts.hosts);
        let mut mark = '?';
        for name in OF_AMQP {
            if let Some(value) = parts.take(name)? {
                url.push_str(&format!("{mark}{name}={value}"));
                mark = '&';
            }
        }
        for host in parts.hosts.split(',') {
            let single = format!("{}://{user}{host}{vhost}", parts.scheme);
            if single.parse::<AMQPUri>().is_err() {
                let why =
                    "it is no AMQP URL; write amqp://USER:PASSWORD@HOST:PORT/VHOST, with %2f for the vhost /";
                return Err(RelayUrlError::new(why));
            }
        }
        Ok(Self { url })
    }
}
