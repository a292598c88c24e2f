//! One client connection from its first byte to its last: speaks HTTP/1.1 or HTTP/2, ends it when it stands still, and
//! lets it finish when the gateway drains.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{Builder, UpgradeableConnection};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Limits;
use super::dispatch::Dispatch;
use super::socket::Socket;
use crate::base::alarm::Alarm;
use crate::base::client::{Client, Phase};
use crate::base::clock;
use crate::base::exchange::Origin;
use crate::base::headers;
use crate::base::seat::Seat;
use crate::runtime::Live;

/// hyper keeps this many fields on the stack; more have to be asked for, and cost an allocation per request.
const FIELDS_ON_STACK: usize = 100;
/// How long after its last answer an HTTP/1.1 client's next request is awaited though the gateway drains: it may be on
/// its way. Its answer then says `Connection: close`, which loses nothing; closing at once would lose it.
const LINGER: Duration = Duration::from_secs(1);
/// How often an idle HTTP/2 client is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// What every connection of a worker is served with.
#[derive(Clone, Debug)]
pub struct Service {
    /// What runs.
    pub live: Live,
    /// What clients may do.
    pub limits: Arc<Limits>,
    /// The worker.
    pub worker: usize,
    codec: Builder<TokioExecutor>,
}

impl Service {
    /// The service of one worker.
    pub fn new(live: Live, limits: Arc<Limits>, worker: usize) -> Self {
        let mut codec = Builder::new(TokioExecutor::new());
        // One flat write for head and body: 17.0 against 17.7 µs a small response, equal at 16 KiB, 8 % more at 1 MiB.
        codec.http1().max_buf_size(limits.max_header_bytes.max(8192)).header_read_timeout(None).writev(false);
        if limits.max_headers > FIELDS_ON_STACK {
            codec.http1().max_headers(limits.max_headers);
        }
        codec
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY);
        Self { live, limits, worker, codec }
    }

    /// Serves a connection until it ends, or until `draining` says to end it.
    pub async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        seats: Vec<Seat>,
        mut draining: watch::Receiver<bool>,
    ) -> Arc<Client> {
        let client = Client::new(peer.ip(), seats);
        let trusted = headers::is_trusted(peer.ip(), &self.limits.trusted);
        let origin = Origin { peer, trusted, scheme: "http", worker: self.worker };
        let dispatch =
            Dispatch { live: self.live.clone(), origin, client: client.clone(), limits: self.limits.clone() };
        let io = TokioIo::new(Socket::new(stream, client.clone()));
        let connection = Box::pin(self.codec.serve_connection_with_upgrades(io, dispatch).into_owned());
        let mut watched = Watched {
            connection,
            client: client.clone(),
            limits: self.limits.clone(),
            alarm: Alarm::default(),
            due: None,
            audited: clock::now(),
            leaving: false,
            ending: false,
        };
        tokio::select! {
            biased;
            () = &mut watched => return client,
            _ = draining.wait_for(|draining| *draining) => watched.leaving = true,
        }
        watched.await;
        client
    }
}

/// A connection and the timer that ends it when it stands still.
struct Watched {
    connection: Pin<Box<UpgradeableConnection<'static, TokioIo<Socket>, Dispatch, TokioExecutor>>>,
    client: Arc<Client>,
    limits: Arc<Limits>,
    alarm: Alarm,
    due: Option<Instant>,
    /// When the responses that an HTTP/2 client may leave unread were last looked through.
    audited: Instant,
    /// It is to end as soon as that loses nothing.
    leaving: bool,
    /// The codec has been told to end.
    ending: bool,
}

impl Watched {
    /// Whether to end now: a request that is under way says so in its answer, an idle connection has nothing to lose.
    fn may_leave(&self) -> bool {
        if !self.leaving || self.ending {
            return false;
        }
        let (phase, since) = self.client.phase();
        phase == Phase::Busy || self.client.is_multiplexed() || since + LINGER <= clock::now()
    }

    /// Takes no further request, and ends with the last one.
    fn end(&mut self) {
        self.ending = true;
        self.connection.as_mut().graceful_shutdown();
    }

    /// Tells the codec, which has to be polled for it.
    fn end_soon(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// When the connection has stood still for too long, as things are.
    fn limit(&self) -> Option<Instant> {
        let stalled = self.client.stalled().and_then(|stall| {
            let left = self.limits.pace.patience(stall.taken, stall.before, Duration::ZERO)?;
            Some(stall.since + left)
        });
        let (phase, since) = self.client.phase();
        let own = match phase {
            Phase::Head => nonzero(self.limits.header_read_timeout).map(|timeout| since + timeout),
            Phase::Idle => nonzero(self.limits.keep_alive_timeout).map(|timeout| since + timeout),
            Phase::Busy => None,
        };
        let lingering = (self.leaving && !self.ending && phase != Phase::Busy).then_some(since + LINGER);
        let own = earlier(own, lingering);
        earlier(earlier(stalled, own), self.audit())
    }

    /// When the responses of a busy HTTP/2 connection are looked through next.
    fn audit(&self) -> Option<Instant> {
        let busy = self.client.is_multiplexed() && self.client.phase().0 == Phase::Busy;
        let idle = nonzero(self.limits.pace.idle).filter(|_| busy)?;
        Some(self.audited + idle)
    }

    /// Keeps the alarm set: brought forward at once, moved back only when it rings, so that a busy connection does not
    /// touch it.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit();
        if let Some(limit) = limit
            && self.due.is_none_or(|due| limit < due)
        {
            self.due = Some(limit);
            self.alarm.set(limit);
        }
        if self.due.is_none() || self.alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.due = None;
        let Some(limit) = limit else {
            // Busy: look again when it may have become idle for long enough.
            let again = clock::now() + self.limits.header_read_timeout.max(Duration::from_secs(1));
            self.due = Some(again);
            self.alarm.set(again);
            return self.alarm.poll(cx);
        };
        let now = clock::now();
        if limit > now {
            return self.poll_alarm(cx);
        }
        if self.audit() == Some(limit) {
            self.audited = now;
            if let Some(then) = now.checked_sub(self.limits.pace.idle) {
                self.client.debts().write_off_before(then);
            }
            return self.poll_alarm(cx);
        }
        Poll::Ready(())
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn nonzero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // How it ended is in the access log, request by request; what never became a request is counted by the worker.
        if this.connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if this.may_leave() {
            return this.end_soon(cx);
        }
        if this.poll_alarm(cx).is_pending() {
            return Poll::Pending;
        }
        if this.may_leave() || this.client.phase().0 == Phase::Idle && !this.ending {
            return this.end_soon(cx);
        }
        Poll::Ready(())
    }
}
