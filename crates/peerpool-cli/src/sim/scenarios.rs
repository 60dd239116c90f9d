//! What pools are put into, by name: networks, swarm runs and attacks.

use std::fmt;

use peerpool_sim::actor::{Kind, Mix, SeedKind};
use peerpool_sim::scenario::{self as attacks, Expected};
use peerpool_sim::world::{Attacker, Plan};
use serde_json::{Map, Value};

/// What pools are put into.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    summary: &'static str,
    pub(super) stage: Stage,
}

/// How a scenario is run.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// A world, and what is other in it than usual.
    Network(fn(&mut Plan)),
    /// All is drawn from the seed.
    Swarm,
    /// An attack with a figure to reach.
    Attack(&'static attacks::Scenario),
}

impl Scenario {
    /// Whether it is a world of the user's own making.
    pub(crate) const fn is_network(&self) -> bool {
        matches!(self.stage, Stage::Network(_))
    }

    /// Whether it has a trace to print and curves to draw.
    pub(crate) const fn is_attack(&self) -> bool {
        matches!(self.stage, Stage::Attack(_))
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn network(name: &'static str, summary: &'static str, change: fn(&mut Plan)) -> Scenario {
    Scenario { name, summary, stage: Stage::Network(change) }
}

/// Those that are no attack; the first is the default.
const COMMON: [Scenario; 5] = [
    network("internet", "Most addresses are dead, and nodes come and go as published", |_| {}),
    network("calm", "Every node is honest and stays", |plan| {
        plan.mix = Mix::only(Kind::Honest);
        plan.churns = false;
    }),
    network(
        "sybil",
        "The internet; 5 % of all addresses, about 40 % of those that answer, are the attacker's",
        sybil,
    ),
    network(
        "poisoned",
        "The same, and one of three DNS seeds names the attacker's nodes only",
        |plan| {
            sybil(plan);
            for pool in &mut plan.pools {
                pool.seeds = vec![SeedKind::Honest, SeedKind::Honest, SeedKind::Hostile];
            }
        },
    ),
    Scenario {
        name: "swarm",
        summary: "A day on a small network; it, the pools and the faults are drawn from the seed",
        stage: Stage::Swarm,
    },
];

/// The name of the default.
pub(crate) const DEFAULT: &str = COMMON[0].name;

fn sybil(plan: &mut Plan) {
    let groups = (plan.nodes / 40).clamp(1, 1000);
    plan.attacker = Some(Attacker { share: 0.05, groups, kind: Kind::Sybil, relayed: None });
}

/// Every scenario.
fn all() -> impl Iterator<Item = Scenario> {
    let attack = |attack: &'static attacks::Scenario| Scenario {
        name: attack.name,
        summary: attack.says,
        stage: Stage::Attack(attack),
    };
    COMMON.into_iter().chain(attacks::all().iter().map(attack))
}

/// Each name with what it is, on a line.
pub(crate) fn list() -> String {
    all().map(line).collect::<Vec<_>>().join("\n")
}

/// The same as JSON, an object a line; of an attack, its figure and what the pool lacks for it.
pub(crate) fn list_json() -> String {
    let object = |scenario: Scenario| {
        let mut map = Map::new();
        map.insert("event".into(), "scenario".into());
        map.insert("name".into(), scenario.name.into());
        map.insert("summary".into(), scenario.summary.into());
        let kind = match scenario.stage {
            Stage::Network(_) => "network",
            Stage::Swarm => "swarm",
            Stage::Attack(_) => "attack",
        };
        map.insert("kind".into(), kind.into());
        if let Stage::Attack(attack) = scenario.stage {
            map.insert("attack".into(), attack.row.into());
            map.insert("demanded".into(), attack.accepts.into());
            map.insert("needs".into(), needs(attack).into());
        }
        Value::from(map).to_string()
    };
    all().map(object).collect::<Vec<_>>().join("\n")
}

/// What the pool lacks to reach the figure of an attack, if it is not expected to.
pub(super) const fn needs(attack: &attacks::Scenario) -> Option<&'static str> {
    match attack.expected {
        Expected::Pass => None,
        Expected::Fail { why } => Some(why),
    }
}

/// Each that is no attack, on a line.
pub(crate) fn common() -> String {
    COMMON.map(line).join("\n")
}

fn line(scenario: Scenario) -> String {
    format!("{:26} {}", scenario.name, scenario.summary)
}

/// The scenario of this name.
pub(crate) fn named(name: &str) -> Result<Scenario, String> {
    let names = || all().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    all().find(|scenario| scenario.name == name).ok_or_else(|| format!("one of {}", names()))
}
