//! What went wrong in one swarm run or in many, and how their pools came through.

use std::collections::BTreeMap;
use std::time::Duration;

use peerpool_sim::swarm::{Fault, Outcome};
use peerpool_sim::world::Injected;
use serde_json::{Map, Value, json};

use super::job::Done;
use super::report::{counts, listed, wrapped};
use crate::figures::Times;
use crate::{json, text};

/// The swarm runs among some, together.
pub(super) struct Faults {
    injected: BTreeMap<Fault, u64>,
    links: Injected,
    /// How long each took to be full again that lost all links as the faults ended.
    recovery: Vec<Option<Duration>>,
    /// Runs that did not, and those whose netgroups are too few to be full.
    others: [usize; 2],
}

impl Faults {
    /// `None` if there is no swarm run.
    pub(super) fn of(all: &[Done]) -> Option<Self> {
        let outcomes: Vec<&Outcome> = all.iter().filter_map(|done| done.swarm.as_ref()).collect();
        let mut sums = Self {
            injected: BTreeMap::new(),
            links: Injected::default(),
            recovery: vec![],
            others: [0; 2],
        };
        for outcome in &outcomes {
            for (fault, count) in &outcome.faults {
                *sums.injected.entry(*fault).or_default() += count;
            }
            let Injected { dials_lost, links_ended, links_silenced } = outcome.injected;
            sums.links.dials_lost += dials_lost;
            sums.links.links_ended += links_ended;
            sums.links.links_silenced += links_silenced;
            match (outcome.cramped, outcome.emptied) {
                (true, _) => sums.others[1] += 1,
                (false, false) => sums.others[0] += 1,
                (false, true) => sums.recovery.push(outcome.recovery),
            }
        }
        (!outcomes.is_empty()).then_some(sums)
    }

    /// One run: its recovery is a time.
    pub(super) fn run_json(&self, outcome: &Outcome) -> Value {
        let mut map = self.json();
        map.insert("emptied".into(), outcome.emptied.into());
        map.insert("cramped".into(), outcome.cramped.into());
        map.insert("recovery".into(), outcome.recovery.map(json::seconds).into());
        map.into()
    }

    /// Several runs: recovery is that of those that lost all links as the faults ended.
    pub(super) fn summary_json(&self) -> Value {
        let times = Times::new(self.recovery.clone());
        let time = |share| times.quantile(share).map(json::seconds);
        let [left, cramped] = self.others;
        let recovery = json!({
            "runs": self.recovery.len(),
            "count": times.reached(),
            "median": time(0.5),
            "p95": time(0.95),
            "worst": time(1.0),
            "not_emptied": left,
            "cramped": cramped,
        });
        let mut map = self.json();
        map.insert("recovery".into(), recovery);
        map.into()
    }

    fn json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("faults".into(), counts(&self.injected, |fault| fault.as_str()).into());
        map.insert("dials_lost".into(), self.links.dials_lost.into());
        map.insert("links_ended".into(), self.links.links_ended.into());
        map.insert("links_silenced".into(), self.links.links_silenced.into());
        map
    }

    /// One run for people.
    pub(super) fn run_page(&self, outcome: &Outcome) -> String {
        let time = outcome.recovery.map_or("not yet".to_owned(), text::short);
        let words = match (outcome.cramped, outcome.emptied) {
            (true, _) => "to one peer: there are few netgroups",
            (false, true) => "from none",
            (false, false) => "from what was left",
        };
        let mut page = self.page();
        wrapped(&mut page, "full again", ", ", &[time.as_str(), words]);
        page
    }

    /// Several for people.
    pub(super) fn summary_page(&self) -> String {
        let mut page = self.page();
        let times = Times::new(self.recovery.clone());
        let time = |share| times.quantile(share).map_or("not yet".to_owned(), text::short);
        let [left, cramped] = self.others;
        let parts = [
            format!("{} runs from none: median {}", self.recovery.len(), time(0.5)),
            format!("p95 {}", time(0.95)),
            format!("worst {}", time(1.0)),
            format!("{left} had peers left"),
            format!("{cramped} have few netgroups"),
        ];
        wrapped(&mut page, "full again", ", ", &parts.each_ref().map(String::as_str));
        page
    }

    fn page(&self) -> String {
        let mut page = String::new();
        let injected = listed(&counts(&self.injected, |fault| fault.as_str()));
        let injected: Vec<&str> = injected.iter().map(String::as_str).collect();
        wrapped(&mut page, "faults", ", ", &injected);
        let links = [
            format!("dials lost {}", self.links.dials_lost),
            format!("ended {}", self.links.links_ended),
            format!("fallen silent {}", self.links.links_silenced),
        ];
        wrapped(&mut page, "links", ", ", &links.each_ref().map(String::as_str));
        page
    }
}
