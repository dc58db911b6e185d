//! `api/live`: the state once a second, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use serde::Serialize;

use crate::problem::Problem;
use crate::shared::Shared;

/// The life of a stream, after which the browser opens the next one: a connection to a page that is gone without a word
/// does not keep its place for ever.
const LIFE: Duration = Duration::from_secs(240);
/// The wait of a browser before it comes again.
const RETRY: Duration = Duration::from_secs(1);

/// First the charts so far, then the state now, then each new one, until the console stops: a stream that went on would
/// keep its server from ending.
pub(super) async fn live(State(shared): State<Arc<Shared>>) -> Result<impl IntoResponse, Problem> {
    let Ok(place) = shared.pages.clone().try_acquire_owned() else {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many pages of this console are open as it serves at once; close one",
        ));
    };
    let mut viewer = shared.feed.viewer();
    let first = [event("history", &shared.feed.history()).retry(RETRY), event("state", &*viewer.first())];
    let next = stream::unfold((viewer, place), |(mut viewer, place)| async move {
        let state = viewer.next().await?;
        Some((event("state", &*state), (viewer, place)))
    });
    let stop = tokio::time::timeout(LIFE, shared.stop.clone().cancelled_owned());
    let events = stream::iter(first).chain(next).take_until(stop).map(Ok::<_, Infallible>);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // No map with other keys than text, which is all that JSON cannot have.
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).data(data)
}
