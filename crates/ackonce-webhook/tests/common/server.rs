//! A server on a real socket and a client that signs.

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::Signed;

/// Serves until the test's runtime ends.
pub(crate) async fn serve(app: Router) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Server { address, client: Client::builder(TokioExecutor::new()).build_http() }
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Server {
    pub(crate) async fn post(&self, path: &str, signed: &Signed) -> Response<Bytes> {
        let mut request = Request::post(format!("http://{}{path}", self.address));
        *request.headers_mut().unwrap() = signed.headers.clone();
        let request = request.body(Full::new(signed.body.clone())).unwrap();
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }
}

/// The way a delivery was settled, by the response's header.
pub(crate) fn settled(response: &Response<Bytes>) -> &str {
    response.headers().get("ackonce-settled").map_or("", |value| value.to_str().unwrap())
}
