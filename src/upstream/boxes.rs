//! Boxes for the futures of requests that are on their way, used again and again by the worker that they are on. Such a
//! future is larger than what the allocator keeps on its quick lists: a new box for each cost 1,500 instructions.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio_util::sync::ReusableBoxFuture;

use crate::base::request::Outcome;

/// Empty boxes that a worker keeps: as many requests as it usually has under way.
const MOST: usize = 64;

type Boxed = ReusableBoxFuture<'static, Outcome>;

/// The empty boxes of each worker.
#[derive(Debug)]
pub struct Boxes(Box<[Mutex<Vec<Boxed>>]>);

/// A future in one of the boxes. The box goes back when it has resolved; before that it ends with its future.
#[derive(Debug)]
pub struct InBox {
    boxed: Option<Boxed>,
    boxes: Arc<Boxes>,
    worker: usize,
}

impl Boxes {
    /// None yet, for this many workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Mutex::default()).collect())
    }

    /// Puts a future into a box of this worker.
    pub fn put(self: &Arc<Self>, worker: usize, future: impl Future<Output = Outcome> + Send + 'static) -> InBox {
        let empty = self.of(worker).and_then(|mut boxes| boxes.pop());
        let boxed = match empty {
            Some(mut boxed) => {
                boxed.set(future);
                boxed
            }
            None => ReusableBoxFuture::new(future),
        };
        InBox { boxed: Some(boxed), boxes: self.clone(), worker }
    }

    fn of(&self, worker: usize) -> Option<MutexGuard<'_, Vec<Boxed>>> {
        let boxes = self.0.get(worker).or(self.0.first())?;
        Some(boxes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Future for InBox {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(boxed) = &mut self.boxed else { return Poll::Pending };
        let outcome = ready!(boxed.poll(cx));
        let this = &mut *self;
        if let Some(boxed) = this.boxed.take()
            && let Some(mut boxes) = this.boxes.of(this.worker)
            && boxes.len() < MOST
        {
            boxes.push(boxed);
        }
        Poll::Ready(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::FutureExt;

    use super::*;
    use crate::base::client::Client;
    use crate::base::clock;
    use crate::base::exchange::{Exchange, Origin};
    use crate::base::reject::{Reason, Reject};
    use crate::base::request::Refused;

    fn outcome() -> Outcome {
        let (head, ()) = http::Request::new(()).into_parts();
        let origin = Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: false, scheme: "http", worker: 0 };
        let busy = Client::new(origin.peer.ip(), Vec::new()).begin(false);
        let exchange = Box::new(Exchange::new(origin, busy, clock::now(), &head));
        Err(Refused { reject: Box::new(Reject::new(Reason::Internal, "expected by this test")), exchange })
    }

    fn kept(boxes: &Boxes) -> Vec<usize> {
        boxes.0.iter().map(|boxes| boxes.lock().unwrap().len()).collect()
    }

    #[test]
    fn a_box_comes_back_with_its_outcome_and_serves_the_next() {
        let boxes = Arc::new(Boxes::new(2));
        for _ in 0..3 {
            let future = boxes.put(1, async { outcome() });
            assert_eq!(kept(&boxes), [0, 0]);
            assert!(future.now_or_never().unwrap().is_err());
            assert_eq!(kept(&boxes), [0, 1]);
        }
    }

    #[test]
    fn what_is_left_half_way_ends_at_once() {
        let boxes = Arc::new(Boxes::new(1));
        let held = Arc::new(());
        let inside = held.clone();
        let future = boxes.put(0, async move {
            std::future::pending::<()>().await;
            drop(inside);
            outcome()
        });
        assert!(future.now_or_never().is_none());
        assert_eq!((Arc::strong_count(&held), kept(&boxes)), (1, vec![0]));
    }

    #[test]
    fn no_more_boxes_are_kept_than_a_worker_needs() {
        let boxes = Arc::new(Boxes::new(1));
        let crowd: Vec<InBox> = (0..2 * MOST).map(|_| boxes.put(0, async { outcome() })).collect();
        crowd.into_iter().for_each(|future| drop(future.now_or_never()));
        assert_eq!(kept(&boxes), [MOST]);
    }
}
