//! `[rate_limits.*]` and what routes use of them: one thing that is limited, in numbers that a bucket can hold.

use std::sync::Arc;

use crate::base::units::Rate;
use crate::config::file::{
    ConfigFile, LimitKeySettings, LimitSettings, LimitUseSettings, LimitUseTable, RouteLimitsSettings,
};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{Fault, did_you_mean};
use crate::layers::rate_limit::bucket::Bucket;
use crate::layers::rate_limit::policy::{DEFAULT_PLAN, LimitPolicy, LimitUse, MOST, Measure, RatePolicy, Rates, Store};

/// The longest that an empty bucket may take to fill, in nanoseconds: ten years.
const LONGEST: u128 = 10 * 366 * 24 * 3600 * 1_000_000_000;
/// The shortest unit that Redis counts, in nanoseconds.
const SHORTEST_SHARED: u64 = 1_000;

/// Checks the tables; one that cannot be used is left out.
pub(super) fn limits(file: &ConfigFile, findings: &mut Findings) -> Vec<Arc<LimitPolicy>> {
    let mut checked = Vec::new();
    for (name, settings) in &file.rate_limits {
        let path = KeyPath::dotted("rate_limits").key(name);
        if let Some(measure) = measure(settings, &path, file, findings) {
            checked.push(Arc::new(LimitPolicy {
                name: name.clone(),
                measure,
                key: match &settings.key {
                    LimitKeySettings::One(part) => vec![part.0.clone()],
                    LimitKeySettings::Several(parts) => super::route::distinct(parts),
                },
                ipv6_prefix: settings.ipv6_prefix,
                per: settings.per.0,
                headers: settings.headers.0,
                max_keys: settings.max_keys,
                mode: settings.mode.0,
            }));
        }
    }
    checked
}

/// The one thing that is limited.
fn measure(settings: &LimitSettings, path: &KeyPath, file: &ConfigFile, findings: &mut Findings) -> Option<Measure> {
    let written = [
        ("rate", settings.rate.is_some()),
        ("rates", !settings.rates.is_empty()),
        ("max_in_flight", settings.max_in_flight.is_some()),
    ];
    let keys: Vec<&str> = written.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
    match keys.as_slice() {
        [] => {
            if !written.iter().any(|(key, _)| findings.is_broken(&path.key(key))) {
                let fault = Fault::new("nothing says how much may pass");
                findings.value(path, fault.hint("add `rate = \"100/s\"`, `rates` by plan, or `max_in_flight`"));
            }
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            let fault = Fault::new(format!("a limit has `{first}` or `{second}`, not both"))
                .hint("make two of it; a route may have several");
            findings.clash(&path.key(second), fault, &path.key(first), "the other one");
            return None;
        }
    }
    match settings.max_in_flight {
        Some(most) => {
            in_flight(settings, path, findings);
            Some(Measure::InFlight(most))
        }
        None => rate(settings, path, file, findings).map(Measure::Rate),
    }
}

/// What goes with requests in a time goes not with requests at a time.
fn in_flight(settings: &LimitSettings, path: &KeyPath, findings: &mut Findings) {
    let in_flight = path.key("max_in_flight");
    if settings.burst.is_some() {
        let fault = Fault::new("a limit on requests at a time has no burst").hint("leave `burst` out");
        findings.clash(&path.key("burst"), fault, &in_flight, "at a time");
    }
    if settings.plan.is_some() {
        let fault = Fault::new("a limit on requests at a time is the same for every plan").hint("leave `plan` out");
        findings.clash(&path.key("plan"), fault, &in_flight, "at a time");
    }
    if settings.store.0 == Store::Redis {
        let fault = Fault::new("requests at a time are counted in each gateway")
            .hint("leave `store` out, and divide the number by that of the gateways");
        findings.clash(&path.key("store"), fault, &in_flight, "at a time");
    }
}

fn rate(settings: &LimitSettings, path: &KeyPath, file: &ConfigFile, findings: &mut Findings) -> Option<RatePolicy> {
    let rates = match &settings.rate {
        Some(rate) => {
            if settings.plan.is_some() {
                let fault =
                    Fault::new("one rate is the same for every plan").hint("leave `plan` out, or write `rates`");
                findings.clash(&path.key("plan"), fault, &path.key("rate"), "for everybody");
            }
            Rates::One(rate.0)
        }
        None => {
            if !settings.rates.contains_key(DEFAULT_PLAN) && !findings.is_broken(&path.key("rates")) {
                let fault = Fault::new("there is no rate for those who have no plan");
                findings.value(&path.key("rates"), fault.hint("add `default = \"…\"`"));
            }
            let plans = settings.rates.iter().map(|(name, rate)| (name.clone(), rate.0)).collect();
            Rates::ByPlan { claim: settings.plan.as_ref().map(|claim| claim.0.0.clone()), plans }
        }
    };
    let mut policy = RatePolicy::new(rates);
    policy.burst = settings.burst;
    policy.store = settings.store.0;
    policy.on_store_error = settings.on_store_error.0;
    if policy.store == Store::Redis && file.redis.is_none() && !findings.is_broken(&KeyPath::dotted("redis")) {
        let fault = Fault::new("there is no Redis to count in").hint("add `[redis]` with its `url`");
        findings.value(&path.key("store"), fault);
    }
    let mut fits = true;
    for (plan, rate, burst) in policy.each() {
        let at = if settings.rate.is_some() { path.key("rate") } else { path.key("rates").key(plan) };
        fits &= countable(rate, burst, policy.store, settings.burst.map(|_| path.key("burst")).as_ref(), &at, findings);
    }
    fits.then_some(policy)
}

