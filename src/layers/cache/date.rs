//! Dates of HTTP (RFC 9110 §5.6.7): the preferred form and the two obsolete ones, read strictly but in any case; written
//! in the preferred form. Pure.

/// Days before each month of a year that is no leap year.
const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const DAY: u64 = 86_400;

/// Seconds since 1970 of a date; `now` settles the century of a year of two digits. Dates before 1970 are 1970.
pub fn parse(text: &[u8], now: u64) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.is_ascii() {
        return None;
    }
    let (day, rest) = text.split_at_checked(text.find([',', ' '])?)?;
    match rest.strip_prefix(", ") {
        Some(rest) if is_among(day, &DAYS) => preferred(rest),
        Some(rest) if is_among(day, &LONG_DAYS) => of_850(rest, now),
        None if is_among(day, &DAYS) => of_c(rest.strip_prefix(' ')?),
        _ => None,
    }
}

/// A moment in the preferred form, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn format(seconds: u64) -> String {
    let (days, time) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    let weekday = DAYS[usize::try_from((days + 3) % 7).unwrap_or_default()];
    let month = MONTHS[month];
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// `06 Nov 1994 08:49:37 GMT`.
fn preferred(text: &str) -> Option<u64> {
    let mut parts = text.splitn(5, ' ');
    let (day, month, year) = (number(parts.next()?, 2)?, month(parts.next()?)?, number(parts.next()?, 4)?);
    let time = time(parts.next()?)?;
    parts.next()?.eq_ignore_ascii_case("GMT").then(|| seconds(year, month, day, time)).flatten()
}

/// `06-Nov-94 08:49:37 GMT` (RFC 850). What seems to be more than 50 years ahead is in the past.
fn of_850(text: &str, now: u64) -> Option<u64> {
    let mut parts = text.splitn(3, ' ');
    let mut date = parts.next()?.splitn(3, '-');
    let (day, month, year) = (number(date.next()?, 2)?, month(date.next()?)?, number(date.next()?, 2)?);
    let time = time(parts.next()?)?;
    if !parts.next()?.eq_ignore_ascii_case("GMT") {
        return None;
    }
    let (this_year, _, _) = civil(now / DAY);
    let near = this_year - this_year % 100 + year;
    let year = match near {
        near if near > this_year + 50 => near - 100,
        near if near + 50 < this_year => near + 100,
        near => near,
    };
    seconds(year, month, day, time)
}

/// `Nov  6 08:49:37 1994` (asctime).
fn of_c(text: &str) -> Option<u64> {
    let (name, rest) = text.split_at_checked(4)?;
    let (day, rest) = rest.split_at_checked(2)?;
    let month = month(name.strip_suffix(' ')?)?;
    let day = match day.strip_prefix(' ') {
        Some(digit) => number(digit, 1)?,
        None => number(day, 2)?,
    };
    let (clock, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    seconds(number(year, 4)?, month, day, time(clock)?)
}

fn is_among(text: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(text))
}

fn month(text: &str) -> Option<usize> {
    MONTHS.iter().position(|name| name.eq_ignore_ascii_case(text))
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let sound = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

/// Seconds of a day; a leap second counts as the one before it.
fn time(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, ':');
    let mut next = || number(parts.next()?, 2);
    let (hour, minute, second) = (next()?, next()?, next()?);
    (hour < 24 && minute < 60 && second <= 60).then(|| hour * 3600 + minute * 60 + second.min(59))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn seconds(year: u64, month: usize, day: u64, time: u64) -> Option<u64> {
    let leap_day = u64::from(is_leap(year));
    let end = BEFORE.get(month + 1).copied().unwrap_or(365);
    let longest = end - BEFORE[month] + if month == 1 { leap_day } else { 0 };
    if day == 0 || day > longest {
        return None;
    }
    if year < 1970 {
        return Some(0);
    }
    let before = year - 1;
    let leap_days = (before / 4 - before / 100 + before / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let this_year = BEFORE[month] + if month > 1 { leap_day } else { 0 } + day - 1;
    Some(((year - 1970) * 365 + leap_days + this_year) * DAY + time)
}

/// Year, month from 0, and day of a number of days since 1970 (Hinnant's algorithm).
fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 2 } else { month - 10 };
    let year = era * 400 + year + u64::from(month < 2);
    (year, usize::try_from(month).unwrap_or_default(), day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000; // November 2026

    #[test]
    fn all_forms_are_read_in_any_case() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "SUN, 06 nov 1994 08:49:37 gMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), Some(784_111_777), "{text}");
        }
        assert_eq!(parse(b"Thursday, 18-Aug-50 02:01:18 GMT", NOW), parse(b"Thu, 18 Aug 2050 02:01:18 GMT", NOW));
        assert_eq!(parse(b"Thu, 01 Jan 1970 00:00:00 GMT", NOW), Some(0));
        assert_eq!(parse(b"Wed, 01 Jan 1601 00:00:00 GMT", NOW), Some(0));
        assert_eq!(parse(b"Thu, 29 Feb 2024 23:59:60 GMT", NOW), Some(1_709_251_199));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "0",
            "",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 29 Feb 2023 02:01:18 GMT",
            "Thu, 00 Feb 2023 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT ",
            "Thu, 18 Aug 2050 02:01:18",
            "Th\u{fc}, 18 Aug 2050 02:01:18 GMT",
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut moment = 1;
        while moment < 7_000_000_000 {
            assert_eq!(parse(format(moment).as_bytes(), NOW), Some(moment));
            moment += 12_345_677;
        }
    }
}
