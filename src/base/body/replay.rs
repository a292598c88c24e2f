//! Request bodies that may have to be sent more than once: what has passed is kept, up to a limit, so that another try
//! begins where the first one did. The body is lent to one sender at a time; lending it again takes it back from the
//! last one, wherever that is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use thiserror::Error;

use super::BodyError;
use super::upload::{Metered, RequestBody};

/// Most bytes of a request body that are kept for another try.
pub const KEPT: usize = 64 * 1024;

/// Gives a request body out, again and again while nothing of it is lost.
#[derive(Debug)]
pub struct Replay(Option<Arc<Mutex<Source>>>);

/// A body, what has come of it, and whose turn it is to read.
#[derive(Debug)]
struct Source {
    body: Box<Metered>,
    /// Everything so far, unless it was too much or nobody needs it.
    kept: Vec<u8>,
    keeping: bool,
    /// Whether its length was known from the beginning. Where not, it goes out in chunks each time: only behind those
    /// there is room for trailers.
    announced: bool,
    /// Whether some of what came is not kept.
    lost: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
    turn: u32,
}

/// A body that was lent.
#[derive(Debug)]
pub(super) struct Lent {
    source: Arc<Mutex<Source>>,
    turn: u32,
    /// How much of what is kept this one has had.
    had: usize,
    had_trailers: bool,
}

#[derive(Debug, Error)]
#[error("the request goes another way")]
struct TakenBack;

impl Replay {
    /// Makes a body one that can be given out again. What is announced as too long is not kept at all: it can go out
    /// again only while nobody has taken anything of it.
    pub fn of(body: &mut RequestBody) -> Self {
        let Some(own) = body.take_own() else { return Self(None) };
        let keeping = own.length().lower() <= KEPT as u64;
        let announced = own.length().exact().is_some();
        let source = Source {
            body: own,
            kept: Vec::new(),
            keeping,
            announced,
            lost: false,
            trailers: None,
            ended: false,
            turn: 0,
        };
        let source = Arc::new(Mutex::new(source));
        *body = RequestBody::lent(Lent { source: source.clone(), turn: 0, had: 0, had_trailers: false });
        Self(Some(source))
    }

    /// Whether the body can be given out again, from its beginning.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|source| !lock(source).lost)
    }

    /// The body, from its beginning; whoever had it before gets nothing more.
    pub fn again(&self) -> Option<RequestBody> {
        let Some(source) = &self.0 else { return Some(RequestBody::EMPTY) };
        let mut locked = lock(source);
        if locked.lost {
            return None;
        }
        locked.turn = locked.turn.wrapping_add(1);
        let turn = locked.turn;
        Some(RequestBody::lent(Lent { source: source.clone(), turn, had: 0, had_trailers: false }))
    }
}

impl Drop for Replay {
    /// There is no further try: what passes from now on is not kept.
    fn drop(&mut self) {
        if let Some(source) = &self.0 {
            lock(source).keeping = false;
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.body.poll(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.ended = true;
                    self.trailers = self.keeping.then(|| trailers.clone());
                }
            }
            Some(Err(_)) => self.lost = true,
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, data: &[u8]) {
        self.keeping &= self.kept.len() + data.len() <= KEPT;
        if self.keeping {
            self.kept.extend_from_slice(data);
        } else {
            self.lost |= !data.is_empty();
            self.kept = Vec::new();
        }
    }
}

impl Lent {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = lock(&self.source);
        if source.turn != self.turn {
            return Poll::Ready(Some(Err(BodyError::Broken(TakenBack.into()))));
        }
        if let Some(rest) = source.kept.get(self.had..).filter(|rest| !rest.is_empty()) {
            let data = Bytes::copy_from_slice(rest);
            self.had += data.len();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if source.ended {
            let trailers = source.trailers.as_ref().filter(|_| !self.had_trailers).cloned();
            self.had_trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(source.poll(cx));
        self.had = source.kept.len();
        self.had_trailers = frame.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let source = lock(&self.source);
        let caught_up = self.had >= source.kept.len();
        let ended = match source.ended {
            true => self.had_trailers || source.trailers.is_none(),
            false => source.body.is_at_end(),
        };
        source.turn == self.turn && caught_up && ended
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
        let to_come = if source.ended { SizeHint::with_exact(0) } else { source.body.length() };
        let again = source.kept.len().saturating_sub(self.had) as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(to_come.lower().saturating_add(again));
        if let Some(most) = to_come.upper().filter(|_| source.announced) {
            hint.set_upper(most.saturating_add(again));
        }
        hint
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}
