//! The nodes of a world: where they live, what they are, and who is there when.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::netgroup::NetGroup;
use peerpool_core::rng::Rng;
use peerpool_core::time::Monotonic;

use super::churn::{Churn, STAY, Session};
use super::layout::{Land, Site};
use super::plan::Plan;
use crate::actor::{Kind, Listing};
use crate::draw;
use crate::report::Atlas;

/// A node's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// The AS that owns all shadow addresses.
pub const SHADOW_ASN: u32 = 64_512;

/// One address, and who lives there. Times are seconds of the world's time.
#[derive(Clone, Copy, Debug)]
struct Node {
    address: SocketAddr,
    kind: Kind,
    /// Somebody lives there from here ...
    born: u32,
    /// ... to here.
    gone: u32,
    session: Session,
}

/// Every node.
#[derive(Debug)]
pub struct Population {
    seed: u64,
    churn: Churn,
    nodes: Vec<Node>,
    /// Every address with its node, in order.
    index: Vec<(IpAddr, NodeId)>,
    /// Those that a crawler finds to be good, at some time.
    good: Vec<NodeId>,
    hostile: Vec<NodeId>,
    now: u32,
}

/// Tries to find a node that is there; half of them are, at the least.
const TRIES: usize = 64;
/// Of all netgroups that nodes live in, the fullest tenth holds a third: a node's netgroup is drawn
/// by the square of a uniform number.
const NODES_PER_SITE: usize = 4;
const SITES_MAX: usize = 12_000;
/// Share of netgroups that are of IPv6.
const IPV6_SHARE: f64 = 0.1;
/// Share of unreachable addresses at which nobody lives any more. What is left makes twice as many
/// unreachable nodes announce themselves as reachable ones do, in the default mix.
const DESERTED: f64 = 0.55;
/// How long ago deserted addresses were left, at most.
const DESERTED_FOR: u32 = 30 * 86_400;

