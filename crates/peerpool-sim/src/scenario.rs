//! Attacks as scenarios, each by name: what an attacker does, and the figure by which the pool is
//! judged.
//!
//! A scenario measures; nothing in it is told beforehand how it comes out. Those that need what the
//! pool does not have yet are expected to miss their figure, and say what it is that they need:
//! the day they reach it, the run fails until they are marked as passing.
//!
//! Whole networks are [worlds](crate::world). What a row says of one peer, one seed or the book is
//! played on a bench: an engine whose dials are answered as the scenario says, or a book alone.

mod addresses;
pub(crate) mod as_map;
mod bench;
mod book;
mod clocks;
mod counters;
mod downgrade;
mod eclipse;
mod network;
mod outage;
mod ports;
mod privacy;
mod seeds;
mod slots;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::check::Breach;

pub use table::page;

/// An attack, and the figure that the pool must reach under it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name it is run by, such as `a7-address-flood`.
    pub name: &'static str,
    /// The number of the attack, such as `A7`: one attack may have several scenarios.
    pub row: &'static str,
    /// What is done to the pool.
    pub says: &'static str,
    /// What must come of it.
    pub accepts: &'static str,
    /// Whether the pool can do that yet.
    pub expected: Expected,
    run: fn(&Setting) -> Result<Outcome, Failure>,
}

/// Whether a scenario's figure is reached yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is.
    Pass,
    /// It is not.
    Fail {
        /// What is missing.
        why: &'static str,
    },
}

/// How a scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Seed of everything random. Default 1.
    pub seed: u64,
    /// Percentage of the runs, restarts and addresses that the attack's description names; there
    /// is a least number of each. Default 100.
    pub percent: u32,
}

impl Setting {
    /// A setting for runs in passing: a hundredth of the numbers, and seed 1.
    pub const SMALL: Self = Self { seed: 1, percent: 1 };

    /// The part of `count` that is to be run, at least `least`.
    const fn of(&self, count: usize, least: usize) -> usize {
        let part = count * self.percent as usize / 100;
        if part > least { part } else { least }
    }

    /// The seed of the `run`th of several runs.
    fn seed_of(&self, run: usize) -> u64 {
        crate::draw::hash(self.seed, &[run as u64])
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self { seed: 1, percent: 100 }
    }
}

/// One figure, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// So many.
    Count(u64),
    /// A part of a whole, from 0 to 1.
    Share(f64),
    /// So many in a unit of time.
    Rate(f64),
    /// How long it took; `None` if it did not come to pass.
    Time(Option<Duration>),
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Count(count) => count.fmt(f),
            Figure::Share(share) => write!(f, "{:.1} %", share * 100.0),
            Figure::Rate(rate) => write!(f, "{rate:.2}"),
            Figure::Time(Some(time)) => write!(f, "{:.1} s", time.as_secs_f64()),
            Figure::Time(None) => f.write_str("never"),
        }
    }
}

/// What one run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Every figure, by what it says.
    pub figures: Vec<(&'static str, Figure)>,
    /// Whether all demands are met.
    pub met: bool,
    /// Those figures that are not what is demanded.
    pub missed: Vec<&'static str>,
}

impl Outcome {
    const fn new() -> Self {
        Self { figures: Vec::new(), met: true, missed: Vec::new() }
    }

    /// A figure that is only told.
    fn note(&mut self, name: &'static str, figure: Figure) {
        self.figures.push((name, figure));
    }

    /// A figure, and whether it is what is demanded.
    fn demand(&mut self, name: &'static str, figure: Figure, met: bool) {
        self.note(name, figure);
        if !met {
            self.met = false;
            self.missed.push(name);
        }
    }

    fn note_count(&mut self, name: &'static str, count: usize) {
        self.note(name, Figure::Count(count as u64));
    }

    /// A count, and whether it is what is demanded.
    fn demand_count(&mut self, name: &'static str, count: usize, met: impl Fn(usize) -> bool) {
        self.demand(name, Figure::Count(count as u64), met(count));
    }

    /// A share, and whether it is what is demanded.
    fn demand_share(
        &mut self,
        name: &'static str,
        part: usize,
        whole: usize,
        met: impl Fn(f64) -> bool,
    ) {
        let share = share(part, whole);
        self.demand(name, Figure::Share(share), met(share));
    }

    /// A time that must come and be no longer than `most`.
    fn demand_within(&mut self, name: &'static str, time: Option<Duration>, most: Duration) {
        self.demand(name, Figure::Time(time), time.is_some_and(|time| time <= most));
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, figure)) in self.figures.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{name}: {figure}")?;
        }
        Ok(())
    }
}

/// `part` of `whole`, 0 where there is nothing to share.
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Why a scenario did not come out as expected.
#[derive(Debug)]
pub enum Failure {
    /// It was to pass, and did not.
    Missed(Outcome),
    /// It was not to pass yet, and did: mark it as passing.
    Surprise(Outcome),
    /// The pool broke one of its own rules on the way.
    Breach(Breach),
    /// The stage could not be set, or the attack not be brought about.
    Stage(String),
}

impl From<Breach> for Failure {
    fn from(breach: Breach) -> Self {
        Failure::Breach(breach)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::Stage(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Missed(outcome) => {
                write!(f, "missed ({}): {outcome}", outcome.missed.join(", "))
            }
            Failure::Surprise(outcome) => {
                write!(f, "passes, though it was expected to fail; mark it as passing: {outcome}")
            }
            Failure::Breach(breach) => write!(f, "the pool broke a rule: {breach:?}"),
            Failure::Stage(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

impl Scenario {
    /// Runs it.
    ///
    /// # Errors
    /// It did not come out as [expected](Scenario::expected), or could not be run.
    pub fn run(&self, setting: &Setting) -> Result<Outcome, Failure> {
        let outcome = (self.run)(setting)?;
        match (self.expected, outcome.met) {
            (Expected::Pass, false) => Err(Failure::Missed(outcome)),
            (Expected::Fail { .. }, true) => Err(Failure::Surprise(outcome)),
            _ => Ok(outcome),
        }
    }
}

/// Every scenario, in the order of the attacks.
pub fn all() -> &'static [Scenario] {
    ALL
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

const ALL: &[Scenario] = &[
    book::ONE_SOURCE,
    book::EIGHT_SOURCES,
    book::ANSWERING_GROUPS,
    book::HOSTILE_FIRST,
    eclipse::RESTART,
    eclipse::STALE_BOOK,
    eclipse::EREBUS,
    as_map::BROKEN,
    slots::BUSY_LISTENERS,
    addresses::FLOOD,
    counters::COUNTER,
    privacy::FINGERPRINT,
    privacy::COOKIE,
    privacy::VERSION,
    seeds::POISONED,
    seeds::ONE_OF_THREE,
    seeds::ONE_BELIEVABLE,
    seeds::ALL_FAIL,
    addresses::POISONING,
    slots::MUTE_PEERS,
    slots::USELESS_PEERS,
    clocks::PEERS_CLOCKS,
    clocks::OWN_CLOCK,
    clocks::FUTURE_TIMES,
    outage::SLASH_8,
    outage::SLASH_8_SILENT,
    downgrade::V2_OFFERED,
    network::ONIONS,
    network::ONE_NETWORK,
    addresses::PRIVATE_ADDRESS,
    addresses::DENY_LIST,
    downgrade::V2_RESET,
    downgrade::REQUIRE_V2,
    outage::NETWORK_DOWN,
    outage::RECOVERY,
    ports::PORT_SCAN,
    slots::DIVERSITY,
];
