//! Requests for the same thing at the same time: one goes, the others wait for what comes of it. Nobody waits longer than
//! they would for the upstream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::answer::Content;
use super::entry::Meta;
use super::fill::Fill;
use crate::base::body::ResponseBody;

/// All flights of one cache. Striped, so that workers seldom meet.
#[derive(Debug, Default)]
pub struct Flights([Mutex<Map>; STRIPES], foldhash::fast::RandomState);

type Map = HashMap<Box<[u8]>, watch::Receiver<State>, foldhash::fast::RandomState>;

const STRIPES: usize = 16;

/// How far a flight is.
#[derive(Clone, Debug)]
pub enum State {
    /// On its way.
    Flying,
    /// The head has come, and the response can be shared.
    Landed(Arc<Landing>),
    /// It cannot: each goes on its own.
    Alone,
    /// Whoever went is gone: somebody else goes.
    Gone,
}

/// A response that is shared while it comes.
#[derive(Clone, Debug)]
pub struct Landing {
    /// Its head.
    pub meta: Arc<Meta>,
    /// Its body.
    pub body: LandedBody,
}

/// The body of a shared response.
#[derive(Clone, Debug)]
pub enum LandedBody {
    /// All of it.
    Whole(Bytes),
    /// What has come so far, and will come.
    Growing(Arc<Fill>),
}

impl LandedBody {
    /// It from its beginning, where that is still there.
    pub fn read(&self) -> Option<Content> {
        match self {
            Self::Whole(whole) => Some(Content::Whole(whole.clone())),
            Self::Growing(fill) => {
                fill.read().map(|reader| Content::Coming(ResponseBody::stream(Box::new(reader), Duration::ZERO)))
            }
        }
    }
}

/// What a request does.
pub enum Joined {
    /// It goes, and tells the others.
    Lead(Lead),
    /// It waits.
    Follow(watch::Receiver<State>),
}

/// Goes for all others. Dropped before it has landed, somebody else goes.
#[derive(Debug)]
pub struct Lead {
    flights: Arc<Flights>,
    key: Option<Box<[u8]>>,
    state: watch::Sender<State>,
    told: bool,
}

impl Flights {
    /// Joins the flight of this key, or begins it.
    pub fn join(self: &Arc<Self>, key: &[u8]) -> Joined {
        let mut map = self.stripe(key);
        if let Some(state) = map.get(key) {
            return Joined::Follow(state.clone());
        }
        let (state, others) = watch::channel(State::Flying);
        map.insert(key.into(), others);
        drop(map);
        Joined::Lead(Lead { flights: self.clone(), key: Some(key.into()), state, told: false })
    }

    /// Flights under way.
    pub fn len(&self) -> usize {
        self.0.iter().map(|stripe| stripe.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn stripe(&self, key: &[u8]) -> MutexGuard<'_, Map> {
        let hash = std::hash::BuildHasher::hash_one(&self.1, key);
        let stripe = &self.0[usize::try_from(hash % STRIPES as u64).unwrap_or_default()];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The head has come. Whoever comes before this is dropped shares it too.
    pub fn land(&mut self, landing: Landing) {
        self.told = true;
        let _ = self.state.send(State::Landed(Arc::new(landing)));
    }

    /// It cannot be shared.
    pub fn dissolve(mut self) {
        self.told = true;
        self.leave();
        let _ = self.state.send(State::Alone);
    }

    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            self.flights.stripe(&key).remove(&key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
        if !self.told {
            let _ = self.state.send(State::Gone);
        }
    }
}

/// Waits until a flight is no longer on its way.
pub async fn arrival(mut flight: watch::Receiver<State>) -> State {
    match flight.wait_for(|state| !matches!(state, State::Flying)).await {
        Ok(state) => state.clone(),
        Err(_) => State::Gone,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lead(flights: &Arc<Flights>) -> Lead {
        match flights.join(b"key") {
            Joined::Lead(lead) => lead,
            Joined::Follow(_) => panic!("somebody else leads"),
        }
    }

    fn follow(flights: &Arc<Flights>) -> watch::Receiver<State> {
        match flights.join(b"key") {
            Joined::Lead(_) => panic!("nobody leads"),
            Joined::Follow(flight) => flight,
        }
    }

    #[test]
    fn one_goes_and_the_others_wait() {
        let flights = Arc::<Flights>::default();
        let leading = lead(&flights);
        let (mut one, other) = (Box::pin(arrival(follow(&flights))), follow(&flights));
        assert!(one.as_mut().now_or_never().is_none());
        assert!(matches!(flights.join(b"other"), Joined::Lead(_)));
        leading.dissolve();
        assert!(matches!(one.now_or_never(), Some(State::Alone)));
        assert!(matches!(arrival(other).now_or_never(), Some(State::Alone)));
        assert!(flights.is_empty());
    }

    #[test]
    fn when_the_one_is_gone_another_goes() {
        let flights = Arc::<Flights>::default();
        let leading = lead(&flights);
        let waiting = follow(&flights);
        drop(leading);
        assert!(matches!(arrival(waiting).now_or_never(), Some(State::Gone)));
        drop(lead(&flights));
    }

    #[test]
    fn what_has_landed_is_shared_until_it_is_stored() {
        let flights = Arc::<Flights>::default();
        let mut leading = lead(&flights);
        let waiting = follow(&flights);
        let meta = crate::layers::cache::entry::tests::meta(&[("cache-control", "max-age=9")], &http::HeaderMap::new());
        leading.land(Landing { meta: Arc::new(meta), body: LandedBody::Whole(Bytes::new()) });
        for flight in [waiting, follow(&flights)] {
            assert!(matches!(arrival(flight).now_or_never(), Some(State::Landed(_))));
        }
        drop(leading);
        assert!(flights.is_empty());
    }
}
