//! Who gets a lease: waiters first come, first served among those a peer satisfies.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{LeaseId, PeerId};
use crate::io::Refusal;
use crate::peer::{Peer, Peers};
use crate::policy::Policy;
use crate::require::Require;
use crate::rng::Rng;

/// Leases held, and those waited for.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    held: BTreeMap<LeaseId, PeerId>,
    waiters: VecDeque<Waiter>,
    /// How many of them are exclusive: most often none, and then nobody is looked for.
    exclusive: usize,
    /// Peers that are reserved no more, to be offered to others.
    freed: Vec<PeerId>,
}

#[derive(Clone, Debug)]
struct Waiter {
    lease: LeaseId,
    require: Require,
    /// Of an exclusive one: the peer that is lent to nobody else until it is free. Without, it
    /// would wait for as long as others come.
    reserved: Option<PeerId>,
}

impl Leases {
    /// A caller wants a lease: granted, refused, or (`Ok(None)`) to be waited for.
    ///
    /// # Errors
    /// Nobody is free and the caller would not wait, or too many wait already.
    pub fn request(
        &mut self,
        lease: LeaseId,
        require: Require,
        wait: bool,
        peers: &mut Peers,
        policy: &Policy,
        rng: &mut Rng,
    ) -> Result<Option<PeerId>, Refusal> {
        // Whoever waits already could not use the peers that are free, so nobody is overtaken.
        let reserved = |peer| self.reserver(peer).is_some();
        if let Some(peer) = select_peer(peers, &require, reserved, policy, rng) {
            self.hold(lease, peer, &require, peers);
            return Ok(Some(peer));
        }
        if !wait {
            return Err(Refusal::NoneFree);
        }
        if self.waiters.len() >= policy.max_waiters {
            return Err(Refusal::TooManyWaiters);
        }
        self.exclusive += usize::from(require.is_exclusive());
        self.waiters.push_back(Waiter { lease, require, reserved: None });
        self.reserve(peers);
        Ok(None)
    }

    /// Each exclusive waiter has a peer that will be free for it, if there is one for each: of those
    /// that meet it, the one with the fewest leases.
    fn reserve(&mut self, peers: &Peers) {
        if self.exclusive == 0 {
            return;
        }
        for nth in 0..self.waiters.len() {
            let Some(waiter) = self.waiters.get(nth).filter(|it| it.require.is_exclusive()) else {
                continue;
            };
            let meets = |id: PeerId, peer: &Peer| waiter.require.is_met_by(id, peer, peers.rule());
            let former = waiter.reserved;
            if former.is_some_and(|id| peers.get(id).is_some_and(|peer| meets(id, peer))) {
                continue;
            }
            let fitting = peers.iter().filter(|(id, peer)| meets(*id, peer));
            let fitting = fitting.filter_map(|(id, peer)| Some((peer.session()?.leases, id)));
            let free = fitting.filter(|(_, id)| self.reserver(*id).is_none());
            let chosen = free.min().map(|(_, id)| id);
            self.freed.extend(former);
            if let Some(waiter) = self.waiters.get_mut(nth) {
                waiter.reserved = chosen;
            }
        }
    }

    /// The place of the waiter that a peer is kept for.
    fn reserver(&self, peer: PeerId) -> Option<usize> {
        let waiters = || self.waiters.iter().position(|waiter| waiter.reserved == Some(peer));
        (self.exclusive > 0).then(waiters)?
    }

    /// Ends the waiting of the waiter at this place.
    fn take(&mut self, place: usize) -> Option<Waiter> {
        let waiter = self.waiters.remove(place)?;
        self.exclusive -= usize::from(waiter.require.is_exclusive());
        Some(waiter)
    }

    /// The peers that are reserved.
    pub fn reserved(&mut self, peers: &Peers) -> Vec<PeerId> {
        if self.exclusive == 0 {
            return Vec::new();
        }
        self.reserve(peers);
        self.waiters.iter().filter_map(|waiter| waiter.reserved).collect()
    }

