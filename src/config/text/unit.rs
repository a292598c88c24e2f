//! Durations, sizes and rates as texts of the configuration.

use std::time::Duration;

use super::{Fault, Syntax};
use crate::base::units::{ByteRate, Size, UnitError, format_duration, parse_duration};

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

fn fault(error: &UnitError, example: &str) -> Fault {
    Fault::new(error.to_string()).hint(error.hint(example))
}
