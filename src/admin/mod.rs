//! Floor 5: the operators' face, on a listener of its own: health, metrics, status. Never on the path of a request.

pub mod addresses;
pub mod cache;
pub mod config;
pub mod events;
pub mod explain;
pub mod feed;
pub mod guard;
pub mod health;
pub mod log;
pub mod metrics;
pub mod page;
pub mod problem;
pub mod reload;
pub mod status;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::base::seat::Seats;
use crate::base::tasks::{self, Group};
use crate::runtime::Live;
use crate::runtime::reloads::Reloads;
use crate::telemetry::logging::Dial;
use crate::telemetry::page::Measured;
use crate::telemetry::recorder::Recorder;
use crate::upstream::Upstream;
use feed::Feed;
use guard::Guard;
use problem::Problem;

/// Connections that operators may have at one time.
const CONNECTIONS: usize = 256;
/// Time for a request head, and for a whole answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this a connection has to be made anew, whatever it is doing: nobody keeps a place by reading nothing.
const LIFETIME: Duration = Duration::from_secs(300);
/// Bytes in a request body.
const BODY: usize = 64 * 1024;

/// What the operators' pages are made from.
#[derive(Debug)]
pub struct Desk {
    /// What runs.
    pub live: Live,
    /// The numbers.
    pub recorder: Arc<Recorder>,
    /// What turns the program's log up and down, where it has one.
    pub dial: Option<Dial>,
    /// What else has numbers.
    pub measured: Vec<Arc<dyn Measured>>,
    /// The listeners and their connections.
    pub listeners: Vec<(SocketAddr, Arc<Seats>)>,
    /// Whether the gateway is going down.
    pub draining: Arc<AtomicBool>,
    /// When it came up.
    pub started: std::time::Instant,
    /// The upstreams that it came up with: it is not ready before each of them knows its addresses.
    pub awaited: Vec<Weak<Upstream>>,
    /// What reloads.
    pub reloads: Reloads,
    /// Who may change something.
    pub guard: Arc<Guard>,
    /// What the status page lives on.
    pub feed: Feed,
    /// Explains requests.
    pub explain: explain::Explain,
}

impl Desk {
    /// Whether the gateway takes no more clients.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The pages.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/config", get(config::config))
        .merge(page::router())
        .route("/api/v1/log/level", get(log::get).put(log::set))
        .route("/api/v1/explain", post(explain::explain))
        .route("/api/v1/reload", post(reload::reload))
        .route("/api/v1/cache/purge", post(cache::purge))
        .route("/api/v1/upstreams/{upstream}/addresses/{address}/drain", post(addresses::drain))
        .route("/api/v1/upstreams/{upstream}/addresses/{address}/undrain", post(addresses::undrain))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, PATIENCE))
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(SetResponseHeaderLayer::if_not_present(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(from_fn_with_state(desk.clone(), door))
        .layer(CatchPanicLayer::new())
        .with_state(desk)
}

/// Turns away what was not meant for this listener.
async fn door(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    if desk.guard.is_addressed(request.headers()) {
        return next.run(request).await;
    }
    let detail = "this listener answers to addresses, `localhost` and names without a dot";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail).into_response()
}

/// Serves the pages until it is dropped. Takes no further connection once `retiring` is cancelled.
pub async fn serve(listener: TcpListener, desk: Arc<Desk>, retiring: CancellationToken) {
    let _feed = tasks::spawn(feed::run(desk.clone()));
    let router = router(desk);
    // HTTP/1.1 only: to find out which version is spoken takes a byte, and nothing limits the time until it comes.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connections = Group::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = retiring.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if connections.len() >= CONNECTIONS {
            continue;
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            // An operator who leaves is no event.
            if tokio::time::timeout(LIFETIME, connection.as_mut()).await.is_err() {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(PATIENCE, connection).await;
            }
        });
    }
    drop(listener);
    // The connections that there are end with this.
    std::future::pending::<()>().await;
}
