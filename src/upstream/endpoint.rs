//! One address of one upstream: what it is doing, and its idle connections. An address that serves two upstreams is two
//! endpoints, so that a connection opened for the one never carries a request of the other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::admission::Queue;
use super::balance::{Latency, Warmth, of_address};
use super::breaker::Pass;
use super::connection::{Connection, Kind};
use super::keep_alive::KeepAlive;
use super::room::Room;
use super::standing::Standing;
use super::wire::{Line, Lines};
use crate::base::seat::Seat;
use crate::base::tasks::Group;

/// An address and its state; lives as long as the address is in the answer, and as long as a request holds a ticket.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// What stands for the address when keys are shared out.
    pub(super) hash: u64,
    /// How soon it answers, where somebody wants to know.
    pub latency: Latency,
    /// Since when it takes requests.
    pub warmth: Warmth,
    weight: AtomicU32,
    priority: AtomicU16,
    in_flight: AtomicUsize,
    requests: AtomicU64,
    retired: AtomicBool,
    /// How many connections and requests may be here.
    pub room: Room,
    standing: Standing,
    /// Idle connections, most recently used last, one list per worker: a connection changes its worker only where no
    /// other may be opened.
    idle: Box<[Mutex<Vec<Idle>>]>,
    /// For how long they are of use.
    keep_alive: KeepAlive,
    /// What drives the open connections and tunnels that have a task.
    open: Group,
    /// The open connections that have none.
    lines: Lines,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    rest: Rest,
}

/// The time that a connection has been idle.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// Its beginning.
    since: Instant,
    /// When the connection was last seen open.
    seen: Instant,
}

impl Idle {
    fn into_parts(self) -> (Connection, Rest) {
        (self.connection, self.rest)
    }
}

