//! Which slot a peer fills whose handshake is done, and who leaves for it.

use crate::address::Address;
use crate::book::Book;
use crate::event::PeerVersion;
use crate::id::{ConnectionType, DisconnectReason, PeerId, PoolId};
use crate::netgroup::NetGroups;
use crate::peer::{Peer, Peers, Purpose};
use crate::policy::Policy;
use crate::slots::Slots;
use crate::time::{Monotonic, Now};

use super::Engine;

impl Engine {
    /// The pool whose slot a peer fills, or none if it is an extra that stays. It must find a free
    /// slot, or one that another leaves, and a netgroup that is not full.
    ///
    /// # Errors
    /// Why it is not kept.
    pub(super) fn select_slot(
        &mut self,
        now: Now,
        id: PeerId,
        version: &PeerVersion,
    ) -> Result<Option<PoolId>, DisconnectReason> {
        let surplus = DisconnectReason::Surplus;
        let Some(peer) = self.peers.get(id) else { return Err(surplus) };
        let (kind, purpose, address) = (peer.connection_type, peer.purpose, peer.address);
        match kind {
            ConnectionType::Feeler => Err(DisconnectReason::FeelerDone),
            ConnectionType::AddrFetch => Ok(None),
            ConnectionType::PrivateBroadcast => {
                let Self { slots, book, config, leases, .. } = &*self;
                let mut wanting = leases.private().filter(|require| {
                    let need = require.need();
                    need.is_met_at(&address, version)
                        && require.may_be_at(&address, &config.groups)
                        && may_serve(slots, book, &config.groups, need.pool, &address)
                });
                wanting.next().map(|require| Some(require.need().pool)).ok_or(surplus)
            }
            _ if kind.is_kept() && !self.group_has_room(address) => Err(surplus),
            ConnectionType::BlockRelayOnly => {
                let room = self.block_relays() < self.policy().block_relay_count;
                let newcomer = purpose == Purpose::Newcomer;
                let fits = room || newcomer && self.rotate(now, kind, &|_| true).is_some();
                if fits { Ok(None) } else { Err(surplus) }
            }
            ConnectionType::OutboundFullRelay => {
                self.select_pool(now, address, version, purpose).map(Some).ok_or(surplus)
            }
            ConnectionType::Manual => {
                let room = self.slots.emptiest(&self.peers, |_| true);
                room.or_else(|| self.replace_youngest(now)).map(Some).ok_or(surplus)
            }
        }
    }

    /// The pool that an automatic peer serves: one that waits for such, be it that an idle peer leaves
    /// for it; or else the emptiest; where all are full, one whose oldest leaves for a newcomer.
    fn select_pool(
        &mut self,
        now: Now,
        address: Address,
        version: &PeerVersion,
        purpose: Purpose,
    ) -> Option<PoolId> {
        let Self { slots, book, config, peers, leases, .. } = &*self;
        let may_serve = |pool: PoolId| may_serve(slots, book, &config.groups, pool, &address);
        let needs = leases.unmet(peers).filter(|need| need.is_met_at(&address, version));
        let needing: Vec<PoolId> =
            needs.map(|need| need.pool).filter(|pool| may_serve(*pool)).collect();
        let waiting = |pool: PoolId| needing.contains(&pool);
        if let Some(pool) = slots.emptiest(peers, waiting) {
            return Some(pool);
        }
        let idle = |pool: &PoolId| {
            select_idle(peers, now.mono, *pool, &config.policy).map(|peer| (peer, *pool))
        };
        if let Some((idle, pool)) = needing.iter().find_map(idle) {
            self.let_go(now, idle, DisconnectReason::Replaced);
            return Some(pool);
        }
        if let Some(pool) = slots.emptiest(peers, may_serve) {
            return Some(pool);
        }
        if purpose != Purpose::Newcomer {
            return None;
        }
        let served: Vec<PoolId> =
            slots.iter().map(|(pool, _)| pool).filter(|pool| may_serve(*pool)).collect();
        let of_pool = |pool: Option<PoolId>| pool.is_some_and(|it| served.contains(&it));
        self.rotate(now, ConnectionType::OutboundFullRelay, &of_pool).flatten()
    }

