//! What `[rate_limits.*]` and a route's `rate_limit` come to once they are checked. The only thing of this module that the
//! configuration knows, besides the arithmetic of a bucket.

use http::HeaderName;

pub use crate::base::allowance::Style;
use crate::base::mode::Mode;
use crate::base::units::Rate;

/// Most limits that a route may have.
pub const MOST: usize = 8;

/// How much may pass: a table `[rate_limits.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitPolicy {
    /// Its name in routes, metrics and logs.
    pub name: String,
    /// What is limited.
    pub measure: Measure,
    /// What requests are counted by; with several parts, by all of them together.
    pub key: Vec<KeyPart>,
    /// Bits of an IPv6 address that tell clients apart.
    pub ipv6_prefix: u8,
    /// Whether routes share what they count.
    pub per: Scope,
    /// How clients are told of it.
    pub headers: Style,
    /// Most keys that are remembered.
    pub max_keys: usize,
    /// What becomes of what would be refused.
    pub mode: Mode,
}

/// What is limited.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// Requests in a time.
    Rate(RatePolicy),
    /// Requests at a time.
    InFlight(u32),
}

/// So many requests in so much time.
#[derive(Clone, Debug, PartialEq)]
pub struct RatePolicy {
    /// How many.
    pub rates: Rates,
    /// Most of them at once; as many as the rate says where this does not.
    pub burst: Option<u32>,
    /// Where they are counted.
    pub store: Store,
    /// What holds while that place cannot be reached.
    pub on_store_error: OnStoreError,
}

/// One rate, or one per plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// The same for everybody.
    One(Rate),
    /// By what a client has booked.
    ByPlan {
        /// The claim that names the plan; where there is none, what the API key says counts.
        claim: Option<String>,
        /// Plans by name; `default` is one of them.
        plans: Vec<(String, Rate)>,
    },
}

/// The plan of everybody who has none.
pub const DEFAULT_PLAN: &str = "default";

/// A part of a request that it is counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address.
    Ip,
    /// Who it is, by the word of a credential.
    Subject,
    /// A claim of that credential, by its path.
    Claim(String),
    /// A header field.
    Header(HeaderName),
    /// The route.
    Route,
    /// Nothing: all requests are counted together.
    Global,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// One count, however many routes use it.
    #[default]
    Limit,
    /// A count for each route.
    Route,
}

/// Where requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// In this gateway.
    #[default]
    Local,
    /// In Redis, together with other gateways.
    Redis,
}

/// What holds while Redis cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreError {
    /// Each gateway allows its share.
    #[default]
    Local,
    /// Everything passes.
    Allow,
    /// Nothing does.
    Deny,
}

/// A limit that a route uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// Its name.
    pub name: String,
    /// How many requests one of this route counts for.
    pub cost: u32,
}

impl LimitPolicy {
    /// Keys that are remembered where nothing is written.
    pub const MAX_KEYS: usize = 100_000;
    /// Bits of an IPv6 address that count where nothing is written: what one household or server gets.
    pub const IPV6_PREFIX: u8 = 64;

    /// A limit with everything else as usual.
    pub fn new(name: impl Into<String>, measure: Measure) -> Self {
        Self {
            name: name.into(),
            measure,
            key: vec![KeyPart::Ip],
            ipv6_prefix: Self::IPV6_PREFIX,
            per: Scope::default(),
            headers: Style::default(),
            max_keys: Self::MAX_KEYS,
            mode: Mode::default(),
        }
    }

    /// Whether it can only be looked at once it is known who asks.
    pub fn needs_identity(&self) -> bool {
        let of_identity = |part: &KeyPart| matches!(part, KeyPart::Subject | KeyPart::Claim(_));
        self.key.iter().any(of_identity)
            || matches!(&self.measure, Measure::Rate(rate) if matches!(rate.rates, Rates::ByPlan { .. }))
    }

    /// Whether it is counted in Redis.
    pub fn is_shared(&self) -> bool {
        matches!(&self.measure, Measure::Rate(rate) if rate.store == Store::Redis)
    }
}

impl RatePolicy {
    /// A rate with everything else as usual.
    pub fn new(rates: Rates) -> Self {
        Self { rates, burst: None, store: Store::default(), on_store_error: OnStoreError::default() }
    }

    /// Each rate with its plan and the most at once.
    pub fn each(&self) -> impl Iterator<Item = (&str, Rate, u32)> {
        let plans = match &self.rates {
            Rates::One(rate) => vec![(DEFAULT_PLAN, *rate)],
            Rates::ByPlan { plans, .. } => plans.iter().map(|(name, rate)| (name.as_str(), *rate)).collect(),
        };
        let burst = self.burst;
        plans.into_iter().map(move |(name, rate)| (name, rate, burst.unwrap_or(rate.count)))
    }
}
