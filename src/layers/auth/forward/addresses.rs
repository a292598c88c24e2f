//! The addresses of a service, looked up in the background, so that no request waits for DNS but those that come before
//! there ever was an answer. The last good answer serves while there is none.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::base::tasks::{self, Task};

/// How often the name is asked for.
const REFRESH: Duration = Duration::from_secs(5);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses of one host and port.
#[derive(Debug)]
pub(super) struct Addresses {
    current: watch::Receiver<Arc<[SocketAddr]>>,
    turn: AtomicUsize,
    _asking: Option<Task>,
}

impl Addresses {
    /// Those of an address are itself; those of a name are asked for on the runtime behind `control`.
    pub(super) fn start(auth: &str, host: &str, port: u16, control: &Handle) -> Self {
        let literal = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let (teller, current) = watch::channel(literal.into_iter().collect::<Arc<[SocketAddr]>>());
        let asking = literal
            .is_none()
            .then(|| tasks::spawn_on(control, refresh(auth.to_owned(), host.to_owned(), port, teller)));
        Self { current, turn: AtomicUsize::new(0), _asking: asking }
    }

    /// All of them, another one first each time. Waits while there never were any: whoever calls bounds it.
    pub(super) async fn in_turn(&self) -> Vec<SocketAddr> {
        let mut current = self.current.clone();
        let known = current.wait_for(|addresses| !addresses.is_empty()).await;
        let mut addresses = known.map(|addresses| addresses.to_vec()).unwrap_or_default();
        if !addresses.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(first);
        }
        addresses
    }
}

async fn refresh(auth: String, host: String, port: u16, teller: watch::Sender<Arc<[SocketAddr]>>) {
    let mut failing = false;
    loop {
        let asked = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), port))).await;
        let found: std::io::Result<Vec<SocketAddr>> = match asked {
            Ok(Ok(found)) => Ok(found.collect()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        match found {
            Ok(found) if !found.is_empty() => {
                failing = false;
                teller.send_if_modified(|current| {
                    let changed = **current != *found;
                    *current = found.into();
                    changed
                });
            }
            other => {
                if !std::mem::replace(&mut failing, true) {
                    let error = other.err().map_or_else(|| "no address".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        auth,
                        host,
                        error,
                        "the service's name cannot be looked up; the last answer goes on"
                    );
                }
            }
        }
        // Until there is an answer somebody may be waiting for it.
        tokio::time::sleep(if failing { REFRESH / 5 } else { REFRESH }).await;
    }
}
