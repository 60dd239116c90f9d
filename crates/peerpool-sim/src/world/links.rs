//! What happens on links: dials and their answers, what crosses, how they end.

use std::net::SocketAddr;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::event::DialError;
use peerpool_core::id::DisconnectReason;
use peerpool_core::io::Input;
use peerpool_core::rng::Rng;
use peerpool_core::time::Monotonic;
use peerpool_core::wire::Control;

use super::end::{NodeEnd, Parcel, Passed, PoolEnd, Reply};
use super::pool::PoolLink;
use super::population::NodeId;
use super::{Ending, Happening, LinkKey, World, own_ip};
use crate::actor::{Actor, ByteActor, Kind, Next, Quirk};
use crate::check::Breach;
use crate::link_model::Break;

/// Share of unused addresses whose host is there and refuses; elsewhere nothing answers.
const REFUSING: f64 = 0.3;
/// Of nodes that leave, these shares close and reset their links; the others fall silent.
const CLOSING: f64 = 0.7;
const RESETTING: f64 = 0.15;
/// How soon the pool's own system answers.
const LOCAL_DELAY: Duration = Duration::from_millis(1);
/// What a node may have under way before it waits to say more: a flood is without end.
const BACKLOG: Duration = Duration::from_millis(200);

impl World {
    fn link(&mut self, key: LinkKey) -> Option<&mut PoolLink> {
        let pool = &mut self.pools[usize::from(key.pool)];
        if pool.generation != key.generation {
            return None;
        }
        pool.links.get_mut(&key.peer)
    }

    // ---- dials ----

    pub(super) fn on_dial(&mut self, key: LinkKey, address: Address) {
        let pool = usize::from(key.pool);
        self.note_contact(pool, address, false);
        let node = self.knowledge.population.find(&address);
        let kind = node.map(|id| self.knowledge.population.listing(id).kind);
        let from = SocketAddr::new(own_ip(key.pool), 40_000 + (key.peer.0 % 20_000) as u16);
        let mut link = PoolLink::new(address, node, from);
        link.latency = match kind {
            Some(Kind::NearSybil) => self.plan.links.near,
            _ => self.plan.links.latency(self.plan.seed, pool, &address.host),
        };
        let round_trip = link.latency * 2;
        self.pools[pool].links.insert(key.peer, link);
        if self.plan.links.has_no_route(pool, &address.host, self.now) {
            let answer = Err(DialError::NoRoute);
            return self.plan_for(self.now + LOCAL_DELAY, Happening::Answered(key, answer));
        }
        let cut = self.plan.links.cut_until(pool, &address.host, self.now).is_some();
        if self.plan.links.loses_dial(&mut self.rng) || cut {
            self.injected.dials_lost += 1;
            return;
        }
        let answers = node.is_some_and(|id| self.answers(id));
        let answer = match kind {
            Some(Kind::Silent) => return,
            Some(Kind::Refusing) => Err(DialError::Refused),
            Some(_) if answers => Ok(()),
            _ if self.rng.chance(REFUSING) => Err(DialError::Refused),
            _ => return,
        };
        self.plan_for(self.now + round_trip, Happening::Answered(key, answer));
    }

    /// Whether a node is there to answer a dial.
    fn answers(&mut self, id: NodeId) -> bool {
        let away = self.away.get(&id).is_some_and(|until| self.now < *until);
        !away && self.knowledge.population.is_present(id)
    }

    pub(super) fn on_answered(
        &mut self,
        key: LinkKey,
        answer: Result<(), DialError>,
    ) -> Result<(), Breach> {
        let pool = usize::from(key.pool);
        let (peer, own) = (key.peer, own_ip(key.pool));
        let Some(link) = self.link(key).filter(|link| !link.closing) else { return Ok(()) };
        let (node, address) = (link.node, link.address);
        if let Err(error) = answer {
            self.pools[pool].links.remove(&peer);
            return self.turn(pool, Input::DialFailed { peer, error });
        }
        let Some(node) = node else { return Ok(()) };
        self.note_contact(pool, address, true);
        let next = self.open(key, node, address);
        self.turn(pool, Input::Connected { peer, local: Some(own) })?;
        if next == Next::Close {
            self.on_node_ends(key, Ending::Closes);
        }
        Ok(())
    }

    /// The node's end comes to be, and it is settled when it ends.
    fn open(&mut self, key: LinkKey, node: NodeId, address: Address) -> Next {
        let listing = self.knowledge.population.listing(node);
        let rng = Rng::from_u64(self.rng.u64());
        let (magic, in_bytes) = (self.plan.magic, self.plan.bytes || listing.kind.needs_bytes());
        let policy = self.pools[usize::from(key.pool)].plan.policy.clone();
        let Some(from) = self.link(key).map(|link| link.from) else { return Next::Stay };
        let actor = Actor::new(listing, from, rng).with_quirk(self.quirk(listing.kind));
        let (mut end, pool_end) = if in_bytes {
            let actor = ByteActor::new(actor, &self.knowledge.profile);
            let pool_end = PoolEnd::new(magic, &policy, address);
            (NodeEnd::Bytes(Box::new(actor)), Some(pool_end))
        } else {
            (NodeEnd::Messages(Box::new(actor)), None)
        };
        let next = end.handle_open();
        if let Some(link) = self.link(key) {
            link.node_end = Some(end);
            link.pool_end = pool_end;
        }
        self.settle_end(key, node, listing.kind);
        next
    }

