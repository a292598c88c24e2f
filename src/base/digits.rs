//! Numbers in decimal, without the machinery of formatting: of a line of the log, or a page of metrics, that would be most
//! of the time.

/// The most digits that a number of 64 bits has.
const MOST: usize = 20;

/// A number as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    room: [u8; MOST],
    at: usize,
}

impl Decimal {
    /// Writes it.
    pub fn new(mut value: u64) -> Self {
        let (mut room, mut at) = ([0; MOST], MOST);
        loop {
            at -= 1;
            room[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Self { room, at };
            }
        }
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.room[self.at..]
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_usual() {
        for value in [0, 1, 9, 10, 99, 100, 1_234_567_890, u64::MAX - 1, u64::MAX] {
            assert_eq!(Decimal::new(value).as_str(), value.to_string());
        }
    }
}
