//! A service behind a relay or a proxy that answers as it is told, and remembers the trace contexts that it was called with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use http::{HeaderMap, StatusCode};

#[derive(Default)]
struct Plan {
    /// 200 once they are used up.
    answers: Mutex<VecDeque<u16>>,
    calls: Mutex<Vec<HeaderMap>>,
}

pub(crate) struct Service {
    address: std::net::SocketAddr,
    plan: Arc<Plan>,
}

impl Service {
    pub(crate) async fn start(answers: &[u16]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan =
            Arc::new(Plan { answers: Mutex::new(answers.iter().copied().collect()), ..Plan::default() });
        let router = Router::new().fallback(answer).with_state(plan.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, plan }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    /// The headers of all calls so far.
    pub(crate) fn calls(&self) -> Vec<HeaderMap> {
        self.plan.calls.lock().unwrap().clone()
    }

    /// The values of `traceparent` of all calls so far.
    pub(crate) fn contexts(&self) -> Vec<Option<String>> {
        let text = |headers: &HeaderMap| Some(headers.get("traceparent")?.to_str().unwrap().to_owned());
        self.calls().iter().map(text).collect()
    }
}

async fn answer(State(plan): State<Arc<Plan>>, headers: HeaderMap) -> StatusCode {
    plan.calls.lock().unwrap().push(headers);
    let next = plan.answers.lock().unwrap().pop_front();
    StatusCode::from_u16(next.unwrap_or(200)).unwrap()
}