    /// A peer has a free slot: the first waiter it satisfies gets it.
    pub fn offer(&mut self, peer: PeerId, peers: &mut Peers, policy: &Policy) -> Option<LeaseId> {
        self.reserve(peers);
        let lent = peers.get(peer)?;
        let session = lent.session()?;
        let (leases, exclusive) = (session.leases, session.exclusive);
        if exclusive || leases >= policy.slots_per_peer {
            return None;
        }
        let fits = |waiter: &Waiter| {
            let free = !waiter.require.is_exclusive() || leases == 0;
            free && waiter.require.is_met_by(peer, lent, peers.rule())
        };
        // Whoever came before the one it is kept for is served before.
        let until = self.reserver(peer).map_or(self.waiters.len(), |place| place + 1);
        let place = self.waiters.iter().take(until).position(fits)?;
        let Waiter { lease, require, reserved } = self.take(place)?;
        self.freed.extend(reserved.filter(|other| *other != peer));
        self.hold(lease, peer, &require, peers);
        Some(lease)
    }

    /// Peers that were kept for somebody who has another now: others may have them.
    pub fn take_freed(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.freed)
    }

    fn hold(&mut self, lease: LeaseId, peer: PeerId, require: &Require, peers: &mut Peers) {
        self.held.insert(lease, peer);
        if let Some(session) = peers.get_mut(peer).and_then(|peer| peer.session_mut()) {
            session.leases += 1;
            session.exclusive = require.is_exclusive();
        }
    }

    /// A lease is given back, or no longer waited for. Returns the peer that others may have for it.
    pub fn release(&mut self, lease: LeaseId, peers: &mut Peers) -> Released {
        let Some(peer) = self.held.remove(&lease) else {
            let waits = |waiter: &Waiter| waiter.lease == lease;
            let place = self.waiters.iter().position(waits);
            let waiter = place.and_then(|place| self.take(place));
            return Released { held: None, free: waiter.and_then(|waiter| waiter.reserved) };
        };
        if let Some(session) = peers.get_mut(peer).and_then(|peer| peer.session_mut()) {
            session.leases -= 1;
            session.exclusive = false;
        }
        Released { held: Some(peer), free: Some(peer) }
    }

    /// A peer is gone: so are the leases for it.
    pub fn on_gone(&mut self, peer: PeerId) -> Vec<LeaseId> {
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.reserved == Some(peer)) {
            waiter.reserved = None;
        }
        let gone: Vec<LeaseId> =
            self.held.iter().filter(|(_, held)| **held == peer).map(|(lease, _)| *lease).collect();
        for lease in &gone {
            self.held.remove(lease);
        }
        gone
    }

    /// Nobody will be served any more: those who wait.
    pub fn close(&mut self) -> Vec<LeaseId> {
        self.exclusive = 0;
        self.waiters.drain(..).map(|waiter| waiter.lease).collect()
    }

    /// Leases held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Callers that wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

/// What became of a lease that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Whose slot it had.
    pub held: Option<PeerId>,
    /// Who may serve others now.
    pub free: Option<PeerId>,
}

/// A ready peer that meets a requirement, has a free slot, and is reserved for nobody: of two drawn
/// at random, the one that serves fewer leases. Latency has no say: it can be bought.
pub fn select_peer(
    peers: &Peers,
    require: &Require,
    reserved: impl Fn(PeerId) -> bool,
    policy: &Policy,
    rng: &mut Rng,
) -> Option<PeerId> {
    let most = if require.is_exclusive() { 1 } else { policy.slots_per_peer };
    let free: Vec<(PeerId, usize)> = peers
        .iter()
        .filter(|(id, peer)| require.is_met_by(*id, peer, peers.rule()) && !reserved(*id))
        .filter_map(|(id, peer)| Some((id, peer.session()?)))
        .filter(|(_, session)| !session.exclusive && session.leases < most)
        .map(|(id, session)| (id, session.leases))
        .collect();
    if free.is_empty() {
        return None;
    }
    let one = free.get(rng.below(free.len()))?;
    let other = free.get(rng.below(free.len()))?;
    Some(if other.1 < one.1 { other.0 } else { one.0 })
}
