//! What a collector reads of a request: a span of its own and one for each step, in the words of OpenTelemetry's semantic
//! conventions for HTTP (stable since 1.23). What may be a secret is left out, as in the access log.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::{Method, Uri, Version};

use super::failed;
use crate::base::exchange::{End, Exchange};
use crate::base::redact;
use crate::base::trace::{Record, Sent, Step, Trace};
use crate::telemetry::otlp::{Kind, Span, Value, since_1970};

type Attributes = Vec<(&'static str, Value)>;

/// The spans of an exchange that is over; `now` is one moment on both clocks.
pub(super) fn of(
    exchange: &Exchange,
    place: &Trace,
    record: &Record,
    path: Option<&str>,
    now: (Instant, Duration),
) -> Vec<Span> {
    let at = |moment| since_1970(moment, now);
    let mut spans = Vec::with_capacity(1 + record.steps.len());
    spans.push(Span {
        trace: place.id,
        id: place.span,
        parent: place.parent,
        flags: place.flags,
        name: name(exchange),
        kind: Kind::Server,
        start: at(exchange.started),
        end: at(exchange.ended),
        attributes: request(exchange, path),
        error: failed(exchange).then(|| exchange.answer.cause.as_deref().unwrap_or_default().to_owned()),
        link: record.linked,
    });
    for step in &record.steps {
        spans.push(Span {
            trace: place.id,
            id: step.span,
            parent: place.span,
            flags: place.flags,
            name: if step.sent.is_some() { method(&exchange.method).into() } else { step.name.into() },
            kind: if step.sent.is_some() { Kind::Client } else { Kind::Internal },
            start: at(step.began),
            end: at(step.ended.unwrap_or(exchange.ended)),
            attributes: of_step(exchange, step),
            error: is_error(step).then(String::new),
            link: None,
        });
    }
    spans
}

/// A client's 4xx is an error of the one who asked, an upstream's is one to the gateway that asks there.
fn is_error(step: &Step) -> bool {
    step.failure.is_some() || step.ended.is_none() || step.sent.as_ref().is_some_and(|sent| sent.status >= 400)
}

/// The method and what it was asked of, from a closed set.
fn name(exchange: &Exchange) -> Cow<'static, str> {
    let method = method(&exchange.method);
    match &exchange.route {
        Some(route) => format!("{method} {route}").into(),
        None => method.into(),
    }
}

/// What stands for the method in names and values: no word that a client has made up.
fn method(method: &Method) -> &'static str {
    match known(method) {
        "_OTHER" => "HTTP",
        known => known,
    }
}

fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn request(exchange: &Exchange, path: Option<&str>) -> Attributes {
    let mut list: Attributes = Vec::with_capacity(24);
    asked(exchange, &mut list);
    if let Some(path) = path {
        list.push(("http.route", path.to_owned().into()));
    }
    if let Some(route) = &exchange.route {
        list.push(("tollgate.route", route.to_string().into()));
    }
    if let Some(upstream) = &exchange.upstream.name {
        list.push(("tollgate.upstream", upstream.to_string().into()));
        list.push(("tollgate.tries", i64::from(exchange.upstream.tries).into()));
    }
    if let Some(identity) = &exchange.identity {
        list.push(("tollgate.auth", identity.auth.to_string().into()));
    }
    if let Some(id) = exchange.id.as_ref().and_then(|id| id.to_str().ok()) {
        list.push(("tollgate.request_id", id.to_owned().into()));
    }
    answered(exchange, &mut list);
    list
}

/// Who asked what, and how.
fn asked(exchange: &Exchange, list: &mut Attributes) {
    let method = known(&exchange.method);
    list.push(("http.request.method", method.into()));
    if method == "_OTHER" {
        list.push(("http.request.method_original", exchange.method.to_string().into()));
    }
    list.push(("url.scheme", exchange.origin.scheme.into()));
    let (path, query) = shown(&exchange.target);
    list.push(("url.path", path.into()));
    if let Some(query) = query {
        list.push(("url.query", query.into()));
    }
    if let Some(host) = exchange.host.as_ref().and_then(|host| host.to_str().ok()) {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse::<i64>().ok()),
            _ => (host, None),
        };
        list.push(("server.address", name.to_owned().into()));
        list.extend(port.map(|port| ("server.port", port.into())));
    }
    list.push(("client.address", exchange.client.to_canonical().to_string().into()));
    list.push(("network.peer.address", exchange.origin.peer.ip().to_canonical().to_string().into()));
    list.push(("network.peer.port", i64::from(exchange.origin.peer.port()).into()));
    let version = match exchange.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    list.push(("network.protocol.version", version.into()));
    if let Some(agent) = exchange.user_agent.as_ref() {
        list.push(("user_agent.original", String::from_utf8_lossy(agent.as_bytes()).into_owned().into()));
    }
}

/// What came of it.
fn answered(exchange: &Exchange, list: &mut Attributes) {
    let answer = &exchange.answer;
    if answer.status > 0 {
        list.push(("http.response.status_code", i64::from(answer.status).into()));
    }
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    list.push(("http.request.body.size", size(exchange.bytes_in()).into()));
    list.push(("http.response.body.size", size(answer.bytes).into()));
    list.push(("tollgate.end", answer.end.as_str().into()));
    let code = answer.reason.map(|reason| reason.facts().code);
    if let Some(code) = code {
        list.push(("tollgate.code", code.into()));
    }
    if failed(exchange) {
        let broken = (answer.end != End::Ok).then(|| answer.end.as_str());
        let error = code.or(broken).map_or_else(|| Value::from(answer.status.to_string()), Value::from);
        list.push(("error.type", error));
    }
}

fn of_step(exchange: &Exchange, step: &Step) -> Attributes {
    let mut list: Attributes = Vec::new();
    if let Some(sent) = &step.sent {
        of_try(exchange, sent, &mut list);
    }
    if let Some(failure) = step.failure.or(step.ended.is_none().then_some("canceled")) {
        list.push(("error.type", failure.into()));
    } else if let Some(sent) = step.sent.as_ref().filter(|sent| sent.status >= 400) {
        list.push(("error.type", sent.status.to_string().into()));
    }
    list
}

fn of_try(exchange: &Exchange, sent: &Sent, list: &mut Attributes) {
    let (address, port) = (sent.address.ip().to_canonical().to_string(), i64::from(sent.address.port()));
    let (path, query) = shown(&sent.target);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    list.push(("http.request.method", known(&exchange.method).into()));
    list.push(("url.full", format!("http://{}{path}{query}", sent.address).into()));
    if let Some(name) = &exchange.upstream.name {
        list.push(("tollgate.upstream", name.to_string().into()));
    }
    list.push(("server.address", address.clone().into()));
    list.push(("server.port", port.into()));
    list.push(("network.peer.address", address.into()));
    list.push(("network.peer.port", port.into()));
    if sent.status > 0 {
        list.push(("http.response.status_code", i64::from(sent.status).into()));
    }
    if sent.resends > 0 {
        list.push(("http.request.resend_count", i64::from(sent.resends).into()));
    }
    if let Some(reason) = sent.reason {
        list.push(("tollgate.retry.reason", reason.into()));
    }
}

/// Path and query, without values.
fn shown(target: &Uri) -> (String, Option<String>) {
    let mut path = String::new();
    redact::path(target.path(), |piece| path.push_str(piece));
    let query = target.query().map(|query| {
        let mut shown = String::new();
        redact::query(query, |piece| shown.push_str(piece));
        shown
    });
    (path, query)
}
