//! `[cache]`, and `cache` of a route.

use crate::config::file::{ConfigFile, RouteCacheSettings, RouteSettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{Fault, Syntax, Text};
use crate::layers::cache::policy::{CachePolicy, Part, RouteCachePolicy, Sharing};

/// Checks the memory that all routes share.
pub(super) fn cache(file: &ConfigFile, findings: &mut Findings) -> CachePolicy {
    let settings = &file.cache;
    let policy =
        CachePolicy { memory: settings.memory.0.0, max_object: settings.max_object.0.0, store: settings.store.0 };
    let (memory, object) = (KeyPath::dotted("cache.memory"), KeyPath::dotted("cache.max_object"));
    let share = policy.memory / CachePolicy::LARGEST_SHARE;
    if policy.max_object > share && !findings.is_broken(&memory) && !findings.is_broken(&object) {
        let fault = Fault::new("one body may be more than an eighth of all memory");
        let most = crate::base::units::Size(share);
        findings.clash(&object, fault.hint(format!("at most {most}, or give it more memory")), &memory, "all memory");
    }
    if policy.store == Sharing::Redis && file.redis.is_none() && !findings.is_broken(&KeyPath::dotted("redis")) {
        let fault = Fault::new("there is no Redis to share through").hint("add `[redis]` with its `url`");
        findings.value(&KeyPath::dotted("cache.store"), fault);
    }
    policy
}

/// Checks what a route does; none where it keeps nothing.
pub(super) fn route(route: &RouteSettings, place: &KeyPath, findings: &mut Findings) -> Option<RouteCachePolicy> {
    let table = match route.cache.as_ref()? {
        RouteCacheSettings::Flag(false) => return None,
        RouteCacheSettings::Flag(true) => return Some(RouteCachePolicy::default()),
        RouteCacheSettings::Table(table) => table,
    };
    let list = place.key("vary_by");
    let vary_by = Text::values(&table.vary_by);
    for (at, part) in vary_by.iter().enumerate() {
        if let Some(first) = vary_by[..at].iter().position(|earlier| earlier == part) {
            let fault = Fault::new(format!("`{}` is listed twice", part.print()));
            findings.clash(&list.index(at), fault, &list.index(first), "listed here already");
        }
        if matches!(part, Part::Subject | Part::Claim(_)) && route.auth.is_none() {
            let fault = Fault::new("the route asks nobody who they are");
            findings.value(&list.index(at), fault.hint("give the route an `auth`, or vary by `header:NAME`"));
        }
    }
    Some(RouteCachePolicy {
        ttl: table.ttl.0,
        heuristic: table.heuristic,
        stale_while_revalidate: table.stale_while_revalidate.as_ref().map(|text| text.0),
        stale_if_error: table.stale_if_error.as_ref().map(|text| text.0),
        vary_by,
    })
}
