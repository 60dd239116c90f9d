//! Slots: busy listeners, peers that keep a slot and give nothing, and how different peers are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerpool_core::address::{Address, Net};
use peerpool_core::event::Status;
use peerpool_core::id::LeaseId;
use peerpool_core::io::Input;
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;

use super::{Expected, Failure, Figure, Outcome, Scenario, Setting};
use crate::actor::{Kind, Mix};
use crate::link_model::LinkModel;
use crate::report::Atlas;
use crate::world::{NodeId, Plan, PoolPlan, World};

pub(super) const BUSY_LISTENERS: Scenario = Scenario {
    name: "a6-busy-listeners",
    row: "A6",
    says: "seven in ten listeners accept and close at once, for an hour in which the pool loses \
           its peers every five minutes",
    accepts: "eight slots filled within 120 s; no such listener is met more than once in the hour",
    expected: Expected::Pass,
    run: run_busy,
};

pub(super) const MUTE_PEERS: Scenario = Scenario {
    name: "a14-mute-peers",
    row: "A14",
    says: "all eight peers stop reading and answering once hands are shaken",
    accepts: "all are replaced within 5 min",
    expected: Expected::Pass,
    run: run_mute,
};

pub(super) const USELESS_PEERS: Scenario = Scenario {
    name: "a15-useless-peers",
    row: "A15",
    says: "seven of eight peers answer pings, and the caller says of each lease of theirs that it \
           was of no use",
    accepts: "the pool is told of all seven; they are replaced within 10 s, and not dialled again \
              for 10 min",
    expected: Expected::Pass,
    run: run_useless,
};

