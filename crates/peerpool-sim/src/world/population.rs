//! The nodes of a world: where they live, what they are, and who is there when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::netgroup::NetGroup;
use peerpool_core::rng::Rng;
use peerpool_core::time::Monotonic;

use super::as_map::{Route, encode};
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

/// One address, and who lives there. Times are in seconds.
#[derive(Clone, Copy, Debug)]
struct Node {
    address: SocketAddr,
    kind: Kind,
    tenure: Tenure,
    /// When the node there vanished for good, in the world's time.
    ended: u32,
    session: Session,
}

/// When somebody lives at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenure {
    Always,
    Never,
    /// From the one time to the other, and so again in each [`Plan::horizon`]: as many are let at
    /// any time, however long a world runs.
    From(u32, u32),
}

/// Every node.
#[derive(Debug)]
pub struct Population {
    seed: u64,
    churn: Churn,
    /// After so many seconds the tenures begin again.
    horizon: u32,
    nodes: Vec<Node>,
    /// Every address with its node, in order.
    index: Vec<(IpAddr, NodeId)>,
    /// Those that a crawler finds to be good, at some time.
    good: Vec<NodeId>,
    hostile: Vec<NodeId>,
    now: u32,
}

/// Tries to find a node that is there; about one in four of all addresses has one.
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
            horizon: seconds(plan.horizon).max(1),
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
            this.add(plan, listing.address, listing.kind, Tenure::Always);
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
        let mut site =
            |rng: &mut Rng| if rng.chance(IPV6_SHARE) { land.ipv6() } else { land.ipv4() };
        let sites: Vec<Site> = (0..wanted).filter_map(|_| site(rng)).collect();
        let kinds = plan.mix.deal(count, rng);
        for (at, kind) in kinds.into_iter().enumerate() {
            // While there are more sites than nodes, each node has its own.
            let place = if sites.len() >= count {
                at
            } else {
                let uniform = draw::unit(rng.u64());
                (uniform * uniform * sites.len() as f64) as usize
            };
            let ip = vacant(sites[place.min(sites.len() - 1)], taken, rng);
            let tenure = self.tenure(plan, kind, rng);
            self.add(plan, SocketAddr::new(ip, plan.port), kind, tenure);
        }
    }

    /// When somebody lives at an address: a node that moves leaves one, and comes to another.
    fn tenure(&self, plan: &Plan, kind: Kind, rng: &mut Rng) -> Tenure {
        let Some(churn) = &plan.churn_of(kind) else { return Tenure::Always };
        if !kind.shakes_hands() && rng.chance(DESERTED) {
            return Tenure::Never;
        }
        let drawn = draw::unit(rng.u64());
        let length = if drawn < churn.moving {
            churn.length(&STAY, rng.u64())
        } else if drawn < churn.moving + churn.turnover {
            rng.below(self.horizon as usize) as u32
        } else {
            return Tenure::Always;
        };
        let from = rng.below(self.horizon as usize) as u32;
        Tenure::From(from, from.saturating_add(length.min(self.horizon)))
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
            self.add(plan, SocketAddr::new(ip, plan.port), attacker.kind, Tenure::Always);
        }
    }

    fn add(&mut self, plan: &Plan, address: SocketAddr, kind: Kind, tenure: Tenure) {
        let id = self.nodes.len() as u64;
        let steady =
            |churn: &Churn| draw::unit(draw::hash(self.seed, &[STEADY, id])) < churn.steady;
        let session = match plan.churn_of(kind) {
            Some(churn) if !steady(&churn) => Session::begun(self.seed, id, &churn),
            _ => Session::STEADY,
        };
        self.nodes.push(Node { address, kind, tenure, ended: u32::MAX, session });
    }

    // ---- time ----

    /// The world's time is now this. It never goes back.
    pub(super) fn set_now(&mut self, now: Monotonic) {
        self.now = self.now.max(seconds(now.since_origin()));
    }

    fn tenant(&mut self, id: NodeId) -> &mut Node {
        let node = &mut self.nodes[id.0 as usize];
        node.session.advance(self.seed, u64::from(id.0), self.now, &self.churn);
        node
    }

    /// Whether somebody runs a node there now.
    pub(super) fn is_present(&mut self, id: NodeId) -> bool {
        let (now, horizon) = (self.now, self.horizon);
        let node = self.tenant(id);
        now < node.ended && node.tenure.left(now, horizon) > 0 && node.session.is_present()
    }

    /// For how long nobody has run a node there; zero if one runs.
    pub(super) fn absent_for(&mut self, id: NodeId) -> Duration {
        let (now, seed, horizon) = (self.now, self.seed, self.horizon);
        let node = self.tenant(id);
        let vacant = match node.tenure {
            Tenure::Never => {
                let before = draw::hash(seed, &[DESERTED_AT, u64::from(id.0)]);
                draw::below(before, u64::from(DESERTED_FOR)) as u32 + now
            }
            tenure => tenure.vacant_for(now, horizon),
        };
        let away = now - node.session.last_present(now).min(now);
        let ended = now.saturating_sub(node.ended);
        Duration::from_secs(u64::from(vacant.max(away).max(ended)))
    }

    /// When the node that runs there leaves, if it does.
    pub(super) fn leaves_at(&mut self, id: NodeId) -> Option<Monotonic> {
        let (now, horizon) = (self.now, self.horizon);
        let node = self.tenant(id);
        let moves = now.saturating_add(node.tenure.left(now, horizon));
        let until = node.session.until().min(node.ended).min(moves);
        (until < u32::MAX).then(|| Monotonic::new(Duration::from_secs(u64::from(until))))
    }

    /// The node vanishes for good at this time, if it has not before.
    pub(super) fn end(&mut self, id: NodeId, at: Monotonic) {
        let node = &mut self.nodes[id.0 as usize];
        node.ended = node.ended.min(seconds(at.since_origin()));
    }

    /// Every ordinary node is honest, and there to stay.
    pub(super) fn heal(&mut self) {
        for node in &mut self.nodes {
            (node.tenure, node.ended) = (Tenure::Always, u32::MAX);
            node.session = Session::STEADY;
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

    /// An AS map that knows the netgroup of every node.
    pub(super) fn as_map(&self) -> Vec<u8> {
        let route = |id| {
            let address = Address::from(self.listing(id).address);
            let (bits, len) = match address.host.ip()? {
                IpAddr::V4(ip) => (u128::from(ip.to_ipv6_mapped()), 112),
                IpAddr::V6(ip) => (u128::from(ip), 36),
            };
            let first = bits & !(u128::MAX >> len);
            Some(((first, len), Atlas::asn(self, &address)))
        };
        let routes: BTreeMap<(u128, u32), u32> = self.ids().filter_map(route).collect();
        let routes = routes.into_iter().filter(|(_, asn)| *asn != 0);
        encode(routes.map(|((first, len), asn)| Route { first, len, asn }).collect())
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

    /// Any address.
    pub(super) fn select_any(&self, rng: &mut Rng) -> Option<NodeId> {
        (!self.is_empty()).then(|| NodeId(rng.below(self.nodes.len()) as u32))
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

    /// The attacker's share of the nodes that answer now and may be kept.
    pub fn hostile_share(&mut self) -> f64 {
        let good = self.good.clone();
        let answering = good.into_iter().filter(|&id| self.is_present(id)).count();
        self.hostile.len() as f64 / answering.max(1) as f64
    }

    /// How many are the attacker's.
    pub fn hostile_len(&self) -> usize {
        self.hostile.len()
    }
}

impl Tenure {
    /// For how many seconds somebody will live there yet; zero if nobody does.
    fn left(self, now: u32, horizon: u32) -> u32 {
        match self {
            Tenure::Always => u32::MAX,
            Tenure::Never => 0,
            Tenure::From(from, to) => (to - from).saturating_sub(since(from, now, horizon)),
        }
    }

    /// For how many seconds nobody has lived there; zero if somebody does.
    fn vacant_for(self, now: u32, horizon: u32) -> u32 {
        match self {
            Tenure::Always | Tenure::Never => 0,
            Tenure::From(from, to) => since(from, now, horizon).saturating_sub(to - from),
        }
    }
}

/// Seconds since the last time that was `from` after the beginning of a horizon.
fn since(from: u32, now: u32, horizon: u32) -> u32 {
    let phase = u64::from(now) + u64::from(horizon) - u64::from(from % horizon);
    (phase % u64::from(horizon)) as u32
}

/// Whole seconds; 136 years at the most.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
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
        // There is no map to tell.
        NetGroup::Asn(asn) => return asn,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_comes_again_in_each_horizon() {
        let tenure = Tenure::From(70, 120);
        let now = [0, 19, 20, 69, 70, 99, 119, 120, 169, 170];
        let left = now.map(|now| tenure.left(now, 100));
        assert_eq!(left, [20, 1, 0, 0, 50, 21, 1, 0, 0, 50]);
        let vacant = now.map(|now| tenure.vacant_for(now, 100));
        assert_eq!(vacant, [0, 0, 0, 49, 0, 0, 0, 0, 49, 0]);
        assert_eq!(Tenure::From(5, 5).left(5, 100), 0);
        assert_eq!((Tenure::Always.left(7, 100), Tenure::Never.left(7, 100)), (u32::MAX, 0));
    }
}
