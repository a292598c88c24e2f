//! Floor 0: words that everybody uses. No async work of its own, no I/O, no configuration.

pub mod clock;
pub mod path;
pub mod secret;
pub mod tasks;
pub mod units;