impl Population {
    /// The nodes that a plan asks for.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut rng = Rng::from_u64(draw::hash(plan.seed, &[POPULATION]));
        let mut land = Land::new(&mut rng);
        let mut this = Self {
            seed: plan.seed,
            churn: plan.churn,
            nodes: Vec::with_capacity(plan.nodes),
            index: Vec::new(),
            good: Vec::new(),
            hostile: Vec::new(),
            now: 0,
        };
        if plan.listings.is_empty() {
            let mut taken = BTreeSet::new();
            let attackers = plan.attackers();
            this.settle(plan, plan.nodes - attackers, &mut land, &mut taken, &mut rng);
            this.infiltrate(plan, attackers, &mut land, &mut taken, &mut rng);
        }
        for listing in &plan.listings {
            this.add(plan, listing.address, listing.kind, 0, u32::MAX);
        }
        let ids = (0u32..).map(NodeId);
        this.index = ids.zip(&this.nodes).map(|(id, node)| (node.address.ip(), id)).collect();
        this.index.sort();
        for &(_, id) in &this.index {
            let kind = this.nodes[id.0 as usize].kind;
            if kind.is_hostile() {
                this.hostile.push(id);
            }
            if kind.is_usable() || kind.is_hostile() {
                this.good.push(id);
            }
        }
        this
    }

    /// Ordinary nodes move in.
    fn settle(
        &mut self,
        plan: &Plan,
        count: usize,
        land: &mut Land,
        taken: &mut BTreeSet<IpAddr>,
        rng: &mut Rng,
    ) {
        let wanted = plan.sites.unwrap_or((count / NODES_PER_SITE).clamp(1, SITES_MAX));
        let site = |rng: &mut Rng| if rng.chance(IPV6_SHARE) { land.ipv6() } else { land.ipv4() };
        let mut site = site;
        let sites: Vec<Site> = (0..wanted).filter_map(|_| site(rng)).collect();
        let kinds = plan.mix.deal(count, rng);
        let mut next_birth = None;
        for (at, kind) in kinds.into_iter().enumerate() {
            // While there are more sites than nodes, each node has its own.
            let place = if sites.len() >= count {
                at
            } else {
                let uniform = draw::unit(rng.u64());
                (uniform * uniform * sites.len() as f64) as usize
            };
            let ip = vacant(sites[place.min(sites.len() - 1)], taken, rng);
            let (born, gone) = self.tenure(plan, kind, &mut next_birth, rng);
            self.add(plan, SocketAddr::new(ip, plan.port), kind, born, gone);
        }
    }

    /// From when to when somebody lives at an address. A node that leaves one for another is born
    /// again at the next address that is given out.
    fn tenure(
        &self,
        plan: &Plan,
        kind: Kind,
        next_birth: &mut Option<u32>,
        rng: &mut Rng,
    ) -> (u32, u32) {
        let Some(churn) = &plan.churn_of(kind) else { return (0, u32::MAX) };
        let horizon = plan.horizon.as_secs() as u32;
        if !kind.shakes_hands() && rng.chance(DESERTED) {
            // In the world's time that was before its beginning: see `last_present`.
            return (0, 0);
        }
        if let Some(born) = next_birth.take() {
            return (born, self.next_move(churn, born, horizon, next_birth, rng));
        }
        let drawn = draw::unit(rng.u64());
        if drawn < churn.moving {
            return (0, self.next_move(churn, 0, horizon, next_birth, rng));
        }
        let some_time = |rng: &mut Rng| rng.below(horizon.max(1) as usize) as u32;
        if drawn < churn.moving + churn.turnover {
            (some_time(rng), u32::MAX)
        } else if drawn < churn.moving + 2.0 * churn.turnover {
            (0, some_time(rng))
        } else {
            (0, u32::MAX)
        }
    }

    fn next_move(
        &self,
        churn: &Churn,
        born: u32,
        horizon: u32,
        next_birth: &mut Option<u32>,
        rng: &mut Rng,
    ) -> u32 {
        let gone = born.saturating_add(churn.length(&STAY, rng.u64()));
        *next_birth = Some(gone).filter(|&gone| gone < horizon);
        gone
    }

    /// The attacker's nodes move in, into netgroups of their own.
    fn infiltrate(
        &mut self,
        plan: &Plan,
        count: usize,
        land: &mut Land,
        taken: &mut BTreeSet<IpAddr>,
        rng: &mut Rng,
    ) {
        let Some(attacker) = &plan.attacker else { return };
        let wanted = attacker.groups.clamp(1, count.max(1));
        let sites: Vec<Site> = (0..wanted).filter_map(|_| land.ipv4()).collect();
        for at in 0..count {
            let ip = vacant(sites[at % sites.len()], taken, rng);
            self.add(plan, SocketAddr::new(ip, plan.port), attacker.kind, 0, u32::MAX);
        }
    }

    fn add(&mut self, plan: &Plan, address: SocketAddr, kind: Kind, born: u32, gone: u32) {
        let id = self.nodes.len() as u64;
        let steady =
            |churn: &Churn| draw::unit(draw::hash(self.seed, &[STEADY, id])) < churn.steady;
        let session = match plan.churn_of(kind) {
            Some(churn) if !steady(&churn) => Session::begun(self.seed, id, &churn),
            _ => Session::STEADY,
        };
        self.nodes.push(Node { address, kind, born, gone, session });
    }

    // ---- time ----

    /// The world's time is now this. It never goes back.
    pub(super) fn set_now(&mut self, now: Monotonic) {
        self.now = self.now.max(now.since_origin().as_secs() as u32);
    }

    fn tenant(&mut self, id: NodeId) -> &mut Node {
        let node = &mut self.nodes[id.0 as usize];
        node.session.advance(self.seed, u64::from(id.0), self.now, &self.churn);
        node
    }

    /// Whether somebody runs a node there now.
    pub(super) fn is_present(&mut self, id: NodeId) -> bool {
        let now = self.now;
        let node = self.tenant(id);
        node.born <= now && now < node.gone && node.session.is_present()
    }

    /// For how long nobody has run a node there; zero if one runs, `None` if none ever did.
    pub(super) fn absent_for(&mut self, id: NodeId) -> Option<Duration> {
        let (now, seed) = (self.now, self.seed);
        let node = self.tenant(id);
        if node.gone == 0 {
            let before = draw::hash(seed, &[DESERTED_AT, u64::from(id.0)]);
            let before = draw::below(before, u64::from(DESERTED_FOR)) as u32;
            return Some(Duration::from_secs(u64::from(before + now)));
        }
        let last = node.session.last_present(now).min(node.gone);
        (node.born <= now).then(|| Duration::from_secs(u64::from(now - last.min(now))))
    }

    /// When the node that runs there leaves.
    pub(super) fn leaves_at(&mut self, id: NodeId) -> Option<Monotonic> {
        let node = self.tenant(id);
        let until = node.session.until().min(node.gone);
        (until < u32::MAX).then(|| Monotonic::new(Duration::from_secs(u64::from(until))))
    }

    /// The node leaves for good at this time, if it has not before.
    pub(super) fn end(&mut self, id: NodeId, at: Monotonic) {
        let node = &mut self.nodes[id.0 as usize];
        node.gone = node.gone.min(at.since_origin().as_secs() as u32);
    }

    /// Every ordinary node is honest, and there to stay.
    pub(super) fn heal(&mut self) {
        for node in &mut self.nodes {
            (node.born, node.gone, node.session) = (0, u32::MAX, Session::STEADY);
            if !node.kind.is_hostile() {
                node.kind = Kind::Honest;
            }
        }
        self.good = self.ids().collect();
    }

    /// What a node is.
    pub fn listing(&self, id: NodeId) -> Listing {
        let node = &self.nodes[id.0 as usize];
        Listing { address: node.address, kind: node.kind }
    }

    /// Makes a node another kind, from now on.
    pub fn set_kind(&mut self, id: NodeId, kind: Kind) {
        self.nodes[id.0 as usize].kind = kind;
    }

    /// Who lives at an address. Another port of a node's host is nobody's.
    pub fn find(&self, address: &Address) -> Option<NodeId> {
        let socket = address.socket_addr()?;
        let at = self.index.binary_search_by_key(&socket.ip(), |entry| entry.0).ok()?;
        let (_, id) = self.index[at];
        (self.nodes[id.0 as usize].address == socket).then_some(id)
    }

    /// Every node.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    // ---- sampling ----

    /// Any address at which somebody lives or lived.
    pub(super) fn select_any(&self, rng: &mut Rng) -> Option<NodeId> {
        let known = |id: &NodeId| self.nodes[id.0 as usize].born <= self.now;
        (0..TRIES).map(|_| rng.below(self.nodes.len().max(1)) as u32).map(NodeId).find(known)
    }

    /// A node that runs now, reachable or not.
    pub(super) fn select_present(&mut self, rng: &mut Rng) -> Option<NodeId> {
        let count = self.nodes.len().max(1);
        (0..TRIES).map(|_| NodeId(rng.below(count) as u32)).find(|&id| self.is_present(id))
    }

    /// A node that a crawler finds to be good now.
    pub(super) fn select_good(&mut self, rng: &mut Rng) -> Option<NodeId> {
        for _ in 0..TRIES {
            let id = *self.good.get(rng.below(self.good.len().max(1)))?;
            if self.is_present(id) {
                return Some(id);
            }
        }
        None
    }

    /// One of the attacker's.
    pub(super) fn select_hostile(&self, rng: &mut Rng) -> Option<NodeId> {
        self.hostile.get(rng.below(self.hostile.len().max(1))).copied()
    }

    /// How many are the attacker's.
    pub fn hostile_len(&self) -> usize {
        self.hostile.len()
    }
}

