//! Listening sockets, and the loop that accepts: each connection goes to the worker with the fewest, for life.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Counter;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::overload;
use super::workers::{Accepted, Workers};
use crate::base::seat::Seats;
use crate::base::tasks::Group;

/// Connections that the kernel may hold for us.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when there is nothing to accept with, such as file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// Turned-away clients that are waited for at one time.
const TURNED_AWAY: usize = 1024;

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    /// Where it is bound; with port 0 the port that was found.
    pub address: SocketAddr,
    /// Its connections.
    pub seats: Arc<Seats>,
    socket: TcpListener,
}

impl Listener {
    /// A second handle of the same socket, for somebody who goes on listening when this one ends.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn duplicate(&self) -> io::Result<TcpListener> {
        self.socket.try_clone()
    }

    /// The bare socket.
    pub fn into_socket(self) -> TcpListener {
        self.socket
    }
}

/// Binds an address.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    adopt(TcpListener::from(socket))
}

/// Listens on a socket that somebody else has bound.
///
/// # Errors
/// When it is none to listen on.
pub fn adopt(socket: TcpListener) -> io::Result<Listener> {
    socket.set_nonblocking(true)?;
    Ok(Listener { address: socket.local_addr()?, seats: Arc::default(), socket })
}

/// What accepting needs, for all listeners.
#[derive(Clone, Debug)]
pub struct Accepting {
    /// Who serves the connections.
    pub workers: Arc<Workers>,
    /// How many are served at one time, over all listeners.
    pub most: Arc<AtomicUsize>,
    /// When this is cancelled, what waits in the queue is still accepted: the kernel has already told those clients
    /// that they are connected.
    pub closing: CancellationToken,
}

/// Accepts until it is told to stop, or dropped. Clients for whom there is no room are counted in `refused`.
pub async fn accept(listener: Listener, accepting: Accepting, refused: Counter) {
    let Accepting { workers, most, closing } = accepting;
    let Listener { address, seats, socket } = listener;
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%address, %error, "cannot accept connections");
            return;
        }
    };
    let turned_away = Group::default();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                if workers.connections() >= most.load(Ordering::Relaxed) {
                    refused.increment(1);
                    if turned_away.len() < TURNED_AWAY {
                        turned_away.spawn(overload::turn_away(stream));
                    }
                } else if let Ok(stream) = stream.into_std() {
                    let seats = vec![seats.take()];
                    workers.hand_over(Accepted { stream, peer, seats });
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%address, %error, "accepting fails; trying again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Errors that `accept` reports of a connection that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
