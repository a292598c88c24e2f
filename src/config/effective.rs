//! The way back: from the checked configuration to what could have been written, every default filled in, secrets
//! masked. The defaults of the written form come from here as well, so each is written down once.

mod auth;
mod limit;
mod redis;

use http::HeaderName;

use super::file::{
    AddressSettings, AdminSettings, CircuitSettings, ConfigFile, DnsSettings, LogSettings, RetrySettings,
    RouteSettings, ServerSettings, TracingSettings, UpstreamSettings,
};
use super::text::{
    AdminListen, DnsTarget, ExactPath, Label, NameServer, Prefix, Rewrite, SecretText, ServiceName, SocketPath, Target,
    Text, WebUrl,
};
use super::{AdminConfig, Config, LogConfig, PathMatch, RouteConfig, ServerConfig, TracingConfig};
use crate::base::secret::Secret;
use crate::base::units::{ByteRate, Size};
use crate::upstream::policy::{CircuitPolicy, Discovery, DnsPolicy, RetryPolicy, UpstreamPolicy};

/// The configuration as TOML: loading it gives the same configuration, unless it has a secret, which shows as `***`.
pub fn to_toml(config: &Config) -> String {
    // Everything in the written form is a string, a number or a table, which TOML can always say; a failure would be
    // a mistake in this file, and the text then says so.
    let file = ConfigFile::from(config);
    let text = toml_edit::ser::to_string_pretty(&file).unwrap_or_else(|error| format!("# {error}\n"));
    auth::only_own_keys(&text, &file)
}

impl From<&Config> for ConfigFile {
    fn from(config: &Config) -> Self {
        let upstreams = config.upstreams.iter();
        Self {
            server: (&config.server).into(),
            admin: (&config.admin).into(),
            dns: (&config.dns).into(),
            log: (&config.log).into(),
            cache: (&config.cache).into(),
            tracing: (&config.tracing).into(),
            auth: config.auth.iter().map(|policy| (policy.name.clone(), policy.as_ref().into())).collect(),
            rate_limits: config
                .rate_limits
                .iter()
                .map(|policy| (policy.name.clone(), policy.as_ref().into()))
                .collect(),
            redis: config.redis.as_ref().map(|policy| policy.as_ref().into()),
            upstreams: upstreams.map(|policy| (policy.name.clone(), policy.as_ref().into())).collect(),
            routes: config.routes.iter().map(Into::into).collect(),
        }
    }
}

impl From<&ServerConfig> for ServerSettings {
    fn from(server: &ServerConfig) -> Self {
        Self {
            listen: Text::list(&server.listen),
            workers: server.workers,
            trusted_proxies: Text::list(&server.trusted_proxies),
            max_connections: server.max_connections,
            max_headers: server.max_headers,
            max_header_bytes: Text(Size(u64::try_from(server.max_header_bytes).unwrap_or(u64::MAX))),
            max_body: Text(Size(server.max_body)),
            header_read_timeout: Text(server.header_read_timeout),
            body_idle_timeout: Text(server.body_idle_timeout),
            min_body_rate: Text(ByteRate(server.min_body_rate)),
            keep_alive_timeout: Text(server.keep_alive_timeout),
            http2_max_streams: server.http2_max_streams,
            shutdown_delay: Text(server.shutdown_delay),
            shutdown_grace: Text(server.shutdown_grace),
            takeover: server.takeover.clone().map(|path| Text(SocketPath(path))),
        }
    }
}

impl From<&AdminConfig> for AdminSettings {
    fn from(admin: &AdminConfig) -> Self {
        let masked = |secret: &Secret| Text(SecretText::Literal(secret.to_string()));
        Self { listen: Text(AdminListen(admin.listen)), token: admin.token.as_ref().map(masked) }
    }
}

impl From<&DnsPolicy> for DnsSettings {
    fn from(dns: &DnsPolicy) -> Self {
        Self {
            servers: dns.servers.iter().copied().map(NameServer).map(Text).collect(),
            refresh: Text(dns.refresh),
            min_refresh: Text(dns.min_refresh),
            timeout: Text(dns.timeout),
            max_stale: Text(dns.max_stale),
            hold_empty: Text(dns.hold_empty),
            family: Text(dns.family),
        }
    }
}

