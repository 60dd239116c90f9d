//! Who waits for a lease, and who holds which.

use std::collections::BTreeMap;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::id::{LeaseId, PeerId};

use super::{Fault, Rule, Verdict, demand};

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Who waits, and for which services: first come, first served.
    waiting: Vec<(LeaseId, ServiceFlags)>,
    held: BTreeMap<LeaseId, PeerId>,
    /// The lease asked for in this turn by a caller who would not wait.
    at_once: Option<LeaseId>,
    /// The lease given back in this turn.
    returned: Option<LeaseId>,
}

fn has(services: ServiceFlags, wanted: ServiceFlags) -> bool {
    wanted.to_u64() & !services.to_u64() == 0
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.held.len()
    }

    /// How many wait, and how many are held.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.held.len())
    }

    pub(super) fn begin_turn(&mut self) {
        (self.at_once, self.returned) = (None, None);
    }

    pub(super) fn on_lease(&mut self, lease: LeaseId, services: ServiceFlags, wait: bool) {
        self.waiting.push((lease, services));
        self.at_once = (!wait).then_some(lease);
    }

    pub(super) fn on_release(&mut self, lease: LeaseId) {
        self.waiting.retain(|(waiter, _)| *waiter != lease);
        if self.held.contains_key(&lease) {
            self.returned = Some(lease);
        }
    }

    fn place(&self, lease: LeaseId) -> Option<usize> {
        self.waiting.iter().position(|(waiter, _)| *waiter == lease)
    }

    /// A lease is granted, for a peer with these services.
    pub(super) fn on_grant(
        &mut self,
        lease: LeaseId,
        peer: PeerId,
        services: ServiceFlags,
    ) -> Verdict {
        let text = || format!("lease {lease} is granted, and nobody waits for it");
        let place = self.place(lease).ok_or_else(|| Fault(Rule::Order, text()))?;
        let (_, wanted) = self.waiting.remove(place);
        demand(has(services, wanted), Rule::Order, || {
            format!("lease {lease} wants {wanted}, and has peer {peer}, which has {services}")
        })?;
        let passed = self.waiting[..place].iter().find(|(_, wanted)| has(services, *wanted));
        demand(passed.is_none(), Rule::Order, || {
            format!("lease {lease} is granted before {passed:?}, who came first")
        })?;
        self.held.insert(lease, peer);
        Ok(())
    }

    pub(super) fn on_refuse(&mut self, lease: LeaseId) -> Verdict {
        let text = || format!("lease {lease} is refused, and nobody waits for it");
        let place = self.place(lease).ok_or_else(|| Fault(Rule::Order, text()))?;
        self.waiting.remove(place);
        Ok(())
    }

    pub(super) fn on_released(&mut self, lease: LeaseId, peer: PeerId) -> Verdict {
        let held = self.held.remove(&lease);
        let text = || format!("lease {lease} for peer {peer} is over, and was {held:?}");
        demand(held == Some(peer), Rule::Order, text)
    }

    /// All outputs of the turn are read. These peers have a slot free, and these services.
    pub(super) fn end_turn(
        &self,
        max_waiters: usize,
        free: impl Iterator<Item = (PeerId, ServiceFlags)>,
    ) -> Verdict {
        if let Some(lease) = self.at_once {
            let text = || format!("lease {lease} waits, and its caller would not");
            demand(self.place(lease).is_none(), Rule::Unanswered, text)?;
        }
        if let Some(lease) = self.returned {
            let over = !self.held.contains_key(&lease);
            let text = || format!("lease {lease} was given back, and is not over");
            demand(over, Rule::Order, text)?;
        }
        let waiting = self.waiting.len();
        let text = || format!("{waiting} wait for a lease, {max_waiters} allowed");
        demand(waiting <= max_waiters, Rule::Bound, text)?;
        if waiting == 0 {
            return Ok(());
        }
        for (peer, services) in free {
            let unserved = self.waiting.iter().find(|(_, wanted)| has(services, *wanted));
            demand(unserved.is_none(), Rule::Late, || {
                format!("{unserved:?} waits for a lease, and peer {peer} is free")
            })?;
        }
        Ok(())
    }
}
