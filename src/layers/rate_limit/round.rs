//! All limits of one request together: each cell is locked and looked at, in one order for everybody, and only when none
//! refuses is something taken, from all of them, before the locks go.

use std::time::Instant;

use super::answer::Said;
use super::bucket::{Bucket, Tested};
use super::cells::Key;
use super::limit::Bound;
use super::memory::{Inside, Stay};
use super::policy::Measure;
use super::shared::{Answer, Wanted};

/// How long one who finds no room inside is told to wait, in nanoseconds: nobody knows when somebody leaves.
const A_WHILE: u64 = 1_000_000_000;

/// A request and one of its limits.
#[derive(Debug)]
pub(super) struct Meeting {
    /// What it is counted by.
    pub(super) key: Key,
    /// Which of the limit's buckets.
    pub(super) plan: usize,
    /// Where it is counted.
    pub(super) place: Place,
    /// What the limit said.
    pub(super) said: Option<Said>,
}

/// Where a request is counted.
#[derive(Debug)]
pub(super) enum Place {
    /// In this gateway.
    Here,
    /// In Redis, by these words once it was asked.
    Redis(Option<Box<Wanted>>),
    /// In this gateway for the time being, as one of so many.
    Alone(usize),
    /// Not at all for the time being: it passes.
    Nowhere,
    /// Not at all for the time being: it does not pass.
    Denied,
}

/// One time of asking all limits that are counted here.
#[derive(Debug)]
pub(super) struct Round {
    now: Instant,
    /// Whether to take, if all agree.
    commit: bool,
    /// Whether any refuses whose refusals count.
    pub(super) refused: bool,
    /// Places that were taken.
    pub(super) stays: Vec<Stay>,
}

impl Meeting {
    /// Whether the limit lets it pass, as far as is known.
    pub(super) fn passes(&self) -> bool {
        self.said.map_or(!matches!(self.place, Place::Denied), |said| said.passes)
    }

    /// Says what is left where nothing was taken, since another limit refuses.
    pub(super) fn untake(&mut self, cost: u32) {
        if let Some(said) = &mut self.said
            && said.passes
        {
            said.remaining = said.remaining.saturating_add(cost).min(said.burst);
            said.until_full = said.until_full.saturating_sub(said.unit.saturating_mul(u64::from(cost)));
        }
    }

    /// The bucket that it is counted in here.
    fn bucket(&self, bound: &Bound) -> Option<Bucket> {
        let plan = bound.limit.plans.get(self.plan)?;
        match self.place {
            Place::Here => Some(plan.bucket),
            Place::Alone(gateways) => Some(plan.bucket.shared_by(gateways, bound.cost)),
            Place::Redis(_) | Place::Nowhere | Place::Denied => None,
        }
    }

    /// Takes in what Redis says, and remembers it for the time when it does not. `taken` says whether it has taken what
    /// it could, since no limit there refuses.
    pub(super) fn hear(&mut self, bound: &Bound, asked: &Wanted, answer: Answer, now: Instant, taken: bool) {
        let (bucket, passes) = (asked.bucket, answer.wait == 0);
        // Microseconds were rounded up, and must not cost what is left.
        let slack = bucket.unit().min(2_000) / 2;
        let remaining = bucket.remaining(answer.debt.saturating_sub(slack));
        let tested = Tested { remaining, ..bucket.refused(answer.debt, answer.wait) };
        let mut said = said(&tested, bucket, passes);
        if passes && !taken {
            // What a limit says is what is left afterwards.
            said.remaining = said.remaining.saturating_sub(bound.cost);
            said.until_full += asked.weight();
        }
        self.said = Some(said);
        self.remember(bound, asked, answer.debt, now, passes && taken);
    }

