//! The answers in JSON that the page is made of.

mod change;
mod live;
mod reasons;
mod records;
mod show;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::shared::Shared;

/// Everything below `api/`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/live", get(live::live))
        .route("/records", get(records::records))
        .route("/reasons", get(reasons::reasons))
        .route("/show", get(show::show))
        .route("/redrive", post(change::redrive))
        .route("/forget", post(change::forget))
}
