//! What is needed to send a request again, once it has been given away.

use super::connection::{Connection, Kind};
use crate::base::body::{Replay, RequestBody};

/// A copy of a request's head, and its body, as often as it can be had.
#[derive(Debug)]
pub struct Spare {
    head: http::Request<()>,
    body: Replay,
}

impl Spare {
    /// Of a request that is about to go out over this connection. Our own codec only reads a request, so that it needs
    /// no copy.
    pub fn before(connection: &Connection, request: &mut http::Request<RequestBody>) -> Option<Self> {
        (connection.kind() == Kind::Any).then(|| Self::of(request))
    }

    fn of(request: &mut http::Request<RequestBody>) -> Self {
        let mut head = http::Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.headers_mut() = request.headers().clone();
        Self { head, body: Replay::of(request.body_mut()) }
    }

    /// Whether the request can be had again.
    pub fn is_whole(&self) -> bool {
        self.body.is_whole()
    }

    /// The request once more; whoever was sending it cannot go on.
    pub fn again(&self) -> Option<http::Request<RequestBody>> {
        let body = self.body.again()?;
        Some(self.head.clone().map(|()| body))
    }
}
