//! How the operators' listener says no: problem details (RFC 9457), in the form that clients know from the gateway.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::runtime::problem;

/// A refusal with this code, for programs, and this explanation, for people.
pub fn respond(status: StatusCode, code: &str, detail: &str) -> Response {
    let mut response = Response::new(Body::from(problem::operators(status, code, detail)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, problem::PROBLEM_JSON);
    response
}
