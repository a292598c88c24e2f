//! What a platform does, on loopback: services whose containers come and go, each on an address of its own, and the
//! name server that says where they are, for six hundred seconds whatever happens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollgate::base::tasks::{self, Task};
use tollgate::lab::dns::NameServer;
use tollgate::lab::{hello, serve};

use super::{Gate, eventually};

/// Docker's, always.
pub(crate) const TTL: u32 = 600;

/// Networks that this process has taken: each town gets one, so that their containers never meet.
static NETWORKS: AtomicU32 = AtomicU32::new(0);
/// Networks from those of one process to those of the next: tests run in several beside each other.
const STRIDE: u32 = 16;

/// A network of containers and its name server.
pub(crate) struct Town {
    pub(crate) names: Arc<NameServer>,
    /// The first three numbers of its addresses.
    network: [u8; 3],
    /// The port of every container.
    pub(crate) port: u16,
}

/// A backend on an address of its own. Dropping it kills it.
pub(crate) struct Container {
    pub(crate) address: IpAddr,
    stop: CancellationToken,
    serving: Task,
}

impl Town {
    pub(crate) async fn new() -> Self {
        let names = NameServer::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let taken = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().wrapping_mul(STRIDE).wrapping_add(taken).to_be_bytes();
        let network = [127, 64 + high % 64, low];
        // Nobody else listens in this network, so a port that is free on one address is free on all of them.
        let probe = TcpListener::bind((address(network, 254), 0)).await.unwrap();
        Self { names: Arc::new(names), network, port: probe.local_addr().unwrap().port() }
    }

    /// The address with this last number.
    pub(crate) fn address(&self, last: u8) -> IpAddr {
        address(self.network, last)
    }

    /// The same with the containers' port.
    pub(crate) fn socket(&self, last: u8) -> SocketAddr {
        SocketAddr::new(self.address(last), self.port)
    }

    /// A container of `service`; every answer of it is stamped `service@address`.
    pub(crate) async fn start(&self, service: &str, last: u8) -> Container {
        let identity = format!("{service}@{}", self.address(last));
        self.start_with(hello::router(&identity), last).await
    }

    /// A container that answers as `router` does.
    pub(crate) async fn start_with(&self, router: Router, last: u8) -> Container {
        let listener = self.listen(last).await;
        let stop = CancellationToken::new();
        let serving = tasks::spawn(serve::serve(listener, router, stop.clone().cancelled_owned()));
        Container { address: self.address(last), stop, serving }
    }

    /// An address that the test itself answers on.
    pub(crate) async fn listen(&self, last: u8) -> TcpListener {
        TcpListener::bind(self.socket(last)).await.unwrap()
    }

    /// Says that `name` has these addresses.
    pub(crate) fn publish(&self, name: &str, lasts: &[u8]) {
        let addresses: Vec<IpAddr> = lasts.iter().map(|&last| self.address(last)).collect();
        self.names.set(name, addresses, TTL);
    }

    /// A gateway that asks this name server, ten times a second.
    pub(crate) fn gate(&self, text: &str) -> Gate {
        self.gate_asking("refresh = \"100ms\"\nmin_refresh = \"20ms\"\ntimeout = \"100ms\"", text)
    }

    /// A gateway that asks this name server as `dns` says.
    pub(crate) fn gate_asking(&self, dns: &str, text: &str) -> Gate {
        let server = self.names.local_addr();
        Gate::start(&format!("[dns]\nservers = [\"{server}\"]\nfamily = \"v4\"\n{dns}\n{text}"))
    }

    /// A route from `/NAME` to every address of `NAME.test`.
    pub(crate) fn route(&self, name: &str) -> String {
        let port = self.port;
        format!("[[routes]]\nprefix = \"/{name}\"\nstrip_prefix = true\nupstream = \"http://{name}.test.:{port}\"\n")
    }

    /// Waits until the gateway has asked for each name twice more: what was published before is then in use. This is
    /// the grace that a platform gives to an address that has left.
    pub(crate) async fn noticed(&self, names: &[&str]) {
        let asked = |name: &&str| self.names.queries(name, hickory_proto::rr::RecordType::A);
        let before: Vec<u64> = names.iter().map(asked).collect();
        eventually("two more lookups", || names.iter().zip(&before).all(|(name, before)| asked(name) > before + 2))
            .await;
    }
}

fn address([first, second, third]: [u8; 3], last: u8) -> IpAddr {
    Ipv4Addr::new(first, second, third, last).into()
}

impl Container {
    /// Finishes the requests that it has, and is gone.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.serving.finished().await;
    }
}
