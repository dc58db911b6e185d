//! A server as hyper makes it, without a limit or a timer in front of the route.

use std::net::SocketAddr;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

pub(super) async fn serve(app: Router) -> anyhow::Result<SocketAddr> {
    // As axum's own server does: else a router makes its layered routes anew for each request.
    let app = app.with_state(());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
        #[allow(unreachable_code, reason = "it names the error's type")]
        anyhow::Ok(())
    });
    Ok(address)
}
