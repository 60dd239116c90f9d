//! Who waits for a lease, and who holds which.

use std::collections::BTreeMap;

use peerpool_core::id::{LeaseId, PeerId};

use super::{Fault, Rule, Verdict, demand};

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Leases by the peer they are for; `None` waits.
    table: BTreeMap<LeaseId, Option<PeerId>>,
    held: usize,
    /// The lease asked for in this turn by a caller who would not wait.
    at_once: Option<LeaseId>,
    /// The lease given back in this turn.
    returned: Option<LeaseId>,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many wait, and how many are held.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.table.len() - self.held, self.held)
    }

    pub(super) fn begin_turn(&mut self) {
        (self.at_once, self.returned) = (None, None);
    }

    pub(super) fn on_lease(&mut self, lease: LeaseId, wait: bool) {
        self.table.insert(lease, None);
        self.at_once = (!wait).then_some(lease);
    }

    pub(super) fn on_release(&mut self, lease: LeaseId) {
        match self.table.get(&lease) {
            Some(None) => {
                self.table.remove(&lease);
            }
            Some(Some(_)) => self.returned = Some(lease),
            None => {}
        }
    }

    pub(super) fn on_grant(&mut self, lease: LeaseId, peer: PeerId) -> Verdict {
        let held = self.table.get_mut(&lease).filter(|held| held.is_none());
        let text = || format!("lease {lease} is granted, and nobody waits for it");
        *held.ok_or_else(|| Fault(Rule::Order, text()))? = Some(peer);
        self.held += 1;
        Ok(())
    }

    pub(super) fn on_refuse(&mut self, lease: LeaseId) -> Verdict {
        let waited = self.table.remove(&lease);
        let text = || format!("lease {lease} is refused, and nobody waits for it");
        demand(waited == Some(None), Rule::Order, text)
    }

    pub(super) fn on_released(&mut self, lease: LeaseId, peer: PeerId) -> Verdict {
        let held = self.table.remove(&lease);
        let text = || format!("lease {lease} for peer {peer} is over, and was {held:?}");
        demand(held == Some(Some(peer)), Rule::Order, text)?;
        self.held -= 1;
        Ok(())
    }

    pub(super) fn end_turn(&self, max_waiters: usize) -> Verdict {
        if let Some(lease) = self.at_once {
            let answered = self.table.get(&lease) != Some(&None);
            let text = || format!("lease {lease} waits, and its caller would not");
            demand(answered, Rule::Unanswered, text)?;
        }
        if let Some(lease) = self.returned {
            let over = !self.table.contains_key(&lease);
            let text = || format!("lease {lease} was given back, and is not over");
            demand(over, Rule::Order, text)?;
        }
        let (waiting, _) = self.counts();
        let text = || format!("{waiting} wait for a lease, {max_waiters} allowed");
        demand(waiting <= max_waiters, Rule::Bound, text)
    }
}
