//! A timer that costs nothing until somebody really waits: made at its first use, moved afterwards.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// A timer that may not be set.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Sets the alarm to ring at `due`.
    pub fn set(&mut self, due: Instant) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(due.into()),
            None => self.0 = Some(Box::pin(sleep_until(due.into()))),
        }
    }

    /// Whether the alarm was ever set.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Ready once it has rung; an alarm that was never set never rings.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
