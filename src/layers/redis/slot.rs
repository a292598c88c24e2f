//! One worker's connection: made when it is first needed, made again when it breaks, with pauses that grow while that is
//! in vain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::link::{self, Link};
use super::{RedisError, Shared};
use crate::base::clock;

/// Pauses between attempts to connect, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection, while there is one, and which one it is.
#[derive(Debug)]
pub(super) struct Slot(watch::Sender<Kept>);

#[derive(Debug)]
struct Kept {
    turn: u64,
    link: Option<Link>,
    /// Since when there is none, or since when there is this one.
    since: Instant,
}

impl Default for Slot {
    fn default() -> Self {
        Self(watch::Sender::new(Kept { turn: 0, link: None, since: clock::now() }))
    }
}

impl Slot {
    /// The connection, and which one it is, as soon as there is one; none if there is none by then.
    pub(super) async fn link_by(&self, until: Instant) -> Option<(u64, Link)> {
        if let Some(there) = self.0.borrow().there() {
            return Some(there);
        }
        let mut told = self.0.subscribe();
        let told = tokio::time::timeout_at(until.into(), told.wait_for(|kept| kept.link.is_some())).await;
        told.ok()?.ok()?.there()
    }

    /// From now on a connection is being made.
    pub(super) fn begins(&self) {
        self.0.send_modify(|kept| kept.since = clock::now());
    }

    /// Since when a connection is being made, while there is none.
    pub(super) fn trying_since(&self) -> Instant {
        self.0.borrow().since
    }

    /// That one does not work any more.
    pub(super) fn lost(&self, turn: u64) {
        self.0.send_if_modified(|kept| kept.turn == turn && kept.drop_link());
    }

    /// The same for whichever it is.
    pub(super) fn drop_link(&self) {
        self.0.send_if_modified(Kept::drop_link);
    }

    fn set(&self, link: Link) {
        self.0.send_modify(|kept| {
            *kept = Kept { turn: kept.turn + 1, link: Some(link), since: clock::now() };
        });
    }

    async fn empty(&self) {
        let _ = self.0.subscribe().wait_for(|kept| kept.link.is_none()).await;
    }
}

impl Kept {
    fn there(&self) -> Option<(u64, Link)> {
        self.link.clone().map(|link| (self.turn, link))
    }

    fn drop_link(&mut self) -> bool {
        let dropped = self.link.take().is_some();
        if dropped {
            self.since = clock::now();
        }
        dropped
    }
}

/// Keeps a connection in the slot.
pub(super) async fn keep(shared: Arc<Shared>, at: usize) {
    let Some(slot) = shared.slots.get(at) else { return };
    let mut pause = PAUSES.0;
    loop {
        match link::connect(&shared.policy).await {
            Ok(link) => {
                pause = PAUSES.0;
                slot.set(link);
                slot.empty().await;
            }
            Err(error) => {
                let error = RedisError::Failed(error);
                shared.is_out_of_reach(&error);
                // Give or take a quarter, so that many do not come at once.
                tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}
