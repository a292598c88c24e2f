//! Tunnels: what follows when a client asked to switch protocols and the upstream agreed. Bytes pass only after the
//! upstream's 101, never before, so that nobody can smuggle a request behind an upgrade that was refused.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::response::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

use super::endpoint::Ticket;
use crate::base::body::Meter;
use crate::base::exchange::{End, Exchange};

/// Bytes that are read at a time.
const BUFFER: usize = 8 * 1024;
/// What a side gets where the upstream has no `idle_timeout`: nobody is waited for without end.
const PATIENCE: Duration = Duration::from_secs(60);

/// An upgrade that a client asked for.
#[derive(Debug)]
pub struct Asked {
    /// The protocol.
    pub protocol: HeaderValue,
    /// The client's side of the tunnel.
    pub client: OnUpgrade,
}

/// Whether a 101 switches to what was asked for (RFC 9110 §7.8).
pub fn agrees<B>(asked: &Asked, response: &http::Response<B>) -> bool {
    let protocol = response.headers().get(UPGRADE);
    protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(asked.protocol.as_bytes()))
}

/// Starts the tunnel. It begins when the 101 has reached the client, and takes the exchange over at that time. `patience` is
/// what a side gets that has to take or to say something; while both are open, silence has no limit.
pub fn tunnel<B>(
    asked: Asked,
    response: http::Response<B>,
    ticket: Ticket,
    exchange: &mut Exchange,
    patience: Duration,
) -> Parts {
    let patience = if patience.is_zero() { PATIENCE } else { patience };
    let (heir, inherited) = oneshot::channel();
    exchange.heir = Some(heir);
    exchange.busy.client().switch();
    let (mut head, body) = response.into_parts();
    let upstream = head.extensions.remove::<OnUpgrade>();
    drop(body);
    let endpoint = ticket.endpoint().clone();
    endpoint.drive(async move {
        let (Ok(exchange), Some(upstream)) = (inherited.await, upstream) else {
            return;
        };
        carry(asked.client, upstream, exchange, patience).await;
        drop(ticket);
    });
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, asked.protocol);
    head
}

/// An exchange and what its tunnel has carried; told to the exchange however the tunnel ends.
struct Carried {
    exchange: Box<Exchange>,
    up: Arc<Meter>,
    down: AtomicU64,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.exchange.answer.bytes += self.down.load(Ordering::Relaxed);
    }
}

async fn carry(client: OnUpgrade, upstream: OnUpgrade, mut exchange: Box<Exchange>, patience: Duration) {
    let up = exchange.body_in.get_or_insert_default().clone();
    // What is said where nothing else is: the task has been ended from outside.
    (exchange.answer.end, exchange.answer.cause) = (End::Timeout, Some("the tunnel was cut off".into()));
    let mut carried = Carried { exchange, up, down: AtomicU64::new(0) };
    let over = match futures_util::future::try_join(client, upstream).await {
        Ok((client, upstream)) => both_ways(TokioIo::new(client), TokioIo::new(upstream), &carried, patience).await,
        Err(error) => Err((End::UpstreamReset, error.to_string())),
    };
    let (end, cause) = match over {
        Ok(()) => (End::Ok, None),
        Err((end, cause)) => (end, Some(cause.into())),
    };
    (carried.exchange.answer.end, carried.exchange.answer.cause) = (end, cause);
}

/// Carries bytes until both sides have ended. When one has, the other hears of it, and may go on for as long as it does
/// not stand still.
async fn both_ways(
    client: impl AsyncRead + AsyncWrite,
    upstream: impl AsyncRead + AsyncWrite,
    carried: &Carried,
    patience: Duration,
) -> Result<(), (End, String)> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let mut up = pin!(one_way(from_client, to_upstream, &carried.up.bytes, patience));
    let mut down = pin!(one_way(from_upstream, to_client, &carried.down, patience));
    let told = |broken: Broken, at_source, at_target| match broken {
        Broken::Source(error) => (at_source, error.to_string()),
        Broken::Target(error) => (at_target, error.to_string()),
        Broken::Stuck => (End::Timeout, "one side took nothing any more".to_owned()),
        Broken::Silent => (End::Timeout, "one side had ended, the other said nothing any more".to_owned()),
    };
    let ended = tokio::select! {
        ended = &mut up => ended.map(|()| true).map_err(|broken| told(broken, End::ClientGone, End::UpstreamReset)),
        ended = &mut down => ended.map(|()| false).map_err(|broken| told(broken, End::UpstreamReset, End::ClientGone)),
    };
    // A side that has said all it had to say may also take no more.
    if ended? {
        let rest = unless_silent(down, &carried.down, patience).await;
        rest.map_err(|broken| told(broken, End::UpstreamReset, End::Ok))
    } else {
        let rest = unless_silent(up, &carried.up.bytes, patience).await;
        rest.map_err(|broken| told(broken, End::ClientGone, End::Ok))
    }
}

/// Why one direction of a tunnel broke off.
enum Broken {
    Source(io::Error),
    Target(io::Error),
    /// The target takes nothing.
    Stuck,
    /// The source says nothing, and the other direction has ended.
    Silent,
}

/// Carries bytes one way until the source ends, and tells the target.
async fn one_way(
    source: impl AsyncRead,
    target: impl AsyncWrite,
    count: &AtomicU64,
    patience: Duration,
) -> Result<(), Broken> {
    let (mut source, mut target) = (pin!(source), pin!(target));
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = source.read(&mut buffer).await.map_err(Broken::Source)?;
        if read == 0 {
            return target.shutdown().await.map_err(Broken::Target);
        }
        count.fetch_add(read as u64, Ordering::Relaxed);
        let written = async {
            target.write_all(&buffer[..read]).await?;
            target.flush().await
        };
        let written = tokio::time::timeout(patience, written).await;
        written.map_err(|_| Broken::Stuck)?.map_err(Broken::Target)?;
    }
}

/// Goes on with one direction as long as bytes pass.
async fn unless_silent(
    mut work: Pin<&mut impl Future<Output = Result<(), Broken>>>,
    count: &AtomicU64,
    patience: Duration,
) -> Result<(), Broken> {
    loop {
        let before = count.load(Ordering::Relaxed);
        match tokio::time::timeout(patience, work.as_mut()).await {
            Ok(ended) => return ended,
            Err(_) if count.load(Ordering::Relaxed) == before => return Err(Broken::Silent),
            Err(_) => {}
        }
    }
}
