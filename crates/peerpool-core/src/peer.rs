//! A peer: one enum of stages with its data inside, and the table of all peers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::{Address, Net};
use crate::book::Source;
use crate::discovery::AddrBudget;
use crate::event::{PeerStatus, Variety};
use crate::handshake::{Handshake, Handshaken};
use crate::id::{ConnectionType, PeerId, PeerState, PoolId};
use crate::liveness::Liveness;
use crate::netgroup::{NetGroup, NetGroups};
use crate::time::Monotonic;

/// One attempt to reach one address, and the connection that came of it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: Address,
    /// What it is for.
    pub connection_type: ConnectionType,
    /// Why it was dialled.
    pub purpose: Purpose,
    /// Where its address was first heard of.
    pub source: Option<Source>,
    /// When the dial was sent.
    pub dialled_at: Monotonic,
    /// The nonce of our `version` to it.
    pub nonce: u64,
    /// How far it has come.
    pub stage: Stage,
}

/// Why a peer was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Because somebody like it was missing.
    Slot,
    /// It was ready when the last run ended, or before an outage: it is counted on before others
    /// are dialled.
    Anchor,
    /// To take the place of another in a full pool.
    Newcomer,
    /// Because somebody waits for a peer like it, and there is none.
    Need,
}

/// How far a peer has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The dial was sent.
    Connecting {
        /// Whether it is still counted on: not once it has taken much longer than others do.
        fresh: bool,
    },
    /// TCP is up.
    Connected {
        /// The handshake.
        handshake: Handshake,
        /// Since when.
        since: Monotonic,
        /// Whether it is still counted on.
        fresh: bool,
    },
    /// The handshake is done.
    Ready(Box<Session>),
    /// We asked for the close; the link has not reported it yet.
    Closing {
        /// The state it was in.
        was: PeerState,
    },
}

/// What there is to know of a ready peer.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose slot it fills, or whose lease a private connection was opened for; `None` of other
    /// extras.
    pub pool: Option<PoolId>,
    /// Proof of the handshake, and what it told.
    pub handshaken: Handshaken,
    /// Since when the peer is ready.
    pub since: Monotonic,
    /// Whether it still lives.
    pub liveness: Liveness,
    /// How many gossiped addresses it may bring.
    pub budget: AddrBudget,
    /// Whether it has sent its `version` twice.
    pub repeated: bool,
    /// Leases it serves.
    pub leases: usize,
    /// Whether the one lease it serves has all of its slots.
    pub exclusive: bool,
    /// Requests of their holders that it has not answered, as far as was told.
    pub requests: usize,
}

impl Peer {
    /// Its public state; `None` once we asked for the close.
    pub fn state(&self) -> Option<PeerState> {
        match self.stage {
            Stage::Connecting { .. } => Some(PeerState::Connecting),
            Stage::Connected { .. } => Some(PeerState::Connected),
            Stage::Ready(_) => Some(PeerState::Ready),
            Stage::Closing { .. } => None,
        }
    }

    /// The session, if the peer is ready.
    pub fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Ready(session) => Some(session),
            _ => None,
        }
    }

    /// The session, if the peer is ready.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Ready(session) => Some(session),
            _ => None,
        }
    }

    /// Whether it is a ready peer that counts toward the target.
    pub fn fills_slot(&self) -> bool {
        self.connection_type.counts() && self.session().is_some()
    }

    fn status(&self, id: PeerId, now: Monotonic) -> Option<PeerStatus> {
        let session = self.session();
        let (ping, ping_min) = session.map_or((None, None), |s| s.liveness.round_trips());
        let version = match &self.stage {
            Stage::Connected { handshake, .. } => handshake.version(),
            Stage::Ready(session) => Some(session.handshaken.version()),
            _ => None,
        };
        Some(PeerStatus {
            id,
            address: self.address,
            state: self.state()?,
            connection_type: self.connection_type,
            age: now.since(self.dialled_at),
            version: version.cloned(),
            ping,
            ping_min,
            pool: session.filter(|_| self.fills_slot()).and_then(|session| session.pool),
            leases: session.map_or(0, |session| session.leases),
            requests: session.map_or(0, |session| session.requests),
        })
    }
}

/// How many peers the pool keeps or wants to keep in one netgroup, manual ones left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLoad {
    /// Ready peers.
    pub ready: usize,
    /// Ready peers, and attempts still counted on.
    pub counted_on: usize,
    /// Dials and handshakes in flight.
    pub in_flight: usize,
}

/// All peers.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    table: BTreeMap<PeerId, Peer>,
    rule: NetGroups,
    groups: BTreeMap<NetGroup, BTreeSet<PeerId>>,
    nonces: BTreeSet<u64>,
    last_id: u64,
}

impl Peers {
    /// No peers yet; `rule` says who belongs together.
    pub fn new(rule: NetGroups) -> Self {
        Self { rule, ..Self::default() }
    }

    /// By what rule hosts are grouped.
    pub fn rule(&self) -> &NetGroups {
        &self.rule
    }

