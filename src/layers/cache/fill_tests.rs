//! How a body is read while it comes.

use super::*;
use crate::layers::cache::room::Room;

fn read(reader: &mut Reader) -> Poll<Option<Result<Bytes, String>>> {
    let mut cx = Context::from_waker(Waker::noop());
    reader.poll_frame(&mut cx).map(|frame| {
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()).map_err(|error| error.to_string()))
    })
}

fn data(reader: &mut Reader) -> Bytes {
    match read(reader) {
        Poll::Ready(Some(Ok(data))) => data,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everybody_reads_all_of_it_whenever_they_come() {
    let room = Room::new(100);
    let fill = Fill::new(Some(6), 50, room.take(6).unwrap());
    let mut early = fill.read().unwrap();
    assert!(read(&mut early).is_pending());
    assert_eq!(fill.push(Bytes::from_static(b"abc")), Pushed::Kept);
    assert_eq!(data(&mut early), "abc");
    let mut late = fill.read().unwrap();
    fill.push(Bytes::from_static(b"def"));
    assert_eq!((data(&mut late), data(&mut late)), ("abc".into(), "def".into()));
    assert!(read(&mut late).is_pending() && !late.is_end_stream());
    assert_eq!(fill.finish().unwrap(), "abcdef");
    assert!(late.is_end_stream() && !early.is_end_stream());
    assert_eq!((data(&mut early), early.size_hint().exact()), ("def".into(), Some(0)));
    assert_eq!(data(&mut fill.read().unwrap()), "abcdef");
    assert!(matches!(read(&mut early), Poll::Ready(None)));
    drop((fill, early, late));
    assert_eq!(room.taken(), 0);
}

#[test]
fn what_is_not_whole_is_nothing_to_store_and_nobody_takes_it_for_whole() {
    let room = Room::new(100);
    let short = Fill::new(Some(6), 50, room.take(6).unwrap());
    let mut reader = short.read().unwrap();
    short.push(Bytes::from_static(b"abc"));
    assert_eq!(short.finish(), None);
    assert_eq!(data(&mut reader), "abc");
    assert!(matches!(read(&mut reader), Poll::Ready(Some(Err(_)))) && !reader.is_end_stream());
    let broken = Fill::new(None, 50, room.take(1).unwrap());
    let mut reader = broken.read().unwrap();
    broken.push(Bytes::from_static(b"abc"));
    broken.break_off();
    assert_eq!(data(&mut reader), "abc");
    assert!(matches!(read(&mut reader), Poll::Ready(Some(Err(_)))));
    assert!(broken.read().is_none());
}

#[test]
fn a_body_that_is_too_large_passes_at_the_pace_of_the_slowest() {
    let room = Room::new(10 << 20);
    let fill = Fill::new(None, 1 << 20, room.take(0).unwrap());
    let (mut quick, mut slow) = (fill.read().unwrap(), fill.read().unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    let piece = Bytes::from(vec![0; 512 * 1024]);
    assert_eq!(fill.push(piece.clone()), Pushed::Kept);
    assert_eq!(fill.push(piece.clone()), Pushed::Kept);
    assert!(fill.poll_room(&mut cx).is_ready());
    assert_eq!(fill.push(piece.clone()), Pushed::Passing);
    assert_eq!(room.taken(), 0);
    assert!(fill.read().is_none(), "whoever comes now would miss its beginning");
    for _ in 0..3 {
        data(&mut quick);
    }
    assert!(fill.poll_room(&mut cx).is_pending());
    for _ in 0..3 {
        assert!(fill.poll_room(&mut cx).is_pending());
        data(&mut slow);
    }
    assert!(fill.poll_room(&mut cx).is_ready());
    assert!(fill.lock().pieces.is_empty());
    assert_eq!(fill.finish(), None);
    assert!(quick.is_end_stream() && slow.is_end_stream());
}

#[test]
fn without_memory_it_is_not_kept() {
    let room = Room::new(5);
    let fill = Fill::new(None, 50, room.take(3).unwrap());
    let reader = fill.read().unwrap();
    assert_eq!(fill.push(Bytes::from_static(b"abcd")), Pushed::Kept);
    assert_eq!(fill.push(Bytes::from_static(b"ef")), Pushed::Passing);
    assert!(fill.is_wanted());
    drop(reader);
    assert!(!fill.is_wanted());
    let fill = Fill::new(Some(4), 50, room.take(4).unwrap());
    fill.push(Bytes::from_static(b"abcd"));
    assert_eq!(fill.finish(), None, "there is no room for a copy of it");
}
