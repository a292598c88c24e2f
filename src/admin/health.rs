//! Whether the gateway can be sent clients.

use std::sync::Arc;

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

/// Ready when the gateway is not going down and every upstream has been heard of once: its name answered, an address checked.
pub async fn readyz(State(desk): State<Arc<Desk>>) -> (StatusCode, Json<Readiness>) {
    let mut reasons = Vec::new();
    if desk.is_draining() {
        reasons.push("the gateway is shutting down".to_owned());
    }
    let snapshot = desk.live.now().clone();
    let waiting = snapshot.upstreams().iter().filter_map(|upstream| Some((upstream, upstream.waits_for()?)));
    reasons.extend(waiting.map(|(upstream, what)| format!("upstream {} has {what}", upstream.name)));
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons }))
}
