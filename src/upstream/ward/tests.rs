//! The rules of `ward`, one by one.

use super::super::balance::Balancer;
use super::super::endpoint::Ticket;
use super::super::metrics::Outcome;
use super::super::policy::{Balance, WeightedAddress};
use super::*;
use crate::base::clock;

const SECOND: Duration = Duration::from_secs(1);

/// Some addresses, and a clock that stands until it is told to go on.
struct Scene {
    set: Endpoints,
    policy: EjectPolicy,
    now: Instant,
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 80))
}

fn list(count: u8) -> Vec<WeightedAddress> {
    (1..=count).map(|last| WeightedAddress { address: address(last), weight: 1 }).collect()
}

impl Scene {
    fn of(count: u8) -> Self {
        Self { set: Endpoints::default().updated(&list(count), 1), policy: EjectPolicy::default(), now: clock::now() }
    }

    fn ward(&self) -> Ward<'_> {
        Ward { set: &self.set, policy: &self.policy, now: self.now }
    }

    fn at(&self, number: usize) -> &Arc<Endpoint> {
        self.set.iter().nth(number).unwrap()
    }

    /// A try at an address came to this.
    fn hear(&self, number: usize, outcome: Outcome) -> Option<Event> {
        let took = matches!(outcome, Outcome::Status(_)).then_some(Duration::ZERO);
        let sign = Sign::of(outcome);
        let matters = self.at(number).standing().note(sign, took.is_some(), self.policy.failures);
        matters.then(|| self.ward().judge(self.at(number), sign, Duration::ZERO)).flatten()
    }

    fn fail(&self, number: usize, outcome: Outcome) -> Option<Event> {
        (0..self.policy.failures).filter_map(|_| self.hear(number, outcome)).last()
    }

    fn pass(&mut self, time: Duration) -> Vec<Event> {
        self.now += time;
        self.ward().look()
    }

    /// Which addresses may get the next request.
    fn open(&self) -> Vec<usize> {
        (0..self.set.len()).filter(|&number| self.set.admits(self.at(number))).collect()
    }

    fn phase(&self, number: usize) -> Phase {
        self.at(number).standing().record().case.phase
    }
}

#[test]
fn failures_in_a_row_eject_and_a_good_answer_between_them_does_not() {
    let scene = Scene::of(3);
    for outcome in [Outcome::Connect, Outcome::Connect, Outcome::Status(200), Outcome::Connect, Outcome::Connect] {
        assert_eq!(scene.hear(0, outcome), None);
    }
    assert_eq!(scene.open(), [0, 1, 2]);
    let ejected = Event::Ejected { address: address(1), trouble: Trouble::Connect, sentence: 5 * SECOND, row: 1 };
    assert_eq!(scene.hear(0, Outcome::Connect), Some(ejected));
    assert_eq!(scene.open(), [1, 2]);
}

#[test]
fn one_request_tries_an_address_whose_time_is_over() {
    let mut scene = Scene::of(3);
    scene.fail(0, Outcome::Connect);
    scene.pass(4 * SECOND);
    assert_eq!(scene.open(), [1, 2]);
    scene.pass(SECOND);
    assert_eq!(scene.open(), [0, 1, 2]);
    let trial = Ticket::take(scene.at(0));
    assert_eq!(scene.open(), [1, 2], "one is enough");
    assert!(matches!(scene.hear(0, Outcome::Connect), Some(Event::Ejected { row: 2, .. })));
    drop(trial);
    scene.pass(10 * SECOND);
    let trial = Ticket::take(scene.at(0));
    assert_eq!(scene.hear(0, Outcome::Status(404)), Some(Event::Returned(address(1))));
    drop(trial);
    assert_eq!((scene.open(), scene.phase(0)), (vec![0, 1, 2], Phase::Serving));
}

#[test]
fn a_trial_that_the_client_leaves_is_repeated() {
    let mut scene = Scene::of(2);
    scene.fail(0, Outcome::Connect);
    scene.pass(5 * SECOND);
    let trial = Ticket::take(scene.at(0));
    assert_eq!(scene.open(), [1]);
    scene.hear(0, Outcome::Canceled);
    assert_eq!(scene.open(), [0, 1]);
    // Even if nobody ever hears how it ended.
    drop((trial, Ticket::take(scene.at(0))));
    assert_eq!(scene.open(), [1]);
    scene.pass(SECOND);
    assert_eq!(scene.open(), [0, 1]);
}

