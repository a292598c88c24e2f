//! `POST /api/v1/reload`: reads the configuration again, and answers with what came of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Desk;
use super::guard::Allowed;
use super::problem::Problem;
use crate::runtime::reloads::Trigger;

/// 200 with what is different, or 422 with what is wrong while the old configuration runs on.
pub async fn reload(_: Allowed, State(desk): State<Arc<Desk>>) -> Response {
    match desk.reloads.from_files(Trigger::Api).await {
        Some(verdict) if verdict.is_ok() => Json(&*verdict).into_response(),
        Some(verdict) => (StatusCode::UNPROCESSABLE_ENTITY, Json(&*verdict)).into_response(),
        None => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the gateway is going down").into_response(),
    }
}
