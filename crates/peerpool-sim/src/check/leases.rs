//! Who waits for a lease, and who holds which.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Net;
use peerpool_core::id::{LeaseId, PeerId, PoolId};
use peerpool_core::require::Require;

use super::{Fault, Rule, Verdict, demand};

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Who waits, and for what: first come, first served.
    waiting: Vec<(LeaseId, Want)>,
    /// Whose lease is of which peer, and of all its slots.
    held: BTreeMap<LeaseId, (PeerId, bool)>,
    /// The lease asked for in this turn by a caller who would not wait.
    at_once: Option<LeaseId>,
    /// The lease given back in this turn.
    returned: Option<LeaseId>,
}

/// What a caller wants of a peer.
#[derive(Clone, Debug)]
struct Want {
    services: ServiceFlags,
    net: Option<Net>,
    except: BTreeSet<PeerId>,
    exclusive: bool,
    pool: PoolId,
    /// On a connection of its own.
    private: bool,
}

/// A peer that may be lent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    pub(super) id: PeerId,
    pub(super) net: Net,
    pub(super) services: ServiceFlags,
    pub(super) leases: usize,
    /// Whose slot it fills; nobody's, if the connection is one lease's own.
    pub(super) pool: Option<PoolId>,
}

fn has(services: ServiceFlags, wanted: ServiceFlags) -> bool {
    wanted.to_u64() & !services.to_u64() == 0
}

impl Want {
    /// Whether a peer is what is wanted, whoever else there is.
    fn likes(&self, peer: &Lent) -> bool {
        let own = (!self.private).then_some(self.pool);
        peer.pool == own
            && has(peer.services, self.services)
            && self.net.is_none_or(|wanted| wanted == peer.net)
    }

    fn fits_peer(&self, peer: &Lent) -> bool {
        self.likes(peer) && !self.except.contains(&peer.id)
    }
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

    pub(super) fn on_lease(&mut self, lease: LeaseId, require: &Require, wait: bool) {
        let need = require.need();
        let want = Want {
            services: need.services,
            net: need.net,
            except: require.excepted().clone(),
            exclusive: require.is_exclusive(),
            pool: need.pool,
            private: need.private,
        };
        self.waiting.push((lease, want));
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

    /// A lease of this peer is granted.
    pub(super) fn on_grant(&mut self, lease: LeaseId, peer: &Lent) -> Verdict {
        let text = || format!("lease {lease} is granted, and nobody waits for it");
        let place = self.place(lease).ok_or_else(|| Fault(Rule::Order, text()))?;
        let (_, wanted) = self.waiting.remove(place);
        demand(wanted.fits_peer(peer), Rule::Order, || {
            format!("lease {lease} wants {wanted:?}, and has {peer:?}")
        })?;
        let idle = peer.leases == 0;
        let alone = self.held.values().any(|held| *held == (peer.id, true));
        demand(!alone && (idle || !wanted.exclusive), Rule::Order, || {
            format!("lease {lease} is granted beside others of peer {}", peer.id)
        })?;
        let passed = self.waiting[..place].iter();
        let passed = passed.filter(|(_, wanted)| idle || !wanted.exclusive);
        let passed = passed.map(|(lease, wanted)| (lease, wanted)).find(|it| it.1.fits_peer(peer));
        demand(passed.is_none(), Rule::Order, || {
            format!("lease {lease} is granted before {passed:?}, who came first")
        })?;
        self.held.insert(lease, (peer.id, wanted.exclusive));
        Ok(())
    }

    pub(super) fn on_refuse(&mut self, lease: LeaseId) -> Verdict {
        let text = || format!("lease {lease} is refused, and nobody waits for it");
        let place = self.place(lease).ok_or_else(|| Fault(Rule::Order, text()))?;
        self.waiting.remove(place);
        Ok(())
    }

    pub(super) fn on_released(&mut self, lease: LeaseId, peer: PeerId) -> Verdict {
        let held = self.held.remove(&lease).map(|(held, _)| held);
        let text = || format!("lease {lease} for peer {peer} is over, and was {held:?}");
        demand(held == Some(peer), Rule::Order, text)
    }

    /// Whether somebody waits for what none of these peers is, and may be on this network.
    pub(super) fn lacks_on(&self, ready: &[Lent], net: Net) -> bool {
        self.lacking(ready).any(|want| want.net.is_none_or(|wanted| wanted == net))
    }

    /// Whether somebody waits for what none of these peers is, and this one is.
    pub(super) fn lacks_such(&self, ready: &[Lent], peer: &Lent) -> bool {
        self.lacking(ready).any(|want| want.likes(peer))
    }

    fn lacking<'a>(&'a self, ready: &'a [Lent]) -> impl Iterator<Item = &'a Want> {
        let met = |want: &Want| want.private || ready.iter().any(|peer| want.likes(peer));
        self.waiting.iter().map(|(_, want)| want).filter(move |want| !met(want))
    }

    /// How many wait for a connection of their own.
    pub(super) fn private(&self) -> usize {
        self.waiting.iter().filter(|(_, want)| want.private).count()
    }

    /// All outputs of the turn are read. These peers have a slot free.
    pub(super) fn end_turn(&self, max_waiters: usize, free: impl Iterator<Item = Lent>) -> Verdict {
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
        let alone = |id| self.held.values().any(|held| *held == (id, true));
        for peer in free.filter(|peer| !alone(peer.id)) {
            let unserved = self.first_unserved(&peer);
            demand(unserved.is_none(), Rule::Late, || {
                format!("{unserved:?} waits for a lease, and peer {} is free", peer.id)
            })?;
        }
        Ok(())
    }

    /// Who should have had a peer that has a slot free. It may be kept for whoever wants all of its
    /// slots; those who came later wait behind that one.
    fn first_unserved(&self, peer: &Lent) -> Option<&(LeaseId, Want)> {
        let fitting = || self.waiting.iter().filter(|(_, want)| want.fits_peer(peer));
        if peer.leases == 0 {
            return fitting().next();
        }
        fitting().take_while(|(_, want)| !want.exclusive).next()
    }
}
