//! From what was written to what cannot be wrong: everything that holds between two keys, and the secrets. Each value
//! by itself has been checked when it was read. Problems are collected; the result counts only if there are none.

mod auth;
mod balance;
mod cache;
mod cors;
mod health;
mod limit;
mod redis;
mod route;
mod upstream;

use std::fs;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};

use super::file::{AdminSettings, ConfigFile, DnsSettings, LogSettings, ServerSettings, TracingSettings};
use super::findings::Findings;
use super::key::KeyPath;
use super::load::Environment;
use super::text::{Fault, RedisAddress, SecretText, Text, did_you_mean};
use super::{AdminConfig, Config, LogConfig, ServerConfig, TracingConfig};
use crate::base::secret::Secret;
use crate::upstream::policy::DnsPolicy;

/// What secrets refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// The variables of the environment.
    pub(super) environment: &'a Environment,
    /// The folder of the configuration file.
    pub(super) folder: &'a Path,
}

/// Checks everything.
pub(super) fn check(file: &ConfigFile, context: &Context, findings: &mut Findings) -> Config {
    let server = server(&file.server, findings);
    let mut upstreams = upstream::upstreams(file, context, findings);
    let auth = auth::auth(file, context, findings);
    let rate_limits = limit::limits(file, findings);
    let routes = route::routes(file, &mut upstreams, &rate_limits, findings);
    Config {
        admin: admin(&file.admin, &server, context, findings),
        dns: dns(&file.dns, findings),
        log: log(&file.log),
        cache: cache::cache(file, findings),
        tracing: tracing(&file.tracing, context, findings),
        auth,
        rate_limits,
        redis: redis::redis(file, context, findings),
        upstreams: upstreams.into_values().collect(),
        routes,
        server,
    }
}

