//! A timer that costs nothing until somebody really waits: made at its first use, moved afterwards, and left alone while
//! it runs.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

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

    /// Whether the alarm was ever set.
    pub fn is_set(&self) -> bool {
        self.sleep.is_some()
    }

    /// Ready once it has rung; an alarm that was never set never rings. Asked again by the same task, it only looks:
    /// some ten instructions, against two hundred for polling the timer.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        let waits = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if waits && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        let polled = sleep.as_mut().poll(cx);
        self.waker = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}