impl From<&LogConfig> for LogSettings {
    fn from(log: &LogConfig) -> Self {
        let access = Text(log.access.clone());
        Self { level: Text(log.level), format: Text(log.format), access, sample: log.sample }
    }
}

impl From<&TracingConfig> for TracingSettings {
    fn from(tracing: &TracingConfig) -> Self {
        let masked =
            |(name, secret): &(HeaderName, Secret)| (name.to_string(), Text(SecretText::Literal(secret.to_string())));
        Self {
            otlp: tracing.otlp.clone().map(|url| Text(WebUrl(url))),
            headers: tracing.headers.iter().map(masked).collect(),
            sample: tracing.sample,
            errors: tracing.errors,
            service_name: tracing.service_name.clone(),
        }
    }
}

impl From<&UpstreamPolicy> for UpstreamSettings {
    fn from(policy: &UpstreamPolicy) -> Self {
        let (dns, srv, addresses) = match &policy.discovery {
            Discovery::Dns { name, port } => (Some(Text(DnsTarget { name: name.clone(), port: *port })), None, None),
            Discovery::Services { name } => (None, Some(Text(ServiceName(name.clone()))), None),
            Discovery::Addresses(list) => {
                let written = list.iter().map(|entry| AddressSettings::new(entry.address, entry.weight));
                (None, None, Some(written.collect()))
            }
        };
        Self {
            dns,
            srv,
            addresses,
            balance: (&policy.balance).into(),
            slow_start: Text(policy.slow_start),
            connect_timeout: Text(policy.connect_timeout),
            response_timeout: Text(policy.response_timeout),
            idle_timeout: Text(policy.idle_timeout),
            keep_alive: Text(policy.keep_alive),
            max_idle: policy.max_idle,
            max_connections: policy.max_connections,
            max_in_flight: policy.max_in_flight,
            drain_timeout: Text(policy.drain_timeout),
            host_header: Text(policy.host_header.clone()),
            retry: (&policy.retry).into(),
            eject: (&policy.eject).into(),
            health: policy.health.as_ref().map(Into::into),
            circuit: policy.circuit.as_ref().map(Into::into),
        }
    }
}

impl From<&CircuitPolicy> for CircuitSettings {
    fn from(circuit: &CircuitPolicy) -> Self {
        Self {
            failure_rate: circuit.failure_rate,
            window: Text(circuit.window),
            min_requests: circuit.min_requests,
            open_for: Text(circuit.open_for),
        }
    }
}

impl From<&RetryPolicy> for RetrySettings {
    fn from(retry: &RetryPolicy) -> Self {
        Self {
            attempts: retry.attempts,
            budget: retry.allowance.share,
            min_per_second: retry.allowance.min_per_second,
            on: Text::list(&retry.on),
            per_try_timeout: Text(retry.per_try_timeout),
        }
    }
}

impl From<&RouteConfig> for RouteSettings {
    fn from(route: &RouteConfig) -> Self {
        let (prefix, path) = match &route.path {
            PathMatch::Prefix(prefix) => (Some(Text(Prefix(prefix.clone()))), None),
            PathMatch::Exact(path) => (None, Some(Text(ExactPath(path.clone())))),
        };
        let headers = route.headers.iter();
        Self {
            name: Some(Text(Label(route.name.clone()))),
            prefix,
            path,
            hosts: Text::list(&route.hosts),
            methods: Text::list(&route.methods),
            headers: headers.map(|(name, value)| (name.to_string(), Text(value.clone()))).collect(),
            query: route.query.iter().cloned().collect(),
            upstream: Some(Text(Target::Named(route.upstream.clone()))),
            strip_prefix: route.strip_prefix,
            rewrite: route.rewrite.clone().map(Rewrite).map(Text),
            encoded_slashes: Some(Text(route.encoded_slashes)),
            timeout: Text(route.timeout),
            max_body: Some(Text(Size(route.max_body))),
            max_in_flight: route.max_in_flight,
            allow_ips: Text::list(&route.allow_ips),
            deny_ips: Text::list(&route.deny_ips),
            auth: route.auth.as_ref().map(Into::into),
            cache: route.cache.as_ref().map(Into::into),
            cors: route.cors.as_ref().map(Into::into),
            rate_limit: limit::route(&route.rate_limits),
        }
    }
}
