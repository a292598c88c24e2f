//! How much may pass: a route's `rate_limit`. All limits of a request are looked at before any is used up, so that what one
//! refuses costs nothing of the others. Stands twice in a stack: before it is known who asks, and after.
//!
//! ```text
//! policy    what was configured                 bucket    the arithmetic of one limit, pure
//! key       what a request is counted by        cells     what is remembered of so many keys and no more
//! memory    what lives on over reloads          limit     a limit as it runs, and on one route
//! round     all limits of one request together  shared    the same in Redis
//! answer    what clients are told               asking    what is asked of Redis, and what follows
//! single    the only limit of a route           explain   what would be said to a request, without using anything up
//! ```

pub mod answer;
mod asking;
pub mod bucket;
pub mod cells;
pub mod explain;
pub mod key;
pub mod limit;
pub mod memory;
pub mod policy;
mod round;
pub mod shared;
mod single;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use self::answer::Said;
use self::key::Seen;
use self::limit::Bound;
use self::policy::Style;
use self::round::{Meeting, Place, Round};
use self::shared::Scripts;
use self::single::Single;
use super::gate::{Decide, Gate, Verdict};
use crate::base::clock;
use crate::base::mode::Mode;
use crate::base::reject::{Reason, Reject};
use crate::base::request::{Outcome, Request};
use crate::layers::redis::Redis;
use crate::telemetry::recorder::Recorder;
use crate::telemetry::refusals::Refusals;

/// The limits of one route, before it is known who asks, or after.
#[derive(Debug)]
pub struct RateLimit {
    limits: Arc<Limits>,
    standing: Standing,
    /// The limit, if there is but one.
    single: Option<Single>,
}

/// Where limits stand in their route's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Before it is known who asks, and before all that waits: the time of the head is still the time.
    Early {
        /// Whether no others follow, which could refuse what has passed here.
        alone: bool,
    },
    /// After.
    Late,
}

/// What the gate and those who wait for Redis have in common.
#[derive(Debug)]
struct Limits {
    bounds: Box<[Bound]>,
    /// The order in which cells are locked.
    order: Box<[usize]>,
    /// Counts those who would be refused by limits that only look.
    observed: Refusals,
    /// What some of them are counted in.
    redis: Option<(Arc<Redis>, Arc<Scripts>)>,
}

/// What a request has met, where some of it may have to be given back.
#[derive(Debug)]
pub struct Passed(Vec<Meeting>);

impl RateLimit {
    /// These limits, of which there is at least one.
    pub fn new(
        bounds: Vec<Bound>,
        standing: Standing,
        route: &Arc<str>,
        recorder: &Arc<Recorder>,
        scripts: &Arc<Scripts>,
    ) -> Self {
        let observed = Refusals::new(route, Mode::Observe, recorder);
        let mut order: Vec<usize> = (0..bounds.len()).collect();
        order.sort_by_key(|at| bounds[*at].limit.memory.order);
        let redis = bounds.iter().find_map(|bound| bound.limit.redis.clone()).map(|redis| (redis, scripts.clone()));
        let single = Single::of(&bounds).filter(|_| standing != Standing::Early { alone: false });
        let limits = Arc::new(Limits { bounds: bounds.into(), order: order.into(), observed, redis });
        Self { limits, standing, single }
    }

    /// Whether others follow that may refuse what has passed here.
    fn gives_back(&self) -> bool {
        self.standing == Standing::Early { alone: false }
    }

    /// The time at which a request is looked at.
    fn now(&self, request: &Request) -> Instant {
        match self.standing {
            Standing::Early { .. } => request.exchange.started,
            Standing::Late => clock::now(),
        }
    }

