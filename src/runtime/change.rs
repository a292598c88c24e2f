//! What is different between two configurations, in the words of the one who wrote them, and which of it needs a restart.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::config::file::ConfigFile;

/// Keys whose new value counts from the next start on: sockets, threads and files that are open already.
pub const RESTART: &[&str] =
    &["server.listen", "server.workers", "server.takeover", "admin.listen", "log.format", "log.access"];

/// Names in one kind of table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// Those that are new.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Those that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Those that say something else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `[[routes]]`
    pub routes: Names,
    /// `[upstreams.*]` and inline ones.
    pub upstreams: Names,
    /// `[auth.*]`
    pub auth: Names,
    /// `[rate_limits.*]`
    pub rate_limits: Names,
    /// Keys of the other tables.
    pub settings: Vec<String>,
    /// Keys whose values are not those that run, and will not be before a restart.
    pub needs_restart: Vec<String>,
}

impl Change {
    /// From `old` to `new`, in a gateway that was started with `started`.
    pub fn between(started: &Config, old: &Config, new: &Config) -> Self {
        let is_restart = |key: &String| RESTART.contains(&key.as_str());
        Self {
            routes: Names::between(
                old.routes.iter().map(|route| (route.name.as_str(), route)),
                new.routes.iter().map(|route| (route.name.as_str(), route)),
            ),
            upstreams: Names::between(
                old.upstreams.iter().map(|policy| (policy.name.as_str(), policy)),
                new.upstreams.iter().map(|policy| (policy.name.as_str(), policy)),
            ),
            auth: Names::between(
                old.auth.iter().map(|policy| (policy.name.as_str(), policy)),
                new.auth.iter().map(|policy| (policy.name.as_str(), policy)),
            ),
            rate_limits: Names::between(
                old.rate_limits.iter().map(|policy| (policy.name.as_str(), policy)),
                new.rate_limits.iter().map(|policy| (policy.name.as_str(), policy)),
            ),
            settings: settings(old, new).into_iter().filter(|key| !is_restart(key)).collect(),
            needs_restart: settings(started, new).into_iter().filter(is_restart).collect(),
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Names {
    fn between<'a, T: PartialEq>(
        old: impl Iterator<Item = (&'a str, T)>,
        new: impl Iterator<Item = (&'a str, T)>,
    ) -> Self {
        let (old, new): (BTreeMap<&str, T>, BTreeMap<&str, T>) = (old.collect(), new.collect());
        let missing = |from: &BTreeMap<&str, T>, of: &BTreeMap<&str, T>| -> Vec<String> {
            from.keys().filter(|name| !of.contains_key(*name)).map(|&name| name.to_owned()).collect()
        };
        let differs = |(name, value): &(&&str, &T)| old.get(**name).is_some_and(|before| before != *value);
        Self {
            added: missing(&new, &old),
            removed: missing(&old, &new),
            changed: new.iter().filter(differs).map(|(&name, _)| name.to_owned()).collect(),
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The keys outside of routes, upstreams and auth whose values differ.
fn settings(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    compare("", &written(old), &written(new), &mut keys);
    if old.admin.token != new.admin.token {
        // Secrets show as the same stars, unless there is none; so do those below.
        keys.push("admin.token".to_owned());
    }
    if old.tracing.headers != new.tracing.headers {
        keys.push("tracing.headers".to_owned());
    }
    if old.redis != new.redis && !keys.iter().any(|key| key.starts_with("redis")) {
        keys.push("redis".to_owned());
    }
    keys.sort();
    keys.dedup();
    keys
}

fn written(config: &Config) -> Value {
    let mut file = ConfigFile::from(config);
    file.routes.clear();
    file.upstreams.clear();
    file.auth.clear();
    file.rate_limits.clear();
    serde_json::to_value(file).unwrap_or_default()
}

fn compare(path: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        if old != new {
            keys.push(path.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let of = |table: &serde_json::Map<String, Value>| table.get(name).cloned().unwrap_or_default();
        compare(&path, &of(before), &of(after), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn config(text: &str) -> Config {
        load::from_text(text).unwrap_or_else(|report| panic!("{report}")).config
    }

    const OLD: &str = "
        [server]\nworkers = 1\nmax_connections = 10
        [admin]\ntoken = 'one'
        [upstreams.a]\ndns = 'a:80'
        [upstreams.b]\ndns = 'b:80'
        [auth.p]\nsecret = 'old-0123456789abcdef0123456789abcdef'
        [auth.q]\nsecret = 'old-0123456789abcdef0123456789abcdef'
        [[routes]]\nname = 'x'\nprefix = '/x'\nupstream = 'a'
        [[routes]]\nname = 'y'\nprefix = '/y'\nupstream = 'b'
        [[routes]]\nname = 'z'\nprefix = '/z'\nupstream = 'b'";
    const NEW: &str = "
        [server]\nworkers = 2\nmax_connections = 20
        [admin]\ntoken = 'two'
        [upstreams.a]\ndns = 'a:80'\nmax_idle = 3
        [upstreams.c]\ndns = 'c:80'
        [auth.q]\nsecret = 'new-0123456789abcdef0123456789abcdef'
        [auth.r]\nsecret = 'new-0123456789abcdef0123456789abcdef'
        [[routes]]\nname = 'z'\nprefix = '/z'\nupstream = 'a'
        [[routes]]\nname = 'y'\nprefix = '/y'\nupstream = 'c'\ntimeout = '1s'
        [[routes]]\nname = 'w'\nprefix = '/w'\nupstream = 'c'";

    #[test]
    fn everything_that_differs_is_named_once_and_secrets_are_not_shown() {
        let (old, new) = (config(OLD), config(NEW));
        let change = Change::between(&old, &old, &new);
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(change.routes, Names { added: names(&["w"]), removed: names(&["x"]), changed: names(&["y", "z"]) });
        assert_eq!(change.upstreams, Names { added: names(&["c"]), removed: names(&["b"]), changed: names(&["a"]) });
        assert_eq!(change.auth, Names { added: names(&["r"]), removed: names(&["p"]), changed: names(&["q"]) });
        assert_eq!(change.settings, ["admin.token", "server.max_connections"]);
        assert_eq!(change.needs_restart, ["server.workers"]);
        let told = serde_json::to_string(&change).unwrap();
        assert!(!told.contains("two") && !told.contains("0123"), "{told}");
    }

    #[test]
    fn what_needs_a_restart_is_said_until_there_is_one() {
        let (old, new) = (config(OLD), config(NEW));
        assert_eq!(Change::between(&old, &new, &new).needs_restart, ["server.workers"]);
        assert!(Change::between(&new, &new, &new).is_empty());
        assert!(Change::between(&old, &new, &old).needs_restart.is_empty(), "it is again what runs");
    }

    #[test]
    fn keys_that_need_a_restart_exist() {
        let schema = serde_json::to_value(schemars::schema_for!(ConfigFile)).unwrap();
        for key in RESTART {
            let (table, name) = key.split_once('.').unwrap();
            let reference = schema["properties"][table]["$ref"].as_str().unwrap_or_default().to_owned();
            let table = reference.rsplit('/').next().unwrap_or_default();
            assert!(schema["$defs"][table]["properties"][name].is_object(), "{key}");
        }
    }
}
