//! Takes an address of an upstream out of service, and back: for a deployment that wants to be sure before it stops a
//! backend.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;

use super::Desk;
use super::guard::Allowed;
use super::problem::Problem;
use crate::upstream::status::AddressStatus;

/// What became of an address.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// The upstream.
    pub upstream: String,
    /// The address as it is now.
    #[serde(flatten)]
    pub address: AddressStatus,
}

/// `POST /api/v1/upstreams/NAME/addresses/ADDR/drain`
pub async fn drain(
    _: Allowed,
    State(desk): State<Arc<Desk>>,
    Path((upstream, address)): Path<(String, String)>,
) -> Result<Json<Changed>, Problem> {
    change(&desk, upstream, &address, true)
}

/// `POST /api/v1/upstreams/NAME/addresses/ADDR/undrain`
pub async fn undrain(
    _: Allowed,
    State(desk): State<Arc<Desk>>,
    Path((upstream, address)): Path<(String, String)>,
) -> Result<Json<Changed>, Problem> {
    change(&desk, upstream, &address, false)
}

fn change(desk: &Desk, name: String, address: &str, drained: bool) -> Result<Json<Changed>, Problem> {
    let snapshot = desk.live.now().clone();
    let Some(upstream) = snapshot.upstreams().iter().find(|upstream| *upstream.name == *name) else {
        let names: Vec<&str> = snapshot.upstreams().iter().map(|upstream| &*upstream.name).collect();
        let detail = format!("there is no upstream `{name}`; there are: {}", names.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_upstream", detail));
    };
    let changed = address.parse::<SocketAddr>().ok().and_then(|address| upstream.drain(address, drained));
    match changed {
        Some(address) => Ok(Json(Changed { upstream: name, address })),
        None => {
            let detail = format!("the upstream `{name}` has no address `{address}`; /api/v1/status lists them");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_address", detail))
        }
    }
}
