//! What the status page lives on: the whole state for whoever comes, then once a second what has changed since. Each
//! frame is made once for all who listen, off the workers and away from the threads that have connections to accept;
//! nothing is made while nobody listens but the few numbers that the charts of the next visitor begin with. Nobody who
//! listens slowly is waited for: who misses frames gets the whole state again.

mod delta;
mod history;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use tokio_util::sync::CancellationToken;

use self::delta::Changes;
use self::history::{History, Numbers};
use super::Desk;
use super::status::Status;
use crate::base::clock;
use crate::base::seat::{Seat, Seats};
use crate::base::tasks;
use crate::runtime::snapshot::Snapshot;
use crate::telemetry::histogram::BOUNDS;
use crate::upstream::status::UpstreamStatus;

/// Time between two frames.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Those who may listen at a time.
pub const LISTENERS: usize = 32;
/// Frames that wait for whoever listens slowly.
const WAITING: usize = 16;
/// After this a stream ends, in good order, before its connection is cut; a browser comes back by itself.
const LENGTH: Duration = Duration::from_secs(240);

/// The feed of one gateway.
#[derive(Debug)]
pub struct Feed {
    seats: Arc<Seats>,
    frames: Sender<Bytes>,
    state: Mutex<State>,
    /// Cancelled when another process serves in this one's place: then there is nothing more to hear here.
    retiring: CancellationToken,
}

/// What was said so far.
#[derive(Debug)]
struct State {
    frame: u64,
    numbers: Numbers,
    history: History,
    told: Option<Told>,
}

/// What those who listen know by now.
#[derive(Debug)]
struct Told {
    snapshot: Arc<Snapshot>,
    /// Everything but the upstreams.
    general: Value,
    upstreams: Vec<UpstreamStatus>,
    /// Where the next frame goes on with those numbers that the last one had no room for.
    turn: usize,
    /// The whole state as an event, made when the first one wants it.
    whole: Option<Bytes>,
}

/// The same members as the page `/api/v1/status` has.
#[derive(Serialize)]
struct WholeStatus<'a> {
    #[serde(flatten)]
    general: &'a Value,
    upstreams: &'a [UpstreamStatus],
}

/// One who listens.
struct Listener {
    desk: Arc<Desk>,
    receiver: Receiver<Bytes>,
    /// What comes before the next frame.
    first: Option<Bytes>,
    until: tokio::time::Instant,
    _seat: Seat,
}

impl Feed {
    /// Nobody listens yet. All streams end when `retiring` is cancelled.
    pub fn new(retiring: CancellationToken) -> Self {
        let state = State { frame: 0, numbers: Numbers::default(), history: History::default(), told: None };
        Self { seats: Arc::default(), frames: broadcast::channel(WAITING).0, state: Mutex::new(state), retiring }
    }

    /// Those who listen now.
    pub fn listeners(&self) -> usize {
        self.seats.taken()
    }

