//! Routes that go away: a /8 that is hijacked, and the pool's own line.

use std::collections::BTreeMap;
use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::io::Input;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::rng::Rng;
use peerpool_core::time::Monotonic;

use super::slots::{bare, calm, ready, run_until_full};
use super::{Expected, Failure, Figure, Outcome, Scenario, Setting};
use crate::actor::{Kind, Mix};
use crate::link_model::{Apart, Cut};
use crate::world::{Plan, World};

pub(super) const SLASH_8: Scenario = Scenario {
    name: "a18-slash-8-vanishes",
    row: "A18",
    says: "all eight peers are in one /8, whose route is gone at once; their links break",
    accepts: "eight peers from elsewhere within 60 s",
    expected: Expected::Pass,
    run: |setting| run_slash_8(setting, Vanish::Breaks),
};

pub(super) const SLASH_8_SILENT: Scenario = Scenario {
    name: "a18-slash-8-falls-silent",
    row: "A18",
    says: "the same, and no packet tells: what is sent there is lost",
    accepts: "eight peers from elsewhere within 60 s",
    expected: Expected::Fail { why: "a doubt about all peers when several are silent at once" },
    run: |setting| run_slash_8(setting, Vanish::Silent),
};

pub(super) const NETWORK_DOWN: Scenario = Scenario {
    name: "a36-network-down",
    row: "A36",
    says: "the own line of a pool without extras is down for about an hour of a day, in a network \
           of which 84 % is dead and where nobody comes or goes; 100 times",
    accepts: "at most a dial a second while it is down, and one in 20 s at least; at most 10 to one \
              address in the day",
    expected: Expected::Pass,
    run: run_network_down,
};

pub(super) const RECOVERY: Scenario = Scenario {
    name: "a36-recovery",
    row: "A36",
    says: "the line of a pool with extras is down for as long in the same network, when the pool \
           has lived there for a day; 100 times",
    accepts: "full again within 30 s of the line's return, each time",
    expected: Expected::Pass,
    run: run_recovery,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const SLOTS: usize = 8;

/// How a route goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vanish {
    Breaks,
    Silent,
}

/// The first byte of an IPv4 address.
fn slash_8(address: &Address) -> Option<u8> {
    match address.host {
        Host::Ipv4(ip) => Some(ip.octets()[0]),
        _ => None,
    }
}

/// The /8 with nodes in most netgroups, and a node in each.
fn crowded(world: &World) -> Option<(u8, Vec<Address>)> {
    let mut nodes: BTreeMap<u8, BTreeMap<NetGroup, Address>> = BTreeMap::new();
    for id in world.population().ids() {
        let address = Address::from(world.population().listing(id).address);
        if let Some(first) = slash_8(&address) {
            nodes.entry(first).or_default().insert(NetGroup::of(&address.host), address);
        }
    }
    let (first, groups) = nodes.into_iter().max_by_key(|(_, groups)| groups.len())?;
    Some((first, groups.into_values().collect()))
}

fn run_slash_8(setting: &Setting, vanish: Vanish) -> Result<Outcome, Failure> {
    let plan = calm(setting.seed, 3000, Mix::only(Kind::Honest));
    let mut world = World::new(Plan { sites: Some(3000), ..plan })?;
    let (first, nodes) = crowded(&world).ok_or("no IPv4".to_owned())?;
    if nodes.len() < SLOTS {
        return Err(Failure::Stage(format!("{} netgroups in the fullest /8", nodes.len())));
    }
    // The user's own, since the pool itself would choose others, too.
    for address in nodes.into_iter().take(SLOTS) {
        world.input(0, Input::AddManual(address))?;
    }
    run_until_full(&mut world, MINUTE)?;
    world.run_for(MINUTE * 5)?;
    let there = |at: &Address| slash_8(at) == Some(first);
    let before = ready(&world).iter().filter(|at| there(at)).count();
    let from = world.now().mono;
    if vanish == Vanish::Breaks {
        world.drop_links(0);
        // The breaks are still heard of.
        world.run_for(SECOND / 2)?;
    }
    let until = from + HOUR;
    let apart = Apart::Ipv4Slash8(first);
    world.cut(Cut { pool: Some(0), from: world.now().mono, until, apart, no_route: false });
    let mut refilled = None;
    while refilled.is_none() && world.now().mono < until {
        world.run_for(SECOND / 10)?;
        let elsewhere = ready(&world).iter().filter(|at| !there(at)).count();
        refilled = (elsewhere >= SLOTS).then(|| world.now().mono.since(from));
    }
    let mut outcome = Outcome::new();
    outcome.demand_count("peers in the /8 before", before, |before| before == SLOTS);
    outcome.demand_within("eight from elsewhere", refilled, MINUTE);
    Ok(outcome)
}

