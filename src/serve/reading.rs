//! What the codec of HTTP/1.1 makes of one head, without a connection: for those who ask what would become of a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use http::request::Parts;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::Limits;
use super::codec::Codecs;
use super::socket::{refusal_detail, refusal_in};
use crate::base::reject::Reject;

/// How often the codec is asked to go on: in memory it never has to wait.
const TURNS: usize = 8;

/// Reads a head, given whole, as a connection with these limits would.
///
/// # Errors
/// Why the codec refuses it.
pub fn read(head: &[u8], limits: &Limits) -> Result<Parts, Box<Reject>> {
    let found = Mutex::new(None);
    let note = |request: Request<Incoming>| {
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.into_parts().0);
        std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    };
    let codecs = Codecs::new(limits);
    let memory = TokioIo::new(tokio::io::join(head, Vec::new()));
    let mut connection = codecs.http1().serve_connection(memory, service_fn(note));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..TURNS {
        // How it ends is seen by what it has read and written.
        if !matches!(Pin::new(&mut connection).poll(&mut context), Poll::Pending) {
            break;
        }
    }
    let written = connection.into_parts().io.into_inner().into_inner().1;
    found.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or_else(|| {
        let reason = refusal_in(String::from_utf8_lossy(&written).lines().next().unwrap_or_default());
        Box::new(Reject::new(reason, refusal_detail(reason)))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::body::Pace;
    use crate::base::reject::Reason;

    fn limits() -> Limits {
        Limits {
            trusted: Vec::new(),
            max_headers: 100,
            max_header_bytes: 8192,
            header_read_timeout: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(1),
            pace: Pace { idle: Duration::ZERO, min_rate: 0, grace: Duration::ZERO },
            http2_max_streams: 1,
        }
    }

    #[test]
    fn a_head_is_read_whatever_its_body_would_be() {
        let head = b"POST /a/../b?x HTTP/1.1\r\nhost: a\r\nX-Two: 1\r\ncontent-length: 7\r\n\r\n";
        let head = read(head, &limits()).unwrap();
        assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "/a/../b?x"));
        assert_eq!((head.headers.len(), head.headers["x-two"].as_bytes()), (3, &b"1"[..]));
    }

    #[test]
    fn what_is_no_head_is_refused_as_on_a_connection() {
        let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(9000));
        for (head, reason) in [
            ("GET /a b HTTP/1.1\r\n\r\n", Reason::BadRequest),
            ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\n", Reason::BadRequest),
            ("GET / HTTP/1.1\r\nhost: a\r\n no name\r\n\r\n", Reason::BadRequest),
            (long.as_str(), Reason::HeaderTooLarge),
        ] {
            assert_eq!(read(head.as_bytes(), &limits()).unwrap_err().reason, reason, "{head:.40}");
        }
    }
}
