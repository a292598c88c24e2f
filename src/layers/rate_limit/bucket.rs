//! The arithmetic of one bucket, pure: governor's GCRA over a state that is handed in and handed back, so that several
//! limits can be looked at before any of them is used up. All times are nanoseconds since some moment.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::base::units::Rate;

/// So much in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    quota: Quota,
    /// Time until one more may pass.
    unit: u64,
    /// The same of the bucket that this is a share of; of a whole one, its own.
    whole: u64,
}

/// What is remembered of a key: when its bucket will be full again, if nothing passes any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// That moment: the theoretical arrival time of GCRA.
    pub full_at: u64,
    /// The unit of the whole bucket that it was computed by.
    pub unit: u64,
    /// When it was last heard from Redis, counted in losses of it; 0 where it never was.
    pub heard: u32,
}

/// What a bucket says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The state afterwards, if it may pass.
    pub taken: Option<State>,
    /// How long until it may, if it may not.
    pub wait: u64,
    /// What is left, after this one if it may pass.
    pub remaining: u32,
    /// How long until the bucket is full.
    pub until_full: u64,
}

impl Bucket {
    /// A bucket that holds `burst`, refilled at this rate.
    pub fn new(rate: Rate, burst: u32) -> Self {
        let period = nanos(rate.per.duration());
        // Rounded up, so that no more passes than was said.
        Self::of_unit(period.div_ceil(u64::from(rate.count.max(1))), burst)
    }

    fn of_unit(unit: u64, burst: u32) -> Self {
        let unit = unit.max(1);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(unit)).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self { quota: quota.allow_burst(burst), unit, whole: unit }
    }

    /// The share of one of several gateways: as much slower, and at least big enough for one request. Of a share as much
    /// time is used up as of the whole.
    pub fn shared_by(self, gateways: usize, cost: u32) -> Self {
        let gateways = u32::try_from(gateways.max(1)).unwrap_or(u32::MAX);
        let burst = (self.burst() / gateways).max(cost);
        let share = Self::of_unit(self.unit.saturating_mul(u64::from(gateways)), burst);
        Self { whole: self.whole, ..share }
    }

    /// Most at once.
    pub fn burst(self) -> u32 {
        self.quota.burst_size().get()
    }

    /// Time until one more may pass.
    pub fn unit(self) -> u64 {
        self.unit
    }

    /// Time until an empty bucket is full.
    pub fn depth(self) -> u64 {
        self.unit.saturating_mul(u64::from(self.burst()))
    }

    /// How much of a key's bucket is used up, as the time until it is full. A state of another bucket keeps the number of
    /// requests that it has used up, if this one holds so many.
    pub fn debt(self, state: Option<State>, now: u64) -> u64 {
        let Some(state) = state else { return 0 };
        let mut debt = state.full_at.saturating_sub(now);
        if state.unit != self.whole && state.unit > 0 {
            let scaled = u128::from(debt) * u128::from(self.whole) / u128::from(state.unit);
            debt = u64::try_from(scaled).unwrap_or(u64::MAX);
        }
        debt.min(self.depth())
    }

    /// What a bucket in this state says to a request of this cost.
    pub fn test(self, state: Option<State>, now: u64, cost: u32) -> Tested {
        let debt = self.debt(state, now);
        let once = Once { before: Nanos::new(now + debt), after: Cell::new(None) };
        let limiter = RateLimiter::<(), _, _, StateInformationMiddleware>::new(self.quota, once, At(Cell::new(0)));
        limiter.clock().0.set(now);
        let cost = NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN);
        match limiter.check_key_n(&(), cost) {
            Ok(Ok(snapshot)) => {
                let remaining = snapshot.remaining_burst_capacity();
                let full_at = limiter.into_state_store().after.get().map_or(now, Nanos::as_u64);
                let taken = State { full_at, unit: self.whole, heard: 0 };
                Tested { taken: Some(taken), wait: 0, remaining, until_full: full_at.saturating_sub(now) }
            }
            Ok(Err(not_yet)) => self.refused(debt, nanos(not_yet.wait_time_from(Nanos::new(now)))),
            // More than the bucket ever holds: the configuration forbids it.
            Err(_) => self.refused(debt, self.depth()),
        }
    }

    /// What there is to tell of a bucket of which so much is used up.
    pub fn refused(self, debt: u64, wait: u64) -> Tested {
        Tested { taken: None, wait, remaining: self.remaining(debt), until_full: debt }
    }

    /// What is left when so much is used up.
    pub fn remaining(self, debt: u64) -> u32 {
        u32::try_from(self.depth().saturating_sub(debt) / self.unit).unwrap_or(u32::MAX).min(self.burst())
    }

    /// A state in which so much is used up.
    pub fn state(self, debt: u64, now: u64) -> State {
        State { full_at: now + debt.min(self.depth()), unit: self.whole, heard: 0 }
    }

    /// The state after a request of this cost has been given back.
    pub fn given_back(self, state: State, now: u64, cost: u32) -> State {
        let debt = self.debt(Some(state), now).saturating_sub(self.unit.saturating_mul(u64::from(cost)));
        State { heard: state.heard, ..self.state(debt, now) }
    }
}

/// A time as it is counted here.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One decision's state, where governor looks for it and puts it.
struct Once {
    before: Nanos,
    after: Cell<Option<Nanos>>,
}

impl StateStore for Once {
    type Key = ();

    fn measure_and_replace<T, F, E>(&self, (): &(), decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, after) = decide(Some(self.before))?;
        self.after.set(Some(after));
        Ok(outcome)
    }
}

/// A clock that shows what it is told.
struct At(Cell<u64>);

