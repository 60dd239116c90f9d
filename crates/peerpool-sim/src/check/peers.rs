//! Who is connecting, connected and ready, as far as can be told from outside.

mod peer;

use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::id::{ConnectionType, PeerId, PeerState, PoolId};
use peerpool_core::netgroup::AsMap;
use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;
use peerpool_core::wire::{Control, Version};

use super::facts::{self, Group};
use super::leases::{Leases, Lent};
use super::pools::Pools;
use super::{Fault, Rule, Verdict, demand};
use peer::{Link, Peer};

/// All peers, by id.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// By which netgroups are told, if there is one.
    as_map: Option<AsMap>,
    table: Vec<Peer>,
    last: Option<PeerId>,
    filled: usize,
    /// The first deadline of any peer, or an earlier time.
    due: Option<Monotonic>,
    gone: Option<PeerId>,
    /// Whose ping of this turn waits for our pong.
    owed_pong: Option<(PeerId, u64)>,
    /// Who repeats its version once too often in this turn.
    repeats: Option<PeerId>,
    /// Peers that left for newcomers in this turn, less the newcomers that were told ready.
    left: usize,
    /// Who gave back leases last in this turn, and how many.
    freed: Option<(PeerId, usize)>,
}

/// What a peer is dialled for.
#[derive(Clone, Copy, Debug)]
pub(super) struct What {
    pub(super) connection_type: ConnectionType,
    /// To take a place in a full pool.
    pub(super) newcomer: bool,
    /// For the sake of who waits.
    pub(super) need: bool,
}

/// A version may be repeated once: that may be a slip.
const VERSIONS: usize = 2;

/// A peer whose end was told.
#[derive(Debug)]
pub(super) struct Ended {
    /// Since when it was ready, if it was.
    pub(super) ready_at: Monotonic,
    /// Whether it was dialled to be asked for addresses.
    pub(super) fetched: bool,
    /// Whether the pool closed the link.
    pub(super) by_us: bool,
    /// What it was for.
    pub(super) connection_type: ConnectionType,
    /// Whether version and verack came.
    pub(super) shaken: bool,
}

fn of(peer: &Peer) -> String {
    format!("peer {} at {}", peer.id, peer.address)
}

