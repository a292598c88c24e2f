//! The HTTP codec of a client connection: chosen by what the client says first, and put away while an HTTP/1.1
//! connection rests, since hyper's buffers are most of what an idle connection costs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::Limits;
use super::dispatch::Dispatch;
use super::socket::Socket;

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// hyper keeps this many fields on the stack; more have to be asked for, and cost an allocation per request.
const FIELDS_ON_STACK: usize = 100;
/// How often an idle HTTP/2 client is asked whether it is still there.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// Makes codecs.
#[derive(Clone, Debug)]
pub struct Codecs {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Codecs {
    /// Codecs that hold clients to these limits.
    pub fn new(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        // The pieces of a response, where they lie, and not one copy of them: 450 instructions more for a small one (of
        // 32,600 for a hit), 65,000 fewer for a hit of 64 KiB. What is small goes out flat all the same (`base::stream`).
        http1.max_buf_size(limits.max_header_bytes.max(8192)).header_read_timeout(None).writev(true);
        // Not that we serve clients that close one half: the socket itself looks whether the client is there.
        http1.half_close(true);
        if limits.max_headers > FIELDS_ON_STACK {
            http1.max_headers(limits.max_headers);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY);
        Self { http1, http2 }
    }

    /// What makes those of HTTP/1.1.
    pub(super) fn http1(&self) -> &http1::Builder {
        &self.http1
    }
}

/// The codec of one connection.
pub struct Codec {
    codecs: Arc<Codecs>,
    state: State,
}

enum State {
    /// The client has said too little to tell which protocol it speaks.
    Unknown(Idle),
    /// HTTP/1.1, and nothing is under way.
    Resting(Idle),
    Http1(Box<http1::UpgradeableConnection<TokioIo<Socket>, Dispatch>>),
    Http2(Pin<Box<http2::Connection<TokioIo<Socket>, Dispatch, TokioExecutor>>>),
    Over,
}

/// What is left of a connection without its codec.
struct Idle(Socket, Dispatch);

impl Codec {
    /// Of a connection whose client has not said anything yet.
    pub fn new(codecs: Arc<Codecs>, socket: Socket, dispatch: Dispatch) -> Self {
        Self { codecs, state: State::Unknown(Idle(socket, dispatch)) }
    }

    /// Serves what comes. Ready when the connection is over; how each request ended is in the access log.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Unknown(Idle(socket, _)) => match ready!(socket.poll_early(cx, PREFACE.len())) {
                    Err(_) | Ok(([], _)) => break,
                    Ok((first, _)) if first == PREFACE => self.begin(true),
                    Ok((first, more)) if !more || !PREFACE.starts_with(first) => self.begin(false),
                    Ok(_) => {}
                },
                State::Resting(Idle(socket, _)) => {
                    ready!(socket.poll_readable(cx));
                    self.begin(false);
                }
                State::Http1(connection) => {
                    let _ = ready!(Pin::new(connection.as_mut()).poll(cx));
                    break;
                }
                State::Http2(connection) => {
                    let _ = ready!(connection.as_mut().poll(cx));
                    break;
                }
                State::Over => break,
            }
        }
        self.state = State::Over;
        Poll::Ready(())
    }

    fn begin(&mut self, http2: bool) {
        let idle = match std::mem::replace(&mut self.state, State::Over) {
            State::Unknown(idle) | State::Resting(idle) => idle,
            state => {
                self.state = state;
                return;
            }
        };
        let (io, dispatch) = (TokioIo::new(idle.0), idle.1);
        self.state = match http2 {
            true => State::Http2(Box::pin(self.codecs.http2.serve_connection(io, dispatch))),
            false => State::Http1(Box::new(self.codecs.http1.serve_connection(io, dispatch).with_upgrades())),
        };
    }

    /// Whether there are buffers to put away.
    pub fn may_rest(&self) -> bool {
        matches!(self.state, State::Http1(_))
    }

    /// Puts the codec of an idle connection away, and its buffers with it. Only when all that was to be written has been.
    /// Bytes of a next request that have been read already come first when it begins again, which is at once.
    pub fn rest(&mut self) {
        let connection = match std::mem::replace(&mut self.state, State::Over) {
            State::Http1(connection) => connection,
            state => {
                self.state = state;
                return;
            }
        };
        let Some(parts) = connection.into_parts() else { return };
        let mut socket = parts.io.into_inner();
        let partial = !parts.read_buf.is_empty();
        socket.put_back(&parts.read_buf);
        self.state = State::Resting(Idle(socket, parts.service));
        if partial {
            self.begin(false);
        }
    }

    /// Ends with the last request that is under way. The connection has to be polled for it.
    pub fn end(&mut self) {
        match &mut self.state {
            State::Http1(connection) => Pin::new(connection.as_mut()).graceful_shutdown(),
            State::Http2(connection) => connection.as_mut().graceful_shutdown(),
            State::Unknown(_) | State::Resting(_) => self.state = State::Over,
            State::Over => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::{self, IoSlice};
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::service::service_fn;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;
    use crate::base::body::Pace;

    /// A client that asks once and takes no more than so many bytes at a time.
    struct Scripted {
        asks: &'static [u8],
        most: usize,
        taken: Arc<Mutex<Taken>>,
    }

    /// What it got, and from where.
    #[derive(Default)]
    struct Taken {
        bytes: Vec<u8>,
        last: Vec<*const u8>,
    }

    impl AsyncRead for Scripted {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buf.put_slice(std::mem::take(&mut self.asks));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Scripted {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(self.most).collect();
            let mut taken = self.taken.lock().unwrap();
            taken.bytes.extend_from_slice(&bytes);
            taken.last.extend(slices.last().map(|slice| slice.as_ptr()));
            Poll::Ready(Ok(bytes.len()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn limits() -> Limits {
        let pace = Pace { idle: Duration::ZERO, min_rate: 0, grace: Duration::ZERO };
        Limits {
            trusted: Vec::new(),
            max_headers: 100,
            max_header_bytes: 65536,
            header_read_timeout: Duration::ZERO,
            keep_alive_timeout: Duration::ZERO,
            pace,
            http2_max_streams: 1,
        }
    }

    #[tokio::test]
    async fn a_large_body_is_written_from_where_it_lies() {
        let stored = Bytes::from(vec![7; 64 * 1024]);
        for most in [usize::MAX, 10_000] {
            let (body, taken) = (stored.clone(), Arc::<Mutex<Taken>>::default());
            let client = Scripted { asks: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", most, taken: taken.clone() };
            let service = service_fn(move |_| {
                std::future::ready(Ok::<_, Infallible>(hyper::Response::new(Full::new(body.clone()))))
            });
            Codecs::new(&limits()).http1().serve_connection(TokioIo::new(client), service).await.unwrap();
            let taken = std::mem::take(&mut *taken.lock().unwrap());
            assert!(taken.bytes.ends_with(&stored) && taken.bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
            let within = stored.as_ptr_range();
            assert!(taken.last.iter().all(|place| within.contains(place)), "{most} bytes at a time");
        }
    }
}
