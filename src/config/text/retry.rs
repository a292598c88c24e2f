//! The failures that are tried again, as texts of the configuration.

use super::{Fault, Syntax, did_you_mean};
use crate::upstream::policy::Condition;

/// The words; everything else is a status.
const WORDS: [(&str, Condition); 3] =
    [("connect", Condition::Connect), ("reset", Condition::Reset), ("timeout", Condition::Timeout)];

impl Syntax for Condition {
    const FORMAT: &'static str = "retry-condition";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some((_, condition)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*condition);
        }
        let plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(status @ 400..=599) if plain => Ok(Self::Status(status)),
            Ok::<u16, _>(_) => Err(Fault::new(format!("`{text}` is not the status of a failure"))
                .hint("write one from `\"400\"` to `\"599\"`")),
            Err(_) => {
                let list = WORDS.map(|(word, _)| format!("`{word}`")).join(", ");
                Err(Fault::new(format!("`{text}` is none of {list} and no status"))
                    .maybe_hint(did_you_mean(text, WORDS.map(|(word, _)| word))))
            }
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            word => {
                WORDS.iter().find(|(_, known)| known == word).map_or_else(String::new, |(word, _)| (*word).to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_statuses_are_read_and_printed() {
        for text in ["connect", "reset", "timeout", "400", "429", "503", "599"] {
            assert_eq!(Condition::parse(text).unwrap().print(), text);
        }
        for text in ["399", "600", "200", "0503", "+503", "5xx", "resets", "", "Connect", "99999"] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
        assert_eq!(Condition::parse("conect").unwrap_err().hint.unwrap(), "did you mean `connect`?");
    }
}
