//! A body on its way into the store, read by everybody who waits for it at their own pace. It is kept from its beginning
//! while it may be stored, so a slow reader holds up nobody. When it turns out to be too large, what all have read is let
//! go of, and whoever sends it waits for the slowest once that one is a whole window behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::room::Share;
use crate::base::body::{Cause, Source};

/// Most that a reader may be behind where the body is not kept.
const WINDOW: u64 = 256 * 1024;

/// The body.
#[derive(Debug)]
pub struct Fill(Mutex<State>);

#[derive(Debug)]
struct State {
    pieces: VecDeque<Bytes>,
    /// Bytes before the first piece, and up to the end of the last.
    begin: u64,
    end: u64,
    /// How long it will be, where that was said.
    length: Option<u64>,
    progress: Progress,
    /// Memory that the pieces have, while they are kept.
    share: Option<Share>,
    most: u64,
    readers: Vec<Option<Place>>,
    /// Who sends, while it waits for readers.
    sender: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// More may come.
    Open,
    /// All has come.
    Whole,
    /// No more comes.
    Broken,
}

#[derive(Debug)]
struct Place {
    read: u64,
    waker: Option<Waker>,
}

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is kept.
    Kept,
    /// It passes through: the body is not stored.
    Passing,
}

/// Reads the body from its beginning.
#[derive(Debug)]
pub struct Reader {
    fill: Arc<Fill>,
    place: usize,
}

impl Fill {
    /// A body of this length, where it is known, that is kept up to so many bytes.
    pub fn new(length: Option<u64>, most: u64, share: Share) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            pieces: VecDeque::new(),
            begin: 0,
            end: 0,
            length,
            progress: Progress::Open,
            share: Some(share),
            most,
            readers: Vec::new(),
            sender: None,
        })))
    }

    /// A reader, while the beginning is still there.
    pub fn read(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.lock();
        if state.begin > 0 || state.share.is_none() || state.progress == Progress::Broken {
            return None;
        }
        let free = state.readers.iter().position(Option::is_none);
        let place = free.unwrap_or(state.readers.len());
        let new = Some(Place { read: 0, waker: None });
        match state.readers.get_mut(place) {
            Some(slot) => *slot = new,
            None => state.readers.push(new),
        }
        drop(state);
        Some(Reader { fill: self.clone(), place })
    }

    /// The next piece has come.
    pub fn push(&self, piece: Bytes) -> Pushed {
        let mut state = self.lock();
        let length = piece.len() as u64;
        state.end += length;
        if state.end > state.most {
            state.share = None;
        }
        let missing = state.share.as_ref().map_or(0, |share| state.end.saturating_sub(share.bytes()));
        if missing > 0 && state.share.as_mut().is_some_and(|share| !share.grow(missing)) {
            state.share = None;
        }
        if length > 0 {
            state.pieces.push_back(piece);
        }
        let pushed = if state.share.is_some() { Pushed::Kept } else { Pushed::Passing };
        state.let_go();
        state.wake();
        pushed
    }

    /// All has come. The whole body in one piece, if it was kept and is as long as it was to be.
    pub fn finish(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let whole = state.length.is_none_or(|length| length == state.end);
        state.progress = if whole { Progress::Whole } else { Progress::Broken };
        let kept = whole && state.share.is_some() && state.make_room_for_copy();
        let body = kept.then(|| state.join());
        state.wake();
        body
    }

    /// Whether it is larger than what may be kept.
    pub fn is_too_large(&self) -> bool {
        let state = self.lock();
        state.end > state.most
    }

    /// No more comes.
    pub fn break_off(&self) {
        let mut state = self.lock();
        state.progress = Progress::Broken;
        state.share = None;
        state.wake();
    }

    /// Ready when there is room for the next piece: always, while the body is kept.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let slowest = state.readers.iter().flatten().map(|place| place.read).min();
        let full = state.share.is_none() && slowest.is_some_and(|slowest| state.end - slowest >= WINDOW);
        state.sender = full.then(|| cx.waker().clone());
        if full { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Whether somebody still reads, or the body is still kept.
    pub fn is_wanted(&self) -> bool {
        let state = self.lock();
        state.share.is_some() || state.readers.iter().any(Option::is_some)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The piece at this position.
    fn piece(&self, at: u64) -> Option<Bytes> {
        let mut position = self.begin;
        for piece in &self.pieces {
            let next = position + piece.len() as u64;
            if at < next {
                return Some(piece.slice(usize::try_from(at.checked_sub(position)?).ok()?..));
            }
            position = next;
        }
        None
    }

    /// Lets go of what everybody has read, where it is not kept.
    fn let_go(&mut self) {
        if self.share.is_some() {
            return;
        }
        let slowest = self.readers.iter().flatten().map(|place| place.read).min().unwrap_or(self.end);
        while let Some(first) = self.pieces.front() {
            let next = self.begin + first.len() as u64;
            if next > slowest {
                break;
            }
            self.begin = next;
            self.pieces.pop_front();
        }
    }

    /// Whether there is memory for all of it once more, which is needed until the pieces are let go of.
    fn make_room_for_copy(&mut self) -> bool {
        self.share.as_mut().is_some_and(|share| share.grow(self.end))
    }

    /// All pieces as one, in memory of its own: a piece may hold on to more than itself.
    fn join(&mut self) -> Bytes {
        let mut whole = BytesMut::with_capacity(usize::try_from(self.end).unwrap_or_default());
        for piece in self.pieces.drain(..) {
            whole.extend_from_slice(&piece);
        }
        let whole = whole.freeze();
        if !whole.is_empty() {
            self.pieces.push_back(whole.clone());
        }
        whole
    }

    fn wake(&mut self) {
        for place in self.readers.iter_mut().flatten() {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Source for Reader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let mut state = self.fill.lock();
        let Some(read) = state.readers.get(self.place).and_then(Option::as_ref).map(|place| place.read) else {
            return Poll::Ready(None);
        };
        if let Some(piece) = state.piece(read) {
            if let Some(Some(place)) = state.readers.get_mut(self.place) {
                place.read += piece.len() as u64;
            }
            state.let_go();
            let sender = state.sender.take();
            drop(state);
            sender.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match state.progress {
            Progress::Whole => Poll::Ready(None),
            Progress::Broken => Poll::Ready(Some(Err("the response that was being fetched broke off".into()))),
            Progress::Open => {
                if let Some(Some(place)) = state.readers.get_mut(self.place) {
                    place.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.fill.lock();
        let read = state.readers.get(self.place).and_then(Option::as_ref).map(|place| place.read);
        state.progress == Progress::Whole && read == Some(state.end)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.fill.lock();
        let read = state.readers.get(self.place).and_then(Option::as_ref).map_or(0, |place| place.read);
        let length = state.length.or((state.progress == Progress::Whole).then_some(state.end));
        length.map(|length| SizeHint::with_exact(length.saturating_sub(read))).unwrap_or_default()
    }

    fn release(self: Box<Self>) {}

    fn is_framed(&self) -> bool {
        true
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.fill.lock();
        if let Some(place) = state.readers.get_mut(self.place) {
            *place = None;
        }
        state.let_go();
        let sender = state.sender.take();
        drop(state);
        sender.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
#[path = "fill_tests.rs"]
mod tests;
