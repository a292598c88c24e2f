//! An explanation as people read it.

use std::fmt::{Display, Formatter, Result};

use super::{Candidate, Explanation, Onward, Outcome, Step, Verdict};
use crate::layers::auth::examine::Finding;
use crate::layers::cache;
use crate::layers::rate_limit::explain::Explained;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let asked = &self.request;
        writeln!(f, "{} {}", asked.method, asked.written)?;
        let host = if asked.host.is_empty() { "none" } else { &asked.host };
        writeln!(f, "  host    {host}")?;
        writeln!(f, "  target  {}", asked.target)?;
        writeln!(f, "  client  {}", asked.client)?;
        if !self.routes.is_empty() || self.other_routes > 0 {
            writeln!(f, "\nroutes")?;
        }
        let width = self.routes.iter().map(|route| route.route.len()).max().unwrap_or_default();
        self.routes.iter().try_for_each(|route| candidate(f, route, width))?;
        match (self.other_routes, self.routes.is_empty()) {
            (0, _) => {}
            (count, true) => writeln!(f, "  {count} with other paths")?,
            (count, false) => writeln!(f, "  and {count} with other paths")?,
        }
        if !self.layers.is_empty() {
            writeln!(f, "\nlayers")?;
            self.layers.iter().try_for_each(|layer| step(f, layer))?;
            if !self.unused_layers.is_empty() {
                writeln!(f, "  not used    {}", self.unused_layers.join(", "))?;
            }
        }
        let hopeless = matches!(self.outcome, Outcome::Open { refused_anyway: true });
        if let Some(upstream) = self.upstream.as_ref().filter(|_| !hopeless) {
            onward(f, upstream, self.live)?;
        }
        writeln!(f)?;
        outcome(f, &self.outcome, self.live)
    }
}

fn candidate(f: &mut Formatter<'_>, route: &Candidate, width: usize) -> Result {
    let mark = if route.takes { '>' } else { '-' };
    let why = route.why.as_deref().unwrap_or("takes it");
    writeln!(f, "  {mark} {:width$}  {why}", route.route)
}

fn step(f: &mut Formatter<'_>, step: &Step) -> Result {
    let says = step.says.join("; ");
    let line = format!("  {:11} {:8} {says}", step.layer, word(step.verdict));
    writeln!(f, "{}", line.trim_end())?;
    step.checks.iter().try_for_each(|check| finding(f, check))?;
    step.limits.iter().try_for_each(|one| limit(f, one))?;
    step.cache.as_ref().map_or(Ok(()), |kept| cache(f, kept))
}

fn cache(f: &mut Formatter<'_>, cache: &cache::explain::Explained) -> Result {
    writeln!(f, "    {:16}       {}", cache.does, cache.says)?;
    if let Some(key) = &cache.key {
        writeln!(f, "    {:16}       {key}", "key")?;
    }
    if !cache.vary_by.is_empty() {
        writeln!(f, "    {:16}       {}", "vary_by", cache.vary_by.join(", "))?;
    }
    let Some(cache::explain::Stored { status, age_seconds, ttl_seconds, fresh }) = cache.stored else { return Ok(()) };
    let rest = match fresh {
        true => format!("fresh for {ttl_seconds} s"),
        false => format!("stale for {} s", ttl_seconds.saturating_neg()),
    };
    writeln!(f, "    {:16}       {status}, {age_seconds} s old, {rest}", "stored")
}

fn limit(f: &mut Formatter<'_>, limit: &Explained) -> Result {
    let mark = if limit.passes { "ok" } else { "FAILS" };
    let plan = limit.plan.as_ref().map(|plan| format!(", plan {plan}")).unwrap_or_default();
    let store = if limit.store == "redis" { ", as far as this machine knows of Redis" } else { "" };
    let mode = if limit.mode == "observe" { ", only observed" } else { "" };
    let (name, key, remaining) = (&limit.limit, &limit.key, limit.remaining);
    writeln!(f, "    {name:16} {mark:5} counted by {key}{plan}: {remaining} left{store}{mode}")
}

fn finding(f: &mut Formatter<'_>, finding: &Finding) -> Result {
    let mark = match finding.passes {
        Some(true) => "ok",
        Some(false) => "FAILS",
        None => "?",
    };
    let line = format!("    {:16} {mark:5} {}", finding.check, finding.says);
    writeln!(f, "{}", line.trim_end())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passes",
        Verdict::Refuse => "REFUSES",
        Verdict::Answer => "ANSWERS",
        Verdict::Observe => "observes",
        Verdict::Open => "?",
    }
}

fn onward(f: &mut Formatter<'_>, upstream: &Onward, live: bool) -> Result {
    writeln!(f, "\nupstream {}", upstream.name)?;
    let asked = match (upstream.asked, live) {
        (true, _) => "",
        (false, true) => " (not answered yet)",
        (false, false) => " (not asked; --online asks)",
    };
    writeln!(f, "  from      {}{asked}", upstream.source)?;
    writeln!(f, "  balance   {}", upstream.balance)?;
    for place in &upstream.addresses {
        let why = place.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let state = format!("{:?}", place.state).to_lowercase();
        writeln!(f, "  address   {} {state}{why}", place.address)?;
    }
    writeln!(f, "\nwould send\n  {} {} HTTP/1.1", upstream.sends.method, upstream.sends.target)?;
    for (name, value) in &upstream.sends.fields {
        writeln!(f, "  {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(())
}

fn outcome(f: &mut Formatter<'_>, outcome: &Outcome, live: bool) -> Result {
    match outcome {
        Outcome::Forwarded => writeln!(f, "It is forwarded."),
        Outcome::Open { refused_anyway: false } => {
            let more = if live { "" } else { "; --online finds out" };
            writeln!(f, "It is forwarded if what is marked `?` passes{more}.")
        }
        Outcome::Open { refused_anyway: true } => writeln!(f, "It is refused, whatever is behind the `?`."),
        Outcome::Answered { status, layer: None } => writeln!(f, "The gateway itself answers {status}."),
        Outcome::Answered { status, layer: Some(layer) } => writeln!(f, "It is answered by {layer}: {status}."),
        Outcome::Refused { status, code, detail, cause, layer } => {
            let by = layer.map(|layer| format!(" by {layer}")).unwrap_or_default();
            writeln!(f, "It is refused{by}: {status} {code}, {detail}")?;
            match cause {
                Some(cause) => writeln!(f, "The log says: {cause}"),
                None => Ok(()),
            }
        }
    }
}