    fn quirk(&mut self, kind: Kind) -> Option<Quirk> {
        let share = self.plan.quirks;
        if kind != Kind::Honest || self.healed || share == 0.0 || !self.rng.chance(share) {
            return None;
        }
        Some(Quirk::ALL[self.rng.below(Quirk::ALL.len())])
    }

    fn settle_end(&mut self, key: LinkKey, node: NodeId, kind: Kind) {
        match kind {
            Kind::Vanishing => {
                let (least, most) = self.plan.vanish_after;
                let life = self.rng.between(least, most);
                self.knowledge.population.end(node, self.now + life);
            }
            Kind::Flapping => {
                let (least, most) = self.plan.flap;
                let leaves = self.now + self.rng.between(least, most);
                let returns = leaves + self.rng.between(least, most);
                self.away.retain(|_, until| self.now < *until);
                self.away.insert(node, returns);
                self.plan_for(leaves, Happening::NodeEnds(key, Ending::Closes));
            }
            _ => {}
        }
        if let Some(at) = self.knowledge.population.leaves_at(node) {
            let drawn = self.rng.chance(CLOSING);
            let ending = if drawn {
                Ending::Closes
            } else if self.rng.chance(RESETTING / (1.0 - CLOSING)) {
                Ending::Resets
            } else {
                Ending::FallsSilent
            };
            self.plan_for(at, Happening::NodeEnds(key, ending));
        }
        if let Some((at, kind)) = self.plan.links.breaks_at(self.now, &mut self.rng) {
            let ending = match kind {
                Break::Reset => Ending::Resets,
                Break::Silence => Ending::FallsSilent,
            };
            self.plan_for(at, Happening::NodeEnds(key, ending));
        }
    }

    // ---- what crosses ----

    /// Until when a cut holds up what would arrive now: it was on its way when the cut began, or
    /// waited for the end of a cut that another one has joined since. Whoever sent it sends it
    /// again.
    pub(super) fn held_up(&self, what: &Happening) -> Option<Monotonic> {
        let links = &self.plan.links;
        let key = match what {
            Happening::AtNode(key, _) | Happening::AtPool(key, _) => key,
            Happening::Answered(key, answer) if *answer != Err(DialError::NoRoute) => key,
            Happening::Closed(key, reason) if *reason != DisconnectReason::PoolClosed => key,
            _ => return None,
        };
        let pool = usize::from(key.pool);
        let this = self.pools.get(pool).filter(|_| !links.cuts.is_empty())?;
        let link = this.links.get(&key.peer).filter(|_| this.generation == key.generation)?;
        links.cut_until(pool, &link.address.host, self.now)
    }

    pub(super) fn on_send(&mut self, key: LinkKey, message: Control) {
        let Some(link) = self.link(key).filter(|link| !link.closing) else { return };
        let parcel = match &link.pool_end {
            Some(end) => Parcel::Bytes(end.encode(&message)),
            None => Parcel::Message(message),
        };
        let bytes = parcel.wire_len();
        self.pools[usize::from(key.pool)].report.on_bytes(bytes as u64, 0);
        if let Some(at) = self.arrival(key, bytes, false) {
            self.plan_for(at, Happening::AtNode(key, parcel));
        }
    }

    /// When so many bytes arrive; `None` if they do not.
    fn arrival(&mut self, key: LinkKey, bytes: usize, to_pool: bool) -> Option<Monotonic> {
        let link = self.pools[usize::from(key.pool)].links.get_mut(&key.peer)?;
        if link.silent {
            return None;
        }
        let links = &self.plan.links;
        let cut = links.cut_until(usize::from(key.pool), &link.address.host, self.now);
        let last = if to_pool { &mut link.at_pool } else { &mut link.at_node };
        *last = links.arrival(self.now, link.latency, bytes, *last, cut, &mut self.rng);
        Some(*last)
    }

    pub(super) fn on_parcel_at_node(&mut self, key: LinkKey, parcel: Parcel) {
        let now = self.now();
        let Some(link) = self.link(key).filter(|link| !link.silent) else { return };
        let Some(mut end) = link.node_end.take() else { return };
        let Some(address) = link.address.socket_addr() else { return };
        let reply = end.handle(&mut self.knowledge, now, address, parcel);
        self.on_reply(key, end, reply);
    }

