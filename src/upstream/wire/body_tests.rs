//! Bodies: the same however they are split, and every broken frame refused.

use super::*;
use proptest::prelude::*;

/// All that a body comes to when it arrives in these pieces: its bytes, its trailers, whether it ended, what is left.
type Read = (Vec<u8>, Option<HeaderMap>, bool, Vec<u8>);

fn read(framing: Framing, pieces: &[&[u8]]) -> Result<Read, Malformed> {
    let (mut decoder, mut input) = (Decoder::new(framing), BytesMut::new());
    let (mut data, mut trailers, mut ended) = (Vec::new(), None, false);
    for piece in pieces {
        input.extend_from_slice(piece);
        while !ended {
            match decoder.decode(&mut input)? {
                Decoded::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(&bytes);
                }
                Decoded::Trailers(fields) => trailers = Some(fields),
                Decoded::End => ended = true,
                Decoded::More => break,
            }
        }
    }
    assert!(!ended || decoder.is_ended());
    Ok((data, trailers, ended, input.to_vec()))
}

fn chunked(text: &str) -> Result<Read, Malformed> {
    read(Framing::Chunked, &[text.as_bytes()])
}

#[test]
fn a_body_has_its_length() {
    let read = |pieces: &[&[u8]]| read(Framing::Length(5), pieces).unwrap();
    assert_eq!(read(&[b"hello"]), (b"hello".to_vec(), None, true, vec![]));
    assert_eq!(read(&[b"he", b"llo and more"]), (b"hello".to_vec(), None, true, b" and more".to_vec()));
    assert!(!read(&[b"hell"]).2);
}

#[test]
fn the_last_piece_is_known_to_be_the_last() {
    for (framing, text) in [(Framing::Length(2), "ok"), (Framing::Chunked, "2\r\nok\r\n0\r\n\r\n")] {
        let (mut decoder, mut input) = (Decoder::new(framing), BytesMut::from(text));
        assert!(!decoder.is_ended());
        assert_eq!(decoder.decode(&mut input), Ok(Decoded::Data(Bytes::from("ok"))));
        assert!(decoder.is_ended() && decoder.leaves_open() && input.is_empty());
        assert_eq!(decoder.size_hint().exact(), Some(0));
    }
    assert!(Decoder::new(Framing::None).is_ended() && Decoder::new(Framing::Length(0)).is_ended());
    assert_eq!(Decoder::new(Framing::Length(7)).size_hint().exact(), Some(7));
    assert_eq!(Decoder::new(Framing::Chunked).size_hint().exact(), None);
}

#[test]
fn only_a_body_without_a_frame_ends_with_the_connection() {
    let mut open = Decoder::new(Framing::Close);
    assert_eq!(open.decode(&mut BytesMut::from("ab")), Ok(Decoded::Data(Bytes::from("ab"))));
    assert!(!open.is_ended() && open.close() && open.is_ended() && !open.leaves_open());
    assert_eq!(open.decode(&mut BytesMut::new()), Ok(Decoded::End));
    assert!(!Decoder::new(Framing::Chunked).close() && !Decoder::new(Framing::Length(1)).close());
}

#[test]
fn trailers_come_behind_the_data() {
    let (data, trailers, ended, rest) = chunked("2\r\nok\r\n0\r\ngrpc-status: 0\r\nx: y\r\n\r\nHTTP").unwrap();
    let trailers = trailers.unwrap();
    assert_eq!((&data[..], &rest[..], ended), (&b"ok"[..], &b"HTTP"[..], true));
    assert_eq!((&trailers["grpc-status"], trailers.len()), (&HeaderValue::from_static("0"), 2));
}

#[test]
fn sizes_may_be_spelled_in_several_ways() {
    for text in ["a", "A", "0a", "000000000000000A", "a;x=y", "a ; x", "a \t", "a;\"q\"=\"\n\""] {
        let read = chunked(&format!("{text}\r\n0123456789\r\n0;last\r\n\r\n"));
        if text.contains('\n') {
            assert!(read.is_err(), "{text:?}");
        } else {
            assert_eq!(read.unwrap().0, b"0123456789", "{text:?}");
        }
    }
}

#[test]
fn broken_chunks_are_refused() {
    for text in [
        "\r\n",
        "\n",
        "x\r\n",
        "g",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 1\r\na\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\ra\r\n",
        "1;a\rb\r\na\r\n",
        "1\r\r\na\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff",
        "0\r\nbad name: x\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\nx: a\0\r\n\r\n",
        "0\r\na: b\r\n c\r\n\r\n",
        "2\r\nok\r\nzz\r\n",
    ] {
        assert!(chunked(text).is_err(), "{text:?}");
    }
    let long = format!("1;{}", "x".repeat(LINE));
    assert!(chunked(&long).is_err() && chunked(&format!("{long}\r\na\r\n")).is_err());
    assert!(chunked(&format!("0\r\nx: {}", "y".repeat(TRAILERS.0))).is_err());
    assert!(chunked(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(TRAILERS.1 + 1))).is_err());
}

#[test]
fn what_is_wrong_behind_a_piece_costs_the_next_one() {
    let (mut decoder, mut input) = (Decoder::new(Framing::Chunked), BytesMut::from("4\r\nhalf\r\nzz\r\n"));
    assert_eq!(decoder.decode(&mut input), Ok(Decoded::Data(Bytes::from("half"))));
    assert!(!decoder.is_ended() && !decoder.leaves_open());
    assert!(decoder.decode(&mut input).is_err() && decoder.decode(&mut input).is_err());
}

#[test]
fn a_largest_chunk_does_not_overflow() {
    let (data, _, ended, _) = chunked("ffffffffffffffff\r\nabc").unwrap();
    assert_eq!((&data[..], ended), (&b"abc"[..], false));
}

proptest! {
    #[test]
    fn a_chunked_body_reads_the_same_however_it_is_split(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..5),
        extension in prop::sample::select(vec!["", ";a=b", " "]),
        trailers in prop::sample::select(vec!["", "x: y\r\n", "x: y\r\nz:\r\n"]),
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            text.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
            text.extend(chunk);
            text.extend(b"\r\n");
        }
        text.extend(format!("0\r\n{trailers}\r\nnext").bytes());
        let whole = read(Framing::Chunked, &[&text]).unwrap();
        prop_assert_eq!(&whole.0, &chunks.concat());
        prop_assert!(whole.2 && whole.3 == b"next");
        for at in 0..=text.len() {
            let (one, other) = text.split_at(at);
            prop_assert_eq!(&read(Framing::Chunked, &[one, other]).unwrap(), &whole);
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        prop_assert_eq!(&read(Framing::Chunked, &bytes).unwrap(), &whole);
    }

    #[test]
    fn nothing_panics(text in prop::collection::vec(prop::sample::select(b"0f1;\r\n :ax".to_vec()), 0..60)) {
        let _ = read(Framing::Chunked, &[&text]);
        let mut head = BytesMut::from(&b"HTTP/1.1 200 OK\r\n"[..]);
        head.extend_from_slice(&text);
        let _ = super::super::head::parse(&mut head, &mut Default::default(), false);
    }
}
