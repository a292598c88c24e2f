//! Floor 2: from an upstream's name to a response. Knows nothing of routes or layers.

pub mod answers;
pub mod lookup;
pub mod policy;
pub mod resolve;
mod swarm;
