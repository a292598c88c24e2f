//! Durations, sizes and rates as texts of the configuration.

use std::time::Duration;

use super::{Fault, Syntax};
use crate::base::units::{ByteRate, Rate, Size, UnitError, format_duration, parse_duration};

impl Syntax for Duration {
    const FORMAT: &'static str = "duration";

    fn parse(text: &str) -> Result<Self, Fault> {
        parse_duration(text).map_err(|error| fault(&error, "30s"))
    }

    fn print(&self) -> String {
        format_duration(*self)
    }

    fn measure(&self) -> Option<u128> {
        Some(self.as_millis())
    }
}

impl Syntax for Size {
    const FORMAT: &'static str = "size";
    const NUMBER: bool = true;

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|error| fault(&error, "64KiB"))
    }

    fn print(&self) -> String {
        self.to_string()
    }

    fn measure(&self) -> Option<u128> {
        Some(self.0.into())
    }
}

impl Syntax for ByteRate {
    const FORMAT: &'static str = "byte-rate";
    const NUMBER: bool = true;

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|error| fault(&error, "1KiB/s"))
    }

    fn print(&self) -> String {
        self.to_string()
    }

    fn measure(&self) -> Option<u128> {
        Some(self.0.into())
    }
}

impl Syntax for Rate {
    const FORMAT: &'static str = "rate";

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|error: UnitError| {
            let fault = Fault::new(error.to_string());
            match &error {
                // What the habits of others write.
                UnitError::UnknownUnit(unit) => fault.hint(match unit.as_str() {
                    "m" | "minute" => "a minute is `min`",
                    "sec" | "second" => "a second is `s`",
                    "hour" => "an hour is `h`",
                    "d" => "a day is `day`",
                    _ => "there are `/s`, `/min`, `/h` and `/day`",
                }),
                UnitError::Nothing(_) => fault.hint("to let nobody in, use `deny_ips`"),
                _ => fault.hint("write it like `100/s`, `600/min`, `1000/h` or `10000/day`"),
            }
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

fn fault(error: &UnitError, example: &str) -> Fault {
    Fault::new(error.to_string()).hint(error.hint(example))
}