    /// Asks the one limit that there is, if there is no other.
    fn ask_single(&self, request: &mut Request) -> Option<Result<(), Reject>> {
        let (single, now) = (self.single.as_ref()?, self.now(request));
        let Err(single::Refused { key, said }) = single.ask(request, now) else { return Some(Ok(())) };
        let mut meeting = [Meeting { key, plan: 0, place: Place::Here, said: Some(said) }];
        let enforced = self.limits.bounds.iter().any(|bound| bound.limit.enforces());
        Some(self.limits.conclude(request, &mut meeting, Round::over(now, enforced)))
    }

    /// Asks the limits that are counted here, which are all of them for now.
    fn decide(&self, request: &mut Request, mut meetings: Vec<Meeting>) -> Result<Passed, Reject> {
        let round = self.limits.round(&mut meetings, true, self.now(request));
        self.limits.conclude(request, &mut meetings, round)?;
        Ok(Passed(if self.gives_back() { meetings } else { Vec::new() }))
    }
}

impl Gate for RateLimit {
    const NAME: Option<&'static str> = Some("rate_limit");

    type Pass = Passed;

    fn check(&self, request: &mut Request) -> Result<Passed, Reject> {
        if let Some(asked) = self.ask_single(request) {
            return asked.map(|()| Passed(Vec::new()));
        }
        let mut meetings = self.limits.meet(request);
        self.limits.go_without_redis(&mut meetings);
        self.decide(request, meetings)
    }

    fn look(&self, request: &mut Request) -> Verdict<Passed> {
        if let Some(asked) = self.ask_single(request) {
            return verdict(asked.map(|()| Passed(Vec::new())));
        }
        let limits = &self.limits;
        let mut meetings = limits.meet(request);
        match &limits.redis {
            Some((redis, scripts)) if redis.is_up() => {
                let round = limits.round(&mut meetings, false, self.now(request));
                if round.refused {
                    // Which it then does not pass.
                    let concluded = limits.conclude(request, &mut meetings, round);
                    return verdict(concluded.map(|()| Passed(Vec::new())));
                }
                let wanted = limits.wanted(request, &meetings);
                let (limits, redis, scripts) = (limits.clone(), redis.clone(), scripts.clone());
                let gives_back = self.gives_back();
                let worker = request.exchange.origin.worker;
                Verdict::Ask(Box::pin(async move {
                    let answers = shared::take(&redis, &scripts, worker, &wanted).await;
                    let decide: Decide<Passed> = Box::new(move |request| {
                        let heard = limits.heard(request, &mut meetings, answers, wanted);
                        verdict(heard.map(|()| Passed(if gives_back { meetings } else { Vec::new() })))
                    });
                    decide
                }))
            }
            Some(_) => verdict(self.check(request)),
            None => verdict(self.decide(request, meetings)),
        }
    }

    fn tell(&self, request: &mut Request) {
        let seen = Seen { exchange: &request.exchange, headers: &request.head.headers };
        let key = |bound: &Bound| (bound.limit.policy.name.clone(), bound.limit.keyer.text(seen));
        let keys: Vec<(String, String)> = self.limits.bounds.iter().map(key).collect();
        if let Some(account) = &mut request.exchange.account {
            keys.iter().for_each(|(name, key)| account.add("limit", &[("name", name), ("key", key)]));
        }
    }

    fn finishes(&self, Passed(meetings): &Passed) -> bool {
        !meetings.is_empty()
    }

    fn finish(&self, Passed(meetings): Passed, outcome: &mut Outcome) {
        if let Err(refused) = outcome
            && matches!(refused.reason(), Reason::RateLimited | Reason::LimitsUnavailable)
        {
            self.limits.give_back(&meetings, refused.exchange.origin.worker);
        }
    }
}

fn verdict(decided: Result<Passed, Reject>) -> Verdict<Passed> {
    decided.map_or_else(Verdict::Refuse, Verdict::Pass)
}

