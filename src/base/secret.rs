//! A value that must never be printed: tokens, passwords, keys. Shows itself as `***` everywhere.

use std::fmt;

/// Text that is used but never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that compares or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the text, found out in a time that depends on what was given and not on how much of it is right.
    pub fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let mut difference = u8::from(own.len() != given.len() || own.is_empty());
        for (byte, own) in given.iter().zip(own.iter().cycle()) {
            difference |= std::hint::black_box(byte ^ own);
        }
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_itself_is_it() {
        let secret = Secret::new("hunter2");
        assert!(secret.is(b"hunter2"));
        for wrong in ["", "h", "hunter", "hunter3", "Hunter2", "hunter22", "hunter2hunter2"] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(!Secret::new("").is(b""), "nothing is no secret");
    }

    #[test]
    fn no_way_of_printing_shows_the_text() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
