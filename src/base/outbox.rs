//! What the tasks of a worker write during one turn goes out at its end, all at once. A peer that is woken for the first
//! piece is still at work when the next ones come, and need not be woken again: 13.8 µs of system time a request on two
//! cores, against 17.2 where each task writes at once, and 1.02 × HAProxy's CPU time against 1.19.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

/// Most bytes that wait for one socket.
const MOST: usize = 32 * 1024;
/// Buffers that are kept for what is written next, and the largest that is.
const SPARE: usize = 64;
const LARGEST: usize = 8 * 1024;

/// What is to go out at the end of a worker's turn.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    posted: Vec<Arc<Writing>>,
    spare: Vec<Vec<u8>>,
    /// Of the task that empties this.
    waker: Option<Waker>,
}

/// The writing half of a socket.
#[derive(Debug)]
pub struct Writing {
    /// Until this is dropped.
    half: Option<OwnedWriteHalf>,
    state: Mutex<State>,
}

/// What is left to write.
#[derive(Debug, Default)]
pub(super) struct State {
    bytes: Vec<u8>,
    sent: usize,
    /// An outbox has this.
    posted: bool,
    failed: Option<io::ErrorKind>,
    /// Of the task that has to go on where an outbox could not.
    waker: Option<Waker>,
}

impl Outbox {
    /// Empties itself whenever something has been posted, behind the tasks that are to run before: never resolves, and is
    /// to be spawned on the worker.
    pub async fn serve(self: Arc<Self>) {
        std::future::poll_fn(|cx| {
            self.lock().waker = Some(cx.waker().clone());
            self.flush();
            Poll::<()>::Pending
        })
        .await;
    }

    /// Sends what has been posted. Whoever stops serving does this last.
    pub fn flush(&self) {
        let mut posted = std::mem::take(&mut self.lock().posted);
        for writing in posted.drain(..) {
            if let Some(buffer) = writing.deliver() {
                self.keep(buffer);
            }
        }
        let mut inner = self.lock();
        if inner.posted.is_empty() {
            inner.posted = posted;
        }
    }

    fn keep(&self, buffer: Vec<u8>) {
        let mut inner = self.lock();
        if inner.spare.len() < SPARE && (1..=LARGEST).contains(&buffer.capacity()) {
            inner.spare.push(buffer);
        }
    }

    fn post(&self, writing: &Arc<Writing>) {
        let mut inner = self.lock();
        inner.posted.push(writing.clone());
        if inner.posted.len() == 1
            && let Some(waker) = &inner.waker
        {
            waker.wake_by_ref();
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.lock().spare.pop().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing {
    /// Of this socket.
    pub fn new(half: OwnedWriteHalf) -> Self {
        Self { half: Some(half), state: Mutex::default() }
    }

    /// Leaves bytes for the end of the turn.
    ///
    /// # Errors
    /// When what was left before could not be sent.
    pub(super) fn leave(self: &Arc<Self>, outbox: &Outbox, bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        let mut state = self.lock();
        state.check()?;
        if state.bytes.capacity() == 0 {
            state.bytes = outbox.buffer();
        }
        state.bytes.extend_from_slice(bytes);
        state.wait(cx);
        if !std::mem::replace(&mut state.posted, true) {
            outbox.post(self);
        }
        Ok(())
    }

    /// Whether there is room to leave so many bytes more: not when the peer has stopped taking any.
    pub(super) fn has_room(&self, more: usize) -> bool {
        let state = self.lock();
        let left = state.left();
        (left == 0 || state.posted) && left + more <= MOST
    }

    /// Sends what is left, now. `patient` leaves that to the outbox where one has it.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>, patient: bool) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        state.check()?;
        if state.left() == 0 {
            return Poll::Ready(Ok(()));
        }
        if patient && state.posted {
            state.wait(cx);
            return Poll::Ready(Ok(()));
        }
        loop {
            if state.pump(self.stream()?)? {
                return Poll::Ready(Ok(()));
            }
            ready!(self.stream()?.poll_write_ready(cx))?;
        }
    }

    /// Bytes that are left, or could not be sent.
    pub(super) fn left(&self) -> usize {
        self.lock().left()
    }

    /// The socket.
    ///
    /// # Errors
    /// Never while somebody has this.
    pub(super) fn stream(&self) -> io::Result<&TcpStream> {
        self.half.as_ref().map(AsRef::as_ref).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The turn is over. The buffer, when it is empty; where something is left, the task that wrote it has to go on.
    fn deliver(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        state.posted = false;
        let sent = state.check().and_then(|()| state.pump(self.stream()?));
        let waker = state.waker.take();
        if !matches!(sent, Ok(true)) {
            drop(state);
            waker.into_iter().for_each(Waker::wake);
            return None;
        }
        Some(std::mem::take(&mut state.bytes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Closing is for the socket, which may have to reset instead.
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

impl State {
    fn left(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn wait(&mut self, cx: &mut Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Sends what the socket takes. Whether that is all.
    fn pump(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while self.left() > 0 {
            match stream.try_write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(self.fail(io::ErrorKind::WriteZero)),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(error.kind())),
            }
        }
        (self.sent, self.waker) = (0, None);
        self.bytes.clear();
        Ok(true)
    }

    fn fail(&mut self, kind: io::ErrorKind) -> io::Error {
        self.failed = Some(kind);
        kind.into()
    }
}
