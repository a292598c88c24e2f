//! `POST /api/v1/reload`: reads the configuration again, and answers with what came of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Desk;
use crate::runtime::reloads::Trigger;

/// 200 with what is different, or 422 with what is wrong while the old configuration runs on.
pub async fn reload(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    if let Err(refused) = desk.guard.check(&headers) {
        return refused.into_response();
    }
    match desk.reloads.from_files(Trigger::Api).await {
        Some(verdict) if verdict.is_ok() => Json(&*verdict).into_response(),
        Some(verdict) => (StatusCode::UNPROCESSABLE_ENTITY, Json(&*verdict)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the gateway is shutting down\n").into_response(),
    }
}
