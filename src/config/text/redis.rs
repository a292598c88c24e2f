//! Where a Redis is, as one text: `redis://`, with an `s` for TLS, and `-cluster` or `-sentinel` for several servers. A
//! message never repeats the text, since there may be a password in it.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::net::parse_port;
use super::{Fault, Syntax, did_you_mean};
use crate::base::secret::Secret;
use crate::layers::redis::policy::{Kind, RedisUrl};

/// Where a Redis is, or where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// Here.
    Url(RedisUrl),
    /// `env:NAME`
    Environment(String),
    /// `file:PATH`, relative to the configuration file.
    File(PathBuf),
}

/// The words before `://`, whether they mean TLS, and how the servers are arranged.
const SCHEMES: &[(&str, bool, Arrangement)] = &[
    ("redis", false, Arrangement::Single),
    ("rediss", true, Arrangement::Single),
    ("redis-cluster", false, Arrangement::Cluster),
    ("rediss-cluster", true, Arrangement::Cluster),
    ("redis-sentinel", false, Arrangement::Sentinel),
    ("rediss-sentinel", true, Arrangement::Sentinel),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrangement {
    Single,
    Cluster,
    Sentinel,
}

impl Syntax for RedisAddress {
    const FORMAT: &'static str = "redis-url";

    fn parse(text: &str) -> Result<Self, Fault> {
        match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
            (Some(""), _) => Err(Fault::new("`env:` names no variable").hint("write it like `env:REDIS_URL`")),
            (Some(name), _) => Ok(Self::Environment(name.to_owned())),
            (_, Some("")) => Err(Fault::new("`file:` names no file").hint("write it like `file:secrets/redis-url`")),
            (_, Some(path)) => Ok(Self::File(path.into())),
            _ => parse(text).map(Self::Url),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Environment(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Url(url) => print(url),
        }
    }
}

/// Reads a URL.
pub(in crate::config) fn parse(text: &str) -> Result<RedisUrl, Fault> {
    let usual = "write it like `redis://127.0.0.1:6379/0`";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| Fault::new("this is not a URL").hint(usual))?;
    let known = SCHEMES.iter().find(|(name, ..)| *name == scheme);
    let (_, tls, arrangement) = *known.ok_or_else(|| {
        let names = SCHEMES.iter().map(|(name, ..)| *name);
        Fault::new("the URL does not begin with a way to reach Redis")
            .hint("there are `redis://`, `redis-cluster://`, `redis-sentinel://`, and `rediss…` for TLS")
            .maybe_hint(did_you_mean(scheme, names))
    })?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let usual_port = if arrangement == Arrangement::Sentinel { 26379 } else { 6379 };
    let servers = hosts.split(',').map(|host| server(host, usual_port)).collect::<Result<Vec<_>, _>>()?;
    if arrangement == Arrangement::Single && servers.len() > 1 {
        return Err(Fault::new("the URL names several servers")
            .hint("servers that share the work are `redis-cluster://…`, sentinels `redis-sentinel://…?master=NAME`"));
    }
    Ok(RedisUrl {
        tls,
        kind: kind(arrangement, query)?,
        username: decode(username)?,
        password: decode(password)?.map(Secret::new),
        servers,
        database: database(path, arrangement)?,
    })
}

fn server(text: &str, usual: u16) -> Result<(String, u16), Fault> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(sound) {
        return Err(Fault::new("the URL names no host").hint("write it like `redis://127.0.0.1:6379/0`"));
    }
    // The text may be part of a password with a `/` in it.
    let port = port.map_or(Ok(usual), parse_port);
    let hint = "ports go from 1 to 65535; in a password `/` is written `%2F`";
    Ok((host.to_owned(), port.map_err(|_| Fault::new("the URL has no port where one belongs").hint(hint))?))
}

fn kind(arrangement: Arrangement, query: &str) -> Result<Kind, Fault> {
    let master = query.strip_prefix("master=").filter(|name| !name.is_empty() && !name.contains('&'));
    match (arrangement, master) {
        (Arrangement::Sentinel, Some(name)) => {
            let name = decode(name)?.unwrap_or_default();
            Ok(Kind::Sentinel(name))
        }
        (Arrangement::Sentinel, None) => Err(Fault::new("the URL does not say what the sentinels watch over")
            .hint("name it at the end: `redis-sentinel://…?master=mymaster`")),
        (_, Some(_)) => Err(Fault::new("only sentinels are asked who is in charge")
            .hint("write `redis-sentinel://…`, or leave `?master=…` out")),
        (Arrangement::Single, None) if query.is_empty() => Ok(Kind::Single),
        (Arrangement::Cluster, None) if query.is_empty() => Ok(Kind::Cluster),
        _ => Err(Fault::new("the URL has a query").hint("other settings are keys of `[redis]`")),
    }
}

