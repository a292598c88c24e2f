//! How a living upstream takes a new policy, and where its addresses come from. An address that the new source has too
//! keeps its state and its connections; one that only the old source had is drained like any that leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Tools;
use super::Upstream;
use super::balance::{Balancer, Endpoints};
use super::following::Following;
use super::policy::{Discovery, DnsPolicy, UpstreamPolicy};

/// Which source has the word about an upstream's addresses.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Counts the sources that there were.
    generation: u64,
    /// The addresses of the source before, until this one has spoken.
    before: Option<Arc<Endpoints>>,
    /// Whether any source has ever spoken.
    spoken: bool,
    /// How names were looked up last.
    dns: Option<Arc<DnsPolicy>>,
}

impl Source {
    /// The source of this generation speaks. Returns the addresses that there were until now; none where another
    /// source has the word by now.
    pub(super) fn spoke(
        &mut self,
        generation: u64,
        current: impl FnOnce() -> Arc<Endpoints>,
    ) -> Option<Arc<Endpoints>> {
        (self.generation == generation).then(|| {
            self.spoken = true;
            self.before.take().unwrap_or_else(current)
        })
    }

    /// Whether it has been said once which addresses there are.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Gives up the addresses of the source before.
    pub(super) fn forget(&mut self) -> Option<Arc<Endpoints>> {
        self.before.take()
    }
}

impl Upstream {
    /// Goes on under another policy. Requests that have begun end under their own.
    pub fn adopt(self: &Arc<Self>, policy: &Arc<UpstreamPolicy>, tools: &Tools) {
        let old = self.policy.swap(policy.clone());
        if old.balance != policy.balance || old.slow_start != policy.slow_start {
            self.balancer.store(Arc::new(Balancer::new(policy, &tools.sessions)));
        }
        self.dials.turn(policy, &self.balancer.load());
        self.apply_limits();
        if old.health != policy.health || old.eject != policy.eject {
            self.follow_checks();
        }
        let same_dns = self.source().dns.as_ref() == Some(&tools.dns);
        if old.discovery != policy.discovery || !same_dns {
            let _entered = tools.control.enter();
            self.follow(Some(&old.discovery), policy, tools);
        }
    }

    /// Takes addresses from where the policy says. Until another name has been answered there is none: what the old
    /// name had may be somebody else's service.
    pub(super) fn follow(self: &Arc<Self>, old: Option<&Discovery>, policy: &UpstreamPolicy, tools: &Tools) {
        self.retry_after.store(tools.dns.refresh.as_secs().max(1), Ordering::Relaxed);
        let other = old.is_some_and(|old| *old != policy.discovery);
        let waits = other && !matches!(policy.discovery, Discovery::Addresses(_));
        let generation = {
            let mut source = self.source();
            source.generation += 1;
            source.dns = Some(tools.dns.clone());
            if waits {
                let current = self.endpoints.swap(Arc::default());
                source.before.get_or_insert(current);
                self.answered.send_replace(false);
            }
            source.generation
        };
        if let Discovery::Addresses(addresses) = &policy.discovery {
            self.following.store(None);
            return self.replace(generation, addresses);
        }
        let known = self.following.load_full().filter(|_| !other);
        let following = Following::start(self, generation, &policy.discovery, known.as_deref(), tools);
        self.following.store(following.map(Arc::new));
    }
}
