//! Bodies as bytes: where they end, and what their chunks hold (RFC 9112 §6, §7). Pure.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http_body::SizeHint;

use super::{Framing, Malformed};

/// Longest line before a chunk, extensions included.
const LINE: usize = 1024;
/// Most bytes of trailers, and most fields.
const TRAILERS: (usize, usize) = (16 * 1024, 64);

/// What the bytes so far come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// The trailers; nothing but the end follows.
    Trailers(HeaderMap),
    /// The body is over.
    End,
    /// More bytes are needed.
    More,
}

/// The rest of a body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    chunked: bool,
    /// What was found wrong behind the last piece.
    wrong: Option<Malformed>,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of data follow: of the body, or of a chunk.
    Data(u64),
    /// The line before a chunk.
    Size,
    /// The line end behind a chunk.
    Behind,
    /// Trailer fields and the empty line.
    Trailers,
    /// Data until the connection closes.
    Close,
    /// It has closed.
    Closed,
    /// Nothing.
    Ended,
}

impl Decoder {
    /// A body in this framing.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Data(length),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        };
        Self { state, chunked: framing == Framing::Chunked, wrong: None, trailers: None }
    }

    /// Takes what it can from the front of `input`.
    ///
    /// # Errors
    /// When the framing is broken.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Malformed> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        self.advance(input)?;
        match self.state {
            State::Data(left) if !input.is_empty() => {
                let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let data = input.split_to(count).freeze();
                self.state = match left - count as u64 {
                    0 if self.chunked => State::Behind,
                    0 => State::Ended,
                    left => State::Data(left),
                };
                // So that the last piece is known to be the last one when its end has come with it.
                self.wrong = self.advance(input).err();
                Ok(Decoded::Data(data))
            }
            State::Close if !input.is_empty() => Ok(Decoded::Data(input.split().freeze())),
            State::Ended | State::Closed => Ok(self.trailers.take().map_or(Decoded::End, Decoded::Trailers)),
            _ => Ok(Decoded::More),
        }
    }

    /// The connection has closed. Whether that is the end of the body.
    pub fn close(&mut self) -> bool {
        let ends = self.state == State::Close;
        if ends {
            self.state = State::Closed;
        }
        ends
    }

    /// Whether the end of the body is marked, and is not just that of the connection.
    pub fn is_framed(&self) -> bool {
        !matches!(self.state, State::Close | State::Closed)
    }

    /// Whether nothing is left to hand out.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended | State::Closed) && self.trailers.is_none()
    }

    /// Whether the body is over and the next message can follow.
    pub fn leaves_open(&self) -> bool {
        self.state == State::Ended && self.wrong.is_none()
    }

    /// How much is left, where that is known.
    pub fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Data(left) if !self.chunked => SizeHint::with_exact(left),
            State::Ended | State::Closed => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    /// Takes what frames the data, up to the next data (RFC 9112 §7.1).
    fn advance(&mut self, input: &mut BytesMut) -> Result<(), Malformed> {
        loop {
            self.state = match self.state {
                State::Size => match size(input)? {
                    None => return Ok(()),
                    Some(0) => State::Trailers,
                    Some(size) => State::Data(size),
                },
                State::Behind => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        State::Size
                    }
                    [] | [b'\r'] => return Ok(()),
                    _ => return Err(Malformed("a chunk is longer than it says")),
                },
                State::Trailers => match trailers(input)? {
                    None => return Ok(()),
                    Some(fields) => {
                        self.trailers = (!fields.is_empty()).then_some(fields);
                        State::Ended
                    }
                },
                State::Data(_) | State::Close | State::Closed | State::Ended => return Ok(()),
            };
        }
    }
}

/// Takes the line before a chunk. Extensions are read over, as nobody knows any (RFC 9112 §7.1.1).
fn size(input: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    const WRONG: Malformed = Malformed("the size of a chunk is not a number");
    let within = &input[..input.len().min(LINE)];
    let end = within.iter().position(|&byte| byte == b'\n');
    let line = &within[..end.unwrap_or(within.len())];
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let follows = line[digits..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    if digits > 16 || (digits == 0 && !line.is_empty()) || follows.is_some_and(|byte| !matches!(byte, b';' | b'\r')) {
        return Err(WRONG);
    }
    let Some(end) = end else {
        return if within.len() < LINE { Ok(None) } else { Err(Malformed("the line before a chunk is too long")) };
    };
    // A line ends with CR and LF, and there is no CR within it (RFC 9112 §2.2).
    if digits == 0 || line.iter().position(|&byte| byte == b'\r') != Some(end - 1) {
        return Err(WRONG);
    }
    let number = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    input.advance(end + 1);
    number.map(Some).ok_or(WRONG)
}

/// Takes the trailer fields and the empty line behind them (RFC 9112 §7.1.2).
fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    const WRONG: Malformed = Malformed("what follows the chunks are no trailers");
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS.1];
    let (length, parsed) = match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) if parsed.0 <= TRAILERS.0 => parsed,
        Ok(httparse::Status::Partial) if input.len() < TRAILERS.0 => return Ok(None),
        Ok(_) => return Err(Malformed("the trailers are too long")),
        Err(_) => return Err(WRONG),
    };
    let mut trailers = HeaderMap::new();
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| WRONG)?;
        trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| WRONG)?);
    }
    input.advance(length);
    Ok(Some(trailers))
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
