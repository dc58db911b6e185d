//! `ackonce proxy` from start to end.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackonce::store::Inspect;
use ackonce::{CancellationToken, ErrorKind, OnStart};
use ackonce_http::IdempotencyLayer;
use tokio::net::TcpListener;

use super::args::{PrincipalArg, ProxyArgs, UnknownArg};
use super::forward::Forward;
use super::front::Front;
use super::options::Plan;
use super::server::Server;
use crate::admin::{Admin, Liveness, Pulse};
use crate::layers::EffectiveSettings;
use crate::log;
use crate::refusal::Refusal;
use crate::streams;
use crate::traces::Traces;

/// The interval at which the store is asked whether it answers, for `/readyz`.
const ASK: Duration = Duration::from_secs(5);
/// The longest wait for that, and for the last tasks at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, or prints the report of `--check`.
///
/// # Errors
/// [`Refusal`].
pub fn run(args: &ProxyArgs, settings: &EffectiveSettings) -> Result<(), Refusal> {
    let plan = Plan::of(args, settings)?;
    let traces = match args.sources.check {
        true => Traces::default(),
        false => log::start(args.log)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Refusal::environment(format!("the threads of the program could not be started: {error}"))
    })?;
    let ended = runtime.block_on(async {
        match args.sources.check {
            true => check(args, settings, &plan).await,
            false => serve(args, &plan).await,
        }
    });
    runtime.shutdown_timeout(PATIENCE);
    traces.end();
    ended
}

async fn check(args: &ProxyArgs, settings: &EffectiveSettings, plan: &Plan) -> Result<(), Refusal> {
    let _forward = Forward::new(args)?;
    let store = args
        .store
        .open_at_start(OnStart::End, &CancellationToken::new())
        .await
        .map_err(|error| store_refused(args, &error))?;
    let guarantee = plan.layer(store.deduplicator())?.guarantee();
    let mut report = format!("{settings}\n{guarantee}\n");
    for weakness in weaknesses(args, plan) {
        let _ = writeln!(report, "  weakened: {weakness}");
    }
    streams::print(&report)
}

/// Everything in the flags that weakens the promise.
fn weaknesses(args: &ProxyArgs, plan: &Plan) -> Vec<String> {
    let mut all = Vec::new();
    if args.scope.is_none() {
        let name = plan.scope.name();
        all.push(format!("--scope is not set: another service on this store behind the same address shares the keys of `{name}`"));
    }
    match args.principal {
        PrincipalArg::Bearer => all.push(
            "--principal bearer: a retry with a renewed token is another caller's, and is forwarded again"
                .to_owned(),
        ),
        PrincipalArg::None => {
            all.push("--principal none: a caller who guesses another's key gets its answer".to_owned())
        }
        PrincipalArg::Header(_) => {}
    }
    if !args.required {
        all.push("--required false: a request without a key is forwarded as often as it comes".to_owned());
    }
    if args.on_unknown == UnknownArg::RunAgain {
        all.push("--on-unknown run-again: after an upstream that broke off, or a proxy that was killed, a repeat is forwarded again".to_owned());
    }
    all
}

