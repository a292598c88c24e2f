//! An answer that is not passed on, since another try follows: its end is awaited where it is near, so that the connection
//! stays of use, and what it said is kept for the case that nothing better comes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;

use super::connection::{Connection, Flow};

/// Most bytes of a body that are read for this.
const MOST: usize = 16 * 1024;
/// Longest time that this takes.
const PATIENCE: Duration = Duration::from_millis(50);

/// An answer that was set aside, whole but for its trailers.
#[derive(Debug)]
pub struct Aside {
    /// Its head.
    pub head: Parts,
    /// Its body.
    pub body: Bytes,
    /// Who gave it.
    pub address: SocketAddr,
}

/// Reads an answer to its end, and gives the connection back if another request may follow. Where the end is far, there
/// is nothing to set aside, and the connection is closed.
pub async fn set_aside(response: http::Response<Flow>, address: SocketAddr) -> (Option<Aside>, Option<Connection>) {
    let (head, mut flow) = response.into_parts();
    let read = tokio::time::timeout(PATIENCE, whole(&mut flow));
    match read.await {
        Ok(Some(body)) => (Some(Aside { head, body, address }), flow.finish()),
        _ => {
            flow.cut();
            (None, None)
        }
    }
}

async fn whole(flow: &mut Flow) -> Option<Bytes> {
    let mut body = BytesMut::new();
    while !flow.is_end_stream() && body.len() as u64 + flow.size_hint().lower() <= MOST as u64 {
        match poll_fn(|cx| flow.poll_frame(cx)).await {
            Some(frame) => body.extend_from_slice(frame.ok()?.data_ref().map_or(&[][..], |data| data)),
            None => break,
        }
    }
    (body.len() <= MOST && flow.size_hint().lower() == 0).then(|| body.freeze())
}