/// A world after an outage.
struct Outage {
    world: World,
    from: Monotonic,
    until: Monotonic,
    /// Time from then until the pool was full.
    recovered: Option<Duration>,
}

/// A pool has lived for so long when its line goes down.
fn outage(seed: u64, lived: Duration, change: fn(Plan) -> Plan) -> Result<Outage, Failure> {
    let mix = Mix::only(Kind::Honest)
        .with(Kind::Honest, 16)
        .with(Kind::Refusing, 23)
        .with(Kind::Silent, 61);
    let mut world = World::new(change(Plan { seed_share: 0.95, ..calm(seed, 2000, mix) }))?;
    world.keep_contacts();
    world.run_for(lived)?;
    let before = ready(&world).len();
    // Not always the same length: a pool may probe the right ones just then by its own rhythm.
    let lasts = Rng::from_u64(seed).between(HOUR - MINUTE * 5, HOUR + MINUTE * 5);
    let (from, until) = (world.now().mono, world.now().mono + lasts);
    world.cut(Cut { pool: None, from, until, apart: Apart::All, no_route: false });
    world.run_until(until)?;
    let left = ready(&world).len();
    if (before, left) != (SLOTS, 0) {
        return Err(Failure::Stage(format!("{before} peers before, {left} at the end")));
    }
    // One that does not probe may never be.
    let recovered = run_until_full(&mut world, MINUTE * 10)?;
    if recovered.is_none() {
        return Err(Failure::Stage("not full 10 min after the outage".to_owned()));
    }
    Ok(Outage { world, from, until, recovered })
}

fn run_network_down(setting: &Setting) -> Result<Outcome, Failure> {
    let runs = setting.of(100, 5);
    let (mut rate, mut least) = (0.0_f64, f64::INFINITY);
    let mut most_to_one = 0;
    for run in 0..runs {
        let Outage { mut world, from, until, .. } = outage(setting.seed_of(run), HOUR, bare)?;
        world.run_until(Monotonic::new(HOUR * 24))?;
        let dials = world.contacts().iter().filter(|contact| !contact.accepted);
        let mut of_each: BTreeMap<Address, usize> = BTreeMap::new();
        let mut down = 0;
        for dial in dials {
            *of_each.entry(dial.address).or_default() += 1;
            down += u32::from(from <= dial.at && dial.at < until);
        }
        let of_run = f64::from(down) / until.since(from).as_secs_f64();
        (rate, least) = (rate.max(of_run), least.min(of_run));
        most_to_one = most_to_one.max(of_each.into_values().max().unwrap_or(0));
    }
    let mut outcome = Outcome::new();
    outcome.demand("most dials a second while down", Figure::Rate(rate), rate <= 1.0);
    // Who does not try does not find out.
    outcome.demand("fewest dials a second while down", Figure::Rate(least), least >= 0.05);
    let few = |dials| dials <= 10;
    outcome.demand_count("most dials to one address in the day, of 10 allowed", most_to_one, few);
    outcome.note_count("runs", runs);
    Ok(outcome)
}

fn run_recovery(setting: &Setting) -> Result<Outcome, Failure> {
    let runs = setting.of(100, 20);
    let mut soon = 0;
    let mut longest = Some(Duration::ZERO);
    for run in 0..runs {
        let recovered = outage(setting.seed_of(run), HOUR * 24, |plan| plan)?.recovered;
        soon += usize::from(recovered.is_some_and(|time| time <= SECOND * 30));
        longest = longest.zip(recovered).map(|(longest, time)| longest.max(time));
    }
    let mut outcome = Outcome::new();
    outcome.demand_share("full within 30 s", soon, runs, |share| share >= 1.0);
    outcome.note("longest", Figure::Time(longest));
    outcome.note_count("runs", runs);
    Ok(outcome)
}
