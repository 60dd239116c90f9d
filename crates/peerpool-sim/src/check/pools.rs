//! Which pools peers serve: none more than its target, and of those that share no node, one only.

use std::collections::BTreeMap;

use peerpool_core::address::Address;
use peerpool_core::engine::Config;
use peerpool_core::id::PoolId;

use super::facts::Group;
use super::{Rule, Verdict, demand};

#[derive(Debug, Default)]
pub(super) struct Pools {
    /// What each is to have, and whether it shares no node.
    plans: Vec<(usize, bool)>,
    /// Whom each netgroup has served, as far as that counts: the pool, if it shares none.
    served: BTreeMap<Group, Option<PoolId>>,
}

impl Pools {
    pub(super) fn new(config: &Config) -> Self {
        let beside: usize = config.pools.iter().map(|pool| pool.target).sum();
        let main = config.policy.target_connect_count.saturating_sub(beside);
        let named = config.pools.iter().map(|pool| (pool.target, pool.separate));
        let plans = [(main, false)].into_iter().chain(named).collect();
        Self { plans, served: BTreeMap::new() }
    }

    /// Peers that a pool is to have.
    pub(super) fn target(&self, pool: PoolId) -> usize {
        let plan = usize::try_from(pool.0).ok().and_then(|place| self.plans.get(place));
        plan.map_or(0, |(target, _)| *target)
    }

    /// The pools were started again, and have what decides whom netgroups serve.
    pub(super) fn recall(&mut self, former: &mut Self) {
        self.served = std::mem::take(&mut former.served);
    }

    /// A peer serves a pool, which has so many ready with it.
    pub(super) fn on_placed(
        &mut self,
        pool: PoolId,
        ready: usize,
        address: Address,
        group: Option<Group>,
    ) -> Verdict {
        let plan = usize::try_from(pool.0).ok().and_then(|place| self.plans.get(place));
        let Some((target, separate)) = plan.copied() else {
            return demand(false, Rule::Order, || format!("{address} serves pool {pool}"));
        };
        demand(ready <= target, Rule::Target, || {
            format!("{address} makes {ready} ready peers of {target} in pool {pool}")
        })?;
        if !self.plans.iter().any(|(_, separate)| *separate) {
            return Ok(());
        }
        let Some(group) = group else { return Ok(()) };
        let serves = separate.then_some(pool);
        let before = *self.served.entry(group).or_insert(serves);
        demand(before == serves, Rule::Twice, || {
            format!("{address} serves pool {pool}, and its netgroup has served {before:?}")
        })
    }
}
