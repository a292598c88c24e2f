//! Durations, sizes and rates as people write them: `250ms`, `64KiB`, `1KiB/s`. One number, one unit, no fractions,
//! so that every value has one meaning and prints as it was written. Knows nothing of configuration files.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Why a text is no duration, size or rate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Nothing before the unit.
    #[error("`{0}` does not begin with a number")]
    NoNumber(String),
    /// Nothing behind the number.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// A unit that does not exist, or that could mean two things.
    #[error("`{0}` is not a unit here")]
    UnknownUnit(String),
    /// A decimal point.
    #[error("`{0}` is not a whole number")]
    Fraction(String),
    /// More than can be meant.
    #[error("`{0}` is too large")]
    TooLarge(String),
    /// A rate without `/s`.
    #[error("`{0}` is not a rate")]
    NotPerSecond(String),
    /// Nothing at all in any time.
    #[error("`{0}` lets nothing through")]
    Nothing(String),
}

/// A number of bytes: `0`, `512`, `64KiB`, `10MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bytes per second: `0`, `512/s`, `1KiB/s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(pub u64);

/// So many in so much time: `100/s`, `600/min`, `1000/h`, `10000/day`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In this time.
    pub per: Period,
}

/// The time that a rate is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// `s`
    Second,
    /// `min`
    Minute,
    /// `h`
    Hour,
    /// `day`
    Day,
}

/// A unit and how many of the smallest one it holds.
type Units = &'static [(&'static str, u64)];

/// In milliseconds, the smallest first.
const TIME: Units = &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000)];

/// In bytes, the smallest first; decimal units are left out, for nobody agrees on what `KB` is.
const BYTES: Units = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A year in milliseconds: more is a slip of the keyboard, and sums of times must not overflow.
const LONGEST: u64 = 366 * 24 * 3_600_000;

/// Reads `250ms`, `5s`, `10min`, `1h`, `0s`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (digits, unit) = split(text)?;
    if unit.is_empty() {
        return Err(UnitError::NoUnit(text.to_owned()));
    }
    match scale(text, digits, unit, TIME)? {
        millis if millis <= LONGEST => Ok(Duration::from_millis(millis)),
        _ => Err(UnitError::TooLarge(text.to_owned())),
    }
}

/// Writes a duration in the largest unit that divides it; below a millisecond it rounds down, as nothing can be
/// written that is finer.
pub fn format_duration(duration: Duration) -> String {
    match u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) {
        0 => "0s".to_owned(),
        millis => largest(millis, TIME),
    }
}

impl UnitError {
    /// What to write instead, where the message does not already say it.
    pub fn hint(&self, example: &str) -> String {
        match self {
            Self::UnknownUnit(unit) if unit == "m" => "write `min` for minutes or `ms` for milliseconds".to_owned(),
            Self::UnknownUnit(unit) if matches!(unit.as_str(), "d" | "day" | "days") => {
                "the largest unit is the hour: a day is `24h`".to_owned()
            }
            Self::UnknownUnit(unit)
                if matches!(unit.to_ascii_uppercase().as_str(), "K" | "KB" | "M" | "MB" | "G" | "GB") =>
            {
                format!("sizes count in powers of 1024: write `{}iB`", unit[..1].to_ascii_uppercase())
            }
            Self::NoUnit(number) => {
                let unit = example.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("name its unit, such as `{number}{unit}`")
            }
            Self::Fraction(_) => format!("use a smaller unit, such as `{example}`"),
            _ => format!("write it like `{example}`"),
        }
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (digits, unit) = split(text)?;
        scale(text, digits, if unit.is_empty() { "B" } else { unit }, BYTES).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = largest(self.0, BYTES);
        let plain = text.strip_suffix('B').filter(|number| !number.ends_with('i'));
        f.write_str(plain.unwrap_or(&text))
    }
}

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text.strip_suffix("/s") {
            Some(size) => size.trim_end().parse::<Size>().map(|size| Self(size.0)),
            None if text == "0" => Ok(Self(0)),
            None => Err(UnitError::NotPerSecond(text.to_owned())),
        }
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            bytes => write!(f, "{}/s", Size(bytes)),
        }
    }
}

