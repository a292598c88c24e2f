//! The limits of a request that are counted in Redis: what is asked there, what follows from the answer, and from there being
//! none.

use std::sync::atomic::Ordering;

use super::Limits;
use super::key::Seen;
use super::policy::{Measure, OnStoreError};
use super::round::{Meeting, Place};
use super::shared::{self, Answer, Wanted};
use crate::base::clock;
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::base::tasks;
use crate::layers::redis::RedisError;

impl Limits {
    /// What to ask of Redis.
    pub(super) fn wanted(&self, request: &Request, meetings: &[Meeting]) -> Vec<Wanted> {
        let seen = Seen { exchange: &request.exchange, headers: &request.head.headers };
        let shared = self.bounds.iter().zip(meetings).enumerate();
        let shared = shared.filter_map(|(at, (bound, meeting))| {
            let (redis, plan) = (bound.limit.redis.as_ref()?, bound.limit.plans.get(meeting.plan)?);
            let memory = &bound.limit.memory;
            let known = memory.cells.known(meeting.key);
            // What was heard since Redis was lost last, it remembers itself.
            let losses = redis.losses();
            let forgotten = known.filter(|state| state.heard != losses);
            Some(Wanted {
                at,
                label: bound.label.clone(),
                text: bound.limit.keyer.text(seen),
                bucket: plan.bucket,
                cost: bound.cost,
                floor: forgotten.map_or(0, |state| plan.bucket.debt(Some(state), memory.time(clock::now()))),
                enforced: bound.limit.enforces(),
                losses,
            })
        });
        shared.collect()
    }

    /// Goes on with what Redis says, or without it.
    pub(super) fn heard(
        &self,
        request: &mut Request,
        meetings: &mut [Meeting],
        answers: Result<Vec<Answer>, RedisError>,
        wanted: Vec<Wanted>,
    ) -> Result<(), Reject> {
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, "a limit goes on without redis");
                self.go_without_redis(meetings);
                let round = self.round(meetings, true, clock::now());
                return self.conclude(request, meetings, round);
            }
        };
        let now = clock::now();
        let refuses = |answer: &Answer| wanted.iter().any(|one| one.at == answer.at && one.enforced && answer.wait > 0);
        let refused_there = answers.iter().any(refuses);
        for answer in answers {
            let one = wanted.iter().find(|one| one.at == answer.at);
            if let (Some(bound), Some(meeting), Some(one)) =
                (self.bounds.get(answer.at), meetings.get_mut(answer.at), one)
            {
                meeting.hear(bound, one, answer, now, !refused_there);
            }
        }
        for one in wanted {
            if let Some(Meeting { place: Place::Redis(asked), .. }) = meetings.get_mut(one.at) {
                *asked = Some(Box::new(one));
            }
        }
        let refused_there = self
            .said(meetings)
            .any(|(bound, said)| bound.limit.redis.is_some() && !said.passes && bound.limit.enforces());
        let round = self.round(meetings, !refused_there, clock::now());
        if round.refused && !refused_there {
            // Somebody else has taken meanwhile what was there when Redis was asked.
            self.give_back_shared(meetings, request.exchange.origin.worker);
        }
        self.conclude(request, meetings, round)
    }

    /// Tells the limits that are counted in Redis what to do without it.
    pub(super) fn go_without_redis(&self, meetings: &mut [Meeting]) {
        for (bound, meeting) in self.bounds.iter().zip(meetings) {
            let (Some(redis), Measure::Rate(rate)) = (&bound.limit.redis, &bound.limit.policy.measure) else {
                continue;
            };
            bound.limit.memory.counts.store_errors.fetch_add(1, Ordering::Relaxed);
            meeting.place = match rate.on_store_error {
                OnStoreError::Local => Place::Alone(redis.replicas()),
                OnStoreError::Allow => Place::Nowhere,
                OnStoreError::Deny => Place::Denied,
            };
        }
    }

    /// Gives back what was taken there.
    pub(super) fn give_back_shared(&self, meetings: &[Meeting], worker: usize) {
        let taken: Vec<Wanted> = meetings
            .iter()
            .filter_map(|meeting| match &meeting.place {
                Place::Redis(Some(asked)) if meeting.said.is_some_and(|said| said.passes) => Some((**asked).clone()),
                _ => None,
            })
            .collect();
        let (Some((redis, scripts)), Ok(here)) = (&self.redis, tokio::runtime::Handle::try_current()) else { return };
        if !taken.is_empty() {
            let (redis, scripts) = (redis.clone(), scripts.clone());
            tasks::detach_on(&here, async move { shared::give_back(&redis, &scripts, worker, &taken).await });
        }
    }
}