    /// The state and the changes of it as server-sent events; none where too many listen already.
    pub async fn listen(desk: Arc<Desk>) -> Option<impl Stream<Item = Result<Bytes, Infallible>>> {
        let seat = desk.feed.seats.try_take(LISTENERS)?;
        let (receiver, first) = join(&desk).await?;
        let until = (clock::now() + LENGTH).into();
        let listener = Listener { desk, receiver, first: Some(first), until, _seat: seat };
        Some(unfold(listener, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        }))
    }

    /// The whole state, and all frames from there on.
    fn join(&self, desk: &Desk) -> (Receiver<Bytes>, Bytes) {
        let mut state = self.lock();
        let fresh = state.told.take().filter(|_| self.frames.receiver_count() > 0);
        let mut told = fresh.unwrap_or_else(|| Told::now(desk));
        let whole = told.whole.take().unwrap_or_else(|| state.whole(&told));
        told.whole = Some(whole.clone());
        state.told = Some(told);
        (self.frames.subscribe(), whole)
    }

    /// Says what has changed.
    fn tick(&self, desk: &Desk) {
        let mut state = self.lock();
        state.frame += 1;
        let snapshot = desk.live.now().clone();
        let routes = state.numbers.since(snapshot.numbers());
        let time = unix_millis();
        state.history.push(format!("{{\"time\":{time},\"routes\":{routes}}}"));
        if self.frames.receiver_count() == 0 {
            state.told = None;
            return;
        }
        let event = match state.told.take() {
            Some(mut told) if Arc::ptr_eq(&told.snapshot, &snapshot) => {
                let changes = told.renew(desk);
                state.told = Some(told);
                frame(state.frame, time, &routes, &changes)
            }
            // Routes and upstreams may be others now.
            _ => {
                let told = Told::now(desk);
                let whole = state.whole(&told);
                state.told = Some(Told { whole: Some(whole.clone()), ..told });
                whole
            }
        };
        // Nobody listening any more is no error.
        let _ = self.frames.send(event);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the frames, as long as this is polled.
pub async fn run(desk: Arc<Desk>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let desk = desk.clone();
        // A large gateway's state takes milliseconds to look through.
        tasks::blocking_on(&Handle::current(), move || desk.feed.tick(&desk)).await;
    }
}

async fn join(desk: &Arc<Desk>) -> Option<(Receiver<Bytes>, Bytes)> {
    let desk = desk.clone();
    tasks::blocking_on(&Handle::current(), move || desk.feed.join(&desk)).await
}

impl State {
    /// The whole state as an event, with what the charts begin with.
    fn whole(&self, told: &Told) -> Bytes {
        let status = WholeStatus { general: &told.general, upstreams: &told.upstreams };
        let status = serde_json::to_string(&status).unwrap_or_default();
        let (time, period, bounds, history) = (unix_millis(), PERIOD.as_secs_f64(), json!(BOUNDS), self.history.text());
        let data = format!(
            "{{\"time\":{time},\"period_seconds\":{period},\"bounds_seconds\":{bounds},\"status\":{status},\"history\":{history}}}"
        );
        event("snapshot", self.frame, &data)
    }
}

impl Told {
    fn now(desk: &Desk) -> Self {
        let snapshot = desk.live.now().clone();
        let (general, upstreams) = delta::general(Status::of(desk, &snapshot));
        Self { snapshot, general, upstreams, turn: 0, whole: None }
    }

    /// Looks again, and returns what is different.
    fn renew(&mut self, desk: &Desk) -> Changes {
        let (general, upstreams) = delta::general(Status::of(desk, &self.snapshot));
        let mut changes = Changes { status: delta::difference(&self.general, &general), ..Changes::default() };
        delta::upstreams(&mut self.upstreams, upstreams, &mut self.turn, &mut changes);
        self.general = general;
        self.whole = None;
        changes
    }
}

impl Listener {
    /// The next event; none when the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let retiring = self.desk.feed.retiring.clone();
        let received = tokio::select! {
            received = self.receiver.recv() => received,
            () = retiring.cancelled() => return None,
            () = tokio::time::sleep_until(self.until) => return None,
        };
        match received {
            Ok(frame) => Some(frame),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(_)) => {
                let (receiver, whole) = join(&self.desk).await?;
                self.receiver = receiver;
                Some(whole)
            }
        }
    }
}

fn frame(number: u64, time: u64, routes: &str, changes: &Changes) -> Bytes {
    let changes = serde_json::to_string(changes).unwrap_or_default();
    // Both are objects: one is put into the other.
    let rest = changes.strip_prefix('{').filter(|rest| *rest != "}").map_or("}".to_owned(), |rest| format!(",{rest}"));
    event("frame", number, &format!("{{\"time\":{time},\"routes\":{routes}{rest}"))
}

/// An event of a stream (HTML Living Standard, "Server-sent events"). JSON has no line breaks.
fn event(name: &str, number: u64, data: &str) -> Bytes {
    format!("event: {name}\nid: {number}\nretry: 1000\ndata: {data}\n\n").into()
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
