//! Replicas of the hello backend on loopback addresses of their own, all on one port, as the tasks of a service are:
//! a new one listens before its address is published, a removed one is unpublished first, then lingers, then drains.
//! Whoever publishes the addresses, to DNS say, is told through a callback; nothing here knows who asks for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::base::tasks::{self, Task};
use crate::lab::hello;

/// The most replicas at one time; their addresses are 127.0.1.1 to 127.0.1.254.
pub const MAX_REPLICAS: usize = 200;

/// What replicas are called and how they leave.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Their name; a replica's own has its number too, `app-3`.
    pub name: String,
    /// The port of all of them; 0 means one that is free.
    pub port: u16,
    /// How long a removed replica still accepts, for callers that have not asked DNS again.
    pub linger: Duration,
    /// How long it may then take to finish its requests.
    pub drain: Duration,
}

/// A set of replicas that can be scaled while it serves. Dropping it ends all of them at once.
pub struct Replicas<P> {
    options: ReplicaOptions,
    port: u16,
    publish: P,
    running: Vec<Replica>,
    leaving: JoinSet<()>,
    last: u8,
}

struct Replica {
    address: IpAddr,
    stop: CancellationToken,
    serving: Task,
}

impl<P: Fn(&[IpAddr])> Replicas<P> {
    /// Starts the first replicas; `publish` is told the addresses now, and after every change.
    ///
    /// # Errors
    /// When no port can be had, or the count is above [`MAX_REPLICAS`].
    pub async fn start(options: ReplicaOptions, count: usize, publish: P) -> io::Result<Self> {
        let port = options.port;
        let (running, leaving) = (Vec::new(), JoinSet::new());
        let mut replicas = Self { options, port, publish, running, leaving, last: 0 };
        replicas.scale(count).await?;
        Ok(replicas)
    }

    /// Makes it `count` replicas. Returns once the new ones accept and the addresses are published; the removed ones
    /// finish in the background, the youngest first to go.
    ///
    /// # Errors
    /// When an address cannot be had, or the count is above [`MAX_REPLICAS`]; the replicas that run go on.
    pub async fn scale(&mut self, count: usize) -> io::Result<()> {
        while self.leaving.try_join_next().is_some() {}
        if count > MAX_REPLICAS {
            return Err(io::Error::other(format!("{MAX_REPLICAS} replicas at most")));
        }
        let mut added = Vec::new();
        while self.running.len() + added.len() < count {
            added.push(self.add().await?);
        }
        self.running.extend(added);
        let removed = self.running.split_off(count);
        (self.publish)(&self.addresses());
        let (linger, drain) = (self.options.linger, self.options.drain);
        for replica in removed {
            self.leaving.spawn(replica.leave(linger, drain));
        }
        Ok(())
    }

