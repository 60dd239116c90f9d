//! Whether the network is up: what the pool can know of it, and what is so.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::time::Monotonic;

use super::{ANSWER, Fault, Rule, Verdict, demand};

#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When bytes last came or a dial was answered.
    evidence: Option<Monotonic>,
    /// The same, before this turn.
    before: Option<Monotonic>,
    /// In which turn.
    pub(super) evidence_turn: u64,
    came_now: bool,
    /// Whether the pool says that the network is down.
    pub(super) offline: bool,
    /// How many outages have ended.
    pub(super) epoch: u64,
    probed_at: Option<Monotonic>,
    /// Since when it is down in truth.
    down_since: Option<Monotonic>,
}

impl Outage {
    pub(super) fn begin_turn(&mut self) {
        (self.before, self.came_now) = (self.evidence, false);
    }

    pub(super) fn on_evidence(&mut self, now: Monotonic, turn: u64) {
        (self.evidence, self.evidence_turn, self.came_now) = (Some(now), turn, true);
    }

    pub(super) fn on_network(&mut self, now: Monotonic, up: bool) {
        self.down_since = if up { None } else { Some(self.down_since.unwrap_or(now)) };
    }

    pub(super) fn on_offline(&mut self, now: Monotonic, window: Duration) -> Verdict {
        demand(!self.offline, Rule::Order, || "offline is told twice".to_owned())?;
        self.offline = true;
        let quiet = self.before.is_none_or(|at| now.since(at) >= window);
        demand(quiet, Rule::Outage, || format!("said to be offline {}", ago(self.before, now)))
    }

    pub(super) fn on_online(&mut self) -> Verdict {
        demand(self.offline, Rule::Order, || "online is told, not offline".to_owned())?;
        (self.offline, self.epoch) = (false, self.epoch + 1);
        demand(self.came_now, Rule::Outage, || "said to be online without evidence".to_owned())
    }

    /// A dial while offline.
    pub(super) fn on_probe(&mut self, now: Monotonic, interval: Duration) -> Verdict {
        let last = self.probed_at.replace(now).map(|at| now.since(at));
        let text = || format!("a probe {last:?} after the last, {interval:?} apart at least");
        demand(last.is_none_or(|ago| ago >= interval), Rule::Budget, text)
    }

    /// An address burns.
    pub(super) fn check_burn(&self, now: Monotonic, address: Address, window: Duration) -> Verdict {
        let text = || format!("{address} is burned while the pool says it is offline");
        demand(!self.offline, Rule::Outage, text)?;
        let near = self.evidence.is_some_and(|at| now.since(at) <= window);
        demand(near, Rule::Outage, || format!("{address} is burned {}", ago(self.evidence, now)))?;
        // What was on its way when the network went down may come yet.
        let down = self.down_since.map(|at| now.since(at)).unwrap_or_default();
        demand(down <= window + ANSWER, Rule::Outage, || {
            format!("{address} is burned, and the network went down {down:?} ago")
        })
    }

    pub(super) fn end_turn(&self) -> Verdict {
        if self.offline && self.came_now {
            let text = "the pool says it is offline, and has heard of a peer".to_owned();
            return Err(Fault(Rule::Outage, text));
        }
        Ok(())
    }
}

fn ago(evidence: Option<Monotonic>, now: Monotonic) -> String {
    match evidence {
        Some(at) => format!("with evidence {:?} ago", now.since(at)),
        None => "without any evidence".to_owned(),
    }
}
