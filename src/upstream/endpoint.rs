//! One address of one upstream: what it is doing, and its idle connections. An address that serves two upstreams is two
//! endpoints, so that a connection opened for the one never carries a request of the other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::{Connection, Kind};
use super::standing::Standing;
use super::wire::{Line, Lines};
use crate::base::tasks::Group;

/// An address and its state; lives as long as the address is in the answer, and as long as a request holds a ticket.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// Its share relative to the others.
    pub weight: u32,
    in_flight: AtomicUsize,
    requests: AtomicU64,
    retired: AtomicBool,
    standing: Standing,
    /// Idle connections, most recently used last, one list per worker: a connection never changes its worker.
    idle: Box<[Mutex<Vec<Idle>>]>,
    /// What drives the open connections and tunnels that have a task.
    open: Group,
    /// The open connections that have none.
    lines: Lines,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// Sweeps that it has lived through: a coarse age that costs no reading of a clock.
    sweeps: u32,
}

impl Endpoint {
    /// An address that nothing has been sent to, with room for the connections of this many workers.
    pub fn new(address: SocketAddr, weight: u32, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            address,
            weight,
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            standing: Standing::default(),
            idle: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            open: Group::default(),
            lines: Lines::default(),
        })
    }

    /// Requests that hold a ticket now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that were given a ticket, ever.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether the address has left the answer.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Whether the next request may go there.
    pub fn is_eligible(&self) -> bool {
        self.standing.admits(|| self.requests())
    }

    /// What it is worth.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Open connections and tunnels, and how many of them are idle.
    pub fn connections(&self) -> (usize, usize) {
        let idle = self.idle.iter().map(|slot| lock(slot).len()).sum();
        (self.open.len() + self.lines.len(), idle)
    }

    /// The idle connection of this worker that was used last, is open, and has nothing left to do: one of this kind, or
    /// of another where there is none.
    pub fn take_idle(&self, worker: usize, kind: Kind) -> Option<Connection> {
        let mut idle = lock(self.idle.get(worker)?);
        while idle.last().is_some_and(|last| !last.connection.is_open()) {
            idle.pop();
        }
        let ready = |idle: &Idle| idle.connection.is_ready();
        let ready = idle
            .iter()
            .rposition(|idle| idle.connection.kind() == kind && ready(idle))
            .or_else(|| idle.iter().rposition(ready))?;
        Some(idle.remove(ready).connection)
    }

    /// Keeps a connection for this worker's next request, unless the address gets none or there are `most` already.
    pub fn keep_idle(&self, worker: usize, connection: Connection, most: usize) {
        let Some(slot) = self.idle.get(worker) else { return };
        let mut idle = lock(slot);
        // Looked at under the lock: whoever raises a flag does so before the lists are emptied.
        if !self.is_retired() && !self.standing.is_closed() && idle.len() < most {
            idle.push(Idle { connection, sweeps: 0 });
        }
    }

    /// Closes what has been idle for this many sweeps, and forgets what the other side has closed.
    pub fn sweep(&self, most: u32) {
        for slot in &self.idle {
            lock(slot).retain_mut(|idle| {
                idle.sweeps += 1;
                idle.connection.is_open() && idle.sweeps <= most
            });
        }
    }

    /// The address has left: no connection is kept any more, and the idle ones close at once.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.close_idle();
    }

    /// Closes what is idle.
    pub fn close_idle(&self) {
        for slot in &self.idle {
            lock(slot).clear();
        }
    }

    /// Ends every connection and tunnel that is left.
    pub fn cut_off(&self) {
        self.open.end_all();
        self.lines.cut();
    }

    /// Counts a connection that has no task, until what this returns is dropped.
    pub fn line(&self) -> Line {
        self.lines.open()
    }

    /// Drives a connection or tunnel on the current runtime until it ends or is cut off.
    pub fn drive(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.open.spawn(work);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request's place at an endpoint. Counts itself back when the response body ends or the client leaves.
#[derive(Debug)]
pub struct Ticket(Arc<Endpoint>);

impl Ticket {
    /// Takes a place.
    pub fn take(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        endpoint.requests.fetch_add(1, Ordering::Relaxed);
        Self(endpoint.clone())
    }

    /// Where the place is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_counts_itself_back() {
        let endpoint = Endpoint::new(SocketAddr::from(([127, 0, 0, 1], 80)), 1, 1);
        let one = Ticket::take(&endpoint);
        let two = Ticket::take(&endpoint);
        assert_eq!((endpoint.in_flight(), endpoint.requests()), (2, 2));
        drop(one);
        drop(two);
        assert_eq!((endpoint.in_flight(), endpoint.requests()), (0, 2));
    }
}
