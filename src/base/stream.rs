//! A TCP stream whose small writes wait for the end of the worker's turn: see [`outbox`](super::outbox). Flushing it says
//! that what was written is on its way; whoever flushes is woken and has to flush again where the peer does not take it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::outbox::{Outbox, Writing};

/// From so many bytes on a write is made at once: it keeps the peer busy for long enough by itself, and is not copied.
const LARGE: usize = 8 * 1024;

/// A connected socket.
#[derive(Debug)]
pub struct Stream {
    reading: OwnedReadHalf,
    writing: Arc<Writing>,
    outbox: Option<Arc<Outbox>>,
    /// Bytes of a large write that have not been taken yet.
    rest: usize,
}

impl Stream {
    /// Writes through this outbox, or at once where there is none.
    pub fn new(stream: TcpStream, outbox: Option<Arc<Outbox>>) -> Self {
        let (reading, writing) = stream.into_split();
        Self { reading, writing: Arc::new(Writing::new(writing)), outbox, rest: 0 }
    }

    /// Writes at once from now on: for whoever does not flush again and again.
    pub fn hurry(&mut self) {
        self.outbox = None;
    }

    /// The socket itself, to look at.
    pub fn socket(&self) -> &TcpStream {
        self.reading.as_ref()
    }

    /// Bytes that were written and have not been sent.
    pub fn unsent(&self) -> usize {
        self.writing.left()
    }

    /// Looks at what has come without taking it; see [`TcpStream::poll_peek`].
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        self.reading.poll_peek(cx, buf)
    }

    /// Whether these bytes were left for the end of the turn. What is left of a large write is not: it goes the same way
    /// as its beginning.
    fn leave(&self, slices: &[IoSlice<'_>], length: usize, cx: &mut Context<'_>) -> io::Result<bool> {
        match &self.outbox {
            Some(outbox) if length < LARGE && self.rest == 0 => self.writing.leave(outbox, slices, length, cx),
            _ => Ok(false),
        }
    }

    /// Takes these slices, one way or the other.
    fn poll_slices(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.leave(slices, length, cx)? {
            return Poll::Ready(Ok(length));
        }
        let taken = ready!(self.writing.poll_write(cx, slices))?;
        self.rest = length - taken;
        Poll::Ready(Ok(taken))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reading).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_slices(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_slices(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing.poll_flush(cx, self.outbox.is_some())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.writing.poll_flush(cx, false))?;
        Poll::Ready(SockRef::from(self.socket()).shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpListener};

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::base::tasks;

    /// Both ends of a connection; the near one writes through `outbox`.
    fn pair(outbox: &Arc<Outbox>) -> (Stream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        let (far, _) = listener.accept().unwrap();
        (Stream::new(TcpStream::from_std(near).unwrap(), Some(outbox.clone())), far)
    }

    fn has_something(far: &std::net::TcpStream) -> bool {
        far.set_nonblocking(true).unwrap();
        let something = far.peek(&mut [0]).is_ok();
        far.set_nonblocking(false).unwrap();
        something
    }

    #[tokio::test]
    async fn what_is_written_in_a_turn_goes_out_at_its_end() {
        let outbox = Arc::<Outbox>::default();
        let (mut one, far_one) = pair(&outbox);
        let (mut other, mut far_other) = pair(&outbox);
        one.write_all(b"1").await.unwrap();
        other.write_all(b"2").await.unwrap();
        other.write_all(b"3").await.unwrap();
        other.flush().await.unwrap();
        assert!(!has_something(&far_one) && !has_something(&far_other));
        assert_eq!((one.unsent(), other.unsent()), (1, 2));
        let _emptying = tasks::spawn(outbox.clone().serve());
        while one.unsent() + other.unsent() > 0 {
            // Before the runtime has asked whether a socket takes anything, the outbox is told that it does not.
            one.flush().await.unwrap();
            other.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(has_something(&far_one));
        let mut two = [0; 2];
        far_other.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"23");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_gets_everything_in_order_when_it_does() {
        let outbox = Arc::<Outbox>::default();
        let _emptying = tasks::spawn(outbox.clone().serve());
        let (mut near, mut far) = pair(&outbox);
        const PIECES: u32 = 200_000;
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).map(|_| all)
        });
        for number in 0..PIECES {
            // Every size there is a way for: many small ones, some that are not copied.
            let piece = number.to_be_bytes().repeat(if number % 5_000 == 0 { 4_000 } else { 8 });
            near.write_all(&piece).await.unwrap();
            near.flush().await.unwrap();
        }
        near.shutdown().await.unwrap();
        let all = tokio::task::spawn_blocking(move || reading.join().unwrap().unwrap()).await.unwrap();
        let expected =
            (0..PIECES).flat_map(|number| number.to_be_bytes().repeat(if number % 5_000 == 0 { 4_000 } else { 8 }));
        assert!(all.into_iter().eq(expected));
    }

    #[tokio::test]
    async fn a_flush_waits_where_the_outbox_could_not_send() {
        let outbox = Arc::<Outbox>::default();
        let _emptying = tasks::spawn(outbox.clone().serve());
        let (mut near, mut far) = pair(&outbox);
        let mut written = 0;
        let stuck = async {
            loop {
                near.write_all(&[7; 1000]).await.unwrap();
                written += 1000;
                near.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(std::time::Duration::from_millis(200), stuck).await.is_err());
        assert!(near.unsent() > 0, "{written} bytes fit");
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).map(|_| all.len())
        });
        while near.unsent() > 0 {
            near.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        near.shutdown().await.unwrap();
        let read = tokio::task::spawn_blocking(move || reading.join().unwrap().unwrap()).await.unwrap();
        assert!(read == written || read == written + 1000, "{read} of {written}");
    }

    #[tokio::test]
    async fn a_write_that_fails_later_says_so_and_how_much_it_was() {
        let outbox = Arc::<Outbox>::default();
        let (mut near, far) = pair(&outbox);
        SockRef::from(&far).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(far);
        near.write_all(b"lost").await.unwrap();
        while near.socket().take_error().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        outbox.flush();
        assert!(near.flush().await.is_err());
        assert!(near.write_all(b"more").await.is_err());
        assert_eq!(near.unsent(), 4);
    }

    #[tokio::test]
    async fn nothing_waits_once_it_hurries_or_ends() {
        let outbox = Arc::<Outbox>::default();
        let (mut near, mut far) = pair(&outbox);
        near.write_all(b"a").await.unwrap();
        near.hurry();
        near.write_all(b"b").await.unwrap();
        let mut read = [0; 2];
        far.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"ab");
        let (mut near, mut far) = pair(&outbox);
        near.write_all(b"end").await.unwrap();
        near.shutdown().await.unwrap();
        let mut all = String::new();
        far.read_to_string(&mut all).unwrap();
        assert_eq!(all, "end");
        far.shutdown(Shutdown::Both).unwrap();
    }
}
