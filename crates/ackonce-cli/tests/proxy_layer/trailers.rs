//! Trailers of a request, which the layer keeps apart from the body that it has read, arrive as trailers.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use ackonce_http::{Need, Options};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::common::Api;

#[tokio::test]
async fn trailers_reach_the_upstream_behind_the_whole_body() {
    for key in [Some("k"), None] {
        let seen = Arc::new(Mutex::new(None));
        let told = seen.clone();
        let api = Api::new(Options::default().with_need(Need::Optional), move |_, request: Request<Body>| {
            let told = told.clone();
            async move {
                let body = request.into_body().collect().await.unwrap();
                let trailers = body.trailers().cloned();
                *told.lock().unwrap() = Some((body.to_bytes(), trailers));
            }
        });
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"e\""))]);
        let frames = [Frame::data(Bytes::from_static(b"12345")), Frame::trailers(trailers.clone())];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
        let mut request =
            Request::post("/payments").header("authorization", "Bearer a").header("trailer", "etag");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        assert_eq!(api.send(request.body(Body::new(body)).unwrap()).await.status, 200);
        let seen = seen.lock().unwrap().take();
        assert_eq!(seen, Some((Bytes::from_static(b"12345"), Some(trailers))), "key: {key:?}");
    }
}
