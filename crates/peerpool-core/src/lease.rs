//! Who gets a lease: waiters first come, first served among those a peer satisfies.

mod waiters;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{LeaseId, PeerId};
use crate::io::Refusal;
use crate::peer::{Peers, Session};
use crate::policy::Policy;
use crate::require::{Need, Require};
use crate::rng::Rng;
use waiters::{Waiter, Waiters};

/// Leases held, and those waited for.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    held: BTreeMap<LeaseId, PeerId>,
    waiters: Waiters,
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
        let reserved = |peer| self.waiters.reserver(peer).is_some();
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
        self.waiters.push(lease, require);
        self.waiters.reserve(peers);
        Ok(None)
    }

    /// A peer is ready, or more is known of it: it may be somebody's by now who waits for all of
    /// a peer's slots.
    pub fn on_changed(&mut self) {
        self.waiters.on_changed();
    }

    /// The peers that are reserved.
    pub fn reserved(&mut self, peers: &Peers) -> Vec<PeerId> {
        self.waiters.reserve(peers);
        self.waiters.reserved()
    }

    /// A peer has a free slot: the first waiter it satisfies gets it.
    pub fn offer(&mut self, peer: PeerId, peers: &mut Peers, policy: &Policy) -> Option<LeaseId> {
        self.waiters.reserve(peers);
        let lent = peers.get(peer)?;
        let session = lent.session()?;
        if session.exclusive || session.leases >= policy.slots_per_peer {
            return None;
        }
        let Waiter { lease, require } = self.waiters.take_first(peer, lent, peers.rule())?;
        self.hold(lease, peer, &require, peers);
        Some(lease)
    }

    /// Peers that were kept for somebody who has another now: others may have them.
    pub fn take_freed(&mut self) -> Vec<PeerId> {
        self.waiters.take_freed()
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
            return Released { held: None, free: self.waiters.remove(lease) };
        };
        if let Some(session) = peers.get_mut(peer).and_then(|peer| peer.session_mut()) {
            session.leases -= 1;
            session.exclusive = false;
        }
        Released { held: Some(peer), free: Some(peer) }
    }

    /// A peer is gone: so are the leases for it.
    pub fn on_gone(&mut self, peer: PeerId) -> Vec<LeaseId> {
        self.waiters.on_gone(peer);
        let gone: Vec<LeaseId> =
            self.held.iter().filter(|(_, held)| **held == peer).map(|(lease, _)| *lease).collect();
        for lease in &gone {
            self.held.remove(lease);
        }
        gone
    }

    /// Nobody will be served any more: those who wait.
    pub fn close(&mut self) -> Vec<LeaseId> {
        std::mem::take(&mut self.waiters).into_leases()
    }

    /// What is waited for and no ready peer is, busy or not.
    pub fn unmet<'a>(&'a self, peers: &'a Peers) -> impl Iterator<Item = Need> + 'a {
        let met = |need: &Need| need.private || peers.iter().any(|(_, peer)| need.is_met_by(peer));
        self.waiters.needs().filter(move |need| !met(need))
    }

    /// What those want, in turn, who wait for a connection of their own.
    pub fn private(&self) -> impl Iterator<Item = &Require> {
        self.waiters.private()
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
/// at random, the one that is less of a burden (see [`burden`]), or, now and then, just anybody
/// (`explore_share`).
pub fn select_peer(
    peers: &Peers,
    require: &Require,
    reserved: impl Fn(PeerId) -> bool,
    policy: &Policy,
    rng: &mut Rng,
) -> Option<PeerId> {
    let most = if require.is_exclusive() { 1 } else { policy.slots_per_peer };
    let free: Vec<(PeerId, u64)> = peers
        .iter()
        .filter(|(id, peer)| require.is_met_by(*id, peer, peers.rule()) && !reserved(*id))
        .filter_map(|(id, peer)| Some((id, peer.session()?)))
        .filter(|(_, session)| !session.exclusive && session.leases < most)
        .map(|(id, session)| (id, burden(session, policy)))
        .collect();
    if free.is_empty() {
        return None;
    }
    let one = free.get(rng.below(free.len()))?;
    let other = free.get(rng.below(free.len()))?;
    if rng.below(100) < policy.explore_share {
        return Some(one.0);
    }
    Some(if other.1 < one.1 { other.0 } else { one.0 })
}

/// How long one more lease may have to wait for this peer, as far as can be told: by what it has to
/// do, its leases and the requests of their holders, and by its smoothed round trip. That counts
/// within bounds only, for it can be bought: whoever wants to be asked by you can be near you.
pub fn burden(session: &Session, policy: &Policy) -> u64 {
    let (least, most) =
        (policy.least_round_trip, policy.most_round_trip.max(policy.least_round_trip));
    let round_trip = session.liveness.smoothed().unwrap_or(most).clamp(least, most);
    let load = 1 + session.leases + session.requests;
    micros(round_trip).saturating_mul(u64::try_from(load).unwrap_or(u64::MAX))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
