//! The way back for `[rate_limits.*]` and a route's `rate_limit`.

use crate::config::file::{LimitKeySettings, LimitSettings, LimitUseSettings, LimitUseTable, RouteLimitsSettings};
use crate::config::text::{PlanClaim, Text};
use crate::layers::rate_limit::policy::{LimitPolicy, LimitUse, Measure, Rates};

impl From<&LimitPolicy> for LimitSettings {
    fn from(policy: &LimitPolicy) -> Self {
        let key = match policy.key.as_slice() {
            [one] => LimitKeySettings::One(Text(one.clone())),
            several => LimitKeySettings::Several(Text::list(several)),
        };
        let mut settings = Self {
            key,
            per: Text(policy.per),
            ipv6_prefix: policy.ipv6_prefix,
            headers: Text(policy.headers),
            max_keys: policy.max_keys,
            mode: Text(policy.mode),
            ..Self::default()
        };
        match &policy.measure {
            Measure::InFlight(most) => settings.max_in_flight = Some(*most),
            Measure::Rate(rate) => {
                match &rate.rates {
                    Rates::One(one) => settings.rate = Some(Text(*one)),
                    Rates::ByPlan { claim, plans } => {
                        settings.plan = claim.clone().map(PlanClaim).map(Text);
                        settings.rates = plans.iter().map(|(name, rate)| (name.clone(), Text(*rate))).collect();
                    }
                }
                settings.burst = rate.burst;
                settings.store = Text(rate.store);
                settings.on_store_error = Text(rate.on_store_error);
            }
        }
        settings
    }
}

/// The limits of a route; none where it has none.
pub(super) fn route(limits: &[LimitUse]) -> Option<RouteLimitsSettings> {
    let table = |limit: &LimitUse| LimitUseTable { r#use: limit.name.clone(), cost: limit.cost };
    match limits {
        [] => None,
        [one] if one.cost == 1 => Some(RouteLimitsSettings::Name(one.name.clone())),
        [one] => Some(RouteLimitsSettings::Table(table(one))),
        several => {
            let each = several.iter().map(|limit| match limit.cost {
                1 => LimitUseSettings::Name(limit.name.clone()),
                _ => LimitUseSettings::Table(table(limit)),
            });
            Some(RouteLimitsSettings::Several(each.collect()))
        }
    }
}
