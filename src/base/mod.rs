//! Floor 0: words that everybody uses. No I/O of its own, no configuration.

pub mod added;
pub mod alarm;
pub mod body;
pub mod cache;
pub mod client;
pub mod clock;
pub mod cookies;
pub mod debt;
pub mod exchange;
pub mod headers;
pub mod identity;
pub mod path;
pub mod reject;
pub mod request;
pub mod seat;
pub mod secret;
pub mod tasks;
pub mod time_left;
pub mod units;
