//! Networks to put pools into, by name.

use peerpool_sim::actor::{Kind, Mix, SeedKind};
use peerpool_sim::world::{Attacker, Plan};

/// A network, and what it changes of the usual one.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(super) change: fn(&mut Plan),
}

/// Every scenario; the first is the default.
pub(crate) const ALL: [Scenario; 4] = [
    Scenario {
        name: "internet",
        summary: "Most addresses are dead, and nodes come and go as published",
        change: |_| {},
    },
    Scenario {
        name: "calm",
        summary: "Every node is honest and stays",
        change: |plan| {
            plan.mix = Mix::only(Kind::Honest);
            plan.churns = false;
        },
    },
    Scenario {
        name: "sybil",
        summary: "The internet, with 5 % of all addresses the attacker's, in many netgroups",
        change: sybil,
    },
    Scenario {
        name: "poisoned",
        summary: "The same, and one of three DNS seeds is the attacker's",
        change: |plan| {
            sybil(plan);
            for pool in &mut plan.pools {
                pool.seeds = vec![SeedKind::Honest, SeedKind::Honest, SeedKind::Poisoned];
            }
        },
    },
];

fn sybil(plan: &mut Plan) {
    let groups = (plan.nodes / 40).clamp(1, 1000);
    plan.attacker = Some(Attacker { share: 0.05, groups, kind: Kind::Sybil, relayed: None });
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Each name with what it is, on a line.
pub(crate) fn list() -> String {
    let lines = ALL.map(|scenario| format!("{:9} {}", scenario.name, scenario.summary));
    lines.join("\n")
}

/// The scenario of this name.
pub(crate) fn named(name: &str) -> Result<Scenario, String> {
    let found = ALL.into_iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("one of {}", ALL.map(|scenario| scenario.name).join(", ")))
}
