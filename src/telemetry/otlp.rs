//! Sends spans to a collector, by OTLP over HTTP in protobuf. Whoever has spans never waits: they go into a queue that
//! has an end, and what finds no room there is counted and gone. A task beside the workers sends them in batches, and
//! tries again where the protocol says so. Knows nothing of requests.
//!
//! The five messages that it takes are written down in `proto`: a few hundred lines less than an SDK with a pipeline, a
//! thread and a client of its own, and nothing global.

mod client;
mod export;
pub mod proto;
mod wait;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use metrics::Counter;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::names;
use super::recorder::Recorder;
use crate::base::{clock, tasks};

/// Groups of spans that may wait to be sent.
const WAITING: usize = 2048;
/// How often the end looks whether everything has been sent.
const OFTEN: Duration = Duration::from_millis(5);

/// A piece of work in a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace: u128,
    /// Its id.
    pub id: u64,
    /// The span that it is part of; 0 for none.
    pub parent: u64,
    /// The flags of the trace.
    pub flags: u8,
    /// What it is.
    pub name: Cow<'static, str>,
    /// Whose work it is.
    pub kind: Kind,
    /// When it began, since 1970.
    pub start: Duration,
    /// When it was over.
    pub end: Duration,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed, and what there is to say of that.
    pub error: Option<String>,
    /// A span of another trace that it belongs to.
    pub link: Option<(u128, u64)>,
}

/// Whose work a span is; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process's own.
    Internal = 1,
    /// Done for somebody who asked.
    Server = 2,
    /// Asked of somebody else.
    Client = 3,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

/// Where spans go, and what they are from.
#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    /// Base URL: spans go to `/v1/traces` below it.
    pub url: String,
    /// Fields of each request to it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What all spans are from.
    pub resource: Vec<(&'static str, Value)>,
}

/// Everything that is exported in one gateway, by whichever configuration: how it is counted, and when it ends.
#[derive(Debug)]
pub struct Exports {
    exported: Counter,
    dropped: Counter,
    failed: Counter,
    /// Spans that are on their way.
    pending: AtomicUsize,
    /// Whether there is no more time to wait for a better moment.
    hurry: watch::Sender<bool>,
}

/// The way to a collector. When the last one who has it is gone, what is queued is sent still.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Sender<Vec<Span>>,
    exports: Arc<Exports>,
}

impl Exports {
    /// Fetches the counters.
    pub fn new(recorder: &Recorder) -> Arc<Self> {
        let counter = |result| recorder.counter(names::TRACE_SPANS, &[result]);
        Arc::new(Self {
            exported: counter("exported"),
            dropped: counter("dropped"),
            failed: counter("failed"),
            pending: AtomicUsize::new(0),
            hurry: watch::Sender::new(false),
        })
    }

    /// Has everything sent that waits, and gives it this long. Blocks: call it where that is allowed.
    pub fn finish(&self, patience: Duration) {
        self.hurry.send_replace(true);
        let until = clock::now() + patience;
        while self.pending.load(Ordering::Acquire) > 0 && clock::now() < until {
            std::thread::sleep(OFTEN);
        }
    }

    fn settle(&self, counter: &Counter, spans: usize) {
        counter.increment(spans as u64);
        self.pending.fetch_sub(spans, Ordering::Release);
    }
}

impl Exporter {
    /// Begins to send to this collector, on the runtime behind `control`.
    pub fn start(collector: Collector, exports: &Arc<Exports>, control: &Handle) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tasks::detach_on(control, export::run(collector, waiting, exports.clone()));
        Self { queue, exports: exports.clone() }
    }

    /// Takes spans that belong together. Never waits.
    pub fn send(&self, spans: Vec<Span>) {
        let count = spans.len();
        self.exports.pending.fetch_add(count, Ordering::Relaxed);
        if self.queue.try_send(spans).is_err() {
            self.exports.settle(&self.exports.dropped, count);
        }
    }
}

/// A moment of this process as time since 1970, given one moment on both clocks.
pub fn since_1970(moment: Instant, now: (Instant, Duration)) -> Duration {
    now.1.saturating_sub(now.0.saturating_duration_since(moment))
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}
