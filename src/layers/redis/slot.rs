//! One worker's connection: made when it is first needed, made again when it breaks, with pauses that grow while that is
//! in vain.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::link::{self, Link};
use super::{RedisError, Shared};

/// Pauses between attempts to connect, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection, while there is one, and which one it is.
#[derive(Debug)]
pub(super) struct Slot(watch::Sender<Kept>);

#[derive(Debug, Default)]
struct Kept {
    turn: u64,
    link: Option<Link>,
}

impl Default for Slot {
    fn default() -> Self {
        Self(watch::Sender::new(Kept::default()))
    }
}

impl Slot {
    /// The connection as soon as there is one, and which one it is.
    pub(super) async fn link(&self) -> (u64, Link) {
        if let Some(there) = self.0.borrow().there() {
            return there;
        }
        let mut told = self.0.subscribe();
        loop {
            if let Some(there) = told.borrow_and_update().there() {
                return there;
            }
            if told.changed().await.is_err() {
                // The slot outlives whoever waits at it.
                std::future::pending::<()>().await;
            }
        }
    }

    /// That one does not work any more.
    pub(super) fn lost(&self, turn: u64) {
        self.0.send_if_modified(|kept| kept.turn == turn && kept.link.take().is_some());
    }

    /// The same for whichever it is.
    pub(super) fn drop_link(&self) {
        self.0.send_if_modified(|kept| kept.link.take().is_some());
    }

    fn set(&self, link: Link) {
        self.0.send_modify(|kept| {
            kept.turn += 1;
            kept.link = Some(link);
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
                if pause == PAUSES.0 {
                    tracing::warn!(%error, "redis cannot be connected to");
                }
                shared.note(&error);
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
