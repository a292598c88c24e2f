//! The closed table of refusals: every way in which the gateway itself answers a request. What the client reads and
//! what the log says are different fields. Knows nothing of how a refusal is rendered.

use std::borrow::Cow;
use std::fmt;

use http::header::{ALLOW, CONNECTION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing matches.
    NoRoute,
    /// The path matches, the method does not.
    MethodNotAllowed,
    /// Malformed or ambiguous framing, host or path.
    BadRequest,
    /// The client's address may not use the route.
    IpDenied,
    /// Too many fields, or too many bytes of them.
    HeaderTooLarge,
    /// A body over its limit, announced or counted.
    BodyTooLarge,
    /// A body that came too slowly.
    BodyTimeout,
    /// No token where one is asked for.
    TokenMissing,
    /// A token that is not taken.
    TokenInvalid,
    /// A token whose time is over.
    TokenExpired,
    /// No API key or password where one is asked for, or one that is not taken.
    CredentialsInvalid,
    /// A valid token that does not allow this.
    InsufficientScope,
    /// No keys to verify tokens with.
    KeysUnavailable,
    /// The service that decides who may pass gives no answer.
    AuthUnavailable,
    /// A rate limit is used up.
    RateLimited,
    /// Nobody can tell how much may pass.
    LimitsUnavailable,
    /// A cap on connections or requests in flight is reached.
    Overloaded,
    /// Too many requests to the upstream have failed.
    CircuitOpen,
    /// The upstream has no address to send to.
    NoEndpoints,
    /// No address took the connection.
    UpstreamConnect,
    /// The upstream closed before it answered.
    UpstreamReset,
    /// The upstream's answer is not HTTP, or not an answer to this request.
    UpstreamProtocol,
    /// The upstream did not answer within `response_timeout`.
    UpstreamTimeout,
    /// The route's `timeout` ran out.
    DeadlineExceeded,
    /// The client takes a stored response only, and there is none.
    NotCached,
    /// A fault of the gateway itself.
    Internal,
}

/// What is the same for every refusal of one [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The status that the client gets.
    pub status: StatusCode,
    /// The stable word in problem bodies, logs and metrics.
    pub code: &'static str,
    /// The short text in problem bodies, the same at every occurrence (RFC 9457 §3.1.3).
    pub title: &'static str,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 26] = [
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::BadRequest,
        Self::IpDenied,
        Self::HeaderTooLarge,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::CredentialsInvalid,
        Self::InsufficientScope,
        Self::KeysUnavailable,
        Self::AuthUnavailable,
        Self::RateLimited,
        Self::LimitsUnavailable,
        Self::Overloaded,
        Self::CircuitOpen,
        Self::NoEndpoints,
        Self::UpstreamConnect,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::UpstreamTimeout,
        Self::DeadlineExceeded,
        Self::NotCached,
        Self::Internal,
    ];

    /// Status, code and title.
    pub const fn facts(self) -> Facts {
        let (status, code, title) = match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "No route"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", "Bad request"),
            Self::IpDenied => (StatusCode::FORBIDDEN, "ip_denied", "Address denied"),
            Self::HeaderTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", "Request head too large")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Request body too large"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "Request body too slow"),
            Self::TokenMissing => (StatusCode::UNAUTHORIZED, "token_missing", "No token"),
            Self::TokenInvalid => (StatusCode::UNAUTHORIZED, "token_invalid", "Invalid token"),
            Self::TokenExpired => (StatusCode::UNAUTHORIZED, "token_expired", "Expired token"),
            Self::CredentialsInvalid => (StatusCode::UNAUTHORIZED, "credentials_invalid", "Invalid credentials"),
            Self::InsufficientScope => (StatusCode::FORBIDDEN, "insufficient_scope", "Not allowed"),
            Self::KeysUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable", "Keys unavailable"),
            Self::AuthUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "auth_unavailable", "Authorization unavailable"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
            Self::LimitsUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "limits_unavailable", "Limits unavailable"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::CircuitOpen => (StatusCode::SERVICE_UNAVAILABLE, "circuit_open", "Circuit open"),
            Self::NoEndpoints => (StatusCode::SERVICE_UNAVAILABLE, "no_endpoints", "No endpoints"),
            Self::UpstreamConnect => (StatusCode::BAD_GATEWAY, "upstream_connect", "Upstream unreachable"),
            Self::UpstreamReset => (StatusCode::BAD_GATEWAY, "upstream_reset", "Upstream closed the connection"),
            Self::UpstreamProtocol => (StatusCode::BAD_GATEWAY, "upstream_protocol", "Upstream answered badly"),
            Self::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "Upstream timed out"),
            Self::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", "Deadline exceeded"),
            Self::NotCached => (StatusCode::GATEWAY_TIMEOUT, "not_cached", "Not in the cache"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        };
        Facts { status, code, title }
    }
}

/// A refused request.
#[derive(Debug)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// What the client reads: never more than it may know.
    pub detail: Cow<'static, str>,
    /// What only the log says.
    pub cause: Option<Box<str>>,
    /// Response fields that belong to the refusal, such as `Allow`.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

impl Reject {
    /// A refusal with the text that the client reads.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), cause: None, fields: Vec::new() }
    }

    /// Adds what only the log says.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into_boxed_str());
        self
    }

    /// Ends the connection with the refusal, where it is HTTP/1: what follows cannot be trusted to be a request.
    pub fn closing(mut self) -> Self {
        self.fields.push((CONNECTION, HeaderValue::from_static("close")));
        self
    }

    /// Adds `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.fields.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    /// Adds `Allow`, as RFC 9110 §15.5.6 asks of a 405.
    pub fn allow(mut self, methods: HeaderValue) -> Self {
        self.fields.push((ALLOW, methods));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.facts().code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| reason.facts().status.as_u16() >= 400));
    }
}
