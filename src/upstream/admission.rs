//! Who may go to an upstream now, who waits, and who is refused: `max_in_flight`, `max_connections` and the circuit
//! breaker. Where none of them is configured a request pays for a look at the policy.
//!
//! `max_connections` is kept twice. A request takes a place at an address before anything else, so that at most so many
//! are there; a socket is counted from its opening to its end, in [`room`](super::room). Where every address is full,
//! requests wait in order: as many as may be served at a time, each at most for `connect_timeout` and its deadline.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Upstream;
use super::balance::Wish;
use super::breaker::Pass;
use super::endpoint::Ticket;
use super::metrics::Outcome;
use crate::base::clock;
use crate::base::exchange::Exchange;
use crate::base::reject::{Reason, Reject};

/// What clients that were refused are told to wait, in seconds: there may be room as soon as one request ends.
const RETRY_AFTER: u64 = 1;

/// Requests that wait for a place at one of an upstream's addresses, in the order in which they came.
#[derive(Debug, Default)]
pub struct Queue {
    upstream: OnceLock<Weak<Upstream>>,
    /// How many there are: looked at without the lock.
    length: AtomicUsize,
    waiting: Mutex<VecDeque<Waiting>>,
}

/// One that waits.
#[derive(Debug)]
struct Waiting {
    /// Where it would like to go.
    wish: Wish,
    /// Addresses that it does not want.
    failed: Vec<SocketAddr>,
    place: oneshot::Sender<Ticket>,
}

impl Queue {
    /// Says whose queue it is.
    pub fn belongs_to(&self, upstream: &Arc<Upstream>) {
        let _ = self.upstream.set(Arc::downgrade(upstream));
    }

    /// Those who wait.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::SeqCst)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives what places there are to those who wait, the first of them first. Called whenever there may be more.
    pub fn serve(&self) {
        if self.is_empty() {
            return;
        }
        let Some(upstream) = self.upstream.get().and_then(Weak::upgrade) else { return };
        // Places whose takers have left: given back when the lock is, since that comes here again.
        let mut left = Vec::new();
        let mut waiting = self.lock();
        let mut at = 0;
        while let Some(one) = waiting.get(at) {
            if one.place.is_closed() {
                waiting.remove(at);
                continue;
            }
            match upstream.take_place(&one.wish, &one.failed, clock::now()) {
                Some(place) => left.extend(waiting.remove(at).and_then(|one| one.place.send(place).err())),
                None if one.failed.is_empty() => break,
                None => at += 1,
            }
        }
        self.length.store(waiting.len(), Ordering::SeqCst);
        drop(waiting);
        drop(left);
    }

    /// Joins the queue, unless there are as many as may wait.
    fn join(&self, wish: &Wish, failed: &[SocketAddr], most: usize) -> Option<Wait<'_>> {
        let mut waiting = self.lock();
        let joined = (waiting.len() < most).then(|| {
            let (place, taken) = oneshot::channel();
            waiting.push_back(Waiting { wish: wish.clone(), failed: failed.to_vec(), place });
            Wait { taken: Some(taken), queue: self }
        });
        self.length.store(waiting.len(), Ordering::SeqCst);
        joined
    }

    /// Forgets those who do not wait any more.
    fn tidy(&self) {
        let mut waiting = self.lock();
        waiting.retain(|one| !one.place.is_closed());
        self.length.store(waiting.len(), Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other end of one that waits; leaves the queue when it is dropped.
struct Wait<'a> {
    taken: Option<oneshot::Receiver<Ticket>>,
    queue: &'a Queue,
}

impl Wait<'_> {
    /// Waits for a place until then.
    async fn until(&mut self, due: Instant) -> Option<Ticket> {
        let ticket = tokio::time::timeout_at(due.into(), self.taken.as_mut()?).await.ok()?.ok()?;
        self.taken = None;
        Some(ticket)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            // With a place that came too late.
            drop(taken);
            self.queue.tidy();
        }
    }
}

