//! Tunnels: what follows when a client asked to switch protocols and the upstream agreed. Bytes pass only after the
//! upstream's 101, never before, so that nobody can smuggle a request behind an upgrade that was refused.

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::response::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::endpoint::Ticket;
use crate::base::exchange::{End, Exchange};

/// An upgrade that a client asked for.
#[derive(Debug)]
pub struct Asked {
    /// The protocol.
    pub protocol: HeaderValue,
    /// The client's side of the tunnel.
    pub client: OnUpgrade,
}

/// Whether a 101 switches to what was asked for (RFC 9110 §7.8).
pub fn agrees<B>(asked: &Asked, response: &http::Response<B>) -> bool {
    let protocol = response.headers().get(UPGRADE);
    protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(asked.protocol.as_bytes()))
}

/// Starts the tunnel. It begins when the 101 has reached the client, and takes the exchange over at that time.
pub fn tunnel<B>(asked: Asked, response: http::Response<B>, ticket: Ticket, exchange: &mut Exchange) -> Parts {
    let (heir, inherited) = oneshot::channel();
    exchange.heir = Some(heir);
    exchange.busy.client().switch();
    let (mut head, body) = response.into_parts();
    let upstream = head.extensions.remove::<OnUpgrade>();
    drop(body);
    let endpoint = ticket.endpoint().clone();
    endpoint.drive(async move {
        let (Ok(exchange), Some(upstream)) = (inherited.await, upstream) else {
            return;
        };
        carry(asked.client, upstream, exchange).await;
        drop(ticket);
    });
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, asked.protocol);
    head
}

async fn carry(client: OnUpgrade, upstream: OnUpgrade, mut exchange: Box<Exchange>) {
    let (client, upstream) = match futures_util::future::try_join(client, upstream).await {
        Ok(both) => both,
        Err(error) => {
            exchange.answer.cause = Some(error.to_string().into());
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    match tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        Ok((_, down)) => {
            exchange.answer.bytes += down;
            exchange.answer.end = End::Ok;
        }
        Err(error) => {
            exchange.answer.end = End::UpstreamReset;
            exchange.answer.cause = Some(error.to_string().into());
        }
    }
}
