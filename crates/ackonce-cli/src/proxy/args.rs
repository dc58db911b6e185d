//! The flags of `ackonce proxy`.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use ackonce::OnStart;
use clap::{ArgAction, Args, ValueEnum, value_parser};
use http::{HeaderName, Method};

use super::upstream::Upstream;
use crate::admin::{AdminArgs, ConsoleArgs};
use crate::layers::Sources;
use crate::log::LogArgs;
use crate::stores::StoreUrl;

const EXAMPLES: &str = "\
Each flag with a value is also a variable of the environment, ACKONCE_NAME, and a key of the file of --config. A flag
goes over the environment, which goes over the file.

Examples:
  ackonce proxy --listen 127.0.0.1:8080 --upstream http://127.0.0.1:3000 --store sqlite:dedup.db --principal bearer
  ackonce proxy --listen 0.0.0.0:8080 --upstream https://api.internal --scope payments --principal header:x-account \\
      --store 'postgres://app@db/app?tables=create' --policy not-5xx --in-flight wait --wait 10s
  ackonce proxy --config proxy.toml --check       each setting with its origin, and everything that weakens the promise
  ackonce proxy --config proxy.toml --admin 9090  with the console, /metrics, /healthz and /readyz on 127.0.0.1:9090

Exit code: 0 after SIGTERM or SIGINT; 2 for a wrong setting; 3 if the store, a port or a right is missing.";

/// Answer a repeated request as the first one was answered, in front of any HTTP service
///
/// A request with an Idempotency-Key is forwarded once; its repeats get the first answer from the store. Everything else
/// is passed through. The upstream service has to know nothing of it.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProxyArgs {
    /// Accept connections there: HTTP/1.1, and HTTP/2 without TLS
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The service behind: http://HOST:PORT, https://HOST (HTTP/2 where it offers that), h2c://HOST:PORT (HTTP/2 without
    /// TLS), with a path to put in front of all paths
    #[arg(long, value_name = "URL")]
    pub upstream: Upstream,
    /// The place of kept answers: sqlite:PATH, redis://…, postgres://…, memory:
    #[arg(long, value_name = "URL")]
    pub store: StoreUrl,
    /// Whose key it is: two callers never share one. header:NAME, of a header that clients cannot set themselves; bearer,
    /// for tokens that are not renewed; none, if all callers may see all answers
    #[arg(long, value_name = "header:NAME|bearer|none")]
    pub principal: PrincipalArg,
    /// The name under which keys are filed; services that share a store need one each [default: proxy/ and the
    /// upstream's host, port and path]
    #[arg(long, value_name = "NAME")]
    pub scope: Option<String>,
    /// Which answers are kept; another one frees its key. The upstream decides with a header Ackonce-Replayable: true|false
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = PolicyArg::Success)]
    pub policy: PolicyArg,
    /// The answer to a repeat while the first request is under way
    #[arg(long, value_enum, value_name = "ANSWER", default_value_t = InFlightArg::Conflict)]
    pub in_flight: InFlightArg,
    /// With --in-flight wait: the longest wait for the first request
    #[arg(long, value_name = "TIME", default_value = "400ms", value_parser = humantime::parse_duration)]
    pub wait: Duration,
    /// Answer 400 to a request without a key; if not, it is passed through
    #[arg(long, value_name = "true|false", action = ArgAction::Set, default_value_t = true)]
    pub required: bool,
    /// Methods that the key concerns; all others are passed through
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "POST,PATCH", value_parser = method)]
    pub methods: Vec<Method>,
    /// The time for which an answer is kept, from its completion
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub window: Duration,
    /// The time for which the key of a killed proxy stays busy
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// After an upstream that broke off midway, so that its effect is unknown: forward the repeat, or answer 409 to it until
    /// a person has looked
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = UnknownArg::RunAgain)]
    pub on_unknown: UnknownArg,
    /// The longest body of a request with a key; a longer one is answered 413
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = value_parser!(u64).range(1..=1 << 30))]
    pub max_body_bytes: u64,
    /// The longest answer that is kept; a longer one is passed on, and its repeat answered 410
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = value_parser!(u64).range(1..=1 << 30))]
    pub max_response_bytes: u64,
    /// Hold back an answer of unknown length (chunked) for so long, to keep it; one that takes longer is passed on as it
    /// comes, and its repeat answered 410. Server-sent events are always passed on
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub collect: Duration,
    /// The most requests with a key under way at once; more are answered 503
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub max_in_flight: u32,
    /// The Host header for the upstream: the client's or the upstream's own [default: client for http://, upstream for
    /// https:// and h2c://]
    #[arg(long, value_enum, value_name = "WHOSE")]
    pub host: Option<HostHeader>,
    /// The headers that tell the upstream the client's address, scheme and host
    #[arg(long, value_enum, value_name = "HEADERS", default_value_t = Forwarded::XForwarded)]
    pub forwarded: Forwarded,
    /// Keep the Forwarded, X-Forwarded-… and X-Real-IP headers that come in, and add to them; if not, they are dropped
    #[arg(long, value_name = "true|false", action = ArgAction::Set, default_value_t = false)]
    pub trust_forwarded: bool,
    /// The longest wait for a connection to the upstream, its name and TLS included; after it 502, and the key is free. It
    /// has to be shorter than --upstream-timeout
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub connect_timeout: Duration,
    /// The longest wait for the head of an answer, and for each piece of it; after it 504, and the outcome is unknown
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    pub upstream_timeout: Duration,
    /// The longest time for the head of a request, and of a connection without one
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub header_timeout: Duration,
    /// End a connection on which nothing has moved for so long, a WebSocket too, and one of HTTP/2 that has had no request
    /// for so long; has to be longer than --upstream-timeout
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,
    /// The most connections of clients at once; more wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub max_connections: u32,
    /// A store that cannot be used at the start: wait for it, end if it refuses the credentials or a right, or end at once
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = OnStartArg::EndIfRefused)]
    pub on_start: OnStartArg,
    /// The time that requests under way have to finish after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    pub drain: Duration,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment would take the place of the program's description")]
    pub admin: AdminArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "as above")]
    pub console: ConsoleArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "as above")]
    pub log: LogArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "as above")]
    pub sources: Sources,
}

