//! Floor 1: what is measured and written down. Knows no request, route or upstream.

pub mod access_log;
pub mod histogram;
pub mod logging;
pub mod names;
pub mod otlp;
pub mod page;
pub mod process;
pub mod recorder;
pub mod refusals;
#[cfg(test)]
mod testing;
