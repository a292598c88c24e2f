//! What `mint-token inspect` prints: a token as it is written, and what each check says. Knows no check.

use std::fmt::{Display, Write};

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

/// Reads also what is not strict: this is for looking, not for judging.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes.
    Passed,
    /// It fails.
    Failed,
    /// Nobody asked for anything.
    Unasked,
    /// It could not be made.
    Open,
}

/// One check.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// What it is about.
    pub(crate) name: &'static str,
    /// What came of it.
    pub(crate) verdict: Verdict,
    /// Why.
    pub(crate) why: String,
}

/// A token and what was found of it.
#[derive(Debug)]
pub(crate) struct Report {
    header: Option<Part>,
    payload: Option<Part>,
    findings: Vec<Finding>,
    now: i64,
}

/// A part of a token, decoded as far as it can be.
#[derive(Debug)]
enum Part {
    Json(Value),
    Other(String),
}

impl Finding {
    /// A check that passes.
    pub(crate) fn passed(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Passed, why: why.into() }
    }

    /// A check that fails.
    pub(crate) fn failed(name: &'static str, why: &dyn Display) -> Self {
        Self { name, verdict: Verdict::Failed, why: why.to_string() }
    }

    /// A check that could not be made.
    pub(crate) fn open(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Open, why: why.into() }
    }
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Unasked => "-",
            Self::Open => "?",
        }
    }
}

impl Report {
    /// A token as it is written, before any check; `now` is in seconds since 1970.
    pub(crate) fn of(token: &str, now: i64) -> Self {
        let mut parts = token.split('.');
        let header = parts.next().and_then(decode);
        Self { header, payload: parts.next().and_then(decode), findings: Vec::new(), now }
    }

    /// Adds a check.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether every check that was asked for was made, and passes.
    pub(crate) fn accepted(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding.verdict, Verdict::Passed | Verdict::Unasked))
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write!(out, "header  {}\npayload {}\n", shown(self.header.as_ref()), shown(self.payload.as_ref()));
        if let Some(Part::Json(claims)) = &self.payload {
            for name in ["iat", "nbf", "exp"] {
                if let Some(time) = claims.get(name).and_then(Value::as_i64) {
                    let _ = writeln!(out, "{name}     {}", moment(time, self.now));
                }
            }
        }
        out.push('\n');
        let width = self.findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
        for Finding { name, verdict, why } in &self.findings {
            let line = format!("{:7} {name:width$}  {why}", verdict.word());
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let _ = writeln!(out, "\n{}", self.verdict());
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let findings = self.findings.iter();
        let checks: Vec<Value> = findings
            .map(|finding| {
                let verdict = match finding.verdict {
                    Verdict::Passed => "passed",
                    Verdict::Failed => "failed",
                    Verdict::Unasked => "unasked",
                    Verdict::Open => "open",
                };
                json!({ "name": finding.name, "verdict": verdict, "why": finding.why })
            })
            .collect();
        let value = |part: &Option<Part>| match part {
            Some(Part::Json(value)) => value.clone(),
            Some(Part::Other(text)) => text.as_str().into(),
            None => Value::Null,
        };
        let report = json!({
            "accepted": self.accepted(),
            "header": value(&self.header),
            "payload": value(&self.payload),
            "checks": checks,
        });
        format!("{report}\n")
    }

    fn verdict(&self) -> String {
        let first = |verdict| self.findings.iter().find(|finding| finding.verdict == verdict);
        match (first(Verdict::Failed), first(Verdict::Open)) {
            (Some(failed), _) => format!("refused: {}", failed.why),
            (None, Some(_)) => "nothing is proven".to_owned(),
            (None, None) => "accepted".to_owned(),
        }
    }
}

fn decode(part: &str) -> Option<Part> {
    let bytes = LENIENT.decode(part).ok()?;
    Some(match serde_json::from_slice(&bytes) {
        Ok(value) => Part::Json(value),
        Err(_) => Part::Other(String::from_utf8_lossy(&bytes).into_owned()),
    })
}

/// Nothing in it moves a terminal.
fn shown(part: Option<&Part>) -> String {
    let text = match part {
        None => return "not base64url".to_owned(),
        Some(Part::Json(value)) => format!("{value:#}"),
        Some(Part::Other(text)) => format!("not JSON: {text:?}"),
    };
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A time, and how far it is away.
fn moment(time: i64, now: i64) -> String {
    let text = jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string());
    let away = rounded(time.abs_diff(now));
    match time >= now {
        true => format!("{text}, in {away}"),
        false => format!("{text}, {away} ago"),
    }
}

/// A length of time in whole units, of the largest that it has two of.
fn rounded(seconds: u64) -> String {
    let units = [(86_400, "days"), (3600, "h"), (60, "min")];
    match units.into_iter().find(|(length, _)| seconds / length >= 2) {
        Some((length, unit)) => format!("{} {unit}", seconds / length),
        None => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_checked_is_not_accepted() {
        let mut report = Report::of("e30.e30.AA", 0);
        report.add(Finding::passed("form", ""));
        assert!(report.accepted());
        report.add(Finding { verdict: Verdict::Unasked, ..Finding::passed("iss", "") });
        assert!(report.accepted());
        report.add(Finding::open("signature", ""));
        assert!(!report.accepted() && report.text().ends_with("nothing is proven\n"));
        report.add(Finding::failed("exp", &"expired 1 s ago"));
        assert!(report.text().ends_with("refused: expired 1 s ago\n"), "{}", report.text());
    }

    #[test]
    fn nothing_in_a_token_moves_the_terminal() {
        // {"a":"\u009b31m"}
        let report = Report::of("eyJhIjoiwpszMW0ifQ.G1szMW0.AA", 0);
        assert!(!report.text().contains(['\u{9b}', '\u{1b}']), "{:?}", report.text());
        assert!(Report::of("*", 0).text().starts_with("header  not base64url\n"));
    }

    #[test]
    fn times_are_told_with_their_distance() {
        assert_eq!(moment(3600, 0), "1970-01-01T01:00:00Z, in 60 min");
        assert_eq!(moment(0, 90), "1970-01-01T00:00:00Z, 90 s ago");
        assert_eq!(moment(0, 300_000), "1970-01-01T00:00:00Z, 3 days ago");
        assert!(moment(i64::MAX, 0).starts_with("9223372036854775807, in "));
    }
}
