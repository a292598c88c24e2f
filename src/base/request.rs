//! A request and its response as they pass through a route's stack: the HTTP message and the exchange that it belongs
//! to. Typed fields rather than an extension map, which would cost an allocation and a lookup at every turn.

use http::{request, response};

use super::body::{RequestBody, ResponseBody};
use super::exchange::Exchange;
use super::reject::{Reason, Reject};

/// A request on its way to an upstream.
#[derive(Debug)]
pub struct Request {
    /// Method, target, fields. Boxed, since a request is handed on by value from each layer to the next: held in place, its
    /// way through a stack cost 1,100 instructions.
    pub head: Box<request::Parts>,
    /// What follows the head.
    pub body: RequestBody,
    /// What is known of it.
    pub exchange: Box<Exchange>,
}

/// A response on its way to the client.
#[derive(Debug)]
pub struct Response {
    /// Status and fields.
    pub head: response::Parts,
    /// What follows the head.
    pub body: ResponseBody,
    /// What is known of the exchange.
    pub exchange: Box<Exchange>,
}

/// An answer that no upstream gave and that refuses nothing: to a preflight, or what another service has said.
#[derive(Debug)]
pub struct Reply {
    /// Status and fields.
    pub head: response::Parts,
    /// What follows the head.
    pub body: ResponseBody,
}

/// A request that the gateway answers itself.
#[derive(Debug)]
pub struct Refused {
    /// Why, boxed since refusals are the exception.
    pub reject: Box<Reject>,
    /// What is known of the exchange.
    pub exchange: Box<Exchange>,
}

/// What becomes of a request.
pub type Outcome = Result<Response, Refused>;

impl Refused {
    /// Why.
    pub fn reason(&self) -> Reason {
        self.reject.reason
    }
}

impl Reply {
    /// An answer with this status and nothing else.
    pub fn new(status: http::StatusCode) -> Self {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = status;
        Self { head, body: ResponseBody::Empty }
    }
}
