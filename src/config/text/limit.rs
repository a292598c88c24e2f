//! What requests are counted by, as texts of the configuration.

use http::HeaderName;

use super::{Fault, Syntax, did_you_mean};
use crate::layers::rate_limit::policy::KeyPart;

/// The claim that names a client's plan: `claim:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanClaim(pub String);

const KINDS: [&str; 6] = ["ip", "subject", "claim", "header", "route", "global"];

impl Syntax for KeyPart {
    const FORMAT: &'static str = "limit-key";

    fn parse(text: &str) -> Result<Self, Fault> {
        let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        match (kind, name) {
            ("ip", None) => Ok(Self::Ip),
            ("subject", None) => Ok(Self::Subject),
            ("route", None) => Ok(Self::Route),
            ("global", None) => Ok(Self::Global),
            ("header", Some(name)) if !name.is_empty() => HeaderName::parse(name).map(Self::Header),
            ("claim", Some(name)) if !name.is_empty() => Ok(Self::Claim(name.to_owned())),
            ("header" | "claim", _) => {
                let example = if kind == "header" { "header:x-api-key" } else { "claim:tenant" };
                Err(Fault::new(format!("`{text}` of which name?")).hint(format!("write it like `{example}`")))
            }
            ("ip" | "subject" | "route" | "global", Some(_)) => {
                Err(Fault::new(format!("`{kind}` takes no name")).hint(format!("write `{kind}`")))
            }
            _ => Err(Fault::new(format!("`{text}` is nothing that requests can be counted by"))
                .hint("there are `ip`, `subject`, `claim:NAME`, `header:NAME`, `route` and `global`")
                .maybe_hint(habit(kind).map(str::to_owned).or_else(|| did_you_mean(kind, KINDS)))),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Ip => "ip".to_owned(),
            Self::Subject => "subject".to_owned(),
            Self::Claim(path) => format!("claim:{path}"),
            Self::Header(name) => format!("header:{name}"),
            Self::Route => "route".to_owned(),
            Self::Global => "global".to_owned(),
        }
    }
}

/// What others call it.
fn habit(word: &str) -> Option<&'static str> {
    match word {
        "sub" | "user" | "consumer" | "credential" | "api_key" => Some("who a credential says to be is `subject`"),
        "client_ip" | "remote_addr" | "remote_address" | "client-ip" => Some("the client's address is `ip`"),
        "path" | "service" => Some("a count for each route is `route`"),
        _ => None,
    }
}

impl Syntax for PlanClaim {
    const FORMAT: &'static str = "plan-claim";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.strip_prefix("claim:") {
            Some(name) if !name.is_empty() => Ok(Self(name.to_owned())),
            _ => Err(Fault::new(format!("`{text}` is not where a plan is named")).hint("write it like `claim:plan`")),
        }
    }

    fn print(&self) -> String {
        format!("claim:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_printed() {
        for text in
            ["ip", "subject", "claim:realm.roles", "claim:https://a.example/t", "header:x-api-key", "route", "global"]
        {
            assert_eq!(KeyPart::parse(text).unwrap().print(), text);
        }
        for text in ["", "ip:x", "claim", "claim:", "header:", "header:a b", "sub", "cookie:x"] {
            assert!(KeyPart::parse(text).is_err(), "{text}");
        }
        assert_eq!(PlanClaim::parse("claim:tier").unwrap().print(), "claim:tier");
        assert!(PlanClaim::parse("tier").is_err() && PlanClaim::parse("claim:").is_err());
    }
}
