//! `POST /api/v1/explain`: what would become of a request here and now. Only looks: no upstream, issuer or service is
//! asked, no limit is used up, nothing is counted. Says more than clients may know, so it is for those who may change
//! something.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::Desk;
use super::guard::Allowed;
use super::problem::Problem;
use crate::base::tasks;
use crate::runtime::explain::Explanation;
use crate::runtime::snapshot::Snapshot;

/// Text, as it is printed, is a type that has to be asked for (RFC 9110 §12.5.1).
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain");

/// A request that nobody has sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its method.
    pub method: String,
    /// `http://host/path`, or a path; taken as it is written.
    pub url: String,
    /// Its fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Where its connection would come from.
    #[serde(default = "loopback")]
    pub from: IpAddr,
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// Explains a request by what runs. May take as long as a password takes, so it is not called where others wait.
///
/// # Errors
/// When it is no request at all.
pub type Explain = fn(&Snapshot, &Order, &Handle) -> Result<Explanation, String>;

/// JSON, or the text that `tollgate explain` prints for those who accept `text/plain`.
pub async fn explain(
    _: Allowed,
    State(desk): State<Arc<Desk>>,
    fields: HeaderMap,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_order", detail);
    let Json(order) = order.map_err(|rejection| bad(rejection.body_text()))?;
    let (snapshot, explain, here) = (desk.live.now().clone(), desk.explain, Handle::current());
    let explained = tasks::blocking_on(&Handle::current(), move || explain(&snapshot, &order, &here)).await;
    let failed = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "it could not be explained");
    let explanation = explained.ok_or_else(failed)?.map_err(bad)?;
    Ok(match fields.get_all(ACCEPT).iter().any(|accepted| accepted == TEXT) {
        true => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], explanation.to_string()).into_response(),
        false => Json(explanation).into_response(),
    })
}
