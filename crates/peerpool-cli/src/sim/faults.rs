//! What went wrong in one swarm run or in many, and how their pools came through.

use std::collections::BTreeMap;
use std::time::Duration;

use peerpool_sim::swarm::{Fault, Outcome};
use peerpool_sim::world::Injected;
use serde_json::{Value, json};

use super::job::Done;
use super::report::{counts, listed, wrapped};
use crate::figures::Times;
use crate::{json, text};

/// The swarm runs among some, together.
pub(super) struct Faults {
    injected: BTreeMap<Fault, u64>,
    links: Injected,
    /// How long each took to be full again once the faults had ended.
    recovery: Vec<Option<Duration>>,
}

impl Faults {
    /// `None` if there is no swarm run.
    pub(super) fn of(all: &[Done]) -> Option<Self> {
        let outcomes: Vec<&Outcome> = all.iter().filter_map(|done| done.swarm.as_ref()).collect();
        let mut sums =
            Self { injected: BTreeMap::new(), links: Injected::default(), recovery: vec![] };
        for outcome in &outcomes {
            for (fault, count) in &outcome.faults {
                *sums.injected.entry(*fault).or_default() += count;
            }
            let Injected { dials_lost, links_ended, links_silenced } = outcome.injected;
            sums.links.dials_lost += dials_lost;
            sums.links.links_ended += links_ended;
            sums.links.links_silenced += links_silenced;
            sums.recovery.push(outcome.recovery);
        }
        (!outcomes.is_empty()).then_some(sums)
    }

    /// One run: its recovery is a time.
    pub(super) fn run_json(&self) -> Value {
        self.json(Times::new(self.recovery.clone()).worst().map(json::seconds).into())
    }

    /// Several runs: recovery is how many were full again, and what their times spread over.
    pub(super) fn summary_json(&self) -> Value {
        let times = Times::new(self.recovery.clone());
        let time = |share| times.quantile(share).map(json::seconds);
        self.json(json!({
            "count": times.reached(),
            "median": time(0.5),
            "p95": time(0.95),
            "worst": time(1.0),
        }))
    }

    fn json(&self, recovery: Value) -> Value {
        json!({
            "faults": counts(&self.injected, |fault| fault.as_str()),
            "dials_lost": self.links.dials_lost,
            "links_ended": self.links.links_ended,
            "links_silenced": self.links.links_silenced,
            "recovery": recovery,
        })
    }

    /// The same for people.
    pub(super) fn page(&self) -> String {
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
        let times = Times::new(self.recovery.clone());
        let time = |share| times.quantile(share).map_or("not yet".to_owned(), text::short);
        let recovery = if let [_] = self.recovery[..] {
            time(1.0)
        } else {
            format!("median {}, p95 {}, worst {}", time(0.5), time(0.95), time(1.0))
        };
        wrapped(&mut page, "full again", ", ", &[&recovery]);
        page
    }
}