fn database(path: &str, arrangement: Arrangement) -> Result<u32, Fault> {
    if path.is_empty() {
        return Ok(0);
    }
    let number = path.parse::<u32>().ok().filter(|number| *number <= 65_535);
    match number.ok_or_else(|| Fault::new("what follows the `/` of the URL is not the number of a database"))? {
        0 => Ok(0),
        _ if arrangement == Arrangement::Cluster => Err(Fault::new("a Cluster has no database but 0")),
        number => Ok(number),
    }
}

fn decode(text: &str) -> Result<Option<String>, Fault> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| Fault::new("the URL has an escape that is no text"))?;
    Ok((!decoded.is_empty()).then(|| decoded.into_owned()))
}

fn print(url: &RedisUrl) -> String {
    let (arrangement, query) = match &url.kind {
        Kind::Single => (Arrangement::Single, String::new()),
        Kind::Cluster => (Arrangement::Cluster, String::new()),
        Kind::Sentinel(name) => (Arrangement::Sentinel, format!("?master={}", encode(name))),
    };
    let scheme = SCHEMES.iter().find(|(_, tls, kind)| (*tls, *kind) == (url.tls, arrangement)).map(|(name, ..)| *name);
    let user = url.username.as_deref().map(encode).unwrap_or_default();
    let user = match &url.password {
        Some(password) => format!("{user}:{password}@"),
        None if user.is_empty() => String::new(),
        None => format!("{user}@"),
    };
    let show = |(host, port): &(String, u16)| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let servers: Vec<String> = url.servers.iter().map(show).collect();
    format!("{}://{user}{}/{}{query}", scheme.unwrap_or("redis"), servers.join(","), url.database)
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_printed() {
        for text in [
            "redis://127.0.0.1:6379/0",
            "rediss://alice@redis.internal:6380/3",
            "redis-cluster://a:1,b:2,[::1]:3/0",
            "rediss-sentinel://a:26379,b:26379/2?master=mymaster",
            "env:REDIS_URL",
            "file:secrets/redis",
        ] {
            assert_eq!(RedisAddress::parse(text).unwrap().print(), text);
        }
        let printed = |text| RedisAddress::parse(text).unwrap().print();
        assert_eq!(printed("redis://r"), "redis://r:6379/0");
        assert_eq!(printed("redis-sentinel://r?master=m%2Fn"), "redis-sentinel://r:26379/0?master=m%2Fn");
    }

    #[test]
    fn a_password_is_read_and_never_printed() {
        let url = parse("redis://al%40ice:hunter%3A2@r:1/0").unwrap();
        assert_eq!(
            (url.username.as_deref(), url.password.as_ref().map(Secret::expose)),
            (Some("al@ice"), Some("hunter:2"))
        );
        assert_eq!(print(&url), "redis://al%40ice:***@r:1/0");
        assert!(!format!("{url:?}").contains("hunter"));
        for text in [
            "redis://a:hunter2@",
            "http://a:hunter2@r",
            "redis://a:hunter2@r/x",
            "redis://hunter2@r,b",
            "redis://a:hunter2/x@r",
        ] {
            let fault = parse(text).unwrap_err();
            assert!(!format!("{fault:?}").contains("hunter"), "{fault:?}");
        }
    }

    #[test]
    fn what_nobody_could_ask_is_refused() {
        for text in [
            "",
            "127.0.0.1:6379",
            "http://r",
            "redis://",
            "redis://r:0",
            "redis://r:99999",
            "redis://r/one",
            "redis://a,b",
            "redis://r?master=m",
            "redis://r?x=1",
            "redis-cluster://a/1",
            "redis-sentinel://a",
            "redis-sentinel://a?master=",
            "redis://a b",
            "redis://%ff@r",
            "env:",
            "file:",
        ] {
            assert!(RedisAddress::parse(text).is_err(), "{text}");
        }
    }
}
