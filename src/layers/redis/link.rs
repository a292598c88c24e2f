//! Connections: how one is made to a server, to a Cluster or to whoever sentinels say is in charge, and how a command goes
//! over it. Everything is read anew for each connection, so that changed certificates count and a failover is noticed.

use std::path::Path;
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates, TlsMode, Value,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::policy::{Kind, RedisPolicy};

/// Time for a connection, with everything that is said on it first.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// Requests of one connection that may wait for the one before to be written.
const WAITING: usize = 1024;

/// A connection that many requests share. Clones are the same one.
#[derive(Clone)]
pub(super) enum Link {
    /// To one server.
    One(MultiplexedConnection),
    /// To the servers of a Cluster.
    Cluster(ClusterConnection),
}

impl Link {
    /// Sends a command, and waits for the answer to it for as long as it takes.
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = match self {
            Self::One(connection) => connection.send_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        };
        answer?.extract_error()
    }
}

/// Makes a connection on the current runtime, where it then lives.
pub(super) async fn connect(policy: &RedisPolicy) -> Result<Link, RedisError> {
    let certificates = certificates(policy).await?;
    match &policy.url.kind {
        Kind::Single => {
            let client = client(policy, server(policy, 0)?, certificates)?;
            Ok(Link::One(client.get_multiplexed_async_connection_with_config(&config()).await?))
        }
        Kind::Sentinel(master) => {
            let client = charged(policy, master, certificates).await?;
            Ok(Link::One(client.get_multiplexed_async_connection_with_config(&config()).await?))
        }
        Kind::Cluster => cluster(policy, certificates).await.map(Link::Cluster),
    }
}

/// Makes a connection that hears what is published. In a Cluster any server passes on what any other is told.
pub(super) async fn listen(policy: &RedisPolicy) -> Result<PubSub, RedisError> {
    let certificates = certificates(policy).await?;
    let client = match &policy.url.kind {
        Kind::Sentinel(master) => charged(policy, master, certificates).await?,
        Kind::Single | Kind::Cluster => {
            let any = fastrand::usize(..policy.url.servers.len().max(1));
            client(policy, server(policy, any)?, certificates)?
        }
    };
    client.get_async_pubsub().await
}

fn config() -> AsyncConnectionConfig {
    // Requests are limited by whoever asks.
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(WAITING)
}

fn settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// One of the servers that the configuration names.
fn server(policy: &RedisPolicy, at: usize) -> Result<ConnectionInfo, RedisError> {
    let (host, port) = policy.url.servers.get(at).cloned().unwrap_or_default();
    info(policy, host, port)
}

fn info(policy: &RedisPolicy, host: String, port: u16) -> Result<ConnectionInfo, RedisError> {
    let address = match policy.url.tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    };
    let mut redis = RedisConnectionInfo::default().set_db(policy.url.database.into());
    if let Some(username) = &policy.url.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = policy.password() {
        redis = redis.set_password(password);
    }
    Ok(address.into_connection_info()?.set_tcp_settings(settings()).set_redis_settings(redis))
}

fn client(
    policy: &RedisPolicy,
    server: ConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> Result<Client, RedisError> {
    match certificates {
        Some(certificates) if policy.url.tls => Client::build_with_tls(server, certificates),
        _ => Client::open(server),
    }
}

/// The server that sentinels say is in charge now.
async fn charged(
    policy: &RedisPolicy,
    master: &str,
    certificates: Option<TlsCertificates>,
) -> Result<Client, RedisError> {
    let sentinels = (0..policy.url.servers.len()).map(|at| server(policy, at).map(|info| info.addr().clone()));
    let sentinels = sentinels.collect::<Result<Vec<_>, _>>()?;
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
        .set_client_to_redis_db(policy.url.database.into())
        .set_client_to_redis_tcp_settings(settings());
    if let Some(username) = &policy.url.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = policy.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(password) = &policy.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password.expose());
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    let asked = async { builder.build()?.async_get_client().await };
    tokio::time::timeout(CONNECT, asked).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

async fn cluster(policy: &RedisPolicy, certificates: Option<TlsCertificates>) -> Result<ClusterConnection, RedisError> {
    let servers = (0..policy.url.servers.len()).map(|at| server(policy, at));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    let mut builder = ClusterClientBuilder::new(servers)
        .connection_timeout(CONNECT)
        .response_timeout(CONNECT)
        .retries(2)
        .min_retry_wait(5)
        .max_retry_wait(50)
        .tcp_settings(settings());
    if let Some(username) = &policy.url.username {
        builder = builder.username(username);
    }
    if let Some(password) = policy.password() {
        builder = builder.password(password);
    }
    if let Some(certificates) = certificates {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    let connected = async { builder.build()?.get_async_connection().await };
    tokio::time::timeout(CONNECT, connected).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

/// Who is trusted, and what we show of ourselves. Files are read where that keeps nobody waiting.
async fn certificates(policy: &RedisPolicy) -> Result<Option<TlsCertificates>, RedisError> {
    if !policy.url.tls {
        return Ok(None);
    }
    let (ca, identity) = (policy.ca.clone(), policy.identity.clone());
    let read = tokio::task::spawn_blocking(move || read(ca.as_deref(), identity.as_ref())).await;
    Ok(Some(read.map_err(std::io::Error::other)??))
}

fn read(
    ca: Option<&Path>,
    identity: Option<&(std::path::PathBuf, std::path::PathBuf)>,
) -> std::io::Result<TlsCertificates> {
    let root_cert = match ca {
        Some(path) => Some(std::fs::read(path)?),
        None => system_authorities(),
    };
    let client_tls = match identity {
        Some((cert, key)) => {
            Some(ClientTlsConfig { client_cert: std::fs::read(cert)?, client_key: std::fs::read(key)? })
        }
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// The system's authorities, as PEM; none where it has none, as in an empty container: then those of browsers count.
fn system_authorities() -> Option<Vec<u8>> {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let pem = certificates.iter().map(|one| {
        let text = STANDARD.encode(one);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    });
    (!certificates.is_empty()).then(|| pem.collect::<String>().into_bytes())
}
