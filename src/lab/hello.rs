//! The backend of demos and tests: it says who it is, echoes, waits, streams and fails on request. Knows nothing of
//! gateways, names or other replicas.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;
use tokio::net::TcpListener;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::lab::serve;

/// The field in which every answer names its backend.
pub const BACKEND: HeaderName = HeaderName::from_static("x-backend");

/// The longest that `/delay/MS` waits.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Time between two events of `/stream/N`.
const STREAM_PACE: Duration = Duration::from_millis(100);
/// The most events that `/stream/N` sends.
const MAX_EVENTS: u32 = 600;

/// Serves the backend called `identity` until `shutdown` resolves; requests in flight are then answered.
pub async fn serve(listener: TcpListener, identity: String, shutdown: impl Future<Output = ()>) {
    serve::serve(listener, router(&identity), shutdown).await;
}

/// The backend's routes; whatever has none of its own is greeted.
pub fn router(identity: &str) -> Router {
    let greeting: Bytes = format!("Hello, world! I am {identity}\n").into();
    // A name that cannot stand in a field is still readable in the greeting.
    let name = HeaderValue::from_str(identity).unwrap_or_else(|_| HeaderValue::from_static("?"));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/echo", any(echo))
        .route("/delay/{ms}", any(delay))
        .route("/status/{code}", any(status))
        .route("/stream/{events}", get(events))
        .fallback(move || async move { greeting })
        .layer(SetResponseHeaderLayer::overriding(BACKEND, name))
}

/// What arrived, as JSON; a field that came twice is listed twice.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let fields: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    Json(json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": fields,
        "body": String::from_utf8_lossy(&body),
    }))
    .into_response()
}

async fn delay(Path(ms): Path<u64>) -> String {
    let wait = Duration::from_millis(ms).min(MAX_DELAY);
    tokio::time::sleep(wait).await;
    format!("waited {} ms\n", wait.as_millis())
}

/// Answers with the final status asked for: 1xx only announce one, and there is none above 599.
async fn status(Path(code): Path<u16>) -> StatusCode {
    StatusCode::from_u16(code).ok().filter(|_| (200..600).contains(&code)).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Server-sent events, numbered from 1, the first at once.
async fn events(Path(count): Path<u32>) -> impl IntoResponse {
    let events = stream::iter(1..=count.min(MAX_EVENTS)).then(|n| async move {
        if n > 1 {
            tokio::time::sleep(STREAM_PACE).await;
        }
        Ok::<_, Infallible>(format!("data: {n}\n\n"))
    });
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")], Body::from_stream(events))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(method: &str, uri: &str, body: &str) -> (StatusCode, HeaderMap, String) {
        let request = http::Request::builder().method(method).uri(uri).header("x-a", "1").header("x-a", "2");
        let response = router("me").oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn any_path_is_greeted_and_every_answer_is_named() {
        for path in ["/", "/any/path?x=1"] {
            let (status, headers, body) = ask("GET", path, "").await;
            assert_eq!(
                (status.as_u16(), headers[BACKEND].as_bytes(), &body[..]),
                (200, &b"me"[..], "Hello, world! I am me\n")
            );
        }
        assert_eq!(ask("GET", "/healthz", "").await.1[BACKEND], "me");
        assert_eq!(ask("GET", "/status/503", "").await.1[BACKEND], "me");
    }

    #[tokio::test]
    async fn echo_returns_what_arrived() {
        let (_, _, body) = ask("PATCH", "/echo?q=1", "text").await;
        let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            seen,
            json!({"method": "PATCH", "path": "/echo", "query": "q=1", "headers": [["x-a", "1"], ["x-a", "2"]], "body": "text"})
        );
    }

    #[tokio::test]
    async fn statuses_delays_and_events_are_made_to_order() {
        assert_eq!(ask("POST", "/status/418", "").await.0.as_u16(), 418);
        assert_eq!(ask("GET", "/status/101", "").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(ask("GET", "/status/text", "").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(ask("GET", "/delay/1", "").await.2, "waited 1 ms\n");
        let (_, headers, body) = ask("GET", "/stream/2", "").await;
        assert_eq!(
            (headers[header::CONTENT_TYPE].as_bytes(), &body[..]),
            (&b"text/event-stream"[..], "data: 1\n\ndata: 2\n\n")
        );
    }
}
