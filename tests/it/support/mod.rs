//! What the tests share.

mod eventually;
pub(crate) mod frames;
mod gateway;
pub(crate) mod raw;

pub(crate) use eventually::eventually;
pub(crate) use gateway::Gate;
