//! The one place where a refusal becomes a response: RFC 9457 problem details.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use serde::Serialize;

use super::outgoing::Outgoing;
use crate::base::account::X_TOLLGATE_TRACE;
use crate::base::body::ResponseBody;
use crate::base::exchange::End;
use crate::base::headers::X_REQUEST_ID;
use crate::base::reject::Reason;
use crate::base::request::Refused;
use crate::layers::rate_limit::answer;

/// The media type of problem details (RFC 9457 §3).
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The members of a problem body, in the order in which people read them.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// The text of a problem body.
pub fn text(reason: Reason, detail: &str, request_id: Option<&str>) -> Vec<u8> {
    let facts = reason.facts();
    write(facts.status, facts.title, facts.code, detail, request_id)
}

/// The text of a problem body for operators, whose refusals are none of the clients'.
pub fn operators(status: StatusCode, code: &str, detail: &str) -> Vec<u8> {
    write(status, status.canonical_reason().unwrap_or_default(), code, detail, None)
}

fn write(status: StatusCode, title: &str, code: &str, detail: &str, request_id: Option<&str>) -> Vec<u8> {
    let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), detail, code, request_id };
    serde_json::to_vec(&problem).unwrap_or_default()
}

/// Adds what is told of a request to its response: it is for nobody else, so no cache on the way may give it to others.
pub fn tell(headers: &mut HeaderMap, told: HeaderValue) {
    headers.insert(X_TOLLGATE_TRACE, told);
    headers.append(VARY, HeaderValue::from_static("x-tollgate-trace"));
}

/// Turns a refusal into what the client gets.
pub fn render(refused: Refused) -> Response<Outgoing> {
    let Refused { reject, mut exchange } = refused;
    let id = exchange.id.clone();
    let text = text(reject.reason, &reject.detail, id.as_ref().and_then(|id| id.to_str().ok()));
    exchange.answer.reason = Some(reject.reason);
    exchange.answer.cause = reject.cause;
    let status = reject.reason.facts().status;
    let told = exchange.account.take().map(|account| account.close(&exchange, status.as_u16()));
    let length = HeaderValue::from(text.len());
    let body =
        if exchange.method == Method::HEAD { ResponseBody::Empty } else { ResponseBody::Full(Bytes::from(text)) };
    exchange.answer.end = End::ClientGone;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    headers.insert(CONTENT_LENGTH, length);
    headers.extend(reject.fields);
    answer::tell(&exchange.met, &mut headers);
    if exchange.version == Version::HTTP_2 {
        // There a refusal ends its stream, and no message may have this field (RFC 9113 §8.2.2).
        headers.remove(CONNECTION);
    }
    if let Some(id) = id {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(told) = told {
        tell(&mut headers, told);
    }
    let mut response = Response::new(Outgoing::new(body, status, exchange));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
