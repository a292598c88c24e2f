//! The one place that reads the monotonic clock. Logic takes `now` as an argument; what drives it asks here.

use std::time::Instant;

/// The monotonic time.
#[allow(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub fn now() -> Instant {
    Instant::now()
}
