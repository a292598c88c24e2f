//! Names looked up for real: the background task against a name server that misbehaves on demand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::rr::RecordType::{A, AAAA};
use tollgate::base::clock;
use tollgate::lab::dns::{Behaviour, NameServer};
use tollgate::upstream::answers::{MAX_ADDRESSES, State};
use tollgate::upstream::lookup::Lookup;
use tollgate::upstream::policy::DnsPolicy;
use tollgate::upstream::resolve::{Observer, Resolving, Status, Update};

use crate::support::eventually;

/// Docker's, always.
const TTL: u32 = 600;

/// A name that is followed, and all that was told of it.
struct Followed {
    resolving: Resolving,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    updates: Mutex<Vec<Update>>,
    results: Mutex<Vec<&'static str>>,
}

struct Teller(Arc<Told>);

impl Observer for Teller {
    fn changed(&self, update: &Update) {
        self.0.updates.lock().unwrap().push(update.clone());
    }

    fn looked_up(&self, result: &'static str) {
        self.0.results.lock().unwrap().push(result);
    }
}

impl Followed {
    fn new(name: &str, policy: DnsPolicy) -> Self {
        let nothing = Path::new("/dev/null");
        Self::with_files(name, policy, nothing, nothing)
    }

    fn with_files(name: &str, policy: DnsPolicy, resolv_conf: &Path, hosts: &Path) -> Self {
        let lookup = Arc::new(Lookup::from_files(&policy, resolv_conf, hosts));
        let told = Arc::new(Told::default());
        let resolving = Resolving::start(name.to_owned(), 80, Arc::new(policy), lookup, Teller(Arc::clone(&told)));
        Self { resolving, told }
    }

    fn status(&self) -> Status {
        self.resolving.status()
    }

    /// Waits until exactly these addresses were told, in this state.
    async fn is_told(&self, addresses: &[IpAddr], state: State) {
        let addresses = addresses.iter().map(|&address| SocketAddr::new(address, 80)).collect();
        let wanted = Update { addresses, state };
        eventually(&format!("{wanted:?}"), || self.told.updates.lock().unwrap().last() == Some(&wanted)).await;
    }

    async fn counts(&self, result: &str) {
        eventually(result, || self.told.results.lock().unwrap().contains(&result)).await;
    }
}

async fn name_server() -> NameServer {
    NameServer::bind(SocketAddr::from(([127, 0, 0, 53], 0))).await.unwrap()
}