    /// Adds a peer whose dial is being sent.
    pub fn insert(
        &mut self,
        now: Monotonic,
        address: Address,
        connection_type: ConnectionType,
        purpose: Purpose,
        source: Option<Source>,
        nonce: u64,
    ) -> PeerId {
        self.last_id += 1;
        let id = PeerId(self.last_id);
        let stage = Stage::Connecting { fresh: true };
        // Whoever says one of those again that we have sent on a private connection is not told that
        // both are ours. We listen nowhere: it cannot be ourselves.
        if connection_type != ConnectionType::PrivateBroadcast {
            self.nonces.insert(nonce);
        }
        self.groups.entry(self.rule.of(&address.host)).or_default().insert(id);
        let peer =
            Peer { address, connection_type, purpose, source, dialled_at: now, nonce, stage };
        self.table.insert(id, peer);
        id
    }

    /// Removes a peer.
    pub fn remove(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.table.remove(&id)?;
        self.nonces.remove(&peer.nonce);
        let group = self.rule.of(&peer.address.host);
        if let Some(members) = self.groups.get_mut(&group) {
            members.remove(&id);
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
        Some(peer)
    }

    /// A peer.
    pub fn get(&self, id: PeerId) -> Option<&Peer> {
        self.table.get(&id)
    }

    /// A peer.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.table.get_mut(&id)
    }

    /// Every peer, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (PeerId, &Peer)> {
        self.table.iter().map(|(id, peer)| (*id, peer))
    }

    /// Makes the automatic peer at `address` a manual one. False if there is none.
    pub fn make_manual(&mut self, address: Address) -> bool {
        let automatic = |peer: &&mut Peer| {
            peer.address == address && peer.connection_type == ConnectionType::OutboundFullRelay
        };
        let Some(peer) = self.table.values_mut().find(automatic) else { return false };
        peer.connection_type = ConnectionType::Manual;
        true
    }

    /// Nonces of our `version` messages to live peers.
    pub fn nonces(&self) -> &BTreeSet<u64> {
        &self.nonces
    }

    /// Ready peers that count toward the target.
    pub fn slots_filled(&self) -> usize {
        self.table.values().filter(|peer| peer.fills_slot()).count()
    }

    /// Those of one pool.
    pub fn slots_filled_of(&self, pool: PoolId) -> usize {
        let fills = |peer: &&Peer| {
            let session = peer.session().filter(|_| peer.fills_slot());
            session.is_some_and(|session| session.pool == Some(pool))
        };
        self.table.values().filter(fills).count()
    }

    /// Whether a connection on `net` is up: then there is a route.
    pub fn has_link_on(&self, net: Net) -> bool {
        let up = |peer: &Peer| matches!(peer.stage, Stage::Connected { .. } | Stage::Ready(_));
        self.table
            .values()
            .any(|peer| peer.address.net() == net && peer.address.host.is_routable() && up(peer))
    }

    /// The load of a netgroup.
    pub fn load(&self, group: NetGroup) -> GroupLoad {
        let mut load = GroupLoad::default();
        let members = self.groups.get(&group).into_iter().flatten();
        for peer in members.filter_map(|id| self.table.get(id)) {
            if !peer.connection_type.is_kept() {
                continue;
            }
            let (fresh, in_flight) = match peer.stage {
                Stage::Connecting { fresh } | Stage::Connected { fresh, .. } => (fresh, true),
                Stage::Ready(_) => (true, false),
                Stage::Closing { was } => (false, was != PeerState::Ready),
            };
            load.ready += usize::from(peer.session().is_some());
            load.counted_on += usize::from(fresh);
            load.in_flight += usize::from(in_flight);
        }
        load
    }

    /// How different the ready peers are that count toward the target.
    pub fn variety(&self) -> Variety {
        let (mut netgroups, mut asns) = (BTreeSet::new(), BTreeSet::new());
        let mut variety = Variety::default();
        let has_map = self.rule.as_map().is_some();
        for peer in self.table.values().filter(|peer| peer.fills_slot()) {
            let host = &peer.address.host;
            *variety.nets.entry(host.net()).or_default() += 1;
            let group = NetGroup::of(host);
            netgroups.insert(group);
            match self.rule.asn(host) {
                Some(asn) => {
                    asns.insert(asn);
                }
                None => variety.unmapped += usize::from(has_map && group.limited()),
            }
        }
        let sources = self.sources();
        variety.sources = sources.len();
        variety.of_one_source = sources.values().copied().max().unwrap_or_default();
        variety.netgroups = netgroups.len();
        variety.asns = has_map.then_some(asns.len());
        variety
    }

    /// How many of the peers that the pool chose and keeps, or means to, each source has named.
    pub fn sources(&self) -> BTreeMap<Source, usize> {
        let mut sources = BTreeMap::new();
        for peer in self.table.values().filter(|peer| peer.connection_type.is_kept()) {
            let counted_on = match peer.stage {
                Stage::Connecting { fresh } | Stage::Connected { fresh, .. } => fresh,
                Stage::Ready(_) => true,
                Stage::Closing { .. } => false,
            };
            if let Some(source) = peer.source.filter(|_| counted_on) {
                *sources.entry(source).or_default() += 1;
            }
        }
        sources
    }

    /// One of the three views of the status: the peers in `state`.
    pub fn view(&self, now: Monotonic, state: PeerState) -> Vec<PeerStatus> {
        let in_state = self.iter().filter(|(_, peer)| peer.state() == Some(state));
        in_state.filter_map(|(id, peer)| peer.status(id, now)).collect()
    }

    /// How long a peer has been ready.
    pub fn uptime(&self, id: PeerId, now: Monotonic) -> Option<Duration> {
        Some(now.since(self.get(id)?.session()?.since))
    }
}
