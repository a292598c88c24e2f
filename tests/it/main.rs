//! Tests over real sockets: one binary, so that it links once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends with what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "backends and clients of a test run beside it and end with it")]

mod access_log;
mod auth;
mod balancing;
mod bodies;
mod circuit;
mod client_faults;
mod connections;
mod deadlines;
mod demo;
mod descriptors;
mod dns_lookup;
mod draining;
mod ejection;
mod ending;
mod faults;
mod headers;
mod health;
mod hostile;
mod http2;
mod interim;
mod ip_access;
mod keep_alive;
mod learned_keep_alive;
mod leaving;
mod limits;
mod operators;
mod outages;
mod overload;
mod pages;
mod paths;
mod reload;
mod replacing;
mod resting;
mod retries;
mod routing;
mod slow_clients;
mod stopping;
mod support;
mod takeover;
mod timeouts;
mod trailers;
mod upgrades;
mod upstream_faults;
