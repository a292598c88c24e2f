//! One client connection from its first byte to its last: speaks HTTP/1.1 or HTTP/2, ends it when it stands still, and
//! lets it finish when the gateway drains.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::coop;

use super::Limits;
use super::codec::{Codec, Codecs};
use super::dispatch::Dispatch;
use super::socket::Socket;
use crate::base::alarm::Alarm;
use crate::base::client::{Client, Phase};
use crate::base::clock;
use crate::base::exchange::Origin;
use crate::base::headers;
use crate::base::outbox::Outbox;
use crate::base::seat::Seat;
use crate::runtime::Live;
use crate::runtime::mount::Carrier;

/// How long after its last answer an HTTP/1.1 client's next request is awaited though the gateway drains: it may be on
/// its way. Its answer then says `Connection: close`, which loses nothing; closing at once would lose it.
const LINGER: Duration = Duration::from_secs(1);
/// How long an HTTP/1.1 connection is idle before its codec is put away, and how often one that is in use is looked at
/// for that: putting away and beginning again cost about as much as a request.
const REST_AFTER: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What every connection of a worker is served with.
#[derive(Clone, Debug)]
pub struct Service {
    /// What runs.
    pub live: Live,
    /// What clients may do.
    pub limits: Arc<Limits>,
    /// The worker.
    pub worker: usize,
    codecs: Arc<Codecs>,
}

impl Service {
    /// The service of one worker.
    pub fn new(live: Live, limits: Arc<Limits>, worker: usize) -> Self {
        let codecs = Arc::new(Codecs::new(&limits));
        Self { live, limits, worker, codecs }
    }

    /// Serves a connection until it ends, or until `draining` says to end it. Writes through the worker's outbox.
    pub async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        seats: Vec<Seat>,
        outbox: Option<Arc<Outbox>>,
        mut draining: watch::Receiver<bool>,
    ) -> Arc<Client> {
        let client = Client::through(outbox, peer.ip(), seats);
        client.keep_time();
        let trusted = headers::is_trusted(peer.ip(), &self.limits.trusted);
        let origin = Origin { peer, trusted, scheme: "http", worker: self.worker };
        let dispatch = Dispatch {
            live: self.live.clone(),
            origin,
            client: client.clone(),
            limits: self.limits.clone(),
            carrier: Carrier::default(),
        };
        let mut watched = Watched {
            codec: Codec::new(self.codecs.clone(), Socket::new(stream, client.clone()), dispatch),
            client: client.clone(),
            limits: self.limits.clone(),
            alarm: Alarm::default(),
            due: None,
            audited: clock::now(),
            look: None,
            leaving: false,
            ending: false,
        };
        let news = draining.clone();
        {
            let mut told = pin!(draining.wait_for(|draining| *draining));
            let mut listening = false;
            let ended = poll_fn(|cx| {
                if Pin::new(&mut watched).poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                poll_told(told.as_mut(), &news, &mut listening, cx).map(|()| false)
            });
            if ended.await {
                return client;
            }
        }
        watched.leaving = true;
        watched.await;
        client
    }
}

/// A connection and the timer that ends it when it stands still.
struct Watched {
    codec: Codec,
    client: Arc<Client>,
    limits: Arc<Limits>,
    alarm: Alarm,
    due: Option<Instant>,
    /// When the responses that an HTTP/2 client may leave unread were last looked through.
    audited: Instant,
    /// Until then it is not looked at whether it could rest.
    look: Option<Instant>,
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

