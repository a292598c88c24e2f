//! Tests over real sockets: one binary, so that it links once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends with what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "backends and clients of a test run beside it and end with it")]

mod access_log;
mod auth;
mod balancing;
mod bodies;
mod client_faults;
mod demo;
mod dns_lookup;
mod draining;
mod ejection;
mod ending;
mod headers;
mod health;
mod hostile;
mod http2;
mod interim;
mod ip_access;
mod keep_alive;
mod leaving;
mod limits;
mod operators;
mod outages;
mod pages;
mod paths;
mod replacing;
mod resting;
mod routing;
mod stopping;
mod support;
mod timeouts;
mod trailers;
mod upgrades;
mod upstream_faults;
