//! Tests of what one client connection is doing.

use super::*;

#[test]
fn a_connection_reads_a_head_works_and_idles() {
    let client = Client::new(IpAddr::from([127, 0, 0, 1]), Vec::new());
    assert_eq!(client.phase().0, Phase::Head);
    let busy = client.begin(false);
    client.heard();
    assert_eq!(client.phase().0, Phase::Busy);
    drop(busy);
    assert_eq!(client.phase().0, Phase::Idle);
    client.heard();
    assert_eq!(client.phase().0, Phase::Head);
}

#[test]
fn a_multiplexed_connection_is_idle_whatever_it_hears() {
    let client = Client::new(IpAddr::from([127, 0, 0, 1]), Vec::new());
    let (one, two) = (client.begin(true), client.begin(true));
    drop(one);
    assert_eq!(client.phase().0, Phase::Busy);
    drop(two);
    client.heard();
    assert_eq!(client.phase().0, Phase::Idle);
}

#[test]
fn a_stall_remembers_those_before_until_the_next_request() {
    let client = Client::new(IpAddr::from([127, 0, 0, 1]), Vec::new());
    let _busy = client.begin(false);
    client.take(10);
    assert_eq!(client.stalled(), None);
    client.stall();
    let first = client.stalled().unwrap();
    client.stall();
    assert_eq!((client.stalled(), first.taken, first.before), (Some(first), 10, Duration::ZERO));
    client.take(5);
    assert_eq!(client.stalled(), None);
    client.waited.store(7, Ordering::Relaxed);
    client.stall();
    let second = client.stalled().unwrap();
    assert_eq!((second.taken, second.before), (15, Duration::from_millis(7)));
    let _next = client.begin(false);
    assert_eq!(client.stalled().map(|stall| (stall.taken, stall.before)), Some((0, Duration::ZERO)));
}

#[test]
fn interim_responses_are_taken_once() {
    let client = Client::new(IpAddr::from([127, 0, 0, 1]), Vec::new());
    let mut headers = HeaderMap::new();
    headers.append("link", "</a.css>; rel=preload".parse().unwrap());
    client.push_interim(StatusCode::EARLY_HINTS, &headers);
    let text = client.take_interim().unwrap();
    assert_eq!(text, b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
    assert_eq!(client.take_interim(), None);
}