impl Rest {
    /// How long it has lasted.
    pub fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

impl Endpoint {
    /// An address that nothing has been sent to, with room for the connections of this many workers.
    pub fn new(address: SocketAddr, workers: usize, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            address,
            hash: of_address(address),
            latency: Latency::new(now),
            warmth: Warmth::new(now),
            weight: AtomicU32::new(1),
            priority: AtomicU16::new(0),
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            room: Room::default(),
            standing: Standing::default(),
            idle: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            keep_alive: KeepAlive::default(),
            open: Group::default(),
            lines: Lines::default(),
        })
    }

    /// Its share relative to the others of its priority; at least 1.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Whether others come first: 0 is served before 1.
    pub fn priority(&self) -> u16 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Gives it another share, without touching what it does.
    pub fn rank(&self, weight: u32, priority: u16) {
        self.weight.store(weight.max(1), Ordering::Relaxed);
        self.priority.store(priority, Ordering::Relaxed);
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

    /// For how long idle connections are of use.
    pub fn keep_alive(&self) -> &KeepAlive {
        &self.keep_alive
    }

    /// The idle connection of this worker that was used last, is open, has nothing left to do, and has not been idle for
    /// too long: one of this kind, or of another where there is none.
    ///
    /// Where there are as many connections as there may be, another worker's will do: it is driven from there, but it is
    /// open, and a new one may not be.
    pub fn take_idle(&self, worker: usize, kind: Kind, repeatable: bool, now: Instant) -> Option<(Connection, Rest)> {
        let own = self.take_idle_of(self.idle.get(worker)?, kind, repeatable, now);
        if own.is_some() || !self.room.is_full() {
            return own;
        }
        let longest = self.keep_alive.for_request(repeatable);
        // One that is about to be ready is waited for when it is used.
        let recent = |slot: &Mutex<Vec<Idle>>| {
            lock(slot).pop_if(|idle: &mut Idle| idle.rest.lasted(now) <= longest).map(Idle::into_parts)
        };
        let ready = self.idle.iter().find_map(|slot| self.take_idle_of(slot, kind, repeatable, now));
        ready.or_else(|| self.idle.iter().find_map(recent))
    }

    fn take_idle_of(
        &self,
        slot: &Mutex<Vec<Idle>>,
        kind: Kind,
        repeatable: bool,
        now: Instant,
    ) -> Option<(Connection, Rest)> {
        let mut idle = lock(slot);
        while let Some(closed) = idle.pop_if(|last| !last.connection.is_open()) {
            self.found_closed(closed.rest, now);
        }
        let longest = self.keep_alive.for_request(repeatable);
        let ready = |idle: &Idle| idle.connection.is_ready() && idle.rest.lasted(now) <= longest;
        let ready = idle
            .iter()
            .rposition(|idle| idle.connection.kind() == kind && ready(idle))
            .or_else(|| idle.iter().rposition(ready))?;
        Some(idle.remove(ready).into_parts())
    }

    /// The right to open a connection; one that is idle is closed where there are too many.
    pub async fn socket(&self) -> Seat {
        self.room.socket(|| drop(self.idle.iter().find_map(|slot| lock(slot).pop()))).await
    }

    /// Keeps a connection that is idle from `now` on for this worker's next request, unless the address gets none or there
    /// are `most` already.
    pub fn keep_idle(&self, worker: usize, connection: Connection, most: usize, now: Instant) {
        let Some(slot) = self.idle.get(worker) else { return };
        let mut idle = lock(slot);
        // Looked at under the lock: whoever raises a flag does so before the lists are emptied.
        let welcome = !self.is_retired() && !self.standing.is_closed() && !self.room.is_wanted();
        if welcome && idle.len() < most {
            idle.push(Idle { connection, rest: Rest { since: now, seen: now } });
        }
    }

    /// A connection that has been idle like this turned out to be closed.
    pub fn found_closed(&self, rest: Rest, now: Instant) {
        let open = rest.seen.saturating_duration_since(rest.since);
        self.keep_alive.learn(|learned| learned.seen_closed(open, rest.lasted(now), now));
    }

    /// Closes what has been idle for longer than `most`, or is of no use any more, and forgets what the other side has
    /// closed.
    pub fn sweep(&self, most: Duration, now: Instant) {
        let most = most.min(self.keep_alive.longest());
        let mut oldest = Duration::ZERO;
        for slot in &self.idle {
            lock(slot).retain_mut(|idle| {
                if !idle.connection.is_open() {
                    self.found_closed(idle.rest, now);
                    return false;
                }
                idle.rest.seen = now;
                oldest = oldest.max(idle.rest.lasted(now));
                idle.rest.lasted(now) < most
            });
        }
        self.keep_alive.learn(|learned| {
            learned.seen_open(oldest);
            learned.relax(now);
        });
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

    /// Drives a connection or tunnel on the current runtime until it ends or is cut off, with the others or alone through
    /// what this returns.
    pub fn drive(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.open.spawn(work)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request's place at an endpoint. Counts itself back when the response body ends or the client leaves.
#[derive(Debug)]
pub struct Ticket {
    endpoint: Arc<Endpoint>,
    /// Where the place is counted under `max_connections`: who waits for it.
    queue: Option<Arc<Queue>>,
    /// What the circuit breaker let it through as.
    pub pass: Option<Pass>,
}

impl Ticket {
    /// Takes a place.
    pub fn take(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        endpoint.requests.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: endpoint.clone(), queue: None, pass: None }
    }

    /// Claims one of the `most` places that its address has; false where all are taken. When it is given back, those in
    /// `queue` hear of it.
    pub fn claim(&mut self, most: usize, queue: &Arc<Queue>) -> bool {
        if self.queue.is_none() && self.endpoint.room.enter(most) {
            self.queue = Some(queue.clone());
        }
        self.queue.is_some()
    }

    /// Where the place is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(queue) = self.queue.take() {
            self.endpoint.room.leave();
            queue.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_counts_itself_back() {
        let endpoint = Endpoint::new(SocketAddr::from(([127, 0, 0, 1], 80)), 1, crate::base::clock::now());
        let one = Ticket::take(&endpoint);
        let two = Ticket::take(&endpoint);
        assert_eq!((endpoint.in_flight(), endpoint.requests()), (2, 2));
        drop(one);
        drop(two);
        assert_eq!((endpoint.in_flight(), endpoint.requests()), (0, 2));
    }
}
