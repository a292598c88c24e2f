//! The rules of `answers`, one by one, and a long random walk under its invariants.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn start() -> Instant {
    crate::base::clock::now()
}

fn both() -> Answers {
    Answers::new(Arc::new(DnsPolicy::default()))
}

fn of(family: Family) -> Answers {
    Answers::new(Arc::new(DnsPolicy { family, ..DnsPolicy::default() }))
}

fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last))
}

fn good(addresses: impl Into<Vec<IpAddr>>, ttl: u64) -> Result<FamilyAnswer, LookupFailure> {
    Ok(FamilyAnswer { records: addresses.into(), ttl: Duration::from_secs(ttl), server: None })
}

fn failed() -> Result<FamilyAnswer, LookupFailure> {
    Err(LookupFailure::Failed("refused".to_owned()))
}

#[test]
fn waits_until_a_family_has_addresses() {
    let (t, mut answers) = (start(), both());
    assert_eq!(answers.current(t).state, State::Waiting);
    answers.record(t, Kind::A, failed());
    answers.record(t, Kind::Aaaa, Err(LookupFailure::Empty));
    assert_eq!(answers.current(t).state, State::Waiting, "a failure is no answer");
    answers.record(t, Kind::A, good([v4(1)], 600));
    assert_eq!(answers.current(t).state, State::Fresh);
}

#[test]
fn is_empty_once_every_family_said_none() {
    let (t, mut answers) = (start(), both());
    answers.record(t, Kind::A, Err(LookupFailure::NxDomain));
    answers.record(t, Kind::Aaaa, Err(LookupFailure::NxDomain));
    assert_eq!(answers.current(t).state, State::Empty);
}

#[test]
fn merges_sorts_and_drops_doubles_and_the_unusable() {
    let (t, mut answers) = (start(), both());
    let odd = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::ffff:10.0.0.3"].map(|text| text.parse().unwrap());
    answers.record(t, Kind::A, good([vec![v4(2), v4(1), v4(2)], odd.to_vec()].concat(), 600));
    let odd = ["::", "ff02::1", "fe80::1"].map(|text| text.parse().unwrap());
    answers.record(t, Kind::Aaaa, good([vec![v6(1)], odd.to_vec()].concat(), 600));
    assert_eq!(answers.current(t).records, [v4(1), v4(2), v4(3), v6(1)]);
}

#[test]
fn an_answer_of_unusable_addresses_is_an_empty_one() {
    let (t, mut answers) = (start(), of(Family::V4));
    answers.record(t, Kind::A, good([IpAddr::V4(Ipv4Addr::UNSPECIFIED)], 600));
    assert_eq!(answers.current(t).state, State::Empty);
}

#[test]
fn a_thousand_addresses_are_capped_to_the_same_ones_in_any_order() {
    let (t, mut answers) = (start(), of(Family::V4));
    let mut many: Vec<IpAddr> = (0..1000_u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))).collect();
    answers.record(t, Kind::A, good(many.clone(), 600));
    let first = answers.current(t).records;
    assert_eq!(first.len(), MAX_ADDRESSES);
    many.rotate_left(500);
    answers.record(t, Kind::A, good(many, 600));
    assert_eq!(answers.current(t).records, first);
}

#[test]
fn failures_keep_the_last_answer_up_to_max_stale() {
    let (t, mut answers) = (start(), of(Family::V4));
    answers.record(t, Kind::A, good([v4(1)], 600));
    answers.record(t + SECOND, Kind::A, failed());
    let end = t + Duration::from_secs(3600);
    let before = answers.current(end - Duration::from_nanos(1));
    assert_eq!((before.state, before.records), (State::Stale, vec![v4(1)]));
    assert_eq!(answers.next_change(t + SECOND), Some(end));
    assert_eq!(answers.current(end).state, State::Empty);
    assert_eq!(answers.next_change(end), None);
}

