//! Interim responses on their way from an upstream to the client (RFC 9110 §15.2): which are passed, and without what.

use std::sync::Arc;
use std::task::Waker;

use http::{HeaderMap, Request, StatusCode, Version};

use crate::base::client::Client;
use crate::base::exchange::Exchange;
use crate::base::headers;

/// Who hears of interim responses.
#[derive(Clone, Debug)]
pub struct Interim(Option<Arc<Client>>);

impl Interim {
    /// Nobody.
    pub const NOBODY: Self = Self(None);

    /// The client of this exchange, where it speaks HTTP/1.1: an older one could take them for the answer.
    pub fn of(exchange: &Exchange) -> Self {
        Self((exchange.version == Version::HTTP_11).then(|| exchange.busy.client().clone()))
    }

    /// Hands one on, except `100 Continue`, which is between the upstream and us. It is written when the client's
    /// connection is polled.
    pub fn pass(&self, status: StatusCode, mut fields: HeaderMap) {
        if let Some(client) = self.0.as_ref().filter(|_| status.as_u16() > 101) {
            headers::remove_hop_by_hop(&mut fields);
            client.push_interim(status, &fields);
        }
    }

    /// Makes hyper hand them on, and wake the client's connection.
    pub fn attach<B>(self, request: &mut Request<B>, connection: Waker) {
        if self.0.is_some() {
            hyper::ext::on_informational(request, move |response| {
                self.pass(response.status(), response.headers().clone());
                connection.wake_by_ref();
            });
        }
    }
}