    fn block_relays(&self) -> usize {
        let ready = |(_, peer): &(PeerId, &Peer)| {
            peer.connection_type == ConnectionType::BlockRelayOnly && peer.session().is_some()
        };
        self.peers.iter().filter(ready).count()
    }

    /// Who of this kind, and of such a pool, leaves for another: leases pin a peer, but not all of
    /// them. If each serves one, who serves fewest leaves, and of several such who has been ready
    /// longest.
    fn select_leaver(
        &self,
        kind: ConnectionType,
        of_pool: &dyn Fn(Option<PoolId>) -> bool,
    ) -> Option<(PeerId, Address, Option<PoolId>)> {
        let may_leave = |(id, peer): (PeerId, &Peer)| {
            let session = peer.session().filter(|it| of_pool(it.pool))?;
            let same = peer.connection_type == kind;
            same.then_some((session.leases, session.since, id, peer.address, session.pool))
        };
        let (.., id, address, pool) = self.peers.iter().filter_map(may_leave).min()?;
        Some((id, address, pool))
    }

    /// A newcomer is ready: another of its kind leaves for it, if there is one. Returns whose slot
    /// it had.
    fn rotate(
        &mut self,
        now: Now,
        kind: ConnectionType,
        of_pool: &dyn Fn(Option<PoolId>) -> bool,
    ) -> Option<Option<PoolId>> {
        let Self { dialer, config, rng, .. } = self;
        dialer.on_rotated(now.mono, &config.policy, rng);
        let (leaver, address, pool) = self.select_leaver(kind, of_pool)?;
        self.book.note_tried(now, address);
        self.let_go(now, leaver, DisconnectReason::Rotated);
        Some(pool)
    }

    /// A manual peer takes the slot of the youngest automatic one, of one that serves no lease if
    /// it can. There is one: no more manual peers are dialled than there are slots.
    fn replace_youngest(&mut self, now: Now) -> Option<PoolId> {
        let automatic = |(id, peer): (PeerId, &Peer)| {
            let outbound = peer.connection_type == ConnectionType::OutboundFullRelay;
            let session = peer.session().filter(|_| outbound)?;
            Some((session.leases > 0, std::cmp::Reverse(id), session.pool))
        };
        let (_, std::cmp::Reverse(youngest), pool) =
            self.peers.iter().filter_map(automatic).min()?;
        self.let_go(now, youngest, DisconnectReason::Replaced);
        pool
    }

    fn group_has_room(&self, address: Address) -> bool {
        let group = self.config.groups.of(&address.host);
        !group.limited() || self.peers.load(group).ready < self.policy().max_peers_per_netgroup
    }
}

/// Whether an address may serve a pool, by the secret of the book.
pub(super) fn may_serve(
    slots: &Slots,
    book: &Book,
    groups: &NetGroups,
    pool: PoolId,
    address: &Address,
) -> bool {
    let weight = |name: &str, group| book.weight(name, group);
    slots.may_serve(pool, groups.of(&address.host), weight)
}

/// The automatic peer that leaves a pool for one that somebody waits for: of those that serve no
/// lease the one that has been ready longest. Who was dialled for such a need stays for
/// `quick_drop`, or two needs that nobody can meet would drive out each other's.
pub(super) fn select_idle(
    peers: &Peers,
    now: Monotonic,
    pool: PoolId,
    policy: &Policy,
) -> Option<PeerId> {
    let may_leave = |(id, peer): (PeerId, &Peer)| {
        let session = peer.session().filter(|it| it.pool == Some(pool) && it.leases == 0)?;
        let new = peer.purpose == Purpose::Need && now.since(session.since) < policy.quick_drop;
        let automatic = peer.connection_type == ConnectionType::OutboundFullRelay;
        (automatic && !new).then_some((session.since, id))
    };
    peers.iter().filter_map(may_leave).min().map(|(_, id)| id)
}