impl Limits {
    /// What the request meets: a key of each limit.
    fn meet(&self, request: &Request) -> Vec<Meeting> {
        let seen = Seen { exchange: &request.exchange, headers: &request.head.headers };
        let meet = |bound: &Bound| Meeting {
            key: bound.key(seen),
            plan: bound.limit.plan(seen),
            place: if bound.limit.redis.is_some() { Place::Redis(None) } else { Place::Here },
            said: None,
        };
        self.bounds.iter().map(meet).collect()
    }

    /// What each limit has said.
    fn said<'a>(&'a self, meetings: &'a [Meeting]) -> impl Iterator<Item = (&'a Bound, Said)> + Clone {
        self.bounds.iter().zip(meetings).filter_map(|(bound, meeting)| Some((bound, meeting.said?)))
    }

    /// Asks every limit that is counted here; takes from them all, or from none.
    fn round(&self, meetings: &mut [Meeting], commit: bool, now: Instant) -> Round {
        let mut round = Round::new(now, commit);
        round.settle(&self.bounds, &self.order, meetings);
        round
    }

    /// Counts the decision, and says it.
    fn conclude(&self, request: &mut Request, meetings: &mut [Meeting], round: Round) -> Result<(), Reject> {
        let mut all_pass = true;
        for (bound, meeting) in self.bounds.iter().zip(&*meetings) {
            let (counts, passes) = (bound.limit.memory.counts.of(bound.limit.policy.mode), meeting.passes());
            all_pass &= meeting.said.is_none_or(|said| said.passes);
            match passes {
                true if !round.refused => counts.allowed.fetch_add(1, Ordering::Relaxed),
                false => counts.refused.fetch_add(1, Ordering::Relaxed),
                true => 0,
            };
        }
        if round.refused {
            self.bounds.iter().zip(&mut *meetings).for_each(|(bound, meeting)| meeting.untake(bound.cost));
        }
        for (bound, said) in self.said(meetings).filter(|(bound, _)| bound.limit.enforces()) {
            if bound.limit.policy.headers != Style::Off || request.exchange.logged {
                request.exchange.met.push(bound.limit.left(said));
            }
        }
        if round.refused {
            return Err(self.refuse(request, meetings));
        }
        if !all_pass {
            self.let_go(request, meetings);
        }
        for stay in round.stays {
            request.exchange.keep(Box::new(stay));
        }
        Ok(())
    }

    /// The refusal by the limit that is to be waited for the longest.
    fn refuse(&self, request: &mut Request, meetings: &[Meeting]) -> Reject {
        let enforced = self.bounds.iter().zip(meetings).filter(|(bound, _)| bound.limit.enforces());
        let refusing = enforced.filter(|(_, meeting)| !meeting.passes());
        let wait = |meeting: &Meeting| meeting.said.map_or(0, |said| said.wait);
        let Some((bound, meeting)) = refusing.max_by_key(|(_, meeting)| (meeting.said.is_some(), wait(meeting))) else {
            return Reject::new(Reason::RateLimited, "too many requests").retry_after(1);
        };
        request.exchange.refusing = Some(bound.limit.memory.name.clone());
        match meeting.said {
            Some(said) => answer::too_many(bound, said.wait),
            None => answer::nobody_knows(bound),
        }
    }

    /// Lets a request go on that limits would refuse which only look, and says so in its line of the log.
    fn let_go(&self, request: &mut Request, meetings: &[Meeting]) {
        let refusing = self.said(meetings).filter(|(_, said)| !said.passes);
        let names: Vec<&str> = refusing.map(|(bound, _)| bound.limit.policy.name.as_str()).collect();
        self.observed.count(Reason::RateLimited);
        request.exchange.answer.cause = Some(format!("limit {}: used up (observed)", names.join(", ")).into());
    }

    /// Gives back what a request has taken that another limit refuses.
    fn give_back(&self, meetings: &[Meeting], worker: usize) {
        let now = clock::now();
        for (bound, meeting) in self.bounds.iter().zip(meetings) {
            meeting.give_back_here(bound, now);
        }
        self.give_back_shared(meetings, worker);
    }
}

#[cfg(test)]
mod tests;