    /// Takes no further request, and ends with the last one. The codec has to be polled for it.
    fn end_soon(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ending = true;
        self.codec.end();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// As things are: when the connection has stood still for too long, and when it has been idle for so long that it
    /// may rest.
    fn limits(&self) -> (Option<Instant>, Option<Instant>) {
        let (phase, since) = self.client.phase();
        let stalled = self.client.stalled();
        let own = match phase {
            Phase::Head => nonzero(self.limits.header_read_timeout).map(|timeout| since + timeout),
            Phase::Idle => nonzero(self.limits.keep_alive_timeout).map(|timeout| since + timeout),
            Phase::Busy => self.client.expected_by(),
        };
        let lingering = (self.leaving && !self.ending && phase != Phase::Busy).then_some(since + LINGER);
        let stuck = stalled.and_then(|stall| {
            let left = self.limits.pace.patience(stall.taken, stall.before, Duration::ZERO)?;
            Some(stall.since + left)
        });
        let unused = phase == Phase::Idle && stalled.is_none() && !self.leaving && self.codec.may_rest();
        let rest = unused.then(|| self.look.map_or(since, |look| look.max(since)) + REST_AFTER);
        (earlier(stuck, earlier(own, lingering)), rest)
    }

    /// When the responses of a busy HTTP/2 connection are looked through next.
    fn audit(&self) -> Option<Instant> {
        let busy = self.client.is_multiplexed() && self.client.phase().0 == Phase::Busy;
        let idle = nonzero(self.limits.pace.idle).filter(|_| busy)?;
        Some(self.audited + idle)
    }

    /// Keeps the alarm set: brought forward at once, moved back only when it rings, so that a busy connection does not
    /// touch it. Ready when the connection has stood still for too long.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (limit, rest) = self.limits();
            let audit = self.audit();
            if let Some(wake) = earlier(earlier(limit, rest), audit)
                && self.due.is_none_or(|due| wake < due)
            {
                self.due = Some(wake);
                self.alarm.set(wake);
            }
            if self.due.is_none() || self.alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.due = None;
            let now = clock::now();
            if audit.is_some_and(|audit| audit <= now) {
                self.audited = now;
                let then = now.checked_sub(self.limits.pace.idle);
                then.into_iter().for_each(|then| self.client.debts().write_off_before(then));
            }
            if limit.is_some_and(|limit| limit <= now) {
                return Poll::Ready(());
            }
            self.look = Some(now + LOOK_EVERY);
            if rest.is_some_and(|rest| rest <= now) {
                self.codec.rest();
                if self.codec.poll(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// Whether there is word to leave. It is this task alone that listens: once, and again when there is news; each time costs
/// 300 instructions. A task that has used up its budget is put off without being noted down, so it has not listened.
fn poll_told<T>(
    told: Pin<&mut impl Future<Output = T>>,
    news: &watch::Receiver<bool>,
    listening: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if *listening && !news.has_changed().unwrap_or(true) {
        return Poll::Pending;
    }
    *listening = coop::has_budget_remaining();
    told.poll(cx).map(drop)
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
        loop {
            // What never became a request is counted by the worker.
            if this.codec.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if this.may_leave() {
                return this.end_soon(cx);
            }
            if this.poll_alarm(cx).is_pending() {
                return Poll::Pending;
            }
            if this.client.phase().0 == Phase::Busy && this.client.ring() {
                continue;
            }
            if this.may_leave() || this.client.phase().0 == Phase::Idle && !this.ending {
                return this.end_soon(cx);
            }
            if this.client.stalled().is_some() {
                this.client.give_up();
            }
            return Poll::Ready(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tasks;

    #[tokio::test]
    async fn word_to_leave_reaches_a_task_that_had_used_up_its_budget_when_it_began_to_listen() {
        let draining = watch::Sender::new(false);
        let mut heard = draining.subscribe();
        let (told, listens) = tokio::sync::oneshot::channel();
        let task = tasks::spawn(async move {
            let news = heard.clone();
            let mut told_to_leave = pin!(heard.wait_for(|draining| *draining));
            let (mut listening, mut polls, mut told) = (false, 0, Some(told));
            poll_fn(|cx| {
                while polls == 0 && coop::has_budget_remaining() {
                    let _ = coop::poll_proceed(cx).map(|progress| progress.made_progress());
                }
                polls += 1;
                if polls > 1
                    && let Some(told) = told.take()
                {
                    let _ = told.send(());
                }
                poll_told(told_to_leave.as_mut(), &news, &mut listening, cx)
            })
            .await;
        });
        listens.await.unwrap();
        draining.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), task.finished()).await.expect("it is told");
    }
}
