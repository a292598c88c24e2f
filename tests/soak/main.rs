//! Soaks: what the tests try for seconds, for as long as somebody wants to wait. `just soak MINUTES` runs them in turn;
//! `cargo test` leaves them out. Each takes its time from `SOAK_MINUTES`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a soak ends with what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "backends and clients of a soak run beside it and end with it")]

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests, which use the rest")]
mod support;

mod killing;
mod memory;
mod metrics;
mod reloading;
mod rolling;
mod unknown_keys;

use std::time::Duration;

/// How long each soak runs.
fn duration() -> Duration {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse::<f64>().ok());
    Duration::from_secs_f64(minutes.unwrap_or(1.0) * 60.0)
}