/// Whether the numbers are such that nothing overflows, and nothing is lost by rounding.
fn countable(
    rate: Rate,
    burst: u32,
    store: Store,
    burst_path: Option<&KeyPath>,
    path: &KeyPath,
    findings: &mut Findings,
) -> bool {
    let unit = Bucket::new(rate, 1).unit();
    if store == Store::Redis && unit < SHORTEST_SHARED {
        let fault = Fault::new("more than a million a second cannot be counted in Redis")
            .hint("count with `store = \"local\"`");
        findings.value(path, fault);
        return false;
    }
    if u128::from(unit) * u128::from(burst) > LONGEST {
        let fault = Fault::new("at this rate so many at once take more than ten years to come back");
        findings.value(burst_path.unwrap_or(path), fault.hint("a smaller `burst` makes that shorter"));
        return false;
    }
    true
}

/// Checks what a route uses.
pub(super) fn route(
    settings: &RouteLimitsSettings,
    path: &KeyPath,
    file: &ConfigFile,
    limits: &[Arc<LimitPolicy>],
    findings: &mut Findings,
) -> Vec<LimitUse> {
    let uses: Vec<(KeyPath, LimitUse)> = match settings {
        RouteLimitsSettings::Name(name) => vec![(path.clone(), named(name))],
        RouteLimitsSettings::Table(table) => vec![(path.key("use"), costing(table))],
        RouteLimitsSettings::Several(list) => {
            let each = list.iter().enumerate().map(|(at, one)| match one {
                LimitUseSettings::Name(name) => (path.index(at), named(name)),
                LimitUseSettings::Table(table) => (path.index(at).key("use"), costing(table)),
            });
            each.collect()
        }
    };
    for (at, (path, limit)) in uses.iter().enumerate() {
        if let Some((first, _)) = uses[..at].iter().find(|(_, earlier)| earlier.name == limit.name) {
            let fault =
                Fault::new(format!("the limit `{}` is listed twice", limit.name)).hint("raise its `cost` instead");
            findings.clash(path, fault, first, "listed here already");
        }
        used(path, limit, file, limits, findings);
    }
    if uses.len() > MOST {
        let fault = Fault::new(format!("a route has at most {MOST} limits"))
            .hint("put some of them into one, or leave some out");
        findings.value(path, fault);
    }
    uses.into_iter().map(|(_, limit)| limit).collect()
}

fn named(name: &str) -> LimitUse {
    LimitUse { name: name.to_owned(), cost: 1 }
}

fn costing(table: &LimitUseTable) -> LimitUse {
    LimitUse { name: table.r#use.clone(), cost: table.cost }
}

/// Whether there is such a limit, and whether it ever holds so much.
fn used(path: &KeyPath, limit: &LimitUse, file: &ConfigFile, limits: &[Arc<LimitPolicy>], findings: &mut Findings) {
    let table = KeyPath::dotted("rate_limits").key(&limit.name);
    let Some(policy) = limits.iter().find(|policy| policy.name == limit.name) else {
        if !file.rate_limits.contains_key(&limit.name) && !findings.is_broken(&table) {
            let hint = did_you_mean(&limit.name, file.rate_limits.keys().map(String::as_str))
                .unwrap_or_else(|| format!("add a table `[rate_limits.{}]`", limit.name));
            findings.value(path, Fault::new(format!("no limit is named `{}`", limit.name)).hint(hint));
        }
        return;
    };
    match &policy.measure {
        Measure::InFlight(_) if limit.cost > 1 => {
            let fault = Fault::new("a request is in flight once, whatever it costs").hint("leave `cost` out");
            findings.clash(path, fault, &table, "counts requests at a time");
        }
        Measure::InFlight(_) => {}
        Measure::Rate(rate) => {
            if let Some((_, _, burst)) = rate.each().find(|(_, _, burst)| *burst < limit.cost) {
                let fault =
                    Fault::new(format!("a request that costs {} never passes: at most {burst} do at once", limit.cost))
                        .hint("raise the limit's `burst`, or lower the `cost`");
                findings.clash(path, fault, &table, "the limit");
            }
        }
    }
}
