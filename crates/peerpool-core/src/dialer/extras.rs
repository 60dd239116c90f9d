//! What a full pool dials beside its target: block-relay-only peers, feelers, and newcomers that
//! take the place of others.

use std::time::Duration;

use crate::address::Net;
use crate::book::Book;
use crate::id::ConnectionType;
use crate::peer::Purpose;
use crate::policy::Policy;
use crate::rng::Rng;
use crate::time::{Monotonic, Now};

use super::{Dial, Tally};

/// When the next feeler and the next rotation are due. Their times are drawn anew each time, as
/// Core's, so that nobody can tell from one when the next comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    feeler_at: Option<Monotonic>,
    rotation_at: Option<Monotonic>,
}

/// Whether a time has come that is drawn anew as it comes; `None` draws the first. A mean of zero
/// never comes.
fn is_due(
    at: &mut Option<Monotonic>,
    now: Monotonic,
    [mean, again]: [Duration; 2],
    rng: &mut Rng,
) -> bool {
    if mean.is_zero() {
        *at = None;
        return false;
    }
    let due = at.is_some_and(|at| at <= now);
    if due || at.is_none() {
        let mean = if due { again } else { mean };
        *at = Some(later(now, rng.exponential(mean)));
    }
    due
}

/// Strictly later: a time that has come is no time to wait for.
fn later(now: Monotonic, wait: Duration) -> Monotonic {
    now + wait.max(Duration::from_millis(1))
}

impl Extras {
    /// What a full pool dials next, if it is time for anything: block-relay-only peers first, for
    /// they are there to stay.
    pub(super) fn select_dial(
        &mut self,
        now: Now,
        tally: &Tally,
        nets: &[Net],
        book: &Book,
        policy: &Policy,
        rng: &mut Rng,
    ) -> Option<Dial> {
        let of =
            |connection_type, purpose| move |address| Dial { address, connection_type, purpose };
        if tally.block_relay < policy.block_relay_count {
            let chosen = book.select_known(now, nets, rng);
            if let Some(address) = chosen {
                return Some(of(ConnectionType::BlockRelayOnly, Purpose::Slot)(address));
            }
        }
        let feeler = [policy.feeler_interval; 2];
        if is_due(&mut self.feeler_at, now.mono, feeler, rng) && tally.feelers == 0 {
            let chosen = book.select_feeler(now, nets, rng);
            if let Some(address) = chosen {
                return Some(of(ConnectionType::Feeler, Purpose::Slot)(address));
            }
        }
        let room = tally.in_flight < policy.max_dials && tally.manual < tally.ready;
        let rotation = [policy.rotation_interval, policy.rotation_retry];
        if is_due(&mut self.rotation_at, now.mono, rotation, rng) && tally.newcomers == 0 && room {
            let chosen = book.select_known(now, nets, rng);
            // Block-relay-only peers have their turn, or whoever got there would stay for ever.
            let all = tally.ready + policy.block_relay_count;
            let relays_blocks = rng.below(all.max(1)) < policy.block_relay_count
                && tally.block_relay == policy.block_relay_count;
            let connection_type = if relays_blocks {
                ConnectionType::BlockRelayOnly
            } else {
                ConnectionType::OutboundFullRelay
            };
            return chosen.map(of(connection_type, Purpose::Newcomer));
        }
        None
    }

    pub(super) fn on_rotated(&mut self, now: Monotonic, policy: &Policy, rng: &mut Rng) {
        self.rotation_at = Some(later(now, rng.exponential(policy.rotation_interval)));
    }

    pub(super) fn next(&self) -> Option<Monotonic> {
        [self.feeler_at, self.rotation_at].into_iter().flatten().min()
    }
}