/// The caller that a key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalArg {
    /// `header:NAME`: the value of this header.
    Header(HeaderName),
    /// `bearer`: the token of `Authorization: Bearer`.
    Bearer,
    /// `none`: all callers are one.
    None,
}

impl FromStr for PrincipalArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("header:")) {
            ("bearer", _) => Ok(Self::Bearer),
            ("none", _) => Ok(Self::None),
            (_, Some(name)) => {
                let name = name.parse().map_err(|_| format!("`{name}` is no name of a header"))?;
                Ok(Self::Header(name))
            }
            _ => Err("there are header:NAME, bearer and none".to_owned()),
        }
    }
}

/// Which answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyArg {
    /// 2xx, 302 Found and 303 See Other
    Success,
    /// All but 5xx
    #[value(name = "not-5xx")]
    Not5xx,
    /// All that the upstream gave
    All,
}

/// The answer to a repeat while the first request is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InFlightArg {
    /// 409 with Retry-After at once
    Conflict,
    /// Wait for the first answer, and repeat it; 409 after --wait
    Wait,
}

/// The treatment of a request whose effect is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownArg {
    /// The repeat is forwarded: right for a service that takes a repeat
    RunAgain,
    /// The repeat is answered 409: right where a second effect is worse than none
    Park,
}

/// The `Host` header for the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostHeader {
    /// As the client sent it
    Client,
    /// The upstream's own
    Upstream,
}

/// The headers that tell the upstream of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Forwarded {
    /// X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host
    XForwarded,
    /// Forwarded, of RFC 7239
    Forwarded,
    /// Both
    Both,
    /// None
    None,
}

/// The policy for a store that cannot be used at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnStartArg {
    /// Wait for one that is away or refuses
    Wait,
    /// Wait for one that is away; end with exit code 3 if it refuses
    EndIfRefused,
    /// End with exit code 3 at once
    End,
}

impl From<OnStartArg> for OnStart {
    fn from(policy: OnStartArg) -> Self {
        match policy {
            OnStartArg::Wait => Self::Wait,
            OnStartArg::EndIfRefused => Self::EndIfRefused,
            OnStartArg::End => Self::End,
        }
    }
}

fn method(text: &str) -> Result<Method, String> {
    let is_one = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    is_one.then(|| text.parse().ok()).flatten().ok_or_else(|| "write methods as POST,PATCH".to_owned())
}
