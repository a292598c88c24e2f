//! What the tests share.

mod eventually;
mod gateway;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod scrape;
pub(crate) mod town;

pub(crate) use eventually::{eventually, eventually_async};
pub(crate) use gateway::Gate;
