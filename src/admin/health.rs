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

/// Ready when the gateway is not going down and every upstream that it came up with has been heard of once: its name
/// answered, an address checked. What a reload brings is not waited for: the gateway serves its other routes.
pub async fn readyz(State(desk): State<Arc<Desk>>) -> (StatusCode, Json<Readiness>) {
    let mut reasons = Vec::new();
    if desk.is_draining() {
        reasons.push("the gateway is shutting down".to_owned());
    }
    let awaited = desk.awaited.iter().filter_map(Weak::upgrade);
    let waiting = awaited.filter_map(|upstream| Some((upstream.name.clone(), upstream.waits_for()?)));
    reasons.extend(waiting.map(|(upstream, what)| format!("upstream {upstream} has {what}")));
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons }))
}
