//! Where a body ends: what two readers could answer in two ways is refused, the rest reaches the backend reframed.

use super::{Case, Must, case, end, judge, post, refuse};

macro_rules! with {
    ($fields:literal, $body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\n", $fields, "\r\n\r\n", $body).as_bytes()
    };
}

const LENGTHS: &[Case] = &[
    post("one length", with!("Content-Length: 5", "hello"), b"hello"),
    post("equal lengths", with!("Content-Length: 5\r\nContent-Length: 5", "hello"), b"hello"),
    post("a length with leading zeros", with!("Content-Length: 0005", "hello"), b"hello"),
    post("spaces around a length", with!("Content-Length:   5  ", "hello"), b"hello"),
    post("a tab before a length", with!("Content-Length:\t5", "hello"), b"hello"),
    refuse("different lengths", with!("Content-Length: 5\r\nContent-Length: 6", "hello!")),
    refuse("different lengths, the longer first", with!("Content-Length: 6\r\nContent-Length: 5", "hello!")),
    refuse("a list of equal lengths", with!("Content-Length: 5, 5", "hello")),
    refuse("a list of lengths", with!("Content-Length: 5,6", "hello")),
    refuse("a length with a plus", with!("Content-Length: +5", "hello")),
    refuse("a negative length", with!("Content-Length: -5", "hello")),
    refuse("a space in a length", with!("Content-Length: 1 0", "hello")),
    refuse("a hexadecimal length", with!("Content-Length: 0x5", "hello")),
    refuse("a length of hex digits", with!("Content-Length: a", "hello")),
    refuse("an empty length", with!("Content-Length:", "hello")),
    refuse("a length over 64 bits", with!("Content-Length: 18446744073709551621", "hello")),
    case("a length of 2^64 - 1", with!("Content-Length: 18446744073709551615", "hello"), Must::Refuse(&[400, 431])),
    refuse("a fractional length", with!("Content-Length: 5.0", "hello")),
    refuse("a length with an exponent", with!("Content-Length: 5e0", "hello")),
    refuse("a quoted length", with!("Content-Length: \"5\"", "hello")),
    refuse("a length with an underscore", with!("Content-Length: 1_0", "hello")),
    refuse("a length with a parameter", with!("Content-Length: 5;x", "hello")),
    refuse("a length of digits beyond ASCII", with!("Content-Length: ５", "hello")),
    refuse("a vertical tab in a length", with!("Content-Length: \x0b5", "hello")),
    end("a body shorter than its length", with!("Content-Length: 50", "hello")),
];

