//! Secrets as they are written: `env:NAME`, `file:PATH`, or, unwisely, the secret itself. Decides also which keys
//! hold something that no message may show, misspelled or not.

use std::fmt;
use std::path::PathBuf;

use super::{Fault, Syntax, nearest};

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretText {
    /// `env:NAME`
    Environment(String),
    /// `file:PATH`, relative to the configuration file.
    File(PathBuf),
    /// The secret itself.
    Literal(String),
}

impl Syntax for SecretText {
    const FORMAT: &'static str = "secret";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, Fault> {
        match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
            (Some(""), _) => Err(Fault::new("`env:` names no variable").hint("write it like `env:ADMIN_TOKEN`")),
            (Some(name), _) => Ok(Self::Environment(name.to_owned())),
            (_, Some("")) => Err(Fault::new("`file:` names no file").hint("write it like `file:secrets/token`")),
            (_, Some(path)) => Ok(Self::File(path.into())),
            _ if text.is_empty() => Err(Fault::new("the secret is empty").hint("leave the key out, or name a source")),
            _ => Ok(Self::Literal(text.to_owned())),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Environment(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Literal(_) => "***".to_owned(),
        }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print())
    }
}

/// Whether what stands behind this key must not be shown: `names` are the keys that the schema calls secret, and a
/// slip in typing one of them must not print what it holds.
pub fn looks_secret(key: &str, names: &[String]) -> bool {
    const WORDS: &[&str] = &["token", "secret", "password", "passwd", "credentials", "private", "apikey"];
    /// Keys that speak of tokens and hold none.
    const HARMLESS: &[&str] = &["token_from", "forward_token"];
    let key = key.to_ascii_lowercase();
    if HARMLESS.contains(&key.as_str()) {
        return false;
    }
    let sounds_like = |part| nearest(part, WORDS.iter().copied()).is_some();
    WORDS.iter().any(|word| key.contains(word))
        || key.split(['_', '-', '.']).any(sounds_like)
        || nearest(&key, names.iter().map(String::as_str)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_shown_and_a_literal_is_not() {
        let shown = |text| format!("{:?}", SecretText::parse(text).unwrap());
        assert_eq!(shown("env:TOKEN"), "env:TOKEN");
        assert_eq!(shown("file:a/b"), "file:a/b");
        assert_eq!(shown("hunter2"), "***");
        assert!(SecretText::parse("env:").is_err() && SecretText::parse("").is_err());
    }

    #[test]
    fn slips_are_secret_too() {
        let names = ["token".to_owned()];
        assert!(looks_secret("tokn", &names) && looks_secret("Admin_Token", &names) && looks_secret("db-pasword", &[]));
        assert!(!looks_secret("listen", &names) && !looks_secret("prefix", &names));
    }
}
