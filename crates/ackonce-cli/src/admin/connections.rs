//! Connections to a page for operators: bounded in number and time, and ended in order.

use std::convert::Infallible;
use std::time::Duration;

use ackonce::CancellationToken;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The most connections at once; more wait.
const CONNECTIONS: u32 = 64;
/// The longest that a client may take to send the head of a request, and to keep a connection without one.
const HEAD: Duration = Duration::from_secs(10);
/// The longest life of a connection: monitors and pages come again.
const LIFE: Duration = Duration::from_secs(300);
/// The wait after an accept that failed, for lack of file descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest wait for answers under way at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Accepts until `stop` is cancelled, then lets the answers under way finish.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    stop: CancellationToken,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let room = std::sync::Arc::new(Semaphore::new(CONNECTIONS as usize));
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((connection, _)) => Some((place, connection)),
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    None
                }
            }
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let Some((place, connection)) = accepted else { continue };
        let (answer, stop) = (answer.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(LIFE, serve(connection, answer, stop)).await;
        });
    }
    drop(listener);
    // All places are free once all connections are over.
    let _ = tokio::time::timeout(DRAIN, room.acquire_many(CONNECTIONS)).await;
}

async fn serve<F>(
    connection: TcpStream,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    stop: CancellationToken,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(connection), service);
    let mut connection = std::pin::pin!(connection);
    // A client that breaks off is its own affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
