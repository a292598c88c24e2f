//! A small name server over UDP and TCP, for trying things out: it says what it is told to say, faults
//! included. No recursion, no zones, no DNSSEC; not for production.

mod zone;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

pub use self::zone::{Behaviour, Service};
use self::zone::{Transport, Zone};
use crate::base::tasks::{self, Task};

/// How many ports are tried until one is free for both transports.
const BIND_TRIES: usize = 16;

/// A running name server; it stops when dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Shared>,
    _tasks: [Task; 2],
}

#[derive(Debug, Default)]
struct Shared(Mutex<Zone>);

impl NameServer {
    /// Serves an empty zone on `address`, both transports on one port; port 0 takes a free one. Needs a Tokio
    /// runtime around it.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind_both(address).await?;
        let address = udp.local_addr()?;
        let zone = Arc::new(Shared::default());
        let tasks = [tasks::spawn(serve_udp(udp, Arc::clone(&zone))), tasks::spawn(serve_tcp(tcp, Arc::clone(&zone)))];
        Ok(Self { address, zone, _tasks: tasks })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Gives `name` these addresses, with a time to live in seconds. Names are compared without case and
    /// without a final dot. Each answer begins with another address, like Docker's.
    pub fn set(&self, name: &str, addresses: impl Into<Vec<IpAddr>>, ttl: u32) {
        self.zone.lock().set(name, addresses.into(), ttl);
    }

    /// Gives `name` these SRV records, likewise.
    pub fn set_services(&self, name: &str, services: impl Into<Vec<Service>>, ttl: u32) {
        self.zone.lock().set_services(name, services.into(), ttl);
    }

    /// Forgets the addresses and services of `name`: NXDOMAIN, as for any name never set.
    pub fn remove(&self, name: &str) {
        self.zone.lock().remove(name);
    }

    /// How questions about `name` are answered from now on.
    pub fn behave(&self, name: &str, behaviour: &Behaviour) {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
            self.behave_for(name, kind, behaviour.clone());
        }
    }

    /// The same for one type only: A, AAAA or SRV.
    pub fn behave_for(&self, name: &str, kind: RecordType, behaviour: Behaviour) {
        self.zone.lock().behave(name, kind, behaviour);
    }

    /// How often `name` was asked for with this type, A, AAAA or SRV, over either transport, answered or not.
    pub fn queries(&self, name: &str, kind: RecordType) -> u64 {
        self.zone.lock().queries(name, kind)
    }

    /// An outage: while `true`, nobody gets an answer to anything.
    pub fn set_silent(&self, silent: bool) {
        self.zone.lock().set_silent(silent);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Zone> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address).await?;
        tries += 1;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tries == BIND_TRIES => return Err(error),
            Err(_) => {}
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Shared>) {
    let socket = Arc::new(socket);
    let mut delayed = JoinSet::new();
    let mut buffer = [0; 4096];
    loop {
        // On Linux an error here is an earlier reply's that nobody took; the socket lives on.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some(reply) = zone.lock().answer(&buffer[..length], Transport::Udp) else {
            continue;
        };
        while delayed.try_join_next().is_some() {}
        let socket = Arc::clone(&socket);
        delayed.spawn(async move {
            tokio::time::sleep(reply.after).await;
            let _ = socket.send_to(&reply.bytes, client).await;
        });
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let zone = Arc::clone(&zone);
        connections.spawn(async move {
            // The client went away or sent nonsense; either way this connection is over.
            let _ = serve_connection(stream, &zone).await;
        });
    }
}

/// Answers one query after the other, each with its length in front (RFC 1035, section 4.2.2).
async fn serve_connection(mut stream: TcpStream, zone: &Shared) -> io::Result<()> {
    loop {
        let mut query = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut query).await?;
        let reply = zone.lock().answer(&query, Transport::Tcp);
        let Some(reply) = reply else { continue };
        tokio::time::sleep(reply.after).await;
        let length = u16::try_from(reply.bytes.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&reply.bytes).await?;
    }
}
