//! Who gets a lease: waiters first come, first served among those a peer satisfies.

use std::collections::{BTreeMap, VecDeque};

use bitcoin::p2p::ServiceFlags;

use crate::id::{LeaseId, PeerId};
use crate::io::Refusal;
use crate::peer::Peers;
use crate::policy::Policy;
use crate::rng::Rng;

/// Leases held, and those waited for.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    held: BTreeMap<LeaseId, PeerId>,
    waiters: VecDeque<(LeaseId, ServiceFlags)>,
}

impl Leases {
    /// A caller wants a lease: granted, refused, or (`Ok(None)`) to be waited for.
    ///
    /// # Errors
    /// Nobody is free and the caller would not wait, or too many wait already.
    pub fn request(
        &mut self,
        lease: LeaseId,
        services: ServiceFlags,
        wait: bool,
        peers: &mut Peers,
        policy: &Policy,
        rng: &mut Rng,
    ) -> Result<Option<PeerId>, Refusal> {
        // Whoever waits already could not use the peers that are free, so nobody is overtaken.
        if let Some(peer) = select_peer(peers, services, policy, rng) {
            self.hold(lease, peer, peers);
            return Ok(Some(peer));
        }
        if !wait {
            return Err(Refusal::NoneFree);
        }
        if self.waiters.len() >= policy.max_waiters {
            return Err(Refusal::TooManyWaiters);
        }
        self.waiters.push_back((lease, services));
        Ok(None)
    }

    /// A peer has a free slot: the first waiter it satisfies gets it.
    pub fn offer(&mut self, peer: PeerId, peers: &mut Peers, policy: &Policy) -> Option<LeaseId> {
        let session = peers.get(peer)?.session()?;
        if session.leases >= policy.slots_per_peer {
            return None;
        }
        let services = session.handshaken.version().services;
        let place = self.waiters.iter().position(|(_, wanted)| services.has(*wanted))?;
        let (lease, _) = self.waiters.remove(place)?;
        self.hold(lease, peer, peers);
        Some(lease)
    }

    fn hold(&mut self, lease: LeaseId, peer: PeerId, peers: &mut Peers) {
        self.held.insert(lease, peer);
        if let Some(session) = peers.get_mut(peer).and_then(|peer| peer.session_mut()) {
            session.leases += 1;
        }
    }

    /// A lease is given back, or no longer waited for. Returns the peer it was for.
    pub fn release(&mut self, lease: LeaseId, peers: &mut Peers) -> Option<PeerId> {
        let Some(peer) = self.held.remove(&lease) else {
            self.waiters.retain(|(waiter, _)| *waiter != lease);
            return None;
        };
        if let Some(session) = peers.get_mut(peer).and_then(|peer| peer.session_mut()) {
            session.leases -= 1;
        }
        Some(peer)
    }

    /// A peer is gone: so are the leases for it.
    pub fn on_gone(&mut self, peer: PeerId) -> Vec<LeaseId> {
        let gone: Vec<LeaseId> =
            self.held.iter().filter(|(_, held)| **held == peer).map(|(lease, _)| *lease).collect();
        for lease in &gone {
            self.held.remove(lease);
        }
        gone
    }

    /// Nobody will be served any more: those who wait.
    pub fn close(&mut self) -> Vec<LeaseId> {
        self.waiters.drain(..).map(|(lease, _)| lease).collect()
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

/// A ready peer with the wanted services and a free slot: of two drawn at random, the one that
/// serves fewer leases. Latency has no say: it can be bought.
pub fn select_peer(
    peers: &Peers,
    services: ServiceFlags,
    policy: &Policy,
    rng: &mut Rng,
) -> Option<PeerId> {
    let free: Vec<(PeerId, usize)> = peers
        .iter()
        .filter(|(_, peer)| peer.fills_slot())
        .filter_map(|(id, peer)| Some((id, peer.session()?)))
        .filter(|(_, session)| session.leases < policy.slots_per_peer)
        .filter(|(_, session)| session.handshaken.version().services.has(services))
        .map(|(id, session)| (id, session.leases))
        .collect();
    if free.is_empty() {
        return None;
    }
    let one = free.get(rng.below(free.len()))?;
    let other = free.get(rng.below(free.len()))?;
    Some(if other.1 < one.1 { other.0 } else { one.0 })
}
