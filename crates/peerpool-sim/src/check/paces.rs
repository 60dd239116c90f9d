//! How often the pool may do what it does at random times.

use std::f64::consts::LN_2;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;

use super::{Rule, Verdict, demand};

/// What a [`Pace`] holds at most. A month of a thousand pools that dial feelers at the default rate
/// has 21.6 million of them, so that one exceeds it with a chance below 2.2e7 * 2^-59, or 4e-11.
const MOST: f64 = 60.0;

/// A bucket that each event fills by one, and that drains by 1 / ln 2 in the mean time between two.
///
/// Where that time is exponential, or longer, 2 to the power of what is in the bucket is as much
/// after the next event as it was after this one, in the mean: 2 * E[2^(-X / ln 2)], which is
/// 2 * E[e^-X], is 1. So, once it was empty, it comes to hold n before it is empty again with a
/// chance of 2^(1 - n) at most. Who goes on at more than 1.44 times the rate fills it in the end.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    level: f64,
    at: Monotonic,
}

impl Pace {
    /// One more. Whether chance may have brought so many.
    fn count(&mut self, now: Monotonic, mean: Duration) -> bool {
        let means = now.since(self.at).as_secs_f64() / mean.as_secs_f64();
        self.level = (self.level - means / LN_2).max(0.0) + 1.0;
        self.at = now;
        self.level <= MOST
    }
}

/// The paces of what a full pool does beside its target.
#[derive(Debug, Default)]
pub(super) struct Paces {
    feelers: Pace,
    newcomers: Pace,
    rotations: Pace,
    /// When somebody was last dialled for the sake of who waits.
    needed_at: Option<Monotonic>,
}

impl Paces {
    pub(super) fn on_feeler(
        &mut self,
        now: Monotonic,
        address: Address,
        policy: &Policy,
    ) -> Verdict {
        let fits = self.feelers.count(now, policy.feeler_interval);
        demand(fits, Rule::Budget, || format!("{address} is dialled, one feeler too many"))
    }

    /// A newcomer is dialled: after one that came to nothing the next may come soon.
    pub(super) fn on_newcomer(
        &mut self,
        now: Monotonic,
        address: Address,
        policy: &Policy,
    ) -> Verdict {
        let mean = policy.rotation_interval.min(policy.rotation_retry);
        let fits = self.newcomers.count(now, mean);
        demand(fits, Rule::Budget, || format!("{address} is dialled, one newcomer too many"))
    }

    /// Somebody is dialled for the sake of who waits.
    pub(super) fn on_need(&mut self, now: Monotonic, address: Address, policy: &Policy) -> Verdict {
        let before = self.needed_at.replace(now);
        let fits = before.is_none_or(|before| now.since(before) >= policy.need_interval);
        demand(fits && !policy.need_interval.is_zero(), Rule::Budget, || {
            format!("{address} is dialled for who waits, after {before:?}")
        })
    }

    /// A peer leaves for a newcomer.
    pub(super) fn on_rotated(
        &mut self,
        now: Monotonic,
        address: Address,
        policy: &Policy,
    ) -> Verdict {
        let fits = self.rotations.count(now, policy.rotation_interval);
        demand(fits, Rule::Budget, || format!("{address} leaves, one rotation too many"))
    }
}
