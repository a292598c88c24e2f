//! `GET /api/v1/events`: the state and then its changes, as server-sent events, for as long as somebody listens.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::Desk;
use super::feed::{Feed, LISTENERS};
use super::guard::{Denied, is_foreign};
use super::problem::Problem;

/// 200 and events without end, or 503 where too many listen. Another's web page could not read them, only take a place.
pub async fn events(State(desk): State<Arc<Desk>>, fields: HeaderMap) -> Response {
    if is_foreign(&fields) {
        return Problem::from(Denied::WebPage).into_response();
    }
    match Feed::listen(desk).await {
        Some(stream) => ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response(),
        None => {
            let detail = format!("{LISTENERS} listen already, and there is no room for more");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", detail).into_response()
        }
    }
}
