//! How many retries an upstream bears: a share of its requests of late, and a few a second in any case. Without that
//! bound a failing upstream would get a multiple of its load just when it cannot bear it. Time is passed in; an ordinary
//! request costs one addition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::policy::Allowance;

/// How long requests and retries are remembered, in seconds: they fade by the factor e in this time.
const MEMORY: f64 = 10.0;

/// The account of one upstream.
#[derive(Debug)]
pub struct Budget {
    /// Requests, ever.
    requests: AtomicU64,
    account: Mutex<Account>,
}

/// Requests and retries of late.
#[derive(Debug)]
struct Account {
    at: Instant,
    /// The requests that are in `recent`.
    counted: u64,
    recent: f64,
    retries: f64,
    /// What of the least per second had been spent, and when.
    floor: (f64, Instant),
}

impl Budget {
    /// An account that begins now, empty.
    pub fn new(now: Instant) -> Self {
        let account = Account { at: now, counted: 0, recent: 0.0, retries: 0.0, floor: (0.0, now) };
        Self { requests: AtomicU64::new(0), account: Mutex::new(account) }
    }

    /// A request has come.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Time has passed. To be called now and then, so that requests are remembered as of the time when they came.
    pub fn tick(&self, now: Instant) {
        self.lock().settle(self.requests.load(Ordering::Relaxed), now);
    }

    /// Pays for a retry; false when there is nothing left.
    pub fn spend(&self, allowance: Allowance, now: Instant) -> bool {
        let floor = f64::from(allowance.min_per_second);
        let mut account = self.lock();
        account.settle(self.requests.load(Ordering::Relaxed), now);
        let passed = now.saturating_duration_since(account.floor.1).as_secs_f64();
        let spent = (account.floor.0 - passed * floor).max(0.0);
        let within_share = account.retries + 1.0 <= account.recent * allowance.share;
        let within_floor = spent + 1.0 <= floor;
        // Whatever is spent of the one counts for the other too: together they allow the larger, not the sum.
        if within_share || within_floor {
            account.retries += 1.0;
            account.floor = ((spent + 1.0).min(floor), account.floor.1.max(now));
        }
        within_share || within_floor
    }

    /// Requests and retries of late, in whole ones.
    pub fn recent(&self, now: Instant) -> (u64, u64) {
        let mut account = self.lock();
        account.settle(self.requests.load(Ordering::Relaxed), now);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and far below 2^64"
        )]
        let whole = |number: f64| number.round() as u64;
        (whole(account.recent), whole(account.retries))
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Brings the account to `now`.
    fn settle(&mut self, requests: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let fading = (-passed / MEMORY).exp();
        #[allow(clippy::cast_precision_loss, reason = "what comes between two calls is far below 2^52")]
        let new = requests.saturating_sub(self.counted) as f64;
        self.recent = self.recent * fading + new;
        self.retries *= fading;
        self.counted = requests;
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;
    use std::time::Duration;

    const USUAL: Allowance = Allowance { share: 0.2, min_per_second: 10 };

    /// Retries that are paid for when each of so many requests a second wants `wanted`, second by second.
    fn storm(per_second: u32, seconds: u32, wanted: u32, allowance: Allowance) -> Vec<u32> {
        let start = clock::now();
        let budget = Budget::new(start);
        (0..seconds)
            .map(|second| {
                (0..per_second)
                    .map(|request| {
                        let now =
                            start + Duration::from_secs(second.into()) + Duration::from_secs(1) * request / per_second;
                        budget.request();
                        budget.tick(now);
                        (0..wanted).filter(|_| budget.spend(allowance, now)).count()
                    })
                    .sum::<usize>()
                    .try_into()
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn a_storm_gets_its_share_and_no_more() {
        let paid = storm(1000, 30, 2, USUAL);
        assert!(paid.iter().all(|&paid| paid <= 211), "{paid:?}");
        assert!(paid.iter().all(|&paid| paid >= 199), "{paid:?}");
    }

    #[test]
    fn few_requests_get_the_least_per_second() {
        let paid = storm(20, 20, 3, USUAL);
        assert!(paid.iter().all(|&paid| (9..=20).contains(&paid)), "{paid:?}");
        assert!(paid[1..].iter().all(|&paid| paid <= 11), "{paid:?}");
    }

    #[test]
    fn nothing_is_allowed_where_nothing_is_to_be_spent() {
        let nothing = Allowance { share: 0.0, min_per_second: 0 };
        assert!(storm(100, 3, 1, nothing).iter().all(|&paid| paid == 0));
    }

    #[test]
    fn what_was_saved_is_spent_at_once_and_fades() {
        let start = clock::now();
        let budget = Budget::new(start);
        for _ in 0..1000 {
            budget.request();
        }
        budget.tick(start);
        let share = Allowance { share: 0.2, min_per_second: 0 };
        let later = start + Duration::from_secs(10);
        let paid = (0..1000).filter(|_| budget.spend(share, later)).count();
        assert_eq!(paid, 73, "a fifth of what a thousand fade to");
        assert!(!budget.spend(share, later + Duration::from_secs(100)));
    }

    #[test]
    fn a_share_of_one_pays_for_each_request_once() {
        let all = Allowance { share: 1.0, min_per_second: 0 };
        let paid: u32 = storm(100, 10, 2, all).iter().sum();
        assert!((999..=1000).contains(&paid), "{paid}");
    }
}
