//! `/status`: what runs, for people. One page of three files that are part of the binary; it asks for nothing but them and
//! `/api/v1`, and says so to the browser.

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderName, HeaderValue};

/// What the page may do (Content Security Policy Level 3): its own files and nothing else, in no frame, and no text that
/// becomes markup, whoever it is from.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// The files of the page: path, type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("/status", "text/html; charset=utf-8", include_str!("index.html")),
    ("/status/style.css", "text/css; charset=utf-8", include_str!("style.css")),
    ("/status/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("/status/app.js", "text/javascript; charset=utf-8", include_str!("app.js")),
    ("/status/model.js", "text/javascript; charset=utf-8", include_str!("model.js")),
    ("/status/chart.js", "text/javascript; charset=utf-8", include_str!("chart.js")),
    ("/status/routes.js", "text/javascript; charset=utf-8", include_str!("routes.js")),
    ("/status/upstreams.js", "text/javascript; charset=utf-8", include_str!("upstreams.js")),
    ("/status/more.js", "text/javascript; charset=utf-8", include_str!("more.js")),
    ("/status/dom.js", "text/javascript; charset=utf-8", include_str!("dom.js")),
];

/// The page, also for those who only know the address.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = |router: Router<S>, &(path, kind, text): &(&'static str, &'static str, &'static str)| {
        router.route(path, get(move || async move { file(kind, text) }))
    };
    FILES.iter().fold(Router::new(), page).route("/", get(|| async { Redirect::temporary("/status") }))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let fields = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (OPENER_POLICY, SAME_ORIGIN),
        (RESOURCE_POLICY, SAME_ORIGIN),
        // Another binary may serve another page at the same address.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (fields, text).into_response()
}