const CODINGS: &[Case] = &[
    post("chunked", with!("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"), b"hello"),
    post("chunked in capitals", with!("TRANSFER-ENCODING: CHUNKED", "5\r\nhello\r\n0\r\n\r\n"), b"hello"),
    post("a tab before chunked", with!("Transfer-Encoding:\tchunked", "5\r\nhello\r\n0\r\n\r\n"), b"hello"),
    post("a space behind chunked", with!("Transfer-Encoding: chunked ", "5\r\nhello\r\n0\r\n\r\n"), b"hello"),
    post(
        "a length, then chunked",
        with!("Content-Length: 3\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        b"hello",
    ),
    post(
        "chunked, then a length",
        with!("Transfer-Encoding: chunked\r\nContent-Length: 3", "5\r\nhello\r\n0\r\n\r\n"),
        b"hello",
    ),
    post(
        "chunked, then no length at all",
        with!("Transfer-Encoding: chunked\r\nContent-Length: x", "5\r\nhello\r\n0\r\n\r\n"),
        b"hello",
    ),
    post(
        "chunked between two lengths",
        with!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6", "5\r\nhello\r\n0\r\n\r\n"),
        b"hello",
    ),
    refuse(
        "two lengths, then chunked",
        with!("Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ),
    refuse("chunked twice in a list", with!("Transfer-Encoding: chunked, chunked", "0\r\n\r\n")),
    refuse("chunked on two lines", with!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
    refuse("chunked behind a comma", with!("Transfer-Encoding: ,chunked", "0\r\n\r\n")),
    refuse("chunked behind a space and a comma", with!("Transfer-Encoding: , chunked", "0\r\n\r\n")),
    refuse("chunked before a comma", with!("Transfer-Encoding: chunked,", "0\r\n\r\n")),
    refuse("chunked, then identity", with!("Transfer-Encoding: chunked, identity", "0\r\n\r\n")),
    refuse("identity, then chunked", with!("Transfer-Encoding: identity, chunked", "0\r\n\r\n")),
    refuse(
        "chunked and identity on two lines",
        with!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
    ),
    refuse(
        "identity and chunked on two lines",
        with!("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ),
    refuse("identity", with!("Transfer-Encoding: identity", "hello")),
    refuse("identity with a length", with!("Transfer-Encoding: identity\r\nContent-Length: 5", "hello")),
    refuse("gzip", with!("Transfer-Encoding: gzip", "hello")),
    refuse("gzip, then chunked", with!("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")),
    refuse("an unknown coding", with!("Transfer-Encoding: xchunked", "0\r\n\r\n")),
    refuse("a coding with a parameter", with!("Transfer-Encoding: chunked;q=1", "0\r\n\r\n")),
    refuse("a quoted coding", with!("Transfer-Encoding: \"chunked\"", "0\r\n\r\n")),
    refuse("half a quoted coding", with!("Transfer-Encoding: \", chunked\"", "0\r\n\r\n")),
    refuse("an empty coding", with!("Transfer-Encoding:", "0\r\n\r\n")),
    refuse("an empty coding with a length", with!("Transfer-Encoding:\r\nContent-Length: 5", "hello")),
    refuse("a folded coding", with!("Transfer-Encoding:\r\n chunked", "0\r\n\r\n")),
    refuse(
        "a coding that is folded behind its first word",
        with!("Transfer-Encoding: identity,\r\n chunked", "0\r\n\r\n"),
    ),
    refuse("a space before the colon of a coding", with!("Transfer-Encoding : chunked", "0\r\n\r\n")),
    refuse("a tab before the colon of a coding", with!("Transfer-Encoding\t: chunked", "0\r\n\r\n")),
    refuse("a space before a coding's name", with!(" Transfer-Encoding: chunked", "0\r\n\r\n")),
    refuse("a vertical tab before chunked", with!("Transfer-Encoding: \x0bchunked", "0\r\n\r\n")),
    refuse("a form feed before chunked", with!("Transfer-Encoding: \x0cchunked", "0\r\n\r\n")),
    refuse("a NUL before chunked", with!("Transfer-Encoding: \0chunked", "0\r\n\r\n")),
    refuse("a bare CR before chunked", with!("Transfer-Encoding: \rchunked", "0\r\n\r\n")),
    refuse("a no-break space before chunked", with!("Transfer-Encoding: \u{a0}chunked", "0\r\n\r\n")),
    refuse("chunked over HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    refuse(
        "chunked over HTTP/1.0 with a length",
        b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    post("a length that Connection names", with!("Content-Length: 5\r\nConnection: content-length", "hello"), b"hello"),
    post(
        "a coding that Connection names",
        with!("Transfer-Encoding: chunked\r\nConnection: transfer-encoding", "5\r\nhello\r\n0\r\n\r\n"),
        b"hello",
    ),
    post(
        "a coding with an underscore is none",
        with!("Transfer_Encoding: chunked\r\nContent-Length: 5", "hello"),
        b"hello",
    ),
];

macro_rules! chunks {
    ($body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", $body).as_bytes()
    };
}

const CHUNKS: &[Case] = &[
    post("an extension", chunks!("5;a=b\r\nhello\r\n0\r\n\r\n"), b"hello"),
    post("a size in capitals", chunks!("A\r\nhellohello\r\n0\r\n\r\n"), b"hellohello"),
    post("a size with leading zeros", chunks!("005\r\nhello\r\n000\r\n\r\n"), b"hello"),
    post("a space behind the size", chunks!("5 \r\nhello\r\n0\r\n\r\n"), b"hello"),
    post("a forbidden trailer", chunks!("5\r\nhello\r\n0\r\nContent-Length: 50\r\nHost: b\r\n\r\n"), b"hello"),
    post("a trailer that frames", chunks!("5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n"), b"hello"),
    refuse("a negative size", chunks!("-5\r\nhello\r\n0\r\n\r\n")),
    refuse("a size with a plus", chunks!("+5\r\nhello\r\n0\r\n\r\n")),
    refuse("a size with a prefix", chunks!("0x5\r\nhello\r\n0\r\n\r\n")),
    refuse("a size over 64 bits", chunks!("10000000000000005\r\nhello\r\n0\r\n\r\n")),
    refuse("a size of letters", chunks!("g\r\nhello\r\n0\r\n\r\n")),
    refuse("no size", chunks!("\r\nhello\r\n0\r\n\r\n")),
    refuse("an extension without a size", chunks!(";a\r\nhello\r\n0\r\n\r\n")),
    refuse("a space before the size", chunks!(" 5\r\nhello\r\n0\r\n\r\n")),
    refuse("a space in the size", chunks!("1 0\r\nhello\r\n0\r\n\r\n")),
    refuse("a bare LF behind the size", chunks!("5\nhello\r\n0\r\n\r\n")),
    refuse("a bare CR behind the size", chunks!("5\rhello\r\n0\r\n\r\n")),
    refuse("a bare LF in an extension", chunks!("5;a\nb\r\nhello\r\n0\r\n\r\n")),
    refuse("no CRLF behind the data", chunks!("5\r\nhello0\r\n\r\n")),
    refuse("a bare LF behind the data", chunks!("5\r\nhello\n0\r\n\r\n")),
    refuse("a CR and something else behind the data", chunks!("5\r\nhello\rX0\r\n\r\n")),
    refuse("data longer than the chunk", chunks!("5\r\nhello!\r\n0\r\n\r\n")),
    refuse("a bare LF behind the last size", chunks!("5\r\nhello\r\n0\n\r\n")),
    end("a bare LF behind the last chunk", chunks!("5\r\nhello\r\n0\r\n\n")),
    end("data shorter than the chunk", chunks!("50\r\nhello\r\n0\r\n\r\n")),
    end("no last chunk", chunks!("5\r\nhello\r\n")),
    end("half a last chunk", chunks!("5\r\nhello\r\n0\r\n")),
];

fn copy(cases: &'static [Case]) -> impl Iterator<Item = Case> {
    cases.iter().map(Case::copy)
}

#[test]
fn a_body_has_one_length_or_none() {
    judge(copy(LENGTHS));
}

#[test]
fn the_only_transfer_coding_is_chunked_once() {
    judge(copy(CODINGS));
}

#[test]
fn chunks_are_read_strictly() {
    let long = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n",
        "x".repeat(32768)
    );
    let long = Case { name: "a long extension", raw: long.into_bytes().into(), must: Must::Refuse(&[400]) };
    judge(copy(CHUNKS).chain([long]));
}