impl Upstream {
    /// Lets a request in, as long as fewer than `max_in_flight` are: it is counted until its exchange is over.
    pub(super) fn enter(&self, exchange: &mut Exchange) -> Result<(), Reject> {
        match self.dials.max_in_flight() {
            0 => Ok(()),
            most => {
                let seat = self.in_flight.try_take(most);
                exchange.hold(seat.ok_or_else(|| self.overloaded("as many requests as allowed are in flight"))?);
                Ok(())
            }
        }
    }

    /// Whether a request may just pick an address: nobody waits for one, and the circuit is closed. What it is let through
    /// as, where there is a circuit.
    pub(super) fn passes(&self) -> Option<Option<Pass>> {
        if !self.queue.is_empty() {
            return None;
        }
        match self.dials.has_circuit() {
            false => Some(None),
            true => self.breaker.pass().map(Some),
        }
    }

    /// A place at an address that is not one of `failed`, later than at once: past the circuit breaker, and in the queue
    /// where every address is full.
    pub(super) async fn admit(
        &self,
        wish: &Wish,
        failed: &[SocketAddr],
        deadline: Option<Instant>,
    ) -> Result<Ticket, Reject> {
        let mut pass = self.dials.has_circuit().then(|| self.breaker.admit()).transpose()?;
        let mut ticket = self.wait_for_place(wish, failed, deadline).await?;
        if pass.as_ref().is_some_and(|pass| !self.breaker.honours(pass)) {
            // It was opened meanwhile.
            pass = Some(self.breaker.admit()?);
        }
        ticket.pass = pass;
        Ok(ticket)
    }

    async fn wait_for_place(
        &self,
        wish: &Wish,
        failed: &[SocketAddr],
        deadline: Option<Instant>,
    ) -> Result<Ticket, Reject> {
        if self.dials.max_connections() == 0 || !self.has_other_than(failed) {
            return self.take_place(wish, failed, clock::now()).ok_or_else(|| self.nowhere());
        }
        let most = self.dials.max_connections().saturating_mul(self.endpoints.load().len());
        let too_many =
            || self.overloaded("every address has as many connections as allowed, and as many requests wait");
        let mut wait = self.queue.join(wish, failed, most).ok_or_else(too_many)?;
        // A place may have been given back before there was anybody to give it to.
        self.queue.serve();
        let due = clock::now() + self.policy.load().connect_timeout;
        let due = deadline.map_or(due, |deadline| deadline.min(due));
        let late = || self.overloaded("every address had as many connections as allowed for too long");
        wait.until(due).await.ok_or_else(late)
    }

    /// A place at an address that is not one of `failed` and has one.
    pub(super) fn take_place(&self, wish: &Wish, failed: &[SocketAddr], now: Instant) -> Option<Ticket> {
        let ticket = self.choose(wish, failed, now)?;
        let most = self.dials.max_connections();
        let mut ticket = match most {
            0 => return Some(ticket),
            _ => ticket,
        };
        if ticket.claim(most, &self.queue) {
            return Some(ticket);
        }
        let full = self.endpoints.load();
        let full = full.iter().filter(|endpoint| endpoint.room.is_taken(most)).map(|endpoint| endpoint.address);
        let mut unwanted: Vec<SocketAddr> = failed.iter().copied().chain(full).collect();
        loop {
            // It was not sent: one that was let through on trial does not count as tried.
            self.weigh(ticket.endpoint(), Outcome::Canceled, None);
            unwanted.push(ticket.endpoint().address);
            ticket = self.choose(wish, &unwanted, now)?;
            if ticket.claim(most, &self.queue) {
                return Some(ticket);
            }
        }
    }

    /// Applies the limits of the policy to the addresses that there are. Called when either has changed.
    pub(super) fn apply_limits(&self) {
        self.endpoints.load().iter().for_each(|endpoint| endpoint.room.limit(self.dials.max_connections()));
        self.queue.serve();
    }

    /// The refusal of a request for which there is no room.
    pub(super) fn overloaded(&self, cause: impl std::fmt::Display) -> Reject {
        Reject::new(Reason::Overloaded, "there is no room for this request now")
            .because(format!("upstream {}: {cause}", self.name))
            .retry_after(RETRY_AFTER)
    }
}
