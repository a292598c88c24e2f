//! Tests over real sockets: one binary, so that it links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends with what it did not expect"
)]

mod balancing;
mod demo;
mod dns_lookup;
mod ending;
mod leaving;
mod operators;
mod outages;
mod replacing;
mod stopping;
mod support;
