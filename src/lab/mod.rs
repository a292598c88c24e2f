//! Floor 5: the pieces for trying the gateway: what the demo runs around it, and what tests put in its way.
//! Knows nothing of the gateway itself.

pub mod dns;