    pub(super) fn on_node_wakes(&mut self, key: LinkKey) {
        let now = self.now();
        let Some(link) = self.link(key) else { return };
        if link.node_wake != Some(now.mono) {
            return;
        }
        link.node_wake = None;
        let is_busy = link.at_pool > now.mono + BACKLOG;
        let waits_until = link.at_pool;
        let Some(mut end) = link.node_end.take() else { return };
        if is_busy {
            link.node_end = Some(end);
            link.node_wake = Some(waits_until);
            return self.plan_for(waits_until, Happening::NodeWakes(key));
        }
        let reply = end.handle_timeout(&mut self.knowledge, now);
        self.on_reply(key, end, reply);
    }

    /// Sends what a node said, does what it decided, and sees when it speaks next.
    fn on_reply(&mut self, key: LinkKey, end: NodeEnd, reply: Reply) {
        for parcel in reply.parcels {
            if let Some(at) = self.arrival(key, parcel.wire_len(), true) {
                self.plan_for(at, Happening::AtPool(key, parcel));
            }
        }
        let wake = end.wake_at().map(|at| at.max(self.now));
        let Some(link) = self.link(key) else { return };
        link.node_end = Some(end);
        if reply.next == Next::Close {
            return self.on_node_ends(key, Ending::Closes);
        }
        if wake.is_some() && link.node_wake != wake {
            link.node_wake = wake;
            if let Some(at) = wake {
                self.plan_for(at, Happening::NodeWakes(key));
            }
        }
    }

    pub(super) fn on_parcel_at_pool(&mut self, key: LinkKey, parcel: Parcel) -> Result<(), Breach> {
        let now = self.now;
        let bytes = parcel.wire_len() as u64;
        let Some(link) = self.link(key) else { return Ok(()) };
        if link.silent || link.closing {
            return Ok(());
        }
        let passed = match (parcel, &mut link.pool_end) {
            (Parcel::Message(message), _) => vec![Passed::Control(message)],
            (Parcel::Bulk, _) => vec![Passed::Progress],
            (Parcel::Bytes(bytes), Some(end)) => end.handle_bytes(now, &bytes),
            (Parcel::Bytes(_), None) => Vec::new(),
        };
        self.pools[usize::from(key.pool)].report.on_bytes(0, bytes);
        self.pass_on(key, passed)
    }

    pub(super) fn on_link_wakes(&mut self, key: LinkKey) -> Result<(), Breach> {
        let now = self.now;
        let Some(link) = self.link(key) else { return Ok(()) };
        if link.pool_wake != Some(now) {
            return Ok(());
        }
        link.pool_wake = None;
        let passed = link.pool_end.as_mut().map(|end| end.handle_timeout(now)).unwrap_or_default();
        self.pass_on(key, passed)
    }

    fn pass_on(&mut self, key: LinkKey, passed: Vec<Passed>) -> Result<(), Breach> {
        let (pool, peer) = (usize::from(key.pool), key.peer);
        for passed in passed {
            // The engine may have had enough amid what came at once.
            if self.link(key).is_none_or(|link| link.closing) {
                return Ok(());
            }
            match passed {
                Passed::Control(message) => self.turn(pool, Input::Control { peer, message })?,
                Passed::Progress => self.turn(pool, Input::Progress { peer })?,
                Passed::Fault(fault) => {
                    return self.on_closed(key, DisconnectReason::Fault(fault));
                }
            }
        }
        let now = self.now;
        let Some(link) = self.link(key) else { return Ok(()) };
        let wake = link.pool_end.as_ref().and_then(PoolEnd::wake_at).map(|at| at.max(now));
        if let Some(at) = wake.filter(|_| link.pool_wake != wake) {
            link.pool_wake = wake;
            self.plan_for(at, Happening::LinkWakes(key));
        }
        Ok(())
    }

    // ---- endings ----

    pub(super) fn on_node_ends(&mut self, key: LinkKey, ending: Ending) {
        let Some(link) = self.link(key) else { return };
        if link.node_end.take().is_none() || link.silent {
            return;
        }
        let reason = match ending {
            Ending::Closes => DisconnectReason::ClosedByPeer,
            Ending::Resets => DisconnectReason::Broken,
            Ending::FallsSilent => {
                link.silent = true;
                self.injected.links_silenced += 1;
                return;
            }
        };
        self.injected.links_ended += 1;
        if let Some(at) = self.arrival(key, 0, true) {
            self.plan_for(at, Happening::Closed(key, reason));
        }
    }

    /// The pool gives a dial up or closes a link; its own side tells it at once that it is done.
    pub(super) fn on_disconnect(&mut self, key: LinkKey) {
        let Some(link) = self.link(key) else { return };
        link.closing = true;
        link.node_end = None;
        self.plan_for(self.now, Happening::Closed(key, DisconnectReason::PoolClosed));
    }

    pub(super) fn on_closed(
        &mut self,
        key: LinkKey,
        reason: DisconnectReason,
    ) -> Result<(), Breach> {
        if self.link(key).is_none() {
            return Ok(());
        }
        let pool = usize::from(key.pool);
        self.pools[pool].links.remove(&key.peer);
        self.turn(pool, Input::Closed { peer: key.peer, reason })
    }
}
