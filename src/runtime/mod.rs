//! Floor 4: from a checked configuration to what runs. The only module that knows layers, upstreams and the
//! configuration together.

pub mod build;
mod caching;
pub mod change;
pub mod explain;
mod limits;
pub mod mount;
pub mod outgoing;
pub mod parts;
pub mod problem;
pub mod reloads;
pub mod series;
pub mod snapshot;
pub mod traces;
mod vouching;

use std::sync::Arc;

use arc_swap::ArcSwap;

use snapshot::Snapshot;

/// The snapshot that runs now, shared by everybody who serves. Requests in flight end on the one that they began with.
#[derive(Clone, Debug)]
pub struct Live(Arc<ArcSwap<Snapshot>>);

impl Live {
    /// Begins with this snapshot.
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// Puts another snapshot in its place, and returns the one that was there.
    pub fn swap(&self, next: Snapshot) -> Arc<Snapshot> {
        self.0.swap(Arc::new(next))
    }

    /// The snapshot that runs now. Cheap, and not to be kept.
    pub fn now(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.0.load()
    }
}