pub(super) const DIVERSITY: Scenario = Scenario {
    name: "a38-diversity",
    row: "A38",
    says: "a full pool's slots are looked at after an hour, by the report and in the pool's own \
           status",
    accepts: "both tell distinct netgroups, ASes and networks, and as many as there are",
    expected: Expected::Pass,
    run: run_diversity,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const SLOTS: usize = 8;

/// Peers of the first pool that are ready and fill a slot.
pub(super) fn ready(world: &World) -> BTreeSet<Address> {
    let status = world.pool(0).status(world.now().mono);
    let counting = status.ready.iter().filter(|peer| peer.connection_type.counts());
    counting.map(|peer| peer.address).collect()
}

/// Lets a world run until the first pool has all its peers; how long that took, `None` if it took
/// longer than `most`.
pub(super) fn run_until_full(
    world: &mut World,
    most: Duration,
) -> Result<Option<Duration>, Failure> {
    const STEP: Duration = Duration::from_millis(100);
    let from = world.now().mono;
    while world.now().mono.since(from) < most {
        if ready(world).len() >= SLOTS {
            return Ok(Some(world.now().mono.since(from)));
        }
        world.run_for(STEP)?;
    }
    Ok((ready(world).len() >= SLOTS).then_some(most))
}

/// A world whose nodes all are there, all the time, and whose dials are not lost.
pub(super) fn calm(seed: u64, nodes: usize, mix: Mix) -> Plan {
    let links = LinkModel { dial_loss: 0.0, ..LinkModel::default() };
    // Seeds name nodes of all kinds.
    Plan { seed, nodes, mix, churns: false, seed_share: 0.0, links, ..Plan::default() }
}

/// The same with a pool without extras, which dials nobody beside its target.
pub(super) fn bare(plan: Plan) -> Plan {
    let pools = vec![PoolPlan { policy: Policy::bare(), ..PoolPlan::default() }];
    Plan { pools, ..plan }
}

fn run_busy(setting: &Setting) -> Result<Outcome, Failure> {
    let mix = Mix::only(Kind::Honest).with(Kind::Honest, 30).with(Kind::Rude, 70);
    let mut world = World::new(calm(setting.seed, 500, mix))?;
    world.keep_contacts();
    let filled = run_until_full(&mut world, MINUTE * 2)?;
    for _ in 0..12 {
        world.drop_links(0);
        world.run_for(MINUTE * 5)?;
    }
    let mut met: BTreeMap<Address, usize> = BTreeMap::new();
    for contact in world.contacts().iter().filter(|contact| contact.accepted) {
        let node = world.population().find(&contact.address);
        if node.is_some_and(|id| world.population().listing(id).kind == Kind::Rude) {
            *met.entry(contact.address).or_default() += 1;
        }
    }
    let most = met.values().copied().max().unwrap_or(0);
    let mut outcome = Outcome::new();
    outcome.demand_within("eight slots filled", filled, MINUTE * 2);
    outcome.demand_count("most meetings with one of them", most, |most| most == 1);
    outcome.note_count("of them met", met.len());
    Ok(outcome)
}

fn run_mute(setting: &Setting) -> Result<Outcome, Failure> {
    let mut world = World::new(calm(setting.seed, 300, Mix::only(Kind::Deaf)))?;
    let filled = run_until_full(&mut world, MINUTE)?;
    let mute = ready(&world);
    let held = |world: &World, id: NodeId| {
        mute.contains(&Address::from(world.population().listing(id).address))
    };
    // Others that the pool knows are honest from now on.
    let others: Vec<NodeId> = world.population().ids().filter(|&id| !held(&world, id)).collect();
    for id in others {
        world.population_mut().set_kind(id, Kind::Honest);
    }
    let mut replaced = None;
    let from = world.now().mono;
    while replaced.is_none() && world.now().mono.since(from) < MINUTE * 30 {
        world.run_for(SECOND)?;
        let peers = ready(&world);
        let all = peers.len() == SLOTS && peers.is_disjoint(&mute);
        replaced = all.then(|| world.now().mono.since(from));
    }
    let mut outcome = Outcome::new();
    outcome.demand_within("slots filled with mute peers", filled, MINUTE);
    outcome.demand_within("all replaced", replaced, MINUTE * 5);
    Ok(outcome)
}

/// Leases that each ready peer serves.
fn leases(world: &World) -> BTreeMap<Address, usize> {
    let status = world.pool(0).status(world.now().mono);
    status.ready.iter().map(|peer| (peer.address, peer.leases)).collect()
}

/// Says to the pool that the ready peer of a lease was of no use. False: there is none.
fn report_useless(world: &mut World, address: Address) -> Result<bool, Failure> {
    let status = world.pool(0).status(world.now().mono);
    let Some(peer) = status.ready.iter().find(|peer| peer.address == address) else {
        return Ok(false);
    };
    let (misbehavior, reason) = (Misbehavior::Useless, "it answers pings, and no more".to_owned());
    world.input(0, Input::Report { peer: peer.id, address, misbehavior, reason })?;
    Ok(true)
}

fn run_useless(setting: &Setting) -> Result<Outcome, Failure> {
    const USELESS: usize = SLOTS - 1;
    let mut world = World::new(calm(setting.seed, 300, Mix::only(Kind::Honest)))?;
    if run_until_full(&mut world, MINUTE)?.is_none() {
        return Err(Failure::Stage("the pool does not fill".to_owned()));
    }
    world.run_for(MINUTE * 2)?;
    let useless: BTreeSet<Address> = ready(&world).into_iter().take(USELESS).collect();
    // Enough that each peer is leased many times.
    let (mut leased, mut told) = (BTreeSet::new(), BTreeSet::new());
    for lease in (1..=200).map(LeaseId) {
        let before = leases(&world);
        world.input(0, Input::Lease { lease, require: Require::any(), wait: false })?;
        let after = leases(&world);
        let peer = after.into_iter().find(|(peer, count)| before.get(peer) != Some(count));
        if let Some((peer, _)) = peer.filter(|(peer, _)| useless.contains(peer)) {
            leased.insert(peer);
            if report_useless(&mut world, peer)? {
                told.insert(peer);
            }
        }
        world.input(0, Input::Release { lease })?;
    }
    world.keep_contacts();
    world.run_for(SECOND * 10)?;
    let replaced = useless.difference(&ready(&world)).count();
    world.run_for(MINUTE * 10)?;
    let again = world.contacts().iter().filter(|contact| useless.contains(&contact.address));
    let mut outcome = Outcome::new();
    outcome.demand_count("useless peers leased", leased.len(), |leased| leased == USELESS);
    outcome.demand_count("told of", told.len(), |told| told == USELESS);
    outcome.demand_count("replaced within 10 s", replaced, |replaced| replaced == USELESS);
    let none = |again| again == 0;
    outcome.demand_count("dialled again within 10 min", again.count(), none);
    Ok(outcome)
}

/// Distinct netgroups, ASes and networks of ready peers, as a status tells them.
fn variety(status: &Status) -> Option<[usize; 3]> {
    let told = &status.variety;
    Some([told.netgroups, told.asns?, told.nets.len()])
}

fn run_diversity(setting: &Setting) -> Result<Outcome, Failure> {
    let plan = Plan { seed: setting.seed, nodes: 2000, as_map: true, ..Plan::default() };
    let mut world = World::new(plan)?;
    world.run_for(HOUR)?;
    let peers = ready(&world);
    let holding = world.pool(0).report().figures(world.now()).holding;
    let groups: BTreeSet<NetGroup> = peers.iter().map(|at| NetGroup::of(&at.host)).collect();
    let asns: BTreeSet<u32> = peers.iter().map(|at| world.population().asn(at)).collect();
    let nets: BTreeSet<Net> = peers.iter().map(Address::net).collect();
    let mut outcome = Outcome::new();
    let mut same = |name, told: usize, found: usize| {
        outcome.demand(name, Figure::Count(told as u64), told == found && found > 0);
    };
    same("peers", holding.peers, peers.len());
    same("netgroups", holding.netgroups, groups.len());
    same("ASes", holding.asns, asns.len());
    same("networks", holding.nets.len(), nets.len());
    let found = [groups.len(), asns.len(), nets.len()];
    let told = variety(&world.pool(0).status(world.now().mono));
    let right = |told: [usize; 3]| told.iter().zip(found).filter(|(told, it)| *told == it).count();
    let right = told.map_or(0, right);
    outcome.demand_count("of the three, told by the status", right, |right| right == 3);
    Ok(outcome)
}