impl Period {
    const ALL: [(Self, &'static str, u64); 4] =
        [(Self::Second, "s", 1), (Self::Minute, "min", 60), (Self::Hour, "h", 3600), (Self::Day, "day", 24 * 3600)];

    /// How long it is.
    pub fn duration(self) -> Duration {
        let seconds = Self::ALL.iter().find(|(period, ..)| *period == self).map_or(1, |(.., seconds)| *seconds);
        Duration::from_secs(seconds)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let not_a_rate = || UnitError::NotPerSecond(text.to_owned());
        let (digits, unit) = split(text)?;
        let unit = unit.strip_prefix('/').ok_or_else(not_a_rate)?.trim_start_matches(' ');
        let known = Period::ALL.iter().find(|(_, name, _)| *name == unit);
        let (per, ..) = known.ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?;
        let count: u32 = digits.parse().map_err(|_| UnitError::TooLarge(text.to_owned()))?;
        match count {
            0 => Err(UnitError::Nothing(text.to_owned())),
            1..=1_000_000_000 => Ok(Self { count, per: *per }),
            _ => Err(UnitError::TooLarge(text.to_owned())),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Period::ALL.iter().find(|(period, ..)| *period == self.per).map_or("s", |(_, name, _)| *name);
        write!(f, "{}/{unit}", self.count)
    }
}

/// The number and the unit, which may be empty.
fn split(text: &str) -> Result<(&str, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if unit.starts_with(['.', ',']) && !digits.is_empty() {
        return Err(UnitError::Fraction(text.to_owned()));
    }
    if digits.is_empty() {
        return Err(UnitError::NoNumber(text.to_owned()));
    }
    Ok((digits, unit.trim_start_matches(' ')))
}

fn scale(text: &str, digits: &str, unit: &str, units: Units) -> Result<u64, UnitError> {
    let (_, factor) =
        units.iter().find(|(name, _)| *name == unit).ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?;
    let number = digits.parse::<u64>().ok();
    let scaled = number.and_then(|number| number.checked_mul(*factor));
    // TOML integers end here, and the value has to come back from the effective configuration.
    scaled.filter(|scaled| i64::try_from(*scaled).is_ok()).ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

fn largest(value: u64, units: Units) -> String {
    let fits = |(_, factor): &&(&str, u64)| value >= *factor && value.is_multiple_of(*factor);
    match units.iter().rev().find(fits) {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => format!("{value}{}", units[0].0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_printed() {
        for text in ["250ms", "5s", "90s", "10min", "1h", "24h", "0s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0", "512", "64KiB", "10MiB", "1GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["0", "512/s", "1KiB/s"] {
            assert_eq!(text.parse::<ByteRate>().unwrap().to_string(), text);
        }
        for text in ["1/s", "600/min", "1000/h", "10000/day", "1000000000/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_unit_counts() {
        assert_eq!(parse_duration("10 min").unwrap(), Duration::from_secs(600));
        assert_eq!("64KiB".parse(), Ok(Size(65536)));
        assert_eq!("512B".parse(), Ok(Size(512)));
        assert_eq!("1 KiB/s".parse(), Ok(ByteRate(1024)));
    }

    #[test]
    fn each_mistake_has_its_own_message() {
        let refused = |text: &str| parse_duration(text).unwrap_err().to_string();
        assert_eq!(refused("10"), "`10` has no unit");
        assert_eq!(refused("fast"), "`fast` does not begin with a number");
        assert_eq!(refused("-1s"), "`-1s` does not begin with a number");
        assert_eq!(refused(""), "`` does not begin with a number");
        assert_eq!(refused("1.5s"), "`1.5s` is not a whole number");
        assert_eq!(refused("10m"), "`m` is not a unit here");
        assert_eq!(refused("99999999999999999999s"), "`99999999999999999999s` is too large");
        assert_eq!(refused("9000h"), "`9000h` is too large");
        assert_eq!("1MB".parse::<Size>().unwrap_err().hint("1MiB"), "sizes count in powers of 1024: write `MiB`");
        assert_eq!("1é".parse::<Size>().unwrap_err().to_string(), "`é` is not a unit here");
        assert_eq!("1KiB".parse::<ByteRate>().unwrap_err().to_string(), "`1KiB` is not a rate");
        let refused = |text: &str| text.parse::<Rate>().unwrap_err().to_string();
        assert_eq!(refused("100"), "`100` is not a rate");
        assert_eq!(refused("100s"), "`100s` is not a rate");
        assert_eq!(refused("100/m"), "`m` is not a unit here");
        assert_eq!(refused("1.5/s"), "`1.5/s` is not a whole number");
        assert_eq!(refused("0/s"), "`0/s` lets nothing through");
        assert_eq!(refused("4294967297/s"), "`4294967297/s` is too large");
        assert_eq!(refused("/s"), "`/s` does not begin with a number");
    }
}