fn quick(server: &NameServer) -> DnsPolicy {
    DnsPolicy {
        servers: vec![server.local_addr()],
        refresh: Duration::from_millis(100),
        min_refresh: Duration::from_millis(20),
        timeout: Duration::from_millis(200),
        hold_empty: Duration::from_millis(300),
        ..DnsPolicy::default()
    }
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn v6(n: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into()
}

#[tokio::test]
async fn a_change_is_seen_long_before_the_time_to_live_is_over() {
    for ttl in [0, TTL, 1 << 31, u32::MAX] {
        let server = name_server().await;
        server.set("app.", [v4(2), v4(1), v6(1)], ttl);
        let app = Followed::new("app", quick(&server));
        app.is_told(&[v4(1), v4(2), v6(1)], State::Fresh).await;
        server.set("app.", [v4(3)], ttl);
        app.is_told(&[v4(3)], State::Fresh).await;
    }
}

#[tokio::test]
async fn an_outage_keeps_the_addresses_and_ends() {
    let server = name_server().await;
    server.set("app", [v4(1)], TTL);
    let app = Followed::new("app", quick(&server));
    app.is_told(&[v4(1)], State::Fresh).await;
    server.set_silent(true);
    app.is_told(&[v4(1)], State::Stale).await;
    app.counts("timeout").await;
    assert!(app.status().last_error.unwrap().contains("in time"));
    server.set("app", [v4(2)], TTL);
    server.set_silent(false);
    app.is_told(&[v4(2)], State::Fresh).await;
    eventually("no error left", || app.status().last_error.is_none()).await;
}

#[tokio::test]
async fn an_outage_at_the_start_is_waited_out() {
    let server = name_server().await;
    server.set("app", [v4(1)], TTL);
    server.set_silent(true);
    let app = Followed::new("app", quick(&server));
    eventually("a failed lookup", || app.status().lookups_failed > 2).await;
    assert_eq!(app.status().state, State::Waiting);
    server.set_silent(false);
    app.is_told(&[v4(1)], State::Fresh).await;
}

#[tokio::test]
async fn stale_addresses_end() {
    let server = name_server().await;
    server.set("app", [v4(1)], TTL);
    let app = Followed::new("app", DnsPolicy { max_stale: Duration::from_millis(500), ..quick(&server) });
    app.is_told(&[v4(1)], State::Fresh).await;
    server.behave("app", &Behaviour::Refused);
    app.is_told(&[], State::Empty).await;
    app.counts("error").await;
}

#[tokio::test]
async fn a_name_that_is_gone_is_held_and_then_empty() {
    for (gone, result) in [(Behaviour::NxDomain, "nxdomain"), (Behaviour::Empty, "empty")] {
        let server = name_server().await;
        server.set("app", [v4(1)], TTL);
        let app = Followed::new("app", quick(&server));
        app.is_told(&[v4(1)], State::Fresh).await;
        server.behave("app", &gone);
        app.is_told(&[v4(1)], State::Holding).await;
        let held = clock::now();
        app.is_told(&[], State::Empty).await;
        assert!(held.elapsed() >= Duration::from_millis(250), "held for {:?}", held.elapsed());
        app.counts(result).await;
        server.behave("app", &Behaviour::Normal);
        app.is_told(&[v4(1)], State::Fresh).await;
    }
}

#[tokio::test]
async fn a_name_that_never_was_is_empty_at_once() {
    let server = name_server().await;
    let app = Followed::new("app", quick(&server));
    app.is_told(&[], State::Empty).await;
}

#[tokio::test]
async fn a_long_answer_comes_over_tcp_and_is_capped() {
    let server = name_server().await;
    server.set("app", (1..=300).map(v4).collect::<Vec<_>>(), TTL);
    let app = Followed::new("app", quick(&server));
    let lowest: Vec<IpAddr> = (1..=u32::try_from(MAX_ADDRESSES).unwrap()).map(v4).collect();
    app.is_told(&lowest, State::Fresh).await;
    let queries = server.queries("app", A);
    eventually("more rounds", || server.queries("app", A) > queries + 6).await;
    assert_eq!(app.told.updates.lock().unwrap().len(), 1, "the turning of the records changes nothing");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp() {
    let server = name_server().await;
    server.set("app", [v4(1)], TTL);
    server.behave("app", &Behaviour::Truncate);
    let app = Followed::new("app", quick(&server));
    app.is_told(&[v4(1)], State::Fresh).await;
}

#[tokio::test]
async fn aliases_are_followed_within_an_answer_and_beyond_it() {
    let server = name_server().await;
    server.set("app", [v4(1), v6(1)], TTL);
    server.behave("www", &Behaviour::Alias("web".to_owned()));
    server.behave("web", &Behaviour::Alias("app".to_owned()));
    let www = Followed::new("www", quick(&server));
    www.is_told(&[v4(1), v6(1)], State::Fresh).await;
    server.behave("web", &Behaviour::Alias("gone".to_owned()));
    www.is_told(&[v4(1), v6(1)], State::Holding).await;
}

#[tokio::test]
async fn a_family_that_fails_keeps_its_own_addresses() {
    let server = name_server().await;
    server.set("app", [v4(1), v6(1)], TTL);
    let app = Followed::new("app", quick(&server));
    app.is_told(&[v4(1), v6(1)], State::Fresh).await;
    server.behave_for("app", AAAA, Behaviour::ServFail);
    server.set("app", [v4(2), v6(2)], TTL);
    app.is_told(&[v4(2), v6(1)], State::Stale).await;
    server.behave_for("app", AAAA, Behaviour::Normal);
    app.is_told(&[v4(2), v6(2)], State::Fresh).await;
}

#[tokio::test]
async fn a_family_that_is_never_answered_does_not_hold_up_the_first_addresses() {
    let server = name_server().await;
    server.set("app", [v4(1)], TTL);
    server.behave_for("app", AAAA, Behaviour::Silence);
    let app = Followed::new("app", DnsPolicy { timeout: Duration::from_secs(60), ..quick(&server) });
    app.is_told(&[v4(1)], State::Fresh).await;
}

#[tokio::test]
async fn answers_about_another_name_and_garbage_are_never_used() {
    for nonsense in [Behaviour::WrongName("other".to_owned()), Behaviour::Garbage] {
        let server = name_server().await;
        server.set("app", [v4(1)], TTL);
        let app = Followed::new("app", quick(&server));
        app.is_told(&[v4(1)], State::Fresh).await;
        server.behave("app", &nonsense);
        server.set("app", [v4(66)], TTL);
        let queries = server.queries("app", A);
        eventually("more rounds", || server.queries("app", A) > queries + 3).await;
        let updates = app.told.updates.lock().unwrap();
        let strange = SocketAddr::new(v4(66), 80);
        assert!(!updates.iter().any(|update| update.addresses.contains(&strange)), "{nonsense:?}");
    }
}

#[tokio::test]
async fn a_flapping_name_is_followed() {
    let server = name_server().await;
    server.behave_for("app", A, Behaviour::Flap(vec![vec![v4(1)], vec![v4(2), v4(3)]]));
    let app = Followed::new("app", quick(&server));
    for _ in 0..2 {
        app.is_told(&[v4(1)], State::Fresh).await;
        app.is_told(&[v4(2), v4(3)], State::Fresh).await;
    }
}

#[tokio::test]
async fn a_time_to_live_of_zero_is_no_hot_loop() {
    let server = name_server().await;
    server.set("app", [v4(1)], 0);
    let app = Followed::new("app", DnsPolicy { min_refresh: Duration::from_millis(100), ..quick(&server) });
    app.is_told(&[v4(1)], State::Fresh).await;
    let (began, queries) = (clock::now(), server.queries("app", A));
    eventually("five rounds", || server.queries("app", A) >= queries + 5).await;
    assert!(began.elapsed() >= Duration::from_millis(380), "five rounds in {:?}", began.elapsed());
}

#[tokio::test]
async fn asking_now_does_not_wait_for_the_next_round_and_is_limited() {
    let server = name_server().await;
    server.set("app", [v4(1)], TTL);
    let min_refresh = Duration::from_millis(200);
    let app = Followed::new("app", DnsPolicy { refresh: Duration::from_secs(3600), min_refresh, ..quick(&server) });
    app.is_told(&[v4(1)], State::Fresh).await;
    server.set("app", [v4(2)], TTL);
    for _ in 0..1000 {
        app.resolving.ask_now();
    }
    app.is_told(&[v4(2)], State::Fresh).await;
    assert_eq!(server.queries("app", A), 2, "one more round for them all");
    assert!(app.status().next_refresh_seconds > 1.0);
}

#[tokio::test]
async fn a_silent_server_is_passed_over() {
    let (silent, server) = (name_server().await, name_server().await);
    silent.set_silent(true);
    server.set("app", [v4(1)], TTL);
    let servers = vec![silent.local_addr(), server.local_addr()];
    let app = Followed::new("app", DnsPolicy { servers, ..quick(&server) });
    app.is_told(&[v4(1)], State::Fresh).await;
    assert_eq!(app.status().server, Some(server.local_addr()));
}

#[tokio::test]
async fn short_names_and_the_hosts_file_work_as_for_any_program() {
    let server = name_server().await;
    server.set("app.shop.test", [v4(1)], TTL);
    server.set("app", [v4(66)], TTL);
    let files = tempfile::tempdir().unwrap();
    let (resolv_conf, hosts) = (files.path().join("resolv.conf"), files.path().join("hosts"));
    std::fs::write(&resolv_conf, "search none.test shop.test\n").unwrap();
    std::fs::write(&hosts, "10.0.0.9 printer\n").unwrap();
    let follow = |name| Followed::with_files(name, quick(&server), &resolv_conf, &hosts);
    follow("app").is_told(&[v4(1)], State::Fresh).await;
    follow("app.").is_told(&[v4(66)], State::Fresh).await;
    follow("printer").is_told(&[v4(9)], State::Fresh).await;
    server.behave("app.none.test", &Behaviour::ServFail);
    let app = follow("app");
    eventually("a failed lookup", || app.status().lookups_failed > 2).await;
    assert_eq!(app.status().state, State::Waiting, "a failure does not lead to the next name");
}

#[tokio::test]
async fn a_virtual_ip_of_swarm_is_told_of() {
    let server = NameServer::bind(SocketAddr::from(([127, 0, 0, 11], 0))).await.unwrap();
    server.set("app", [v4(1)], TTL);
    server.set("tasks.app", [v4(2), v4(3)], TTL);
    let app = Followed::new("app", quick(&server));
    let text = "this name is a Swarm virtual IP (one address; tasks.app has 2): use tasks.app";
    eventually("advice", || app.status().advice.as_deref() == Some(text)).await;
    server.set("app", [v4(2), v4(3)], TTL);
    eventually("no advice", || app.status().advice.is_none()).await;
}
