//! Floor 5: sockets in. Accepts connections, spreads them over the workers, and speaks HTTP on them.

pub mod codec;
pub mod connection;
pub mod dispatch;
pub mod examine;
pub mod listen;
pub mod overload;
pub mod reading;
pub mod socket;
pub mod workers;

use std::time::Duration;

use ipnet::IpNet;

use crate::base::body::Pace;

/// What clients may do on their connections: the limits of `[server]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Peers whose word about the client is taken.
    pub trusted: Vec<IpNet>,
    /// Fields in a request head.
    pub max_headers: usize,
    /// Bytes in a request head.
    pub max_header_bytes: usize,
    /// Time to read a request head.
    pub header_read_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive_timeout: Duration,
    /// The pace of request bodies, and how long a client may leave a response unread.
    pub pace: Pace,
    /// Concurrent streams on one HTTP/2 connection.
    pub http2_max_streams: u32,
}
