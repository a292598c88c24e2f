//! Cookies: who gets one, whose are believed, and what they say.

use http::header::COOKIE;

use super::super::trial::{Trial, address, exchange};
use super::*;
use crate::base::clock;
use crate::base::secret::Secret;
use crate::upstream::policy::{Balance, WeightedAddress};

const HOUR: Duration = Duration::from_secs(3600);
const NOON: Duration = Duration::from_secs(1_700_000_000);

fn policy(secret: Option<&str>, max_age: Duration) -> StickyPolicy {
    StickyPolicy { cookie: "tollgate".to_owned(), max_age, secret: secret.map(Secret::new) }
}

fn sticky(secret: Option<&str>, upstream: &str) -> Sticky {
    Sticky::new(&policy(secret, HOUR), upstream, &Sessions::new((clock::now(), NOON)).unwrap())
}

/// A request that brings this cookie.
fn bringing(cookie: &str) -> Parts {
    http::Request::get("/").header(COOKIE, cookie).body(()).unwrap().into_parts().0
}

/// The pair that a client would send back.
fn pair(set: &HeaderValue) -> String {
    set.to_str().unwrap().split(';').next().unwrap().to_owned()
}

fn read(sticky: &Sticky, cookie: &str, now: Instant) -> Session {
    sticky.read(&bringing(cookie), &exchange("/"), now)
}

const NEW: Session = Session { tag: None, young: false, secure: false };

#[test]
fn a_cookie_brings_back_its_address_and_needs_no_other() {
    let (sticky, now) = (sticky(None, "u"), clock::now());
    let set = sticky.renew(&NEW, address(1), now).unwrap();
    let text = set.to_str().unwrap();
    assert!(text.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{text}");
    assert!(!text.contains("127.0.0.1"));
    let session = read(&sticky, &format!("other=1; {}; more=2", pair(&set)), now);
    assert_eq!(session.tag, Some(sticky.tag(address(1))));
    assert_eq!(sticky.renew(&session, address(1), now), None);
    let moved = sticky.renew(&session, address(2), now).unwrap();
    assert_eq!(read(&sticky, &pair(&moved), now).tag, Some(sticky.tag(address(2))));
}

#[test]
fn a_restart_with_the_same_secret_changes_nothing_and_any_other_key_everything() {
    let now = clock::now();
    let cookie = pair(&sticky(Some("0123456789abcdef"), "u").renew(&NEW, address(1), now).unwrap());
    let known = |sticky: &Sticky| read(sticky, &cookie, now).tag.is_some();
    assert!(known(&sticky(Some("0123456789abcdef"), "u")));
    assert!(!known(&sticky(Some("0123456789abcdee"), "u")));
    assert!(!known(&sticky(None, "u")));
    assert!(!known(&sticky(Some("0123456789abcdef"), "v")), "another upstream's");
}

#[test]
fn what_is_forged_or_too_old_is_no_cookie() {
    let (sticky, now) = (sticky(None, "u"), clock::now());
    let good = pair(&sticky.renew(&NEW, address(1), now).unwrap());
    let (_, value) = good.split_once('=').unwrap();
    for at in 0..value.len() {
        let mut forged = value.as_bytes().to_vec();
        forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
        let forged = format!("tollgate={}", String::from_utf8(forged).unwrap());
        assert_eq!(read(&sticky, &forged, now).tag, None, "{forged}");
    }
    for nonsense in ["", "a", "a.b.c", "..", "é", &format!("{value}.0"), &value[1..], &value.replace('.', "")] {
        assert_eq!(read(&sticky, &format!("tollgate={nonsense}"), now).tag, None, "{nonsense}");
    }
    assert!(read(&sticky, &good, now + HOUR).tag.is_some());
    assert_eq!(read(&sticky, &good, now + HOUR + Duration::from_secs(2)).tag, None);
}

#[test]
fn a_cookie_is_renewed_after_half_its_time_and_one_without_time_never() {
    let (sticky, now) = (sticky(None, "u"), clock::now());
    let cookie = pair(&sticky.renew(&NEW, address(1), now).unwrap());
    assert_eq!(sticky.renew(&read(&sticky, &cookie, now + HOUR / 3), address(1), now), None);
    assert!(sticky.renew(&read(&sticky, &cookie, now + HOUR * 2 / 3), address(1), now).is_some());
    let timeless = Sticky { max_age: Duration::ZERO, ..sticky };
    let set = timeless.renew(&NEW, address(1), now).unwrap();
    assert!(!set.to_str().unwrap().contains("Max-Age"));
    let later = now + HOUR * 10_000;
    assert_eq!(timeless.renew(&read(&timeless, &pair(&set), later), address(1), later), None);
}

#[test]
fn over_tls_the_cookie_is_secure() {
    let (sticky, now) = (sticky(None, "u"), clock::now());
    let mut over_tls = exchange("/");
    over_tls.origin.scheme = "https";
    let mut behind_proxy = exchange("/");
    behind_proxy.origin.trusted = true;
    let request = http::Request::get("/").header("x-forwarded-proto", "https, http");
    let (told, ()) = request.body(()).unwrap().into_parts();
    let (plain, ()) = http::Request::new(()).into_parts();
    for (head, exchange, secure) in [
        (&plain, &over_tls, true),
        (&told, &behind_proxy, true),
        (&plain, &behind_proxy, false),
        (&told, &exchange("/"), false),
    ] {
        let session = sticky.read(head, exchange, now);
        let set = sticky.renew(&session, address(1), now).unwrap();
        assert_eq!(set.to_str().unwrap().ends_with("; Secure"), secure);
    }
}

#[test]
fn a_client_stays_until_its_address_leaves() {
    let mut trial = Trial::new(Balance::Sticky(policy(None, HOUR)), &[1; 5]);
    let now = trial.now();
    let ask = |trial: &Trial, cookie: &str| {
        let wish = trial.balancer.wish(&bringing(cookie), &exchange("/"), now);
        let ticket = trial.pick_for(&wish, &[], 0).unwrap();
        let set = trial.balancer.cookie(&wish, ticket.endpoint(), || now);
        (ticket.endpoint().address, set.as_ref().map(pair))
    };
    let (first, cookie) = ask(&trial, "");
    let cookie = cookie.unwrap();
    (0..20).for_each(|_| assert_eq!(ask(&trial, &cookie), (first, None)));
    let stay = (1..=5).map(address).filter(|address| *address != first).map(WeightedAddress::new);
    trial.update(&stay.collect::<Vec<_>>());
    let (second, renewed) = ask(&trial, &cookie);
    assert_ne!(second, first);
    assert_eq!(ask(&trial, &renewed.unwrap()), (second, None));
    let wish = trial.balancer.wish(&bringing(&cookie), &exchange("/"), now);
    assert!(trial.balancer.cookie(&wish, trial.endpoint(0), || now).is_some());
}

#[test]
fn nothing_printed_shows_the_key() {
    let sticky = sticky(Some("0123456789abcdef"), "u");
    assert_eq!(format!("{sticky:?} {:?}", Sessions::new((clock::now(), NOON)).unwrap()), "Sticky(tollgate) Sessions");
}
