//! What `[redis]` comes to once it is checked: where the servers are, how they are spoken to, and how long they are waited
//! for. The only thing of this module that the configuration knows.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;

/// A Redis, or what speaks its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisPolicy {
    /// Where its servers are, how they are arranged, and which database.
    pub url: RedisUrl,
    /// The password of the user; it goes to the servers, not to sentinels.
    pub password: Option<Secret>,
    /// The password that sentinels ask for.
    pub sentinel_password: Option<Secret>,
    /// How long a request waits for an answer.
    pub timeout: Duration,
    /// What every key begins with. Gateways with the same prefix share their limits.
    pub prefix: String,
    /// A PEM file of the authorities that vouch for the servers, instead of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with the gateway's own certificate, and one with its key, where servers ask for them.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How often the gateway gives a sign of life there, and how long that counts.
    pub heartbeat: Heartbeat,
}

/// When signs of life are given. No key of the configuration: all gateways of one prefix have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time between two signs.
    pub period: Duration,
    /// The same while there is no answer.
    pub hurry: Duration,
    /// After which a gateway that gives no sign is none.
    pub life: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { period: Duration::from_secs(1), hurry: Duration::from_millis(200), life: Duration::from_secs(5) }
    }
}

/// Where the servers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Whether they are spoken to over TLS.
    pub tls: bool,
    /// How they are arranged.
    pub kind: Kind,
    /// The user of an access control list; nobody means the default user.
    pub username: Option<String>,
    /// A password that stands in the URL itself.
    pub password: Option<Secret>,
    /// Hosts and ports, at least one.
    pub servers: Vec<(String, u16)>,
    /// The number of the database.
    pub database: u32,
}

/// How servers are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single,
    /// Redis Cluster: the servers are where one begins to ask for the others.
    Cluster,
    /// Sentinels, which know the server that is in charge of this name.
    Sentinel(String),
}

impl RedisPolicy {
    /// How long a request waits where nothing is written.
    pub const TIMEOUT: Duration = Duration::from_millis(25);
    /// What keys begin with where nothing is written.
    pub const PREFIX: &str = "tollgate";

    /// Servers at a URL, everything else as usual.
    pub fn new(url: RedisUrl) -> Self {
        Self {
            url,
            password: None,
            sentinel_password: None,
            timeout: Self::TIMEOUT,
            prefix: Self::PREFIX.to_owned(),
            ca: None,
            identity: None,
            heartbeat: Heartbeat::default(),
        }
    }

    /// The password for the servers, wherever it was written.
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().or(self.url.password.as_ref()).map(Secret::expose)
    }
}
