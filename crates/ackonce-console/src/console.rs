//! The console: its parts, put together behind its rules.

use std::sync::Arc;

use ackonce::CancellationToken;
use ackonce::store::Inspect;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Method, StatusCode};

use crate::access::Access;
use crate::feed::{Feed, Viewer};
use crate::options::{ConsoleOptions, Writes};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::{api, page};

/// The longest body of a request, in bytes.
const BODY: usize = 16 * 1024;

/// A page for operators of a store, and of the program that uses it. Cloning is cheap.
///
/// A crash of its process loses the points of its charts and nothing else.
///
/// ```no_run
/// use std::sync::Arc;
/// use ackonce::{Activity, CancellationToken, MemoryStore};
/// use ackonce_console::{Console, ConsoleOptions};
///
/// # async fn run() -> std::io::Result<()> {
/// let mut options = ConsoleOptions::default();
/// options.activity = Some(Activity::switch_on()); // before consumers are made
/// let store = Arc::new(MemoryStore::new());
/// let stop = CancellationToken::new();
/// let console = Console::start(store, options, stop.clone());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:7070").await?;
/// axum::serve(listener, console.router()).with_graceful_shutdown(stop.cancelled_owned()).await
/// # }
/// ```
#[derive(Clone)]
pub struct Console(Arc<Shared>);

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("store", &self.0.store.describe().name).finish_non_exhaustive()
    }
}

impl Console {
    /// A console that looks at its program once a second, and asks the store only while a page is open. `stop` ends that,
    /// and the streams of open pages, for which a server that drains would wait for ever.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(store: Arc<dyn Inspect>, options: ConsoleOptions, stop: CancellationToken) -> Self {
        let ConsoleOptions { writes, token, hosts, activity, program } = options;
        let access = Access::new(token.as_ref(), &hosts);
        let feed = Feed::start(store.clone(), activity, program, writes == Writes::Allowed, stop.clone());
        Self(Arc::new(Shared::new(store, feed, access, writes, stop)))
    }

    /// Follows the state without a page; the store is asked meanwhile.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots { viewer: self.0.feed.viewer(), begun: false }
    }

    /// The service. Nest it anywhere: its page asks for paths beside its own, so its address has to end in `/`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(page::page))
            .route("/login", post(page::log_in))
            .route("/logout", post(page::log_out))
            .nest("/api", api::routes())
            .fallback(page::nothing_there)
            .method_not_allowed_fallback(page::other_method)
            .layer(from_fn_with_state(self.0.clone(), guard))
            .layer(DefaultBodyLimit::max(BODY))
            .layer(from_fn(page::headers))
            .with_state(self.0.clone())
    }
}

/// Lets requests in by the rules of [`Access`], before anything of them is looked at.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    if let Err(problem) = shared.access.check_origin(method, uri, headers) {
        return problem.into_response();
    }
    match uri.path() {
        _ if shared.access.knows(headers) => next.run(request).await,
        "/login" => next.run(request).await,
        "/" if method == Method::GET => page::login(false),
        _ => Problem::new(
            StatusCode::UNAUTHORIZED,
            "this console asks for its token: Authorization: Bearer TOKEN",
        )
        .into_response(),
    }
}

/// The state of a console again and again, as its open pages get it, for a program that shows it elsewhere.
pub struct Snapshots {
    viewer: Viewer,
    begun: bool,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").finish_non_exhaustive()
    }
}

impl Snapshots {
    /// The state at once, and then each second; `None` once the console has ended. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<Snapshot> {
        if std::mem::replace(&mut self.begun, true) {
            return self.viewer.next().await.map(Arc::unwrap_or_clone);
        }
        Some(Arc::unwrap_or_clone(self.viewer.first()))
    }
}
