//! What limits leave to a request: noted as it passes them, told to its client whoever answers it, and to the log.

use std::sync::Arc;

use http::HeaderValue;

/// How clients are told of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    #[default]
    Draft,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    Legacy,
    /// Not at all.
    Off,
}

/// What a limit says of itself, the same to everybody.
#[derive(Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its name.
    pub name: Arc<str>,
    /// How clients are told of it.
    pub style: Style,
    /// Most at once.
    pub burst: u32,
    /// Time until one more may pass, in nanoseconds; 0 where requests at a time are counted.
    pub unit: u64,
    /// Its item in the list of limits.
    pub policy: HeaderValue,
    /// What its item begins with in the list of what is left.
    pub opening: Box<[u8]>,
}

/// What one limit leaves to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The limit.
    pub terms: Arc<Terms>,
    /// Whether it lets the request pass.
    pub passes: bool,
    /// How many more.
    pub remaining: u32,
    /// Seconds until nothing is used up any more; where it does not pass, until it is worth trying again.
    pub reset: u32,
}

impl Left {
    /// What is left, as a share of everything.
    pub fn share(&self) -> f32 {
        self.remaining as f32 / self.terms.burst.max(1) as f32
    }
}

/// The one that is nearest to a refusal; of several the first.
pub fn tightest<'a>(left: impl IntoIterator<Item = &'a Left>) -> Option<&'a Left> {
    left.into_iter().min_by(|one, other| one.passes.cmp(&other.passes).then(one.share().total_cmp(&other.share())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(name: &str, passes: bool, remaining: u32, burst: u32) -> Left {
        let (policy, opening) = (HeaderValue::from_static(""), Box::default());
        let terms = Terms { name: name.into(), style: Style::Draft, burst, unit: 1, policy, opening };
        Left { terms: Arc::new(terms), passes, remaining, reset: 0 }
    }

    #[test]
    fn who_refuses_is_tighter_than_who_has_little_left() {
        let name = |left: &[Left]| tightest(left).map(|left| left.terms.name.to_string());
        let (wide, narrow, same) = (left("wide", true, 50, 100), left("narrow", true, 1, 3), left("same", true, 2, 6));
        let shut = left("shut", false, 9, 10);
        assert_eq!(name(&[wide.clone(), narrow.clone(), same.clone()]).as_deref(), Some("narrow"));
        assert_eq!(name(&[wide.clone(), same, narrow.clone()]).as_deref(), Some("same"), "the first of those alike");
        assert_eq!(name(&[wide, narrow, shut]).as_deref(), Some("shut"));
        assert_eq!(name(&[]), None);
    }
}
