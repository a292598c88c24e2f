//! Floor 0: words that everybody uses. No configuration, and no I/O but what a socket's bytes go through, and whom TLS
//! trusts.

pub mod account;
pub mod added;
pub mod alarm;
pub mod allowance;
pub mod body;
pub mod cache;
pub mod client;
pub mod clock;
pub mod cookies;
pub mod debt;
pub mod exchange;
pub mod headers;
pub mod identity;
pub mod mode;
pub mod outbox;
pub mod path;
pub mod redact;
pub mod reject;
pub mod request;
pub mod seat;
pub mod secret;
pub mod stream;
pub mod tasks;
pub mod time_left;
pub mod tls;
pub mod trace;
pub mod units;
