//! Those who wait for a lease, in the order they came; and who is kept for whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LeaseId, PeerId};
use crate::netgroup::NetGroups;
use crate::peer::{Peer, Peers};
use crate::require::{Need, Require};

/// Whose turn it is before whose.
type Turn = u64;

/// Those who wait for a lease.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<Turn, Waiter>,
    turns: BTreeMap<LeaseId, Turn>,
    next: Turn,
    /// The same by what they need, so that a peer is not held against everybody who waits.
    queues: BTreeMap<Need, BTreeSet<Turn>>,
    /// Those who want a connection of their own.
    private: BTreeSet<Turn>,
    /// Those who want all slots of a peer.
    exclusive: BTreeSet<Turn>,
    /// For whom of these a peer is kept: it is lent to nobody else until it is free. Without, they
    /// would wait for as long as others come.
    reserved: BTreeMap<PeerId, Turn>,
    /// Whether somebody may be kept for somebody by now.
    changed: bool,
    /// Peers that are reserved no more, to be offered to others.
    freed: Vec<PeerId>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) lease: LeaseId,
    pub(super) require: Require,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What they need, each thing once.
    pub(super) fn needs(&self) -> impl Iterator<Item = Need> {
        self.queues.keys().copied()
    }

    /// What those want, in turn, who wait for a connection of their own.
    pub(super) fn private(&self) -> impl Iterator<Item = &Require> {
        let waiters = self.private.iter().filter_map(|turn| self.waiting.get(turn));
        waiters.map(|waiter| &waiter.require)
    }

    pub(super) fn push(&mut self, lease: LeaseId, require: Require) {
        let turn = self.next;
        self.next += 1;
        self.queues.entry(require.need()).or_default().insert(turn);
        if require.need().private {
            self.private.insert(turn);
        } else if require.is_exclusive() {
            self.exclusive.insert(turn);
            self.changed = true;
        }
        self.turns.insert(lease, turn);
        self.waiting.insert(turn, Waiter { lease, require });
    }

    /// Ends the waiting of one of them.
    fn take(&mut self, turn: Turn) -> Option<Waiter> {
        let waiter = self.waiting.remove(&turn)?;
        self.turns.remove(&waiter.lease);
        let need = waiter.require.need();
        if let Some(queue) = self.queues.get_mut(&need) {
            queue.remove(&turn);
            if queue.is_empty() {
                self.queues.remove(&need);
            }
        }
        self.private.remove(&turn);
        self.changed |= self.exclusive.remove(&turn);
        Some(waiter)
    }

    /// One of them waits no longer. Returns the peer that was kept for it.
    pub(super) fn remove(&mut self, lease: LeaseId) -> Option<PeerId> {
        let turn = *self.turns.get(&lease)?;
        self.take(turn);
        self.unreserve(turn)
    }

    /// The first whom a peer with a free slot satisfies.
    pub(super) fn take_first(
        &mut self,
        id: PeerId,
        peer: &Peer,
        groups: &NetGroups,
    ) -> Option<Waiter> {
        let idle = peer.session()?.leases == 0;
        let fits = |turn: &Turn| {
            let require = self.waiting.get(turn).map(|waiter| &waiter.require);
            require.is_some_and(|it| (idle || !it.is_exclusive()) && it.is_met_by(id, peer, groups))
        };
        // Whoever came before the one it is kept for is served before.
        let last = self.reserver(id).unwrap_or(Turn::MAX);
        let queues = self.queues.iter().filter(|(need, _)| need.is_met_by(peer));
        let first = |(_, queue): (&Need, &BTreeSet<Turn>)| {
            queue.range(..=last).copied().find(|turn| fits(turn))
        };
        let turn = queues.filter_map(first).min()?;
        let waiter = self.take(turn)?;
        let other = self.unreserve(turn).filter(|other| *other != id);
        self.freed.extend(other);
        Some(waiter)
    }

    // ---- reservations ----

    pub(super) fn on_changed(&mut self) {
        self.changed = true;
    }

    pub(super) fn on_gone(&mut self, peer: PeerId) {
        self.changed |= self.reserved.remove(&peer).is_some();
    }

    /// Whom a peer is kept for.
    pub(super) fn reserver(&self, peer: PeerId) -> Option<Turn> {
        self.reserved.get(&peer).copied()
    }

    pub(super) fn reserved(&self) -> Vec<PeerId> {
        self.reserved.keys().copied().collect()
    }

    pub(super) fn take_freed(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.freed)
    }

    fn unreserve(&mut self, turn: Turn) -> Option<PeerId> {
        let kept = self.reserved.iter().find(|(_, it)| **it == turn);
        let peer = kept.map(|(peer, _)| *peer)?;
        self.reserved.remove(&peer);
        Some(peer)
    }

    /// Whoever wants all slots of a peer has one that will be free for it, if there is one for each:
    /// of those that meet it, the one with the fewest leases. First come, first served; where all
    /// peers are taken, the others need not be looked at.
    pub(super) fn reserve(&mut self, peers: &Peers) {
        if !std::mem::take(&mut self.changed) || self.exclusive.is_empty() {
            return;
        }
        let mut kept: BTreeMap<Turn, PeerId> =
            self.reserved.iter().map(|(peer, turn)| (*turn, *peer)).collect();
        let mut left = peers.slots_filled();
        for turn in &self.exclusive {
            if left == 0 {
                break;
            }
            let Some(Waiter { require, .. }) = self.waiting.get(turn) else { continue };
            let meets = |id: PeerId, peer: &Peer| require.is_met_by(id, peer, peers.rule());
            let former = kept.get(turn).copied();
            if former.is_some_and(|id| peers.get(id).is_some_and(|peer| meets(id, peer))) {
                left -= 1;
                continue;
            }
            let fitting = peers.iter().filter(|(id, peer)| meets(*id, peer));
            let fitting = fitting.filter_map(|(id, peer)| Some((peer.session()?.leases, id)));
            let free = fitting.filter(|(_, id)| !self.reserved.contains_key(id));
            let chosen = free.min().map(|(_, id)| id);
            if let Some(former) = former {
                kept.remove(turn);
                self.reserved.remove(&former);
                self.freed.push(former);
            }
            if let Some(chosen) = chosen {
                self.reserved.insert(chosen, *turn);
                left -= 1;
            }
        }
    }

    /// Nobody will be served any more.
    pub(super) fn into_leases(self) -> Vec<LeaseId> {
        self.waiting.into_values().map(|waiter| waiter.lease).collect()
    }
}
