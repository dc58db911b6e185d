//! The HTTP server of a webhook endpoint: bounded in connections and in time, drained at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_http::edge::Requests;
use ackonce_webhook::{WebhookBody, WebhookService};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The most connections at once. More wait in the listener's queue.
const CONNECTIONS: usize = 4096;
/// The time limit for the headers of a request, and for the first request of a connection.
const HEADERS: Duration = Duration::from_secs(10);
/// A connection is closed so long after its last answer was made. Answers are short, so one that was not taken by then is not
/// waited for.
const IDLE: Duration = Duration::from_secs(60);
/// The interval of questions on a silent HTTP/2 connection, and the longest wait for an answer to one.
const PING: Duration = Duration::from_secs(20);
/// The pause after a connection that could not be accepted: most often there is no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// The time after the drain for the last answers to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Answers requests for `path` until the shutdown, then waits for those under way, at most `wait` and some seconds.
pub(super) async fn serve(
    listener: TcpListener,
    path: &str,
    service: WebhookService,
    shutdown: CancellationToken,
    wait: Duration,
) {
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    let path: Arc<str> = path.into();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let requests = Requests::new();
        let routed = routed(path.clone(), service.clone(), requests.clone());
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
        let serving = builder.serve_connection(TokioIo::new(stream), routed).into_owned();
        let serving = graceful.watch(serving);
        tokio::spawn(async move {
            tokio::select! {
                // A connection that breaks is its client's matter: the sender comes again.
                _ = serving => {}
                // Before its first bytes hyper has no time limit for it.
                () = requests.missing(HEADERS, IDLE) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    let ending = async { tokio::join!(service.drain(), graceful.shutdown()).0 };
    let limit = wait.saturating_add(LAST_ANSWERS);
    match tokio::time::timeout(limit, ending).await {
        Ok(0) => {}
        Ok(left) => {
            tracing::warn!(target: "ackonce", left, "deliveries are still running; their claims are left to the lease")
        }
        Err(_) => tracing::warn!(target: "ackonce", "connections are still open; they are cut off"),
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    // Only a latency is lost without it.
    let _ = stream.set_nodelay(true);
    Some((stream, permit))
}

/// The endpoint at its path; 404 elsewhere.
fn routed(
    path: Arc<str>,
    service: WebhookService,
    requests: Requests,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<WebhookBody>,
    Error = Infallible,
    Future: Send,
> {
    let service = TowerToHyperService::new(service);
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let (service, found) = (service.clone(), request.uri().path() == &*path);
        let under_way = requests.begin();
        async move {
            let _under_way = under_way;
            match found {
                true => hyper::service::Service::call(&service, request).await,
                false => {
                    let empty = Empty::<Bytes>::new().map_err(|never: Infallible| match never {});
                    let mut response = Response::new(empty.boxed_unsync());
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    Ok(response)
                }
            }
        }
    })
}