#[test]
fn never_more_than_the_share_and_one_always_stays() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3)] {
        let scene = Scene::of(count);
        for number in 0..usize::from(count) - 1 {
            scene.fail(number, Outcome::Connect);
        }
        let out = (0..usize::from(count)).filter(|&number| scene.at(number).standing().record().case.is_out());
        assert_eq!(out.count(), most.min(usize::from(count) - 1), "{count}");
        let stays: Vec<usize> = (most..usize::from(count)).collect();
        assert_eq!(scene.open(), stays, "{count}");
    }
}

#[test]
fn when_none_is_well_all_are_tried() {
    let scene = Scene::of(3);
    (0..3).for_each(|number| drop(scene.fail(number, Outcome::Connect)));
    assert_eq!(scene.open(), [0, 1, 2]);
    assert!(matches!(scene.phase(0), Phase::Ejected { .. }));
    // The first that answers ends it for itself, and there is one that is well again.
    assert_eq!(scene.hear(0, Outcome::Status(200)), Some(Event::Returned(address(1))));
    assert_eq!((scene.phase(0), scene.open()), (Phase::Serving, vec![0, 1, 2]));
}

#[test]
fn a_suspect_is_ejected_when_there_is_room() {
    let mut scene = Scene::of(3);
    scene.fail(0, Outcome::Connect);
    scene.fail(1, Outcome::Connect);
    assert_eq!(scene.open(), [1, 2]);
    scene.pass(5 * SECOND);
    let trial = Ticket::take(scene.at(0));
    assert!(scene.hear(0, Outcome::Status(200)).is_some());
    drop(trial);
    assert!(matches!(scene.pass(SECOND)[..], [Event::Ejected { .. }]));
    assert_eq!(scene.open(), [0, 2]);
}

#[test]
fn what_may_be_the_request_ejects_nobody_who_answers_other_requests() {
    for outcome in [Outcome::Status(503), Outcome::Reset, Outcome::Timeout, Outcome::Protocol] {
        let mut scene = Scene::of(3);
        for _ in 0..20 {
            (0..3).for_each(|number| drop(scene.hear(number, Outcome::Status(200))));
            for number in (0..3).cycle().take(60) {
                assert_eq!(scene.hear(number, outcome), None);
            }
            assert!(scene.pass(SECOND / 2).is_empty());
        }
        assert_eq!(scene.open(), [0, 1, 2]);
        // An address that answers nothing else any more is another matter.
        scene.pass(GOOD_FOR);
        assert!(matches!(scene.fail(1, outcome), Some(Event::Ejected { .. })), "{outcome:?}");
    }
}

#[test]
fn an_address_that_answers_nothing_while_others_do_is_silent() {
    let mut scene = Scene::of(3);
    scene.pass(SECOND);
    let waiting: Vec<Ticket> = (0..3).map(|_| Ticket::take(scene.at(0))).collect();
    let mut events = Vec::new();
    for _ in 0..12 {
        assert_eq!((events.len(), scene.open().len()), (0, 3));
        scene.hear(1, Outcome::Status(200));
        events = scene.pass(SECOND / 2);
        if !events.is_empty() {
            break;
        }
    }
    assert!(matches!(events[..], [Event::Ejected { trouble: Trouble::Silence, .. }]), "{events:?}");
    // Its trial is one request more, and again nobody waits for the end of that.
    scene.pass(5 * SECOND);
    let trial = Ticket::take(scene.at(0));
    for _ in 0..11 {
        assert_eq!(scene.open(), [1, 2]);
        scene.hear(1, Outcome::Status(200));
        scene.pass(SECOND / 2);
    }
    assert!(matches!(scene.phase(0), Phase::Ejected { .. }) && scene.at(0).standing().record().case.row == 2);
    // One answer, to whatever, and it is not silent.
    assert!(scene.hear(0, Outcome::Status(200)).is_some());
    assert_eq!(scene.open(), [0, 1, 2]);
    drop((waiting, trial));
}

