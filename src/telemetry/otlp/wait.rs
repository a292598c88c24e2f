//! How long to wait before a collector is asked again. Pure: time and randomness are passed in.

use std::time::Duration;

/// The first wait, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest that a collector may ask for.
const MOST: Duration = Duration::from_secs(300);

/// Twice as long after each failure in a row, give or take a fifth; as long as the collector says, if it does.
/// `random` is between 0 and 1.
pub(super) fn before_again(failures: u32, told: Option<Duration>, random: f64) -> Duration {
    if let Some(told) = told {
        return told.min(MOST);
    }
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(LONGEST);
    doubled.mul_f64(0.8 + 0.4 * random)
}

/// `Retry-After` as time from now on: seconds, or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(field: &str, unix_now: u64) -> Option<Duration> {
    let field = field.trim();
    if let Ok(seconds) = field.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(field).ok()?.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(date).ok()?.saturating_sub(unix_now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_have_an_end() {
        let waits: Vec<u64> = (1..=7).map(|failures| before_again(failures, None, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(before_again(u32::MAX, None, 1.0), LONGEST.mul_f64(1.2));
        assert!(before_again(1, None, 0.0) < before_again(1, None, 1.0));
        assert_eq!(before_again(5, Some(Duration::from_secs(7)), 0.5), Duration::from_secs(7));
        assert_eq!(before_again(1, Some(Duration::from_secs(86_400)), 0.5), MOST);
    }

    #[test]
    fn a_collector_says_when_in_seconds_or_by_a_date() {
        assert_eq!(retry_after(" 12 ", 0), Some(Duration::from_secs(12)));
        let date = "Fri, 31 Dec 1999 23:59:59 GMT";
        assert_eq!(retry_after(date, 946_684_790), Some(Duration::from_secs(9)));
        assert_eq!(retry_after(date, 946_684_900), Some(Duration::ZERO));
        assert_eq!((retry_after("soon", 0), retry_after("-1", 0)), (None, None));
    }
}
