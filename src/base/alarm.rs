//! A timer that costs nothing until somebody really waits: made at its first use, moved afterwards, and left alone while
//! it runs.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop;
use tokio::time::{Sleep, sleep_until};

/// A timer that may not be set.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it wakes.
    waker: Option<Waker>,
}

impl Alarm {
    /// Sets the alarm to ring at `due`.
    pub fn set(&mut self, due: Instant) {
        self.waker = None;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(due.into()),
            None => self.sleep = Some(Box::pin(sleep_until(due.into()))),
        }
    }

    /// Ready once it has rung; an alarm that was never set never rings. Asked again by the same task, it only looks:
    /// some ten instructions, against two hundred for polling the timer.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        let waits = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if waits && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        // A task that has used up its budget is put off without being noted down.
        let noted = coop::has_budget_remaining();
        let polled = sleep.as_mut().poll(cx);
        self.waker = (noted && polled.is_pending()).then(|| cx.waker().clone());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::base::clock;

    #[test]
    fn it_rings_for_a_task_that_had_used_up_its_budget() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::default();
            alarm.set(clock::now() + Duration::from_millis(20));
            let mut spent = false;
            let rung = poll_fn(|cx| {
                while !std::mem::replace(&mut spent, !coop::has_budget_remaining()) {
                    if let Poll::Ready(progress) = coop::poll_proceed(cx) {
                        progress.made_progress();
                    }
                }
                spent = true;
                alarm.poll(cx)
            });
            tokio::time::timeout(Duration::from_secs(10), rung).await.unwrap();
        });
    }
}
