//! The addresses of an upstream through random sequences of answers, failures, checks, operators and time: what must
//! hold after each step. A run that fails is named by its seed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tollgate::base::clock;
use tollgate::upstream::answers::{Answers, FamilyAnswer, Kind, LookupFailure, State};
use tollgate::upstream::balance::{Balancer, Endpoints};
use tollgate::upstream::eject::{Phase, Sign};
use tollgate::upstream::endpoint::{Endpoint, Ticket};
use tollgate::upstream::health::Verdict;
use tollgate::upstream::metrics::Outcome;
use tollgate::upstream::policy::{Balance, DnsPolicy, EjectPolicy, Family, HealthPolicy, WeightedAddress};
use tollgate::upstream::ward::Ward;

/// Runs, each from a seed of its own.
const RUNS: u64 = 24;
/// Steps of a run.
const STEPS: usize = 3000;
/// Addresses that the name may have.
const ADDRESSES: u8 = 9;

const OUTCOMES: [Outcome; 9] = [
    Outcome::Status(200),
    Outcome::Status(200),
    Outcome::Status(404),
    Outcome::Status(503),
    Outcome::Connect,
    Outcome::Reset,
    Outcome::Timeout,
    Outcome::Protocol,
    Outcome::Canceled,
];

/// An upstream without sockets, and what is known of it from outside.
struct World {
    rng: Rng,
    now: Instant,
    answers: Answers,
    set: Endpoints,
    balancer: Balancer,
    eject: EjectPolicy,
    health: Option<HealthPolicy>,
    /// Requests under way, and when each began.
    tickets: Vec<(Ticket, Instant)>,
    /// The last answer that had addresses.
    good: Vec<IpAddr>,
    /// How often something happened that the test is about.
    ejections: usize,
    panics: usize,
    trials: usize,
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let dns = DnsPolicy { family: Family::V4, max_stale: Duration::from_secs(40), ..DnsPolicy::default() };
        let eject = EjectPolicy {
            failures: rng.u32(1..5),
            base: Duration::from_millis(rng.u64(100..5000)),
            max: Duration::from_secs(rng.u64(5..20)),
            max_share: *rng.choice(&[0.0, 0.1, 0.34, 0.5, 0.9, 1.0]).unwrap(),
        };
        let balance = *rng.choice(&[Balance::RoundRobin, Balance::Random, Balance::LeastRequest]).unwrap();
        Self {
            health: rng.bool().then(HealthPolicy::default),
            now: clock::now(),
            answers: Answers::new(Arc::new(dns)),
            set: Endpoints::default(),
            balancer: Balancer::new(balance),
            eject,
            tickets: Vec::new(),
            good: Vec::new(),
            ejections: 0,
            panics: 0,
            trials: 0,
            rng,
        }
    }

    fn ward(&self) -> Ward<'_> {
        Ward { set: &self.set, policy: &self.eject, now: self.now }
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..3 => self.look_up(),
            3..5 => self.pass(20_000),
            5..20 => self.pass(600),
            20..23 => self.check(),
            23..24 => self.drain(),
            24..65 => self.send(),
            _ => self.end(),
        }
    }

    fn look_up(&mut self) {
        let result = match self.rng.u8(0..8) {
            0 => Err(LookupFailure::NxDomain),
            1 => Err(LookupFailure::Empty),
            2 => Err(LookupFailure::Timeout),
            _ => {
                let count = self.rng.usize(1..=usize::from(ADDRESSES));
                let addresses = self.rng.choose_multiple(1..=ADDRESSES, count).into_iter().map(ip).collect();
                Ok(FamilyAnswer { addresses, ttl: Duration::from_secs(600), server: None })
            }
        };
        if let Ok(answer) = &result {
            self.good.clone_from(&answer.addresses);
        }
        self.answers.record(self.now, Kind::A, result);
        self.renew();
    }

    /// Takes the addresses that the name has now.
    fn renew(&mut self) {
        let current = self.answers.addresses(self.now);
        if current.state == State::Waiting {
            return;
        }
        let socket = |ip: IpAddr| WeightedAddress { address: SocketAddr::new(ip, 80), weight: 1 };
        let list: Vec<_> = current.addresses.into_iter().map(socket).collect();
        let new = self.set.updated(&list, 1);
        if self.health.is_some() {
            for added in new.missing_in(&self.set) {
                added.standing().record().verdict = Some(Verdict::Unchecked);
            }
        }
        for gone in self.set.missing_in(&new) {
            gone.retire();
        }
        self.set = new;
        self.ward().settle();
    }

    /// Lets less than so many milliseconds go by.
    fn pass(&mut self, most: u64) {
        self.now += Duration::from_millis(self.rng.u64(0..most));
        self.renew();
        self.ejections += self.ward().look().len();
    }

    fn any(&mut self) -> Option<Arc<Endpoint>> {
        let number = self.rng.usize(0..self.set.len().max(1));
        self.set.iter().nth(number).cloned()
    }

    fn check(&mut self) {
        let result = if self.rng.bool() { Ok(()) } else { Err("it answered 500".to_owned()) };
        let (Some(endpoint), Some(policy)) = (self.any(), self.health.clone()) else { return };
        self.ward().checked(&endpoint, result, &policy);
    }

    fn drain(&mut self) {
        let drained = self.rng.bool();
        if let Some(endpoint) = self.any() {
            self.ward().drain(&endpoint, drained);
        }
    }

    fn send(&mut self) {
        let Some(ticket) = self.balancer.pick(&self.set, &[], self.rng.u64(..)) else {
            assert!(self.set.iter().all(|endpoint| endpoint.standing().record().is_closed()), "nobody was picked");
            return;
        };
        let endpoint = ticket.endpoint();
        assert!(self.set.iter().any(|one| Arc::ptr_eq(one, endpoint)), "{} is none of them", endpoint.address);
        assert!(!endpoint.standing().record().is_closed(), "{} gets nothing", endpoint.address);
        self.trials += usize::from(matches!(endpoint.standing().record().case.phase, Phase::Trial { .. }));
        self.tickets.push((ticket, self.now));
    }

    fn end(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let (ticket, began) = self.tickets.swap_remove(self.rng.usize(0..self.tickets.len()));
        let outcome = *self.rng.choice(&OUTCOMES).unwrap();
        self.hear(ticket.endpoint(), outcome, began);
    }

    fn hear(&mut self, endpoint: &Arc<Endpoint>, outcome: Outcome, began: Instant) {
        let (sign, headed) = (Sign::of(outcome), matches!(outcome, Outcome::Status(_)));
        if endpoint.standing().note(sign, headed, self.eject.failures) {
            let event = self.ward().judge(endpoint, sign, self.now - began);
            self.ejections += usize::from(event.is_some());
        }
    }

    /// What holds after each step.
    fn holds(&mut self) {
        let (mut open, mut out, mut sound) = (0, 0, false);
        for endpoint in self.set.iter() {
            assert!(self.good.contains(&endpoint.address.ip()), "{} is in no good answer", endpoint.address);
            let held = self.tickets.iter().filter(|(ticket, _)| Arc::ptr_eq(ticket.endpoint(), endpoint)).count();
            assert_eq!(endpoint.in_flight(), held, "{}", endpoint.address);
            let record = endpoint.standing().record();
            open += usize::from(!record.is_closed());
            out += usize::from(!record.is_closed() && record.case.is_out());
            sound |= record.is_sound();
        }
        assert!(out <= self.eject.most(open), "{out} of {open} are out, with {:?}", self.eject);
        assert!(open == 0 || out < open, "one stays");
        let pickable = self.set.iter().filter(|endpoint| self.set.admits(endpoint)).count();
        assert!(pickable > 0 || open == 0, "nobody of {open} can be picked");
        assert!(open == 0 || sound || pickable == open, "none is well, so all are tried");
        self.panics += usize::from(open > 0 && !sound);
    }

    /// From now on every address answers: before long, each has nothing against it.
    fn recover(&mut self) {
        self.tickets.clear();
        for endpoint in self.set.iter().cloned().collect::<Vec<_>>() {
            self.ward().drain(&endpoint, false);
            let Some(policy) = self.health.clone() else { continue };
            (0..policy.healthy).for_each(|_| drop(self.ward().checked(&endpoint, Ok(()), &policy)));
        }
        // Long enough for the longest ejection; the name is as it was.
        for _ in 0..100 {
            self.now += Duration::from_millis(500);
            self.ward().look();
            for _ in 0..4 * usize::from(ADDRESSES) {
                let Some(ticket) = self.balancer.pick(&self.set, &[], self.rng.u64(..)) else { break };
                self.hear(ticket.endpoint(), Outcome::Status(200), self.now);
            }
        }
        let unwell = self.set.iter().find(|endpoint| !endpoint.standing().record().is_sound());
        assert!(unwell.is_none(), "{:?} is not back", unwell.map(|endpoint| endpoint.address));
        assert!(self.set.iter().all(|endpoint| self.set.admits(endpoint)));
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.holds();
    }
    world.recover();
    world
}

#[test]
fn the_set_of_addresses_keeps_its_promises() {
    let (mut ejections, mut panics, mut trials) = (0, 0, 0);
    for seed in 0..RUNS {
        let world =
            std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("the run with seed {seed} failed"));
        ejections += world.ejections;
        panics += world.panics;
        trials += world.trials;
    }
    assert!(ejections > 500 && panics > 500 && trials > 100, "too quiet: {ejections} {panics} {trials}");
}