#[test]
fn a_name_that_is_gone_is_held_for_exactly_hold_empty() {
    for gone in [LookupFailure::NxDomain, LookupFailure::Empty] {
        let (t, mut answers) = (start(), of(Family::V4));
        answers.record(t, Kind::A, good([v4(1)], 600));
        answers.record(t + SECOND, Kind::A, Err(gone.clone()));
        answers.record(t + SECOND * 7, Kind::A, Err(gone));
        answers.record(t + SECOND * 9, Kind::A, failed());
        let end = t + SECOND * 31;
        assert_eq!(answers.next_change(t + SECOND * 9), Some(end), "counted from the first one");
        assert_eq!(answers.current(end - Duration::from_nanos(1)).state, State::Holding);
        assert!(answers.current(end).records.is_empty());
        answers.record(end, Kind::A, good([v4(2)], 600));
        assert_eq!(answers.current(end).records, [v4(2)]);
    }
}

#[test]
fn a_family_that_fails_keeps_its_own_addresses_only() {
    let (t, mut answers) = (start(), both());
    answers.record(t, Kind::A, good([v4(1)], 600));
    answers.record(t, Kind::Aaaa, good([v6(1)], 600));
    answers.record(t + SECOND, Kind::A, good([v4(2)], 600));
    answers.record(t + SECOND, Kind::Aaaa, failed());
    let current = answers.current(t + SECOND);
    assert_eq!((current.state, current.records), (State::Stale, vec![v4(2), v6(1)]));
    assert_eq!(current.since, Some(t));
}

#[test]
fn a_family_that_is_gone_leaves_at_once_while_the_other_stays() {
    let (t, mut answers) = (start(), both());
    answers.record(t, Kind::A, good([v4(1)], 600));
    answers.record(t, Kind::Aaaa, good([v6(1)], 600));
    answers.record(t + SECOND, Kind::Aaaa, Err(LookupFailure::Empty));
    let current = answers.current(t + SECOND);
    assert_eq!((current.state, current.records), (State::Fresh, vec![v4(1)]));
    answers.record(t + SECOND, Kind::A, Err(LookupFailure::Empty));
    assert_eq!(answers.current(t + SECOND).records, [v4(1), v6(1)], "both went in one round: both are held");
}

#[test]
fn the_time_to_live_counts_only_between_min_refresh_and_refresh() {
    for (ttl, low, high) in
        [(0, 1.0, 1.1), (2, 1.8, 2.2), (5, 4.5, 5.0), (600, 4.5, 5.0), (1 << 31, 4.5, 5.0), (u64::MAX, 4.5, 5.0)]
    {
        let (t, mut answers) = (start(), of(Family::V4));
        answers.record(t, Kind::A, good([v4(1)], ttl));
        let pause = |random| (answers.next_lookup(t, t, random) - t).as_secs_f64();
        assert!((pause(0.0) - low).abs() < 1e-6, "ttl {ttl}: {}", pause(0.0));
        assert!((pause(1.0) - high).abs() < 1e-6, "ttl {ttl}: {}", pause(1.0));
    }
}

#[test]
fn a_round_that_took_long_is_followed_at_once() {
    let (t, mut answers) = (start(), of(Family::V4));
    answers.record(t, Kind::A, good([v4(1)], 600));
    assert_eq!(answers.next_lookup(t, t + SECOND * 9, 0.5), t + SECOND * 9);
}

#[test]
fn failures_back_off_from_100_ms_to_refresh() {
    let (t, mut answers) = (start(), of(Family::V4));
    let pauses: Vec<u128> = (0..8)
        .map(|_| {
            answers.record(t, Kind::A, failed());
            (answers.next_lookup(t, t, 0.5) - t).as_millis()
        })
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 4750, 4750]);
}

#[test]
fn a_name_that_is_gone_is_asked_for_from_min_refresh_to_refresh() {
    let (t, mut answers) = (start(), both());
    let pauses: Vec<u128> = (0..5)
        .map(|_| {
            answers.record(t, Kind::A, Err(LookupFailure::NxDomain));
            answers.record(t, Kind::Aaaa, Err(LookupFailure::NxDomain));
            (answers.next_lookup(t, t, 0.0) - t).as_millis()
        })
        .collect();
    assert_eq!(pauses, [1000, 1800, 3600, 4500, 4500]);
}

#[test]
fn one_failing_family_never_slows_the_other() {
    let (t, mut answers) = (start(), both());
    answers.record(t, Kind::A, good([v4(1)], 600));
    for _ in 0..50 {
        answers.record(t, Kind::Aaaa, Err(LookupFailure::Timeout));
    }
    assert!(answers.next_lookup(t, t + SECOND * 2, 1.0) <= t + SECOND * 5);
}