    fn remember(&self, bound: &Bound, asked: &Wanted, debt: u64, now: Instant, taken: bool) {
        let memory = &bound.limit.memory;
        let (time, losses) = (memory.time(now), bound.limit.redis.as_ref().map_or(0, |redis| redis.losses()));
        let entry = memory.cells.lock(self.key, time);
        if entry.is_overflow() || debt == 0 && entry.get().is_none() {
            return;
        }
        let mut state = asked.bucket.state(debt, time);
        if losses == asked.losses {
            state.heard = losses;
        } else {
            // Lost while it was asked: it may have answered as one that knows nothing, and has to be told.
            let known = asked.bucket.debt(entry.get(), time) + if taken { asked.weight() } else { 0 };
            state = asked.bucket.state(debt.max(known), time);
        }
        entry.set(state);
    }

    /// Gives back what was taken here.
    pub(super) fn give_back_here(&self, bound: &Bound, now: Instant) {
        let (Some(bucket), Some(Said { passes: true, .. })) = (self.bucket(bound), self.said) else { return };
        let memory = &bound.limit.memory;
        let time = memory.time(now);
        let entry = memory.cells.lock(self.key, time);
        if let Some(state) = entry.get() {
            entry.set(bucket.given_back(state, time, bound.cost));
        }
    }
}

impl Round {
    /// A round at this time.
    pub(super) fn new(now: Instant, commit: bool) -> Self {
        Self { now, commit, refused: false, stays: Vec::new() }
    }

    /// A round that was all there was to ask.
    pub(super) fn over(now: Instant, refused: bool) -> Self {
        Self { refused, ..Self::new(now, true) }
    }

    /// Asks the limits, in this order, and takes from all of them if none refuses. Tells whether it has.
    pub(super) fn settle(&mut self, bounds: &[Bound], order: &[usize], meetings: &mut [Meeting]) -> bool {
        let Some((at, rest)) = order.split_first() else { return self.commit && !self.refused };
        let (Some(bound), Some(meeting)) = (bounds.get(*at), meetings.get_mut(*at)) else { return false };
        let memory = &bound.limit.memory;
        let time = memory.time(self.now);
        if let Some(bucket) = meeting.bucket(bound) {
            let entry = memory.cells.lock(meeting.key, time);
            let tested = bucket.test(entry.get(), time, bound.cost);
            meeting.said = Some(said(&tested, bucket, tested.taken.is_some()));
            self.refused |= tested.taken.is_none() && bound.limit.enforces();
            let go = self.settle(bounds, rest, meetings);
            if let (true, Some(state)) = (go, tested.taken) {
                entry.set(state);
            }
            return go;
        }
        if let (Measure::InFlight(most), Place::Here) = (&bound.limit.policy.measure, &meeting.place) {
            let entry = memory.inside.lock(meeting.key, time);
            let inside = entry.get().map_or(0, |Inside(inside)| inside);
            let (key, fits) = (meeting.key, inside < *most);
            meeting.said = Some(crowd(*most, inside + u32::from(fits), fits));
            self.refused |= !fits && bound.limit.enforces();
            let go = self.settle(bounds, rest, meetings);
            if go && fits {
                let overflow = entry.is_overflow();
                entry.set(Inside(inside + 1));
                self.stays.push(Stay::new(memory, key, overflow));
            }
            return go;
        }
        self.refused |= !meeting.passes() && bound.limit.enforces();
        self.settle(bounds, rest, meetings)
    }
}

/// What a bucket says, for those who are told.
pub(super) fn said(tested: &Tested, bucket: Bucket, passes: bool) -> Said {
    Said {
        passes,
        burst: bucket.burst(),
        remaining: tested.remaining,
        until_full: tested.until_full,
        wait: tested.wait,
        unit: bucket.unit(),
    }
}

/// The same of a limit on requests at a time, of which so many are inside.
pub(super) fn crowd(most: u32, inside: u32, fits: bool) -> Said {
    let wait = if fits { 0 } else { A_WHILE };
    Said { passes: fits, burst: most, remaining: most.saturating_sub(inside), until_full: 0, wait, unit: 0 }
}