#[test]
fn those_who_wait_for_a_silent_address_need_not_ask_others_meanwhile() {
    let mut scene = Scene::of(3);
    // Nine clients, each waiting for an answer before it asks again: before long all of them wait for the same.
    for number in [1, 2] {
        drop(Ticket::take(scene.at(number)));
        scene.hear(number, Outcome::Status(200));
    }
    let waiting: Vec<Ticket> = (0..9).map(|_| Ticket::take(scene.at(0))).collect();
    let events: Vec<Event> = (0..12).flat_map(|_| scene.pass(SECOND / 2)).collect();
    assert!(matches!(events[..], [Event::Ejected { trouble: Trouble::Silence, .. }]), "{events:?}");
    drop(waiting);
}

#[test]
fn when_nobody_answers_nobody_is_silent() {
    let mut scene = Scene::of(3);
    let waiting: Vec<Ticket> = (0..30).map(|number| Ticket::take(scene.at(number % 3))).collect();
    for _ in 0..60 {
        assert!(scene.pass(SECOND / 2).is_empty());
    }
    // Nor is an address silent that is only busy with the bodies of its answers.
    let mut scene = Scene::of(3);
    let streams: Vec<Ticket> = (0..9).map(|_| Ticket::take(scene.at(0))).collect();
    scene.hear(0, Outcome::Status(200));
    for _ in 0..60 {
        scene.hear(1, Outcome::Status(200));
        assert!(scene.pass(SECOND / 2).is_empty());
    }
    drop((waiting, streams));
}

#[test]
fn fewer_addresses_take_back_what_is_too_many() {
    let mut scene = Scene::of(4);
    scene.fail(0, Outcome::Connect);
    scene.fail(1, Outcome::Connect);
    assert_eq!(scene.open(), [2, 3]);
    scene.set = scene.set.updated(&list(2), 1);
    scene.ward().settle();
    assert_eq!(scene.open(), [0, 1], "neither is well");
    assert_eq!((0..2).filter(|&number| scene.at(number).standing().record().case.is_out()).count(), 1);
}

#[test]
fn what_is_drained_gets_nothing_even_in_a_panic() {
    let scene = Scene::of(2);
    scene.ward().drain(scene.at(0), true);
    assert_eq!(scene.open(), [1]);
    scene.fail(1, Outcome::Connect);
    assert_eq!(scene.open(), [1]);
    scene.ward().drain(scene.at(1), true);
    assert!(scene.open().is_empty());
    scene.ward().drain(scene.at(0), false);
    assert_eq!(scene.open(), [0]);
}

#[test]
fn checks_decide_who_gets_requests() {
    let (scene, policy) = (Scene::of(2), HealthPolicy::default());
    scene.set.iter().for_each(|endpoint| endpoint.standing().record().verdict = Some(Verdict::Unchecked));
    scene.ward().settle();
    assert!(scene.open().is_empty(), "not before the first check");
    let check = |number, result: Result<(), &str>| {
        scene.ward().checked(scene.at(number), result.map_err(str::to_owned), &policy)
    };
    let unhealthy = Event::Unhealthy(address(1), "it answered 500".to_owned());
    assert_eq!(check(0, Err("it answered 500")), Some(unhealthy));
    assert_eq!(scene.open(), [0], "all that were checked are bad");
    assert_eq!(check(1, Ok(())), Some(Event::Healthy(address(2))));
    assert_eq!(scene.open(), [1]);
    assert_eq!(check(0, Ok(())), Some(Event::Healthy(address(1))));
    assert_eq!((check(0, Err("x")), check(0, Err("x")), scene.open()), (None, None, vec![0, 1]));
    assert!(check(0, Err("x")).is_some());
    assert_eq!((check(0, Ok(())), scene.open()), (None, vec![1]));
    assert!(check(0, Ok(())).is_some());
    assert_eq!(scene.open(), [0, 1]);
}

#[test]
fn turns_go_evenly_to_those_that_are_left() {
    let scene = Scene::of(4);
    scene.fail(0, Outcome::Connect);
    let balancer = Balancer::new(Balance::RoundRobin);
    for _ in 0..300 {
        balancer.pick(&scene.set, &[], 0).unwrap();
    }
    let requests: Vec<u64> = scene.set.iter().map(|endpoint| endpoint.requests()).collect();
    assert_eq!(requests, [0, 100, 100, 100]);
}