impl Peers {
    pub(super) fn new(as_map: Option<AsMap>) -> Self {
        Self { as_map, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The netgroup of a host.
    pub(super) fn group(&self, host: &Host) -> Option<Group> {
        facts::group(self.as_map.as_ref().map(AsMap::as_bytes), host)
    }

    /// Ready peers that count.
    pub(super) fn slots_filled(&self) -> usize {
        self.filled
    }

    /// Ready peers that have stayed for long enough.
    pub(super) fn proven(&self, now: Monotonic, enough: Duration) -> Vec<Address> {
        let stayed = |peer: &&Peer| peer.is_ready() && now.since(peer.ready_at) >= enough;
        self.table.iter().filter(stayed).map(|peer| peer.address).collect()
    }

    /// Manual peers, whatever their state.
    pub(super) fn manual(&self) -> usize {
        self.table.iter().filter(|peer| peer.connection_type == ConnectionType::Manual).count()
    }

    /// Whether a dial or handshake that may fill a slot is in flight, or the link of such or of an
    /// extra that gives way is being closed.
    pub(super) fn any_in_flight(&self) -> bool {
        let yields = |peer: &Peer| {
            let closing = peer.closing_since.is_some() && peer.link != Link::Gone;
            closing && peer.connection_type == ConnectionType::BlockRelayOnly
        };
        self.table.iter().any(|peer| peer.in_flight() || yields(peer))
    }

    /// Whether a full pool that dials one more of a kind means it to take the place of another.
    pub(super) fn has_all(&self, kind: ConnectionType, policy: &Policy) -> bool {
        let open = self.table.iter().filter(|peer| peer.link != Link::Gone);
        let same = open.filter(|peer| peer.connection_type == kind).count();
        match kind {
            ConnectionType::OutboundFullRelay => true,
            ConnectionType::BlockRelayOnly => same > 0 && same >= policy.block_relay_count,
            _ => false,
        }
    }

    /// A ready peer fills a slot of this pool. Returns its kind, and how many that pool has by now.
    pub(super) fn place_in(
        &mut self,
        id: PeerId,
        pool: Option<PoolId>,
    ) -> Result<(ConnectionType, usize), Fault> {
        let peer = self.live(id)?;
        peer.pool = pool;
        let kind = peer.connection_type;
        let same = self.table.iter().filter(|peer| peer.fills_slot() && peer.pool == pool).count();
        Ok((kind, same))
    }

    /// Attempts at connections for one lease each.
    pub(super) fn private_attempts(&self) -> usize {
        let attempt = |peer: &&Peer| peer.is_private() && !peer.is_ready() && peer.is_held();
        self.table.iter().filter(attempt).count()
    }

    /// Attempts to find who takes another's place.
    pub(super) fn newcomers(&self) -> usize {
        let newcomer = |peer: &&Peer| peer.newcomer && !peer.is_ready() && peer.link != Link::Gone;
        self.table.iter().filter(newcomer).count()
    }

    /// A peer leaves for a newcomer: it must be the one of its kind that serves fewest leases, and
    /// of several such the one that has been ready longest. And none leaves before the newcomer,
    /// whom this turn is `about`, has done its handshake and finds all places of that kind taken.
    pub(super) fn on_rotated(
        &mut self,
        id: PeerId,
        about: Option<PeerId>,
        pools: &Pools,
        policy: &Policy,
    ) -> Verdict {
        let leaver = self.live(id)?;
        let (kind, pool) = (leaver.connection_type, leaver.pool);
        let newcomer = about.and_then(|id| self.place(id)).is_some_and(|place| {
            let peer = &self.table[place];
            let shaken = peer.version.is_some() && peer.verack && peer.said == PeerState::Connected;
            peer.newcomer && peer.connection_type == kind && shaken && peer.is_held()
        });
        let like = |peer: &&Peer| match pool {
            // Who the user named has a place in it, too.
            Some(_) => peer.fills_slot() && peer.pool == pool,
            None => peer.is_ready() && peer.connection_type == kind,
        };
        let taken = self.table.iter().filter(like).count();
        let places = pool.map_or(policy.block_relay_count, |pool| pools.target(pool));
        demand(newcomer && taken >= places, Rule::Target, || {
            format!("peer {id} leaves, {taken} of {places} places taken, for nobody who is there")
        })?;
        self.check_leaver(id, kind)?;
        self.left += 1;
        Ok(())
    }

    /// Who leaves for another serves fewest leases of its kind, and of several such has been ready
    /// longest.
    fn check_leaver(&self, id: PeerId, kind: ConnectionType) -> Verdict {
        // Of which pools it may be one, only the pools know.
        let pool = self.place(id).and_then(|place| self.table[place].pool);
        let same = || {
            let ready = self.table.iter().filter(|peer| peer.is_ready());
            ready.filter(|peer| peer.connection_type == kind && peer.pool == pool)
        };
        // Its own leases were given back just before.
        let freed = self.freed.filter(|(freed, _)| *freed == id).map_or(0, |(_, leases)| leases);
        let rank = |peer: &Peer| {
            let leases = peer.leases + if peer.id == id { freed } else { 0 };
            (leases, peer.ready_at)
        };
        let first = same().min_by_key(|peer| (rank(peer), peer.id));
        let own = self.place(id).map(|place| rank(&self.table[place]));
        demand(first.map(rank) == own, Rule::Target, || {
            format!("peer {id} leaves for a newcomer before {}", first.map_or_else(String::new, of))
        })
    }

    /// A peer leaves for another that is up by now: a manual one, or one that somebody waits for.
    /// An extra leaves as the user names its address.
    pub(super) fn on_replaced(
        &mut self,
        now: Monotonic,
        id: PeerId,
        about: Option<PeerId>,
        leases: &Leases,
        policy: &Policy,
    ) -> Verdict {
        let kind = self.live(id)?.connection_type;
        if kind == ConnectionType::BlockRelayOnly {
            return Ok(());
        }
        let ready: Vec<Lent> = self.ready().collect();
        let other = about.and_then(|about| self.place(about)).map(|place| &self.table[place]);
        let shaken = other.filter(|peer| peer.verack && peer.said == PeerState::Connected);
        let text = || format!("peer {id} is replaced, and nobody is there to take its place");
        let Some(other) = shaken else { return Err(Fault(Rule::Target, text())) };
        if other.connection_type == ConnectionType::Manual {
            return Ok(());
        }
        // It has the slot of whoever leaves.
        let leaver = self.place(id).and_then(|place| self.table[place].pool);
        let needed = leases.lacks_such(&ready, &Lent { pool: leaver, ..other.lent() });
        demand(needed, Rule::Target, || {
            format!("peer {id} is replaced by {}, whom nobody waits for", of(other))
        })?;
        // It serves nobody, nor was it dialled for who waits a moment ago.
        let moves = |peer: &&Peer| {
            let idle = peer.id == id || peer.leases == 0;
            let new = peer.need && now.since(peer.ready_at) < policy.quick_drop;
            idle && !new && peer.is_ready() && peer.connection_type == kind && peer.pool == leaver
        };
        let first = self.table.iter().filter(moves).min_by_key(|peer| (peer.ready_at, peer.id));
        let busy = self.freed.is_some_and(|(freed, leases)| freed == id && leases > 0);
        demand(!busy && first.map(|peer| peer.id) == Some(id), Rule::Target, || {
            format!("peer {id} is replaced before {}", first.map_or_else(String::new, of))
        })
    }

    /// One of the three views of the engine's status.
    pub(super) fn view(
        &self,
        state: PeerState,
    ) -> impl Iterator<Item = (PeerId, Address, ConnectionType)> {
        let in_state = self.table.iter().filter(move |peer| peer.said == state && !peer.over);
        in_state.map(|peer| (peer.id, peer.address, peer.connection_type))
    }

    /// One that the pool holds on to.
    pub(super) fn first_held(&self) -> Option<PeerId> {
        self.table.iter().find(|peer| peer.is_held()).map(|peer| peer.id)
    }

    /// Where a peer is, by the dial that was sent for it.
    pub(super) fn address(&self, id: PeerId) -> Option<Address> {
        self.place(id).map(|place| self.table[place].address)
    }

    /// Whether a peer is ready, and held.
    pub(super) fn is_ready(&self, id: PeerId) -> bool {
        self.place(id).is_some_and(|place| {
            let peer = &self.table[place];
            peer.is_ready() && peer.is_held()
        })
    }

    /// Everybody whom the pool holds on to.
    pub(super) fn held(&self) -> impl Iterator<Item = (PeerId, Address, ConnectionType)> {
        let held = self.table.iter().filter(|peer| peer.is_held());
        held.map(|peer| (peer.id, peer.address, peer.connection_type))
    }

    /// Who repeats its version once too often in this turn.
    pub(super) const fn repeats(&self) -> Option<PeerId> {
        self.repeats
    }

    /// Ready peers that fill a slot.
    pub(super) fn ready(&self) -> impl Iterator<Item = Lent> {
        self.table.iter().filter(|peer| peer.fills_slot()).map(Peer::lent)
    }

    /// Those of them that serve fewer leases than these.
    pub(super) fn free(&self, slots: usize) -> impl Iterator<Item = Lent> {
        self.ready().filter(move |peer| peer.leases < slots)
    }

    /// A peer, as whoever wants to lease one sees it.
    pub(super) fn lent(&mut self, id: PeerId) -> Result<Lent, Fault> {
        Ok(self.live(id)?.lent())
    }

    fn place(&self, id: PeerId) -> Option<usize> {
        self.table.binary_search_by_key(&id, |peer| peer.id).ok()
    }

    fn find(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.place(id).map(|place| &mut self.table[place])
    }

    /// One of whom something may be said: its end was not told.
    fn live(&mut self, id: PeerId) -> Result<&mut Peer, Fault> {
        let unknown = || Fault(Rule::Order, format!("peer {id} is gone or never was"));
        let peer = self.find(id).ok_or_else(unknown)?;
        demand(!peer.over, Rule::Order, || format!("{}, whose end was told", of(peer)))?;
        Ok(peer)
    }

    fn at(&mut self, id: PeerId, address: Address) -> Result<&mut Peer, Fault> {
        let peer = self.live(id)?;
        let text = || format!("{} is said to be at {address}", of(peer));
        demand(peer.address == address, Rule::Order, text)?;
        Ok(peer)
    }

    fn note_due(&mut self, at: Monotonic) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    // ---- inputs ----

    pub(super) fn begin_turn(&mut self) {
        (self.owed_pong, self.repeats, self.left) = (None, None, 0);
        self.freed = None;
    }

    /// A version from it. Whether its nonce is one of ours, which makes it ourselves.
    pub(super) fn on_version(&mut self, id: PeerId, version: &Version) -> bool {
        // Those of private broadcasts are nobody's to tell.
        let known = self.table.iter().filter(|peer| !peer.is_private());
        let ours = known.map(|peer| peer.nonce).any(|nonce| nonce == Some(version.nonce));
        let Some(peer) = self.find(id).filter(|peer| peer.is_held()) else { return false };
        peer.versions += 1;
        if peer.versions > VERSIONS {
            self.repeats = Some(id);
            return false;
        }
        let first = peer.said == PeerState::Connected && peer.version.is_none();
        if first {
            peer.version = Some(version.services);
        }
        first && ours
    }

    /// A ping from it.
    pub(super) fn on_ping(&mut self, id: PeerId, nonce: u64) {
        let ready = self.find(id).filter(|peer| peer.is_ready() && peer.is_held());
        let ready = ready.filter(|peer| !peer.is_private());
        self.owed_pong = ready.map(|peer| (peer.id, nonce));
    }

    /// Its next deadline may have come nearer.
    pub(super) fn note_due_of(&mut self, id: PeerId, policy: &Policy) {
        if let Some((at, ..)) = self.find(id).map(|peer| peer.deadline(policy)) {
            self.note_due(at);
        }
    }

    /// Its dial was answered. Returns where it is.
    pub(super) fn on_answered(&mut self, id: PeerId) -> Option<Address> {
        let peer = self.find(id)?;
        peer.link = Link::Up;
        Some(peer.address)
    }

    /// Bytes came from it.
    pub(super) fn on_heard(&mut self, now: Monotonic, id: PeerId) -> Option<&mut Peer> {
        let peer = self.find(id)?;
        peer.heard_at = now;
        Some(peer)
    }

    /// Its dial failed, or its link is closed.
    pub(super) fn on_gone(&mut self, id: PeerId) {
        let Some(place) = self.place(id) else { return };
        if self.table[place].over {
            self.table.remove(place);
        } else {
            self.table[place].link = Link::Gone;
            self.gone = Some(id);
        }
    }

    pub(super) fn make_manual(&mut self, address: Address) {
        let automatic = |peer: &&mut Peer| {
            peer.address == address && peer.connection_type == ConnectionType::OutboundFullRelay
        };
        if let Some(peer) = self.table.iter_mut().find(automatic) {
            peer.connection_type = ConnectionType::Manual;
        }
    }

    // ---- outputs ----

    pub(super) fn on_dial(&mut self, id: PeerId) -> Verdict {
        let text = || format!("peer {id} comes after peer {:?}: ids are not reused", self.last);
        demand(self.last < Some(id), Rule::Order, text)?;
        self.last = Some(id);
        Ok(())
    }

    pub(super) fn on_disconnect(&mut self, now: Monotonic, id: PeerId, policy: &Policy) -> Verdict {
        let peer = self.live(id)?;
        let text = || format!("{} is disconnected twice", of(peer));
        demand(peer.closing_since.is_none(), Rule::Order, text)?;
        peer.closing_since = Some(now);
        let (at, ..) = peer.deadline(policy);
        self.note_due(at);
        Ok(())
    }

    /// A message to it.
    pub(super) fn on_send(
        &mut self,
        now: Monotonic,
        id: PeerId,
        message: &Control,
        in_doubt: bool,
        policy: &Policy,
    ) -> Verdict {
        if let Control::Pong(nonce) = message {
            self.owed_pong = self.owed_pong.filter(|owed| *owed != (id, *nonce));
        }
        let peer = self.live(id)?;
        let bare = matches!(message, Control::Version(_) | Control::Verack);
        let text = || format!("{} is one lease's own, and is sent {message:?}", of(peer));
        demand(bare || !peer.is_private(), Rule::Order, text)?;
        let due = match (peer.said, message) {
            (PeerState::Connecting, _) => false,
            (PeerState::Connected, Control::Version(_)) => !peer.greeted,
            (PeerState::Connected, Control::Ping(_) | Control::GetAddr) => false,
            (PeerState::Connected, _) => peer.greeted,
            (PeerState::Ready, Control::Ping(_) | Control::Pong(_) | Control::GetAddr) => true,
            (PeerState::Ready, _) => false,
        };
        let fits = due && peer.link != Link::Dialling && peer.closing_since.is_none();
        demand(fits, Rule::Order, || {
            let state = (peer.said, peer.link, peer.greeted);
            format!("{}, {state:?}, is sent {:?}", of(peer), message.command())
        })?;
        peer.greeted = true;
        if let Control::Version(version) = message {
            peer.nonce = Some(version.nonce);
            let relays = policy.relay && facts::counts(peer.connection_type);
            let text = || format!("{} is told relay = {}", of(peer), version.relay);
            demand(version.relay == relays, Rule::Order, text)?;
        }
        if let Control::Ping(nonce) = message {
            let text = || format!("{} is pinged before it answered the last ping", of(peer));
            demand(peer.ping.is_none(), Rule::Order, text)?;
            let last = peer.pinged_at.replace(now).map(|at| now.since(at));
            let soon = last.is_some_and(|ago| ago < policy.ping_interval / 2);
            let text = || format!("{} is pinged {last:?} after the last ping", of(peer));
            demand(in_doubt || !soon, Rule::Budget, text)?;
            peer.ping = Some((*nonce, now));
            let (at, ..) = peer.deadline(policy);
            self.note_due(at);
        }
        Ok(())
    }

    /// A getaddr to it.
    pub(super) fn on_get_addr(&mut self, id: PeerId) -> Result<Address, Fault> {
        let peer = self.live(id)?;
        let text = || format!("{} is asked for addresses twice", of(peer));
        demand(!peer.asked, Rule::Order, text)?;
        let text = || format!("{} is asked for addresses, and relays blocks only", of(peer));
        let silent = [ConnectionType::BlockRelayOnly, ConnectionType::PrivateBroadcast];
        let asked = !silent.contains(&peer.connection_type);
        demand(asked, Rule::Order, text)?;
        peer.asked = true;
        Ok(peer.address)
    }

    pub(super) fn on_leased(&mut self, id: PeerId, slots: usize) -> Verdict {
        let peer = self.live(id)?;
        let text = || format!("{} is leased, {:?} as it is", of(peer), peer.said);
        demand(peer.fills_slot() || peer.is_private(), Rule::Order, text)?;
        peer.leases += 1;
        let text = || format!("{} serves {} leases, {slots} allowed", of(peer), peer.leases);
        demand(peer.leases <= slots, Rule::Bound, text)
    }

    // ---- events ----

    pub(super) fn on_released(&mut self, id: PeerId) -> Verdict {
        let peer = self.live(id)?;
        let text = || format!("{} has no lease to give back", of(peer));
        demand(peer.leases > 0, Rule::Order, text)?;
        peer.leases -= 1;
        let before = self.freed.filter(|(freed, _)| *freed == id).map_or(0, |(_, leases)| leases);
        self.freed = Some((id, before + 1));
        Ok(())
    }

    /// It told of so many addresses, and so many of them were new.
    pub(super) fn on_gossip(
        &mut self,
        now: Monotonic,
        id: PeerId,
        address: Address,
        [received, kept]: [usize; 2],
        policy: &Policy,
    ) -> Verdict {
        let peer = self.at(id, address)?;
        let text = || format!("{} gossips, {:?} as it is", of(peer), peer.said);
        let heeded = peer.connection_type != ConnectionType::BlockRelayOnly;
        demand(peer.said == PeerState::Ready && heeded, Rule::Order, text)?;
        peer.kept += kept;
        let stay = now.since(peer.ready_at).as_secs() as usize;
        let asked = if peer.asked { policy.addr_burst } else { 0 };
        // One at the start, and one for the fraction that a division loses.
        let most = 2 + asked + policy.addr_rate_per_100s.saturating_mul(stay + 1) / 100;
        demand(kept <= received && peer.kept <= most, Rule::Budget, || {
            format!("{} brought {} addresses that were new, {most} allowed", of(peer), peer.kept)
        })
    }

    pub(super) fn on_connecting(
        &mut self,
        now: Monotonic,
        id: PeerId,
        address: Address,
        What { connection_type, newcomer, need }: What,
        policy: &Policy,
    ) -> Verdict {
        let dialled = self.last == Some(id) && self.place(id).is_none();
        demand(dialled, Rule::Order, || format!("peer {id} is connecting, and was not dialled"))?;
        let manual = connection_type == ConnectionType::Manual;
        let open = || self.table.iter().filter(|peer| peer.link != Link::Gone);
        let twin = open().find(|peer| match manual {
            true => peer.address == address,
            false => peer.address.host == address.host,
        });
        if let Some(twin) = twin {
            return Err(Fault(Rule::Twice, format!("{address} is dialled beside {}", of(twin))));
        }
        let most = match connection_type {
            ConnectionType::AddrFetch => policy.max_addr_fetch,
            ConnectionType::PrivateBroadcast => policy.max_private,
            ConnectionType::BlockRelayOnly => policy.block_relay_count + usize::from(newcomer),
            ConnectionType::Feeler => usize::from(!policy.feeler_interval.is_zero()),
            ConnectionType::OutboundFullRelay | ConnectionType::Manual => usize::MAX,
        };
        let same = open().filter(|peer| peer.connection_type == connection_type).count();
        demand(same < most, Rule::Target, || {
            format!("{address} is the {connection_type:?} number {}, {most} allowed", same + 1)
        })?;
        if facts::is_kept(connection_type) {
            self.check_group(address, policy)?;
        }
        let in_flight = open().filter(|peer| peer.in_flight()).count();
        let counts = facts::counts(connection_type);
        demand(!counts || in_flight < policy.max_dials, Rule::Target, || {
            format!("{address} is dialled with {in_flight} dials in flight")
        })?;
        self.table.push(Peer {
            id,
            address,
            connection_type,
            newcomer,
            need,
            pool: None,
            link: Link::Dialling,
            said: PeerState::Connecting,
            over: false,
            closing_since: None,
            dialled_at: now,
            connected_at: now,
            ready_at: now,
            heard_at: now,
            progress_at: None,
            ping: None,
            greeted: false,
            version: None,
            verack: false,
            versions: 0,
            nonce: None,
            pinged_at: None,
            asked: false,
            kept: 0,
            leases: 0,
        });
        self.note_due(now + policy.dial_timeout);
        Ok(())
    }

    /// Whether the netgroup of `address` takes one more automatic dial.
    fn check_group(&self, address: Address, policy: &Policy) -> Verdict {
        let Some(group) = self.group(&address.host) else { return Ok(()) };
        let (mut ready, mut in_flight) = (0, 0);
        for peer in self.table.iter().filter(|peer| peer.link != Link::Gone) {
            if facts::is_kept(peer.connection_type) && self.group(&peer.address.host) == Some(group)
            {
                ready += usize::from(peer.is_ready());
                in_flight += usize::from(peer.said != PeerState::Ready);
            }
        }
        let fits =
            ready < policy.max_peers_per_netgroup && in_flight < policy.max_dials_per_netgroup;
        demand(fits, Rule::Budget, || {
            format!("{address} is dialled, {ready} ready and {in_flight} in flight in its netgroup")
        })
    }

    pub(super) fn on_connected(
        &mut self,
        now: Monotonic,
        id: PeerId,
        address: Address,
        policy: &Policy,
    ) -> Verdict {
        let peer = self.at(id, address)?;
        let answered = peer.said == PeerState::Connecting && peer.link == Link::Up;
        demand(answered, Rule::Order, || {
            format!("{} is connected, {:?} and its link {:?}", of(peer), peer.said, peer.link)
        })?;
        (peer.said, peer.connected_at) = (PeerState::Connected, now);
        let (at, ..) = peer.deadline(policy);
        self.note_due(at);
        Ok(())
    }

    pub(super) fn on_ready(
        &mut self,
        now: Monotonic,
        id: PeerId,
        address: Address,
        target: usize,
        policy: &Policy,
    ) -> Verdict {
        let peer = self.at(id, address)?;
        let shaken = peer.said == PeerState::Connected && peer.greeted && peer.link == Link::Up;
        let text =
            || format!("{} is ready, {:?} and its link {:?}", of(peer), peer.said, peer.link);
        demand(shaken, Rule::Order, text)?;
        let text = || format!("{} is ready before its version and verack came", of(peer));
        demand(peer.version.is_some() && peer.verack, Rule::Order, text)?;
        (peer.said, peer.ready_at, peer.heard_at) = (PeerState::Ready, now, now);
        let (counts, automatic) =
            (facts::counts(peer.connection_type), facts::is_kept(peer.connection_type));
        let newcomer = peer.newcomer;
        let text = || format!("{} is ready, and a feeler", of(peer));
        demand(peer.connection_type != ConnectionType::Feeler, Rule::Order, text)?;
        let (at, ..) = peer.deadline(policy);
        self.note_due(at);
        self.filled += usize::from(counts);
        let filled = self.filled;
        self.left -= usize::from(newcomer && self.left > 0);
        let text = || format!("{address} makes {filled} ready peers of {target}");
        demand(!counts || filled <= target, Rule::Target, text)?;
        let group = self.group(&address.host).filter(|_| automatic);
        let Some(group) = group else { return Ok(()) };
        let same = |peer: &&Peer| {
            peer.is_ready()
                && facts::is_kept(peer.connection_type)
                && self.group(&peer.address.host) == Some(group)
        };
        let ready = self.table.iter().filter(same).count();
        let text = || format!("{address} makes {ready} ready peers in its netgroup");
        demand(ready <= policy.max_peers_per_netgroup, Rule::Budget, text)
    }

    /// Its end was told.
    pub(super) fn on_ended(
        &mut self,
        id: PeerId,
        address: Address,
        state: PeerState,
    ) -> Result<Ended, Fault> {
        let peer = self.at(id, address)?;
        let text = || format!("{} ended as {state:?}, {:?} as it was", of(peer), peer.said);
        demand(peer.said == state, Rule::Order, text)?;
        let ended = peer.link == Link::Gone || peer.closing_since.is_some();
        let text = || format!("{} is said to have ended, with its link {:?}", of(peer), peer.link);
        demand(ended, Rule::Order, text)?;
        let text = || format!("{} ended with {} leases", of(peer), peer.leases);
        demand(peer.leases == 0, Rule::Order, text)?;
        let (filled, gone) = (peer.fills_slot(), peer.link == Link::Gone);
        let fetched = peer.connection_type == ConnectionType::AddrFetch;
        let by_us = peer.closing_since.is_some();
        let connection_type = peer.connection_type;
        let shaken = peer.version.is_some() && peer.verack;
        let ended = Ended { ready_at: peer.ready_at, fetched, by_us, connection_type, shaken };
        peer.over = true;
        self.filled -= usize::from(filled);
        if gone {
            self.table.retain(|peer| peer.id != id);
            self.gone = None;
        }
        Ok(ended)
    }

    /// In doubt of the network every ready peer that can tell is asked for a sign of life.
    pub(super) fn check_asked(&self, witness: impl Fn(&Host) -> bool) -> Verdict {
        let unasked = |peer: &&Peer| {
            let ready = peer.is_ready() && peer.is_held();
            let asks = ready && !peer.is_private();
            asks && peer.ping.is_none() && witness(&peer.address.host)
        };
        let unasked = self.table.iter().find(unasked);
        demand(unasked.is_none(), Rule::Late, || {
            format!(
                "the network is in doubt, and {} is not asked",
                unasked.map_or_else(String::new, of)
            )
        })
    }

    /// A full pool gives up the dials that nobody has answered.
    pub(super) fn check_surplus(&self) -> Verdict {
        let dialling = |peer: &&Peer| {
            let automatic = peer.connection_type == ConnectionType::OutboundFullRelay;
            automatic
                && !peer.newcomer
                && !peer.need
                && peer.said == PeerState::Connecting
                && peer.is_held()
        };
        let surplus = self.table.iter().find(dialling);
        demand(surplus.is_none(), Rule::Target, || {
            format!("the pool is full, and still dials: {}", surplus.map_or_else(String::new, of))
        })
    }

    /// All outputs of the turn are read.
    pub(super) fn end_turn(&mut self, now: Monotonic, policy: &Policy) -> Verdict {
        if let Some(id) = self.gone.take() {
            return Err(Fault(
                Rule::Order,
                format!("peer {id} is gone, and nothing was said of it"),
            ));
        }
        let text = || format!("{} peers left for newcomers who are not there", self.left);
        demand(self.left == 0, Rule::Target, text)?;
        let idle = |peer: &&Peer| {
            peer.is_private() && peer.is_ready() && peer.is_held() && peer.leases == 0
        };
        let idle = self.table.iter().find(idle).map(of);
        demand(idle.is_none(), Rule::Late, || {
            format!("{idle:?} is one lease's own, and has none")
        })?;
        if let Some((id, _)) = self.owed_pong
            && self.find(id).is_some_and(|peer| peer.is_held())
        {
            return Err(Fault(Rule::Order, format!("the ping of peer {id} is not answered")));
        }
        if let Some(id) = self.repeats
            && self.find(id).is_some_and(|peer| peer.is_held())
        {
            let text = format!("peer {id} repeats its version again, and is kept");
            return Err(Fault(Rule::Order, text));
        }
        if self.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.due = None;
        for place in 0..self.table.len() {
            let peer = &self.table[place];
            let (at, rule, what) = peer.deadline(policy);
            demand(now < at, rule, || {
                let late = now.since(at);
                format!("{}: {what} was over {late:?} ago, and it is {:?}", of(peer), peer.said)
            })?;
            self.note_due(at);
        }
        Ok(())
    }
}
