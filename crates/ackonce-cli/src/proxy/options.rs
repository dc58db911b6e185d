//! From flags to the layer's options.

use std::time::Duration;

use ackonce::{Deduplicator, ErrorKind, OnUnknown, Scope};
use ackonce_http::body::Limits;
use ackonce_http::{
    Gate, Headers, IDEMPOTENCY_KEY, IdempotencyLayer, InFlight, Need, Options, Policy, Principal, Streams,
};
use http::HeaderMap;
use http::request::Parts;

use super::args::{InFlightArg, PolicyArg, PrincipalArg, ProxyArgs, UnknownArg};
use super::forward::{PROXY_STATUS, UNSENT};
use super::front::REPLAYABLE;
use crate::flags;
use crate::layers::EffectiveSettings;
use crate::refusal::Refusal;

/// The least memory for the bodies of all requests.
const BUDGET: usize = 64 << 20;
/// The least limit on a run.
const RUN: Duration = Duration::from_secs(15 * 60);

/// The flags that stand for settings in the library's errors.
const FLAGS: &[(&str, &str)] = &[
    ("Settings::lease", "--lease"),
    ("Settings::window", "--window"),
    ("Settings::shutdown_timeout", "--drain"),
    ("Settings::busy_timeout", "--wait"),
    ("Settings::concurrency", "--max-in-flight"),
    ("Options::body", "--max-body-bytes"),
];

/// The layer that the flags ask for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name under which keys are filed.
    pub scope: Scope,
    /// The caller that a key belongs to.
    pub principal: Principal,
    /// Everything else.
    pub options: Options,
}

impl Plan {
    /// The plan, if the flags go together.
    ///
    /// # Errors
    /// Two that do not, by their names.
    pub fn of(args: &ProxyArgs, settings: &EffectiveSettings) -> Result<Self, Refusal> {
        if args.in_flight == InFlightArg::Conflict && settings.is_set("wait") {
            return Err(Refusal::usage(
                "--wait is for --in-flight wait, which is not set; set it, or leave out --wait",
            ));
        }
        if args.idle_timeout <= args.upstream_timeout {
            return Err(Refusal::usage(format!(
                "--idle-timeout is {}, which would end a connection that waits for the upstream; make it longer than \
                 --upstream-timeout, which is {}",
                humantime::format_duration(args.idle_timeout),
                humantime::format_duration(args.upstream_timeout)
            )));
        }
        for (flag, time) in [
            ("--connect-timeout", args.connect_timeout),
            ("--upstream-timeout", args.upstream_timeout),
            ("--header-timeout", args.header_timeout),
        ] {
            if time.is_zero() {
                return Err(Refusal::usage(format!(
                    "{flag} is 0, so nothing would come in time; give it a time such as 5s"
                )));
            }
        }
        if args.connect_timeout >= args.upstream_timeout {
            return Err(Refusal::usage(format!(
                "--connect-timeout is {}, so that an upstream that cannot be reached would be taken for one that does not \
                 answer; make it shorter than --upstream-timeout, which is {}",
                humantime::format_duration(args.connect_timeout),
                humantime::format_duration(args.upstream_timeout)
            )));
        }
        let name = args.scope.clone().unwrap_or_else(|| format!("proxy/{}", args.upstream.name()));
        let scope = Scope::new(name).map_err(|error| Refusal::usage(format!("--scope: {error}")))?;
        let principal = match &args.principal {
            PrincipalArg::Header(name) => Principal::header(name.clone()),
            PrincipalArg::Bearer => Principal::bearer(),
            PrincipalArg::None => Principal::single_tenant(),
        };
        Ok(Self { scope, principal, options: options(args) })
    }

    /// The layer on this store.
    ///
    /// # Errors
    /// The library's own reason, with the flag.
    pub fn layer(&self, store: std::sync::Arc<dyn Deduplicator>) -> Result<IdempotencyLayer, Refusal> {
        let layer = IdempotencyLayer::with(store, &self.scope, self.principal.clone(), self.options.clone());
        layer.map_err(|error| {
            let text = ackonce::chain(&error).to_string();
            let flags = flags::named(&text, FLAGS);
            let text = if flags.is_empty() { text } else { format!("{text} ({flags})") };
            match error.kind() {
                ErrorKind::Config => Refusal::usage(text),
                _ => Refusal::environment(text),
            }
        })
    }
}

fn options(args: &ProxyArgs) -> Options {
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let settings = Options::settings()
        .with_lease(args.lease)
        .with_shutdown_timeout(args.drain)
        .with_handler_timeout(RUN.max(args.upstream_timeout.saturating_mul(2)))
        .with_on_unknown(match args.on_unknown {
            UnknownArg::RunAgain => OnUnknown::RunAgain,
            UnknownArg::Park => OnUnknown::Park,
        });
    let replayed = Headers::lasting();
    Options::default()
        .with_settings(settings)
        .with_window(args.window)
        .with_gate(gate(args))
        .with_policy(policy(args.policy))
        .with_in_flight(match args.in_flight {
            InFlightArg::Conflict => InFlight::Conflict,
            InFlightArg::Wait => InFlight::Wait(args.wait),
        })
        .with_body(Limits { max_len: bytes(args.max_body_bytes), ..Limits::default() })
        .with_body_budget(BUDGET.max(bytes(args.max_body_bytes)))
        .with_max_response(bytes(args.max_response_bytes))
        .with_max_in_flight(usize::try_from(args.max_in_flight).unwrap_or(usize::MAX))
        .with_streams(if args.collect.is_zero() { Streams::PassOn } else { Streams::Collect(args.collect) })
        .with_headers(Headers::by(move |name| *name != REPLAYABLE && replayed.contains(name)))
}

/// A request that needs no key and has none is passed through as it comes, however long it is.
fn gate(args: &ProxyArgs) -> Gate {
    let (methods, required) = (args.methods.clone(), args.required);
    Gate::by(move |parts: &Parts| match methods.contains(&parts.method) {
        true if required => Need::Required,
        true if parts.headers.contains_key(IDEMPOTENCY_KEY) => Need::Optional,
        _ => Need::Untouched,
    })
}

/// The policy over the upstream's own answers. That of a request which was not sent is never kept.
fn policy(policy: PolicyArg) -> Policy {
    let by_status = match policy {
        PolicyArg::Success => Policy::success(),
        PolicyArg::Not5xx => Policy::not_5xx(),
        PolicyArg::All => Policy::all(),
    };
    Policy::by(move |status, headers: &HeaderMap| {
        let said = headers.get(REPLAYABLE).map(|value| value.as_bytes().trim_ascii());
        match said {
            _ if headers.get(PROXY_STATUS) == Some(&UNSENT) => false,
            Some(said) if said.eq_ignore_ascii_case(b"true") => true,
            Some(said) if said.eq_ignore_ascii_case(b"false") => false,
            _ => by_status.keeps(status, headers),
        }
    })
}
