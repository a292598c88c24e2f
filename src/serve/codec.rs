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
        // One flat write for head and body: 17.0 against 17.7 µs a small response, equal at 16 KiB, 8 % more at 1 MiB.
        http1.max_buf_size(limits.max_header_bytes.max(8192)).header_read_timeout(None).writev(false);
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