impl Clock for At {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(rate: &str, burst: u32) -> Bucket {
        Bucket::new(rate.parse().unwrap(), burst)
    }

    /// GCRA as it is written down (ITU-T I.371 §A, virtual scheduling), in whole numbers without a bound: the oracle.
    #[derive(Default)]
    struct Exact {
        arrival: Option<u128>,
    }

    impl Exact {
        /// Whether one that costs this conforms; if not, when it would.
        fn take(&mut self, unit: u128, burst: u128, now: u128, cost: u128) -> Result<(), u128> {
            let arrival = self.arrival.unwrap_or(now).max(now);
            let earliest = (arrival + cost * unit).saturating_sub(burst * unit);
            if now < earliest {
                return Err(earliest - now);
            }
            self.arrival = Some(arrival + cost * unit);
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn what_conforms_passes_and_nothing_else(
            count in 1..2000_u32,
            period in 0..4_usize,
            burst in 1..50_u32,
            arrivals in prop::collection::vec((0..100_u64, 1..8_u32), 1..400),
        ) {
            let period = ["s", "min", "h", "day"][period];
            let bucket = bucket(&format!("{count}/{period}"), burst);
            let (mut exact, mut state, mut now) = (Exact::default(), None, 7);
            let mut passed: Vec<(u64, u32)> = Vec::new();
            for (pause, cost) in arrivals {
                let cost = cost.min(burst);
                // Pauses around the times at which something becomes free again.
                now += pause * bucket.unit() / 25;
                let tested = bucket.test(state, now, cost);
                let expected = exact.take(bucket.unit().into(), burst.into(), now.into(), cost.into());
                match (expected, tested.taken) {
                    (Ok(()), Some(taken)) => {
                        state = Some(taken);
                        passed.push((now, cost));
                    }
                    (Err(wait), None) => {
                        prop_assert_eq!(u128::from(tested.wait), wait);
                        // Waiting exactly that long is enough, and waiting less is not.
                        prop_assert!(bucket.test(state, now + tested.wait, cost).taken.is_some());
                        prop_assert!(bucket.test(state, now + tested.wait - 1, cost).taken.is_none());
                    }
                    other => prop_assert!(false, "{other:?} at {now}"),
                }
            }
            // In no window more than the burst and what the rate allows in it.
            for (at, (begin, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (end, cost) in &passed[at..] {
                    sum += u64::from(*cost);
                    prop_assert!(sum <= u64::from(burst) + (end - begin) / bucket.unit());
                }
            }
        }
    }

    #[test]
    fn what_is_left_is_told_rightly() {
        let bucket = bucket("300/min", 300);
        assert_eq!((bucket.unit(), bucket.depth()), (SECOND / 5, 60 * SECOND));
        let first = bucket.test(None, 1000, 1);
        assert_eq!((first.remaining, first.until_full), (299, SECOND / 5));
        let all = bucket.test(first.taken, 1000, 299);
        assert_eq!((all.remaining, all.until_full), (0, 60 * SECOND));
        let none = bucket.test(all.taken, 1000, 1);
        assert_eq!((none.taken, none.remaining, none.wait, none.until_full), (None, 0, SECOND / 5, 60 * SECOND));
        let some = bucket.test(all.taken, 1000 + SECOND, 10);
        assert_eq!((some.taken, some.remaining, some.wait), (None, 5, SECOND));
    }

    #[test]
    fn another_rate_keeps_what_was_used_up() {
        let (old, faster, smaller) = (bucket("60/min", 60), bucket("120/min", 120), bucket("60/min", 20));
        let used = old.test(None, 0, 40).taken;
        assert_eq!(faster.test(used, 0, 1).remaining, 120 - 40 - 1);
        assert_eq!(old.test(faster.test(used, 0, 1).taken, 0, 1).remaining, 60 - 40 - 2);
        let full = smaller.test(used, 0, 1);
        assert_eq!((full.taken, full.wait), (None, SECOND), "as much as it holds, and no more");
    }

    #[test]
    fn shares_of_a_bucket_are_the_bucket_together() {
        let whole = bucket("300/min", 300);
        let share = whole.shared_by(3, 1);
        assert_eq!((share.burst(), share.unit(), share.depth()), (100, whole.unit() * 3, whole.depth()));
        // What was used up of the whole is used up of each share alike.
        let used = whole.test(None, 0, 150).taken;
        assert_eq!(share.test(used, 0, 1).remaining, 49);
        assert_eq!(bucket("1/s", 2).shared_by(10, 2).burst(), 2, "enough for one request");
    }

    #[test]
    fn what_was_given_back_was_never_taken() {
        let bucket = bucket("10/s", 10);
        let one = bucket.test(None, 5, 3).taken.unwrap();
        let two = bucket.test(Some(one), 5, 4).taken.unwrap();
        assert_eq!(bucket.given_back(two, 5, 4), one);
        assert_eq!(bucket.debt(Some(bucket.given_back(one, 5, 9)), 5), 0);
    }

    #[test]
    fn the_largest_numbers_there_may_be_do_not_overflow() {
        for (rate, burst) in [("1/day", 3_000), ("1000000000/s", 1_000_000_000), ("7/h", 600_000)] {
            let bucket = bucket(rate, burst);
            let now = u64::MAX / 2;
            let taken = bucket.test(None, now, burst);
            assert_eq!((taken.taken.is_some(), taken.remaining), (true, 0), "{rate}");
            assert!(bucket.test(taken.taken, now, 1).wait > 0);
            assert!(bucket.shared_by(10_000, 1).test(taken.taken, now, 1).taken.is_none());
        }
    }
}