async fn serve(args: &ProxyArgs, plan: &Plan) -> Result<(), Refusal> {
    let stop = ackonce::shutdown_on_signals()
        .map_err(|error| Refusal::environment(format!("signals cannot be waited for: {error}")))?;
    let forward = Forward::new(args)?;
    let state = Arc::new(State::new(plan));
    // Before the store: the wait for one can be watched.
    let admin = Admin::bind(args.admin, &args.console)?;
    let admin = admin.map(|admin| admin.serve("proxy", state.clone())).transpose()?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Refusal::environment(format!(
            "--listen: {} cannot be listened on ({error}); choose another port, or end the program that has it",
            args.listen
        ))
    })?;
    let store = match args.store.open_at_start(args.on_start.into(), &stop).await {
        Ok(store) => store,
        Err(_) if stop.is_cancelled() => return Ok(()),
        Err(error) => return Err(store_refused(args, &error)),
    };
    let layer = plan.layer(store.deduplicator())?;
    let front = Front::new(&layer, forward.clone(), args.on_unknown == UnknownArg::Park);
    let server = Server::new(args, front);
    state.begin(&layer, store.inspect());
    if let Some(admin) = admin {
        admin.show(store.inspect());
    }
    let address =
        listener.local_addr().map_or_else(|_| args.listen.to_string(), |address| address.to_string());
    tracing::info!(target: "ackonce", scope = plan.scope.name(), address, upstream = %args.upstream, store = %args.store, "the proxy listens");
    server.accept(listener, &stop).await;
    state.phase(DRAINING);
    tracing::info!(target: "ackonce", scope = plan.scope.name(), drain = ?args.drain, "the proxy drains: it accepts nothing more");
    let ((), left, ()) =
        tokio::join!(server.drain(args.drain), layer.drain(), forward.tunnels().drain(args.drain));
    tracing::info!(target: "ackonce", scope = plan.scope.name(), left, "the proxy has ended");
    Ok(())
}

fn store_refused(args: &ProxyArgs, error: &ackonce::Error) -> Refusal {
    let why = crate::tell(&anyhow::Error::new(error.clone()));
    let fix = match error.kind() {
        ErrorKind::Unavailable => "; start it, or name another one",
        _ => "",
    };
    Refusal::environment(format!("--store {}: {why}{fix}", args.store))
}

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// The state, for probes.
struct State {
    pulse: Pulse,
    scope: String,
    phase: AtomicU8,
    store: AtomicU8,
    layer: OnceLock<IdempotencyLayer>,
}

const UNKNOWN: u8 = 0;
const ANSWERS: u8 = 1;
const SILENT: u8 = 2;

impl State {
    fn new(plan: &Plan) -> Self {
        let (phase, store) = (AtomicU8::new(STARTING), AtomicU8::new(UNKNOWN));
        let scope = plan.scope.name().to_owned();
        Self { pulse: Pulse::start(), scope, phase, store, layer: OnceLock::new() }
    }

    fn phase(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// The layer is there; the store is asked from now on.
    fn begin(self: &Arc<Self>, layer: &IdempotencyLayer, store: Arc<dyn Inspect>) {
        let _ = self.layer.set(layer.clone());
        self.store.store(ANSWERS, Ordering::Relaxed);
        self.phase(SERVING);
        // A key that no request can have: its method is none.
        let Ok(key) = ackonce::Scope::new(self.scope.as_str()).and_then(|scope| scope.key("readyz")) else {
            return;
        };
        let state = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(ASK).await;
                let answers = matches!(tokio::time::timeout(PATIENCE, store.look(&key)).await, Ok(Ok(_)));
                let Some(state) = state.upgrade() else { return };
                state.store.store(if answers { ANSWERS } else { SILENT }, Ordering::Relaxed);
            }
        });
    }
}

impl Liveness for State {
    fn is_live(&self) -> bool {
        self.pulse.beats()
    }

    fn is_ready(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == SERVING
            && self.store.load(Ordering::Relaxed) == ANSWERS
            && self.pulse.beats()
    }

    fn report(&self) -> String {
        let phase = match self.phase.load(Ordering::Relaxed) {
            SERVING => "serving",
            DRAINING => "draining",
            _ => "starting: waiting for the store",
        };
        let store = match self.store.load(Ordering::Relaxed) {
            ANSWERS => "answers",
            SILENT => "does not answer",
            _ => "not asked yet",
        };
        let mut text = format!("scope: {}\nphase: {phase}\nstore: {store}", self.scope);
        if let Some(layer) = self.layer.get() {
            let _ = write!(text, "\ncounts: {:?}", layer.counts());
        }
        text
    }
}