    /// The published addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.running.iter().map(|replica| replica.address).collect()
    }

    /// The port of all replicas.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until every removed replica is gone.
    pub async fn settled(&mut self) {
        while self.leaving.join_next().await.is_some() {}
    }

    /// Ends all of them as [`Replicas::scale`] to none does, and waits for it.
    pub async fn stop(mut self) {
        (self.publish)(&[]);
        for replica in self.running.drain(..) {
            self.leaving.spawn(replica.leave(Duration::ZERO, self.options.drain));
        }
        self.settled().await;
    }

    /// Starts a replica on the next address that is free. Addresses come round slowly, so that one which has just
    /// been removed is not soon somebody else's.
    async fn add(&mut self) -> io::Result<Replica> {
        let mut refused = io::Error::other("no loopback address is free");
        for _ in 1..=254 {
            self.last = self.last % 254 + 1;
            let address = Ipv4Addr::new(127, 0, 1, self.last);
            match TcpListener::bind((address, self.port)).await {
                Ok(listener) => {
                    self.port = listener.local_addr()?.port();
                    return Ok(Replica::start(
                        listener,
                        address.into(),
                        format!("{}-{}", self.options.name, self.last),
                    ));
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl Replica {
    fn start(listener: TcpListener, address: IpAddr, name: String) -> Self {
        let stop = CancellationToken::new();
        let serving = tasks::spawn(hello::serve(listener, name, stop.clone().cancelled_owned()));
        Self { address, stop, serving }
    }

    /// Accepts for a while longer, then finishes what is in flight; what takes longer than `drain` is cut.
    async fn leave(self, linger: Duration, drain: Duration) {
        tokio::time::sleep(linger).await;
        self.stop.cancel();
        let _ = tokio::time::timeout(drain, self.serving.finished()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use http::HeaderMap;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::lab::probe::{self, Options, Report};

    fn options(linger: u64) -> ReplicaOptions {
        ReplicaOptions {
            name: "app".to_owned(),
            port: 0,
            linger: Duration::from_millis(linger),
            drain: Duration::from_secs(30),
        }
    }

    async fn ask(address: IpAddr, port: u16, path: &str, requests: u64) -> Report {
        let target = format!("http://{}{path}", SocketAddr::new(address, port)).parse().unwrap();
        let timeout = Duration::from_secs(30);
        probe::run(&Options { target, requests, connections: 1, headers: HeaderMap::new(), timeout }).await
    }

    #[tokio::test]
    async fn scaling_loses_no_request_in_flight() {
        let published = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&published);
        let publish = move |addresses: &[IpAddr]| *seen.lock().unwrap() = addresses.to_vec();
        let mut replicas = Replicas::start(options(0), 3, publish).await.unwrap();
        let port = replicas.port();
        for count in [5, 2, 3] {
            let before = replicas.addresses();
            // A request that is under way in every replica while the set changes.
            let (sent, mut arrived) = tokio::sync::mpsc::channel(before.len());
            let flights = before.iter().map(|address| {
                let (sent, address) = (sent.clone(), *address);
                async move {
                    let mut events = start_stream(address, port).await;
                    sent.send(()).await.unwrap();
                    rest(&mut events).await
                }
            });
            let scaling = async {
                for _ in &before {
                    arrived.recv().await.unwrap();
                }
                replicas.scale(count).await.unwrap();
            };
            let (finished, ()) = tokio::join!(futures_util::future::join_all(flights), scaling);
            assert!(finished.iter().all(|text| text.contains("data: 3")), "{finished:?}");
            assert_eq!(*published.lock().unwrap(), replicas.addresses());
            for address in replicas.addresses() {
                assert_eq!(ask(address, port, "/", 3).await.failed(), 0);
            }
            replicas.settled().await;
            for gone in before.iter().filter(|address| !replicas.addresses().contains(address)) {
                assert!(TcpStream::connect((*gone, port)).await.is_err(), "{gone} still accepts");
            }
        }
        replicas.stop().await;
        assert!(published.lock().unwrap().is_empty());
    }

    /// Begins an event stream and returns when its first event is there.
    async fn start_stream(address: IpAddr, port: u16) -> TcpStream {
        let mut stream = TcpStream::connect((address, port)).await.unwrap();
        stream.write_all(b"GET /stream/3 HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        stream
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_removed_replica_lingers_and_its_address_is_not_soon_reused() {
        let mut replicas = Replicas::start(options(60_000), 2, |_: &[IpAddr]| {}).await.unwrap();
        let (port, second) = (replicas.port(), replicas.addresses()[1]);
        replicas.scale(1).await.unwrap();
        assert_eq!(ask(second, port, "/", 2).await.failed(), 0);
        replicas.scale(3).await.unwrap();
        assert!(!replicas.addresses().contains(&second), "{:?}", replicas.addresses());
    }

    #[tokio::test]
    async fn too_many_replicas_are_refused_and_change_nothing() {
        let mut replicas = Replicas::start(options(0), 1, |_: &[IpAddr]| {}).await.unwrap();
        assert!(replicas.scale(MAX_REPLICAS + 1).await.is_err());
        assert_eq!(replicas.addresses().len(), 1);
    }
}