#[test]
fn absurd_limits_do_not_overflow() {
    let limit = Duration::MAX;
    let policy =
        DnsPolicy { refresh: limit, min_refresh: limit, max_stale: limit, hold_empty: limit, ..DnsPolicy::default() };
    let (t, mut answers) = (start(), Answers::new(Arc::new(policy)));
    answers.record(t, Kind::A, good([v4(1)], u64::MAX));
    answers.record(t, Kind::Aaaa, failed());
    assert_eq!(answers.next_change(t), None);
    assert!(answers.next_lookup(t, t, 1.0) <= t + LONGEST_PAUSE);
}

/// What the walk knows of a family without asking the code under test.
#[derive(Default)]
struct Seen {
    good: Option<(Vec<IpAddr>, Instant)>,
    gone: Option<Instant>,
}

impl Seen {
    fn serves(&self, now: Instant, policy: &DnsPolicy, held: bool) -> &[IpAddr] {
        let allowed = self.gone.is_none_or(|gone| held && now - gone < policy.hold_empty);
        match &self.good {
            Some((addresses, at)) if allowed && now - *at < policy.max_stale => addresses,
            _ => &[],
        }
    }
}

#[test]
fn a_random_walk_never_leaves_the_rules() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let policy = DnsPolicy { max_stale: SECOND * 40, hold_empty: SECOND * 10, ..DnsPolicy::default() };
        let mut answers = Answers::new(Arc::new(policy.clone()));
        let mut seen = [Seen::default(), Seen::default()];
        let mut now = start();
        for _ in 0..200 {
            now += Duration::from_millis(random.u64(0..8000));
            let index = random.usize(0..2);
            step(&mut answers, &mut seen[index], [Kind::A, Kind::Aaaa][index], now, &mut random);
            check(&answers, &seen, now, &policy, random.f64());
        }
    }
}

fn step(answers: &mut Answers, seen: &mut Seen, kind: Kind, now: Instant, random: &mut fastrand::Rng) {
    let result = match random.u8(0..10) {
        0..4 => {
            let mut numbers: Vec<u8> = (1..=9).collect();
            random.shuffle(&mut numbers);
            numbers.truncate(random.usize(1..5));
            let address = |&n: &u8| if kind == Kind::A { v4(n) } else { v6(n.into()) };
            let addresses: Vec<IpAddr> = numbers.iter().map(address).collect();
            *seen = Seen { good: Some((addresses.clone(), now)), gone: None };
            good(addresses, random.u64(0..700))
        }
        n @ 4..7 => {
            seen.gone.get_or_insert(now);
            Err(if n == 4 { LookupFailure::NxDomain } else { LookupFailure::Empty })
        }
        7 => Err(LookupFailure::Timeout),
        _ => failed(),
    };
    answers.record(now, kind, result);
}

fn check(answers: &Answers, seen: &[Seen; 2], now: Instant, policy: &DnsPolicy, random: f64) {
    let serving = |held| -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = seen.iter().flat_map(|seen| seen.serves(now, policy, held)).copied().collect();
        all.sort_unstable();
        all
    };
    let (live, held) = (serving(false), serving(true));
    let current = answers.current(now);
    match current.state {
        State::Fresh | State::Stale => assert_eq!(current.records, live),
        State::Holding => assert_eq!((current.records, live), (held, vec![])),
        State::Waiting | State::Empty => assert_eq!((current.records, held), (vec![], vec![])),
    }
    let heard = seen.iter().any(|seen| seen.good.is_some()) || seen.iter().all(|seen| seen.gone.is_some());
    assert_eq!(current.state == State::Waiting, !heard);
    let pause = answers.next_lookup(now, now, random) - now;
    assert!(pause >= if answers.failing() { FIRST_BACKOFF.mul_f64(0.9) } else { policy.min_refresh });
    assert!(pause <= policy.refresh);
    if let Some(change) = answers.next_change(now) {
        assert_eq!(answers.current(change - Duration::from_nanos(1)), answers.current(now));
    }
}