impl Context<'_> {
    /// The files that secrets are in.
    pub(super) fn secret_files(&self, file: &ConfigFile) -> Vec<PathBuf> {
        let sticky = file.upstreams.values().filter_map(|upstream| balance::secret(&upstream.balance));
        let of_auth = file.auth.values().filter_map(|settings| settings.secret.as_ref());
        let of_collector = file.tracing.headers.values();
        let of_redis = file.redis.iter().flat_map(|redis| redis.password.iter().chain(&redis.sentinel_password));
        let secrets = file.admin.token.iter().chain(sticky).chain(of_auth).chain(of_redis).chain(of_collector);
        let path = |text: &Text<SecretText>| match &text.0 {
            SecretText::File(path) => Some(self.folder.join(path)),
            _ => None,
        };
        let url = file.redis.as_ref().and_then(|redis| match &redis.url.0 {
            RedisAddress::File(path) => Some(self.folder.join(path)),
            _ => None,
        });
        secrets.filter_map(path).chain(url).collect()
    }

    /// The secret behind a reference. What goes wrong is told without anything of what is in it.
    fn secret(&self, text: &SecretText) -> Result<Secret, Fault> {
        let secret = match text {
            SecretText::Literal(secret) => secret.clone(),
            SecretText::Environment(name) => self.environment.get(name).map(str::to_owned).ok_or_else(|| {
                let close = did_you_mean(name, self.environment.iter().map(|(name, _)| name));
                Fault::new(format!("the variable `{name}` is not set")).maybe_hint(close)
            })?,
            SecretText::File(path) => {
                let path = self.folder.join(path);
                let text = fs::read_to_string(&path).map_err(|error| {
                    Fault::new(format!("cannot read the secret from `{}`: {error}", path.display()))
                        .hint("the path is relative to the configuration file")
                })?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        match secret.is_empty() {
            true => Err(Fault::new("the secret is empty")),
            false => Ok(Secret::new(secret)),
        }
    }
}

fn server(server: &ServerSettings, findings: &mut Findings) -> ServerConfig {
    let listen = Text::values(&server.listen);
    let list = KeyPath::dotted("server.listen");
    for (at, address) in listen.iter().enumerate() {
        // Port 0 is another port each time.
        let same = listen[..at].iter().position(|earlier| earlier == address && address.port() != 0);
        if let Some(first) = same {
            let fault = Fault::new(format!("`{address}` is listed twice"));
            findings.clash(&list.index(at), fault, &list.index(first), "listed here already");
        }
    }
    ServerConfig {
        listen,
        workers: server.workers,
        trusted_proxies: Text::values(&server.trusted_proxies),
        max_connections: server.max_connections,
        max_headers: server.max_headers,
        max_header_bytes: usize::try_from(server.max_header_bytes.0.0).unwrap_or(usize::MAX),
        max_body: server.max_body.0.0,
        header_read_timeout: server.header_read_timeout.0,
        body_idle_timeout: server.body_idle_timeout.0,
        min_body_rate: server.min_body_rate.0.0,
        keep_alive_timeout: server.keep_alive_timeout.0,
        http2_max_streams: server.http2_max_streams,
        shutdown_delay: server.shutdown_delay.0,
        shutdown_grace: server.shutdown_grace.0,
        takeover: server.takeover.as_ref().map(|path| path.0.0.clone()),
    }
}

fn admin(admin: &AdminSettings, server: &ServerConfig, context: &Context, findings: &mut Findings) -> AdminConfig {
    let listen = admin.listen.0.0;
    let shared = listen.and_then(|address| server.listen.iter().position(|one| *one == address && address.port() != 0));
    if let Some(at) = shared {
        let fault =
            Fault::new("the operators' listener has an address of the clients'").hint("give it a port of its own");
        let clients = KeyPath::dotted("server.listen").index(at);
        findings.clash(&KeyPath::dotted("admin.listen"), fault, &clients, "for clients");
    }
    let mut token = None;
    if let Some(text) = &admin.token {
        match context.secret(&text.0) {
            Ok(secret) => token = Some(secret),
            Err(fault) => findings.value(&KeyPath::dotted("admin.token"), fault),
        }
    }
    AdminConfig { listen, token }
}

fn dns(dns: &DnsSettings, findings: &mut Findings) -> DnsPolicy {
    if dns.min_refresh.0 > dns.refresh.0 {
        let fault = Fault::new("`min_refresh` is longer than `refresh`").hint("names are asked for between the two");
        let refresh = KeyPath::dotted("dns.refresh");
        findings.clash(&KeyPath::dotted("dns.min_refresh"), fault, &refresh, "refresh");
    }
    DnsPolicy {
        servers: dns.servers.iter().map(|server| server.0.0).collect(),
        refresh: dns.refresh.0,
        min_refresh: dns.min_refresh.0,
        timeout: dns.timeout.0,
        max_stale: dns.max_stale.0,
        hold_empty: dns.hold_empty.0,
        family: dns.family.0,
    }
}

fn log(log: &LogSettings) -> LogConfig {
    LogConfig { level: log.level.0, format: log.format.0, access: log.access.0.clone(), sample: log.sample }
}

fn tracing(tracing: &TracingSettings, context: &Context, findings: &mut Findings) -> TracingConfig {
    let mut headers = Vec::new();
    for (name, text) in &tracing.headers {
        let path = KeyPath::dotted("tracing.headers").key(name);
        // The walk has refused what is not a name.
        let Ok(name) = name.parse::<HeaderName>() else { continue };
        match context.secret(&text.0) {
            Ok(secret) if HeaderValue::from_str(secret.expose()).is_ok() => headers.push((name, secret)),
            Ok(_) => findings.value(&path, Fault::new("the secret is more than one line, which no field can be")),
            Err(fault) => findings.value(&path, fault),
        }
    }
    TracingConfig {
        otlp: tracing.otlp.as_ref().map(|url| url.0.0.clone()),
        headers,
        sample: tracing.sample,
        errors: tracing.errors,
        service_name: tracing.service_name.clone(),
    }
}
