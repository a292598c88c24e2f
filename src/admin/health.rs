//! Whether the gateway can be sent clients.

use std::sync::{Arc, Weak};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Desk;

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// Whether clients may be sent here.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// Ready when the gateway is not going down and, since its start, every name has been answered once. Names that a reload
/// brings are not waited for: the gateway serves its other routes.
pub async fn readyz(State(desk): State<Arc<Desk>>) -> (StatusCode, Json<Readiness>) {
    let mut reasons = Vec::new();
    if desk.is_draining() {
        reasons.push("the gateway is shutting down".to_owned());
    }
    let waiting = desk.awaited.iter().filter_map(Weak::upgrade).filter(|upstream| !upstream.is_ready());
    reasons.extend(waiting.map(|upstream| format!("upstream {} has no DNS answer yet", upstream.name)));
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons }))
}
