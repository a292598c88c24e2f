//! Server-sent events (HTML Living Standard, "Server-sent events") of one URL, as far as a program needs them: names and
//! data. Bounded in size, and in the time that nothing may come.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::timeout;

use super::fetch::{FetchError, open};
use super::probe::Target;
use crate::base::tasks::Task;

/// Time until the first event begins, and between two pieces of any.
const SILENCE: Duration = Duration::from_secs(8);
/// Bytes of an event: the state of a large gateway has some millions.
const MOST: usize = 64 << 20;

/// Why there are no more events.
#[derive(Debug, Error)]
pub enum EventsError {
    /// There is no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The answer is another one.
    #[error("the answer is {0}")]
    Status(http::StatusCode),
    /// The stream broke off.
    #[error("the stream broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// An event is too long.
    #[error("an event has more than 64 MiB")]
    TooLong,
    /// Nothing comes.
    #[error("nothing has come for 8 s")]
    Silence,
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty where it has none.
    pub name: String,
    /// What it says; lines of it are joined by line feeds.
    pub data: String,
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    lines: Lines,
    _driver: Task,
}

impl Events {
    /// Begins to listen.
    ///
    /// # Errors
    /// There is no stream of events at the target.
    pub async fn listen(target: &Target) -> Result<Self, EventsError> {
        let fields = HeaderMap::new();
        let opening = open(Method::GET, target, &fields, Bytes::new());
        let (response, driver) = timeout(SILENCE, opening).await.map_err(|_| EventsError::Silence)??;
        match response.status() {
            http::StatusCode::OK => Ok(Self { body: response.into_body(), lines: Lines::default(), _driver: driver }),
            status => Err(EventsError::Status(status)),
        }
    }

    /// The next event; none where the stream has ended in good order.
    ///
    /// # Errors
    /// The stream broke off, or nothing comes any more.
    pub async fn next(&mut self) -> Result<Option<Event>, EventsError> {
        loop {
            if let Some(event) = self.lines.event()? {
                return Ok(Some(event));
            }
            let Some(frame) = timeout(SILENCE, self.body.frame()).await.map_err(|_| EventsError::Silence)? else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                self.lines.bytes.extend_from_slice(&data);
            }
        }
    }
}

/// What has come and is no whole event yet.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Bytes of it that have no line end.
    seen: usize,
    event: Event,
}

impl Lines {
    /// The next whole event.
    fn event(&mut self) -> Result<Option<Event>, EventsError> {
        let mut from = 0;
        while let Some(end) = self.bytes[self.seen..].iter().position(|&byte| byte == b'\n') {
            let line = &self.bytes[from..self.seen + end];
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            from = self.seen + end + 1;
            self.seen = from;
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if event.data.is_empty() {
                    continue;
                }
                self.forget(from);
                return Ok(Some(event));
            }
            match line.split_once(':').map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value))) {
                Some(("event", value)) => value.clone_into(&mut self.event.name),
                Some(("data", value)) => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                _ => {}
            }
        }
        self.forget(from);
        self.seen = self.bytes.len();
        if self.bytes.len() + self.event.data.len() > MOST {
            return Err(EventsError::TooLong);
        }
        Ok(None)
    }

    fn forget(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_come() {
        let text = "event: one\nid: 1\nretry: 1000\ndata: {\"a\":1}\n\n: nothing\n\r\ndata:x\r\ndata: y\r\n\r\nevent: open\ndata: z";
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        for size in 1..text.len() {
            let (mut lines, mut events) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                lines.bytes.extend_from_slice(piece);
                while let Some(event) = lines.event().unwrap() {
                    events.push(event);
                }
            }
            assert_eq!(events, [event("one", "{\"a\":1}"), event("", "x\ny")], "in pieces of {size}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut lines = Lines { bytes: vec![b'x'; MOST], ..Lines::default() };
        assert!(lines.event().unwrap().is_none());
        lines.bytes.push(b'x');
        assert!(matches!(lines.event(), Err(EventsError::TooLong)));
    }
}
