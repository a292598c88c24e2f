//! Takes out what the cache holds before its time, for whoever has changed what it was made from.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;
use serde::Serialize;

use super::Desk;
use super::guard::Allowed;
use super::problem::Problem;
use crate::layers::cache::purge::{Order, Purge};

/// What was taken out.
#[derive(Debug, Serialize)]
pub struct Purged {
    /// Responses that are gone, or stale now.
    pub purged: usize,
    /// Whether all other gateways that share the cache have been told; absent where none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<bool>,
}

/// `POST /api/v1/cache/purge {"url"|"prefix"|"tag": "…"|"all": true, "soft": true|false}`
pub async fn purge(
    _: Allowed,
    State(desk): State<Arc<Desk>>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Json<Purged>, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_order", detail);
    let Json(order) = order.map_err(|rejection| bad(rejection.body_text()))?;
    let purge = Purge::try_from(order.clone()).map_err(|error| bad(error.to_string()))?;
    let store = desk.live.now().cache().cloned();
    let Some(store) = store else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_cache", "no route has a cache".to_owned()));
    };
    let told = match store.tier() {
        Some(tier) => Some(tier.purge(&order).await.is_ok()),
        None => None,
    };
    Ok(Json(Purged { purged: purge.carry_out(&store), told }))
}
