//! The limits of a snapshot: found again by name or begun, and put in front of the routes that use them.

use std::sync::Arc;

use super::build::Tools;
use crate::config::{Config, RouteConfig};
use crate::layers::cache::policy::Sharing;
use crate::layers::rate_limit::limit::{Bound, Limit};
use crate::layers::rate_limit::shared::Scripts;
use crate::layers::rate_limit::{RateLimit, Standing};
use crate::layers::redis::{self, Redis};
use crate::telemetry::recorder::Recorder;

/// What limits there are, and what some of them are counted in.
pub(super) struct Limits {
    pub(super) all: Vec<Arc<Limit>>,
    pub(super) redis: Option<Arc<Redis>>,
    scripts: Arc<Scripts>,
    recorder: Arc<Recorder>,
}

impl Limits {
    /// Starts the limits of a configuration.
    pub(super) fn start(config: &Config, tools: &Tools) -> Self {
        let caches = config.cache.store == Sharing::Redis && config.routes.iter().any(|route| route.cache.is_some());
        let shared = caches || config.rate_limits.iter().any(|policy| policy.is_shared());
        let needed = redis::Tools {
            control: tools.upstream.control.clone(),
            workers: tools.upstream.workers,
            recorder: tools.recorder.clone(),
        };
        let redis = config.redis.as_ref().filter(|_| shared).map(|policy| tools.parts.redis.get(policy, &needed));
        let start = |policy| Limit::start(policy, &tools.parts.memories, redis.as_ref());
        Self {
            all: config.rate_limits.iter().map(start).collect(),
            scripts: Arc::default(),
            recorder: tools.recorder.clone(),
            redis,
        }
    }

    /// What a route uses: what can be looked at before it is known who asks, and what cannot.
    pub(super) fn of_route(&self, config: &RouteConfig, name: &Arc<str>) -> [Option<Arc<RateLimit>>; 2] {
        let used = config.rate_limits.iter().filter_map(|used| {
            let limit = self.all.iter().find(|limit| limit.policy.name == used.name)?;
            Some(Bound::new(limit.clone(), used.cost, name))
        });
        let (late, early): (Vec<Bound>, Vec<Bound>) = used.partition(|bound| bound.limit.policy.needs_identity());
        let standing = Standing::Early { alone: late.is_empty() };
        [(early, standing), (late, Standing::Late)].map(|(bounds, standing)| match bounds.is_empty() {
            true => None,
            false => Some(Arc::new(RateLimit::new(bounds, standing, name, &self.recorder, &self.scripts))),
        })
    }
}
