//! What the tests share.

mod eventually;
mod gateway;

pub(crate) use eventually::eventually;
pub(crate) use gateway::Gate;
