//! The program's own log, on standard error: events of the gateway, never one per request. A thread of its own writes it:
//! whoever has something to say never waits for a pipe that nobody reads.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::names;
use super::page::{Measured, Samples};
use crate::base::clock;

/// Lines that may wait for standard error.
const WAITING: usize = 1024;
/// How often it is looked whether there is room again.
const OFTEN: Duration = Duration::from_millis(5);

/// What is written: from which severity on, and from which on by the parts of the program that are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Where nothing else is said.
    pub level: LevelFilter,
    /// By module, such as `tollgate::upstream`.
    pub targets: Vec<(String, LevelFilter)>,
}

/// Turns the log up and down while it runs.
#[derive(Clone, Debug)]
pub struct Dial {
    filter: reload::Handle<Targets, Registry>,
    levels: Arc<Mutex<Levels>>,
    queue: Queue,
}

impl Levels {
    /// Only by severity.
    pub fn new(level: LevelFilter) -> Self {
        Self { level, targets: Vec::new() }
    }

    /// Reads `info` or `info,tollgate::upstream=debug`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let level = |word: &str| match word.trim() {
            word @ ("off" | "error" | "warn" | "info" | "debug" | "trace") => word.parse().map_err(|_| String::new()),
            word => Err(format!("`{word}` is no level; there are: off, error, warn, info, debug, trace")),
        };
        let (mut own, mut targets) = (None, Vec::new());
        for part in text.split(',') {
            match part.split_once('=') {
                None if own.is_some() => return Err(format!("`{}`: there is a level already", part.trim())),
                None => own = Some(level(part)?),
                Some((target, word)) => {
                    let target = target.trim();
                    let sound = target.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | ':'));
                    if target.is_empty() || !sound {
                        return Err(format!("`{target}` is no part of the program, such as `tollgate::upstream`"));
                    }
                    targets.push((target.to_owned(), level(word)?));
                }
            }
        }
        let level = own.ok_or("there is no level for what is not named, such as `info`")?;
        Ok(Self { level, targets })
    }

    fn filter(&self) -> Targets {
        Targets::new().with_default(self.level).with_targets(self.targets.iter().cloned())
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={level}"))
    }
}

impl Dial {
    /// Writes this from now on.
    pub fn set(&self, levels: Levels) {
        // It fails only when the log is gone.
        let _ = self.filter.reload(levels.filter());
        *self.levels.lock().unwrap_or_else(PoisonError::into_inner) = levels;
    }

    /// What is written.
    pub fn levels(&self) -> Levels {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything is written that was said before, at most this long.
    pub fn flush(&self, patience: Duration) {
        self.queue.flush(patience);
    }
}

impl Measured for Dial {
    fn measure(&self, samples: &mut Samples) {
        samples.add(names::LOG_DROPPED, &[], self.queue.dropped.load(Ordering::Relaxed));
    }
}

/// Sends the program's events to standard error, as JSON or as text. Called once, by a binary; a second call changes
/// nothing.
pub fn start(level: LevelFilter, json: bool) -> Dial {
    let (queue, levels) = (Queue::start(io::stderr()), Levels::new(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone()).with_target(false);
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.with_ansi(false).boxed() };
    let (filter, handle) = reload::Layer::new(levels.filter());
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    Dial { filter: handle, levels: Arc::new(Mutex::new(levels)), queue }
}

/// What goes to the writing thread.
enum Word {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the writing thread.
#[derive(Clone, Debug)]
struct Queue {
    sender: SyncSender<Word>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn start(mut target: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let write = move || {
            while let Ok(word) = receiver.recv() {
                match word {
                    // There is nobody left to be told.
                    Word::Line(line) => drop(target.write_all(&line).and_then(|()| target.flush())),
                    Word::Flush(told) => drop(told.send(())),
                }
            }
        };
        // Without the thread the channel is closed, and every line counts as lost.
        let _ = std::thread::Builder::new().name("log".into()).spawn(write);
        Self { sender, dropped: Arc::default() }
    }

    fn flush(&self, patience: Duration) {
        let (told, done) = sync_channel(1);
        let (mut word, until) = (Word::Flush(told), clock::now() + patience);
        // Where nobody reads the log, there may be no room for a word more.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(word) {
            if clock::now() >= until {
                return;
            }
            word = back;
            std::thread::sleep(OFTEN);
        }
        let _ = done.recv_timeout(until.saturating_duration_since(clock::now()));
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Queued<'a>;

    fn make_writer(&'a self) -> Queued<'a> {
        Queued { queue: self, line: Vec::new() }
    }
}

/// One line on its way there.
struct Queued<'a> {
    queue: &'a Queue,
    line: Vec<u8>,
}

impl Write for Queued<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.queue.sender.try_send(Word::Line(line)).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Stuck;

    #[test]
    fn levels_are_read_and_shown_the_same_way() {
        for text in ["info", "off", "warn,tollgate::upstream=trace,tollgate::reload=debug"] {
            assert_eq!(Levels::parse(text).unwrap().to_string(), text);
        }
        for (text, says) in [
            ("loud", "`loud` is no level"),
            ("", "`` is no level"),
            ("tollgate=debug", "no level for what is not named"),
            ("info,debug", "a level already"),
            ("info,a b=debug", "no part of the program"),
            ("info,a=b=c", "`b=c` is no level"),
        ] {
            let problem = Levels::parse(text).unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_not_time() {
        let (_release, held) = std::sync::mpsc::channel();
        let queue = Queue::start(Stuck(held));
        for _ in 0..WAITING + 100 {
            queue.make_writer().write_all(b"line\n").unwrap();
        }
        assert!(queue.dropped.load(Ordering::Relaxed) >= 90);
        queue.flush(Duration::from_millis(20));
    }
}
