//! What the tests share.

pub(crate) mod authority;
pub(crate) mod backend;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod crowd;
mod eventually;
pub(crate) mod frames;
mod gateway;
pub(crate) mod issuer;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod scrape;
pub(crate) mod steady;
pub(crate) mod storm;
pub(crate) mod strangers;
pub(crate) mod tokens;
pub(crate) mod town;
pub(crate) mod wire;

pub(crate) use backend::{Backend, OK, Peer};
pub(crate) use browser::Browser;
pub(crate) use client::{Client, Client2, ask, get};
pub(crate) use eventually::{eventually, eventually_async, eventually_some};
pub(crate) use gateway::Gate;
