//! `/metrics`: the numbers, for whoever scrapes. They are gathered and written on a thread of its own, which
//! gives way to those that serve: what a great many series take is felt in nobody's request.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::runtime::Handle;

use super::Desk;
use crate::base::tasks;
use crate::telemetry::names;
use crate::telemetry::page::{Form, Samples};

/// OpenMetrics with examples for those who ask for it, otherwise the Prometheus text format.
pub async fn metrics(State(desk): State<Arc<Desk>>, fields: HeaderMap) -> Response {
    let accept = fields.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    let control = Handle::current();
    let written = tasks::behind(move || {
        let _within = control.enter();
        page(&desk, form)
    });
    let Some(page) = written.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let fields = [(CONTENT_TYPE, form.content_type()), (VARY, "Accept")];
    (fields.map(|(name, value)| (name, HeaderValue::from_static(value))), page).into_response()
}

fn page(desk: &Desk, form: Form) -> String {
    let mut samples = Samples::default();
    for (address, seats) in &desk.listeners {
        samples.add(names::CONNECTIONS, &[&address.to_string()], seats.taken());
    }
    desk.measured.iter().for_each(|one| one.measure(&mut samples));
    let snapshot = desk.live.now().clone();
    snapshot.upstreams().iter().for_each(|upstream| upstream.measure(&mut samples));
    snapshot.providers().iter().for_each(|provider| provider.keys().status().measure(&mut samples));
    snapshot.limits().iter().for_each(|limit| limit.status().measure(&mut samples));
    snapshot.cache().into_iter().for_each(|store| store.status().measure(&mut samples));
    desk.recorder.page(form, &samples)
}
