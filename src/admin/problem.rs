//! How the operators' listener says no: problem details (RFC 9457), in the form that clients know from the gateway.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::runtime::problem;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
    /// How to ask instead (RFC 9110 §11.6.1).
    pub challenge: Option<&'static str>,
}

impl Problem {
    /// A refusal that no credentials would change.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), challenge: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(problem::operators(self.status, self.code, &self.detail)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, problem::PROBLEM_JSON);
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
