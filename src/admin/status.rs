//! What runs, as JSON: for people with `curl`, and for whatever draws it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Desk;
use super::guard::Rule;
use crate::base::clock;
use crate::layers::auth::keyset::KeySetStatus;
use crate::layers::cache::store::CacheStatus;
use crate::layers::rate_limit::limit::LimitStatus;
use crate::layers::redis::RedisStatus;
use crate::runtime::reloads::Verdict;
use crate::runtime::snapshot::Snapshot;
use crate::upstream::status::UpstreamStatus;

/// The answer of `/api/v1/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Which build runs.
    pub version: &'static str,
    /// For how long, in seconds.
    pub uptime_seconds: u64,
    /// Whether it is going down.
    pub draining: bool,
    /// What came of the last reload, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<Arc<Verdict>>,
    /// What came of the last ones, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reloads: Vec<Arc<Verdict>>,
    /// Who may change something here.
    pub changes: Rule,
    /// The listeners.
    pub listeners: Vec<ListenerStatus>,
    /// The routes, in the order in which they were written.
    pub routes: Vec<Arc<str>>,
    /// The keys that verify tokens, by the name of their policy.
    pub keys: Vec<KeySetStatus>,
    /// What is kept of responses, where any route keeps some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheStatus>,
    /// How much may pass, in name order.
    pub limits: Vec<LimitStatus>,
    /// The Redis that limits are counted in, if any are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    /// The upstreams, in name order.
    pub upstreams: Vec<UpstreamStatus>,
}

/// A listener at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ListenerStatus {
    /// Where it is bound.
    pub address: SocketAddr,
    /// Client connections that came in there and are open.
    pub connections: usize,
}

/// Everything at this moment.
pub async fn status(State(desk): State<Arc<Desk>>) -> Json<Status> {
    let snapshot = desk.live.now().clone();
    Json(Status::of(&desk, &snapshot))
}

impl Status {
    /// Everything at this moment, by the snapshot that runs.
    pub fn of(desk: &Desk, snapshot: &Snapshot) -> Self {
        let listeners = desk.listeners.iter();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: clock::now().saturating_duration_since(desk.started).as_secs(),
            draining: desk.is_draining(),
            last_reload: desk.reloads.last(),
            reloads: desk.reloads.recent(),
            changes: desk.guard.rule(),
            listeners: listeners
                .map(|(address, seats)| ListenerStatus { address: *address, connections: seats.taken() })
                .collect(),
            routes: snapshot.routes().to_vec(),
            keys: snapshot.providers().iter().map(|provider| provider.keys().status()).collect(),
            cache: snapshot.cache().map(|store| store.status()),
            limits: snapshot.limits().iter().map(|limit| limit.status()).collect(),
            redis: snapshot.redis().map(|redis| redis.status()),
            upstreams: snapshot.upstreams().iter().map(|upstream| upstream.status()).collect(),
        }
    }
}