impl Atlas for Population {
    fn is_hostile(&self, address: &Address) -> bool {
        self.find(address).is_some_and(|id| self.listing(id).kind.is_hostile())
    }

    fn asn(&self, address: &Address) -> u32 {
        let shadow = |id| self.listing(id).kind == Kind::Shadow;
        if self.find(address).is_some_and(shadow) {
            return SHADOW_ASN;
        }
        asn_of(self.seed, &address.host)
    }
}

/// Who owns a netgroup, where it is not a shadow's: a few own many.
fn asn_of(seed: u64, host: &Host) -> u32 {
    const ASNS: f64 = 4000.0;
    let group = match NetGroup::of(host) {
        NetGroup::Ipv4([a, b]) => u64::from(a) << 8 | u64::from(b),
        NetGroup::Ipv6([a, b, c, d], _) => 1 << 32 | u64::from(u32::from_be_bytes([a, b, c, d])),
        NetGroup::Onion(_) | NetGroup::I2p(_) | NetGroup::Cjdns(_) => return 0,
    };
    let uniform = draw::unit(draw::hash(seed, &[ASN, group]));
    1 + (uniform * uniform * ASNS) as u32
}

fn vacant(site: Site, taken: &mut BTreeSet<IpAddr>, rng: &mut Rng) -> IpAddr {
    loop {
        let ip = site.address(rng);
        if taken.insert(ip) {
            return ip;
        }
    }
}

/// What a hash is for.
const POPULATION: u64 = 20;
const STEADY: u64 = 21;
const DESERTED_AT: u64 = 22;
const ASN: u64 = 23;
