//! Every metric, once: its name, its help, its labels. Dashboards and alert rules stay valid because nothing else spells
//! a metric's name. Base units are seconds and bytes; labels are closed sets (configured names, fixed lists).

/// A metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it is scraped.
    pub id: &'static str,
    /// One sentence for `# HELP`.
    pub help: &'static str,
    /// What it counts like.
    pub kind: Kind,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
}

impl Name {
    /// The unit, which is the last word of the name (OpenMetrics 1.0 has it in a line of its own).
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.family().ends_with(unit))
    }

    /// What OpenMetrics calls the family: without what the samples of a counter end in.
    pub fn family(&self) -> &'static str {
        self.id.strip_suffix("_total").filter(|_| self.kind == Kind::Counter).unwrap_or(self.id)
    }
}

/// What a metric counts like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

macro_rules! families {
    ($($(#[$doc:meta])* $konst:ident: $kind:ident $id:literal [$($label:literal),*] $help:literal;)*) => {
        $($(#[$doc])* #[doc = $help] pub const $konst: Name =
            Name { id: $id, help: $help, kind: Kind::$kind, labels: &[$($label),*] };)*
        /// Every metric there is, `process_*` apart.
        pub const ALL: &[Name] = &[$($konst),*];
    };
}

families! {
    REQUESTS: Counter "tollgate_requests_total" ["route", "method", "status"]
        "Requests that ended, by the status that the client got.";
    REQUEST_DURATION: Histogram "tollgate_request_duration_seconds" ["route"]
        "Time from the request head to the last byte of the response.";
    REQUESTS_IN_FLIGHT: Gauge "tollgate_requests_in_flight" ["route"]
        "Requests that have begun and not ended.";
    REFUSALS: Counter "tollgate_refusals_total" ["route", "code", "mode"]
        "Requests that the gateway itself answered with an error.";
    UPSTREAM_REQUESTS: Counter "tollgate_upstream_requests_total" ["upstream", "outcome"]
        "Tries sent to an upstream, by what came of them.";
    UPSTREAM_DURATION: Histogram "tollgate_upstream_duration_seconds" ["upstream"]
        "Time from a try to its response head.";
    UPSTREAM_ENDPOINTS: Gauge "tollgate_upstream_endpoints" ["upstream", "state"]
        "Addresses of an upstream, by state.";
    UPSTREAM_EJECTIONS: Counter "tollgate_upstream_ejections_total" ["upstream"]
        "Times that an address of an upstream was left out because requests to it failed.";
    UPSTREAM_RETRIES: Counter "tollgate_upstream_retries_total" ["upstream", "reason"]
        "Further tries, by why the one before failed.";
    UPSTREAM_RETRIES_SKIPPED: Counter "tollgate_upstream_retries_skipped_total" ["upstream", "reason"]
        "Tries that the policy wanted and that were not made, by what was in the way.";
    UPSTREAM_CONNECTIONS: Gauge "tollgate_upstream_connections" ["upstream", "state"]
        "Connections to an upstream, by state.";
    UPSTREAM_WAITING: Gauge "tollgate_upstream_waiting" ["upstream"]
        "Requests that wait for a connection to an upstream, where max_connections is set.";
    UPSTREAM_CIRCUIT_STATE: Gauge "tollgate_upstream_circuit_state" ["upstream"]
        "What the circuit breaker does, where there is one: 0 closed, 1 half open, 2 open.";
    ENDPOINT_REQUESTS: Counter "tollgate_endpoint_requests_total" ["upstream", "address"]
        "Tries sent to an address; the series goes when the address goes.";
    DNS_LOOKUPS: Counter "tollgate_dns_lookups_total" ["upstream", "result"]
        "Lookups of an upstream's name, by result.";
    DNS_ANSWER_AGE: Gauge "tollgate_dns_answer_age_seconds" ["upstream"]
        "Age of the last good answer for an upstream's name.";
    AUTH: Counter "tollgate_auth_total" ["auth", "result"]
        "Credentials that were looked at, by what came of it.";
    JWKS_REFRESHES: Counter "tollgate_jwks_refreshes_total" ["auth", "result"]
        "Rounds of getting keys, by result.";
    JWKS_AGE: Gauge "tollgate_jwks_age_seconds" ["auth"]
        "Time since the keys in use were last known to be current.";
    CACHE_REQUESTS: Counter "tollgate_cache_requests_total" ["route", "result"]
        "Requests on routes with a cache, by what the cache did.";
    CACHE_BYTES: Gauge "tollgate_cache_bytes" []
        "Bytes that the cache holds: bodies, heads and keys.";
    CACHE_ENTRIES: Gauge "tollgate_cache_entries" []
        "Keys under which the cache holds responses.";
    CACHE_EVICTIONS: Counter "tollgate_cache_evictions_total" []
        "Keys that the cache let go of to make room.";
    RATE_LIMIT_DECISIONS: Counter "tollgate_rate_limit_decisions_total" ["limit", "decision", "mode"]
        "Requests that a limit has counted (allowed) or refused; with mode observe these went on.";
    RATE_LIMIT_KEYS: Gauge "tollgate_rate_limit_keys" ["limit"]
        "Keys that a limit remembers here.";
    RATE_LIMIT_STORE_ERRORS: Counter "tollgate_rate_limit_store_errors_total" ["limit"]
        "Decisions of a limit that were made without Redis, because it gave no answer.";
    RATE_LIMIT_EVICTIONS: Counter "tollgate_rate_limit_evictions_total" ["limit"]
        "Keys that a limit forgot to make room for others; only such that had nothing used up.";
    RATE_LIMIT_OVERFLOWS: Counter "tollgate_rate_limit_overflows_total" ["limit"]
        "Decisions by the bucket that new keys share for which max_keys leaves no room.";
    REDIS_UP: Gauge "tollgate_redis_up" []
        "Whether Redis answers: 1, or 0 from a failure until it has answered again.";
    REDIS_REPLICAS: Gauge "tollgate_redis_replicas" []
        "Gateways that share Redis and its prefix, this one among them, as they were seen last.";
    ACCESS_LOG_DROPPED: Counter "tollgate_access_log_dropped_total" []
        "Access log lines lost because their target did not keep up.";
    LOG_DROPPED: Counter "tollgate_log_dropped_total" []
        "Lines of the program's own log lost because standard error did not keep up.";
    TRACE_SPANS: Counter "tollgate_trace_spans_total" ["result"]
        "Spans of recorded traces: exported, dropped for want of room, or failed at the collector.";
    CONFIG_RELOADS: Counter "tollgate_config_reloads_total" ["result"]
        "Reloads of the configuration, by result: ok, or failed with the old one running on.";
    CONFIG_RELOADED: Gauge "tollgate_config_last_reload_success_timestamp_seconds" []
        "When the configuration that runs was taken, in seconds since 1970.";
    CONNECTIONS: Gauge "tollgate_connections" ["listener"]
        "Client connections that are open.";
    CONNECTIONS_REFUSED: Counter "tollgate_connections_refused_total" ["listener", "reason"]
        "Client connections that were turned away, by reason.";
    WORKER_CONNECTIONS: Gauge "tollgate_worker_connections" ["worker"]
        "Client connections that a worker serves.";
    WORKER_TASKS: Gauge "tollgate_worker_tasks" ["worker"]
        "Tasks that live on a worker; control is what does everything else.";
    WORKER_BUSY: Counter "tollgate_worker_busy_seconds_total" ["worker"]
        "Time that a worker was at work, and not waiting for some.";
    BUILD_INFO: Gauge "tollgate_build_info" ["version", "commit"]
        "Always 1; the labels tell which build runs.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_their_kind() {
        for name in ALL {
            assert!(name.id.starts_with("tollgate_"), "{}", name.id);
            assert_eq!(name.kind == Kind::Counter, name.id.ends_with("_total"), "{}", name.id);
            assert!(name.help.ends_with('.') && !name.help.contains(['\\', '\n']), "{}", name.id);
            assert_eq!(ALL.iter().filter(|other| other.id == name.id).count(), 1, "{}", name.id);
        }
    }

    #[test]
    fn units_and_families_are_in_the_names() {
        assert_eq!((REQUEST_DURATION.unit(), REQUEST_DURATION.family()), (Some("seconds"), REQUEST_DURATION.id));
        assert_eq!((WORKER_BUSY.unit(), WORKER_BUSY.family()), (Some("seconds"), "tollgate_worker_busy_seconds"));
        assert_eq!((CACHE_BYTES.unit(), REQUESTS.unit()), (Some("bytes"), None));
    }
}
