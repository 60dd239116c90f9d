//! Whether the network is up: what the pool can know of it, and what is so.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::time::Monotonic;

use super::facts::Group;
use super::{ANSWER, Fault, Rule, Verdict, demand};

/// How long after `offline_after` a pool may take to say that it is offline.
const JUDGING: Duration = Duration::from_secs(1);

/// Two netgroups; two are enough.
type Groups = [Option<Group>; 2];

fn is_apart(groups: Groups) -> bool {
    groups[1].is_some()
}

/// Failures without evidence.
#[derive(Debug, Default)]
struct Failing {
    /// The first of those that count.
    since: Option<Monotonic>,
    /// Where.
    groups: Groups,
    /// Where since the last evidence, however often counting began anew.
    ever: Groups,
}

#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When bytes last came or a dial was answered.
    evidence: Option<Monotonic>,
    /// The same, before this turn.
    before: Option<Monotonic>,
    /// In which turn.
    pub(super) evidence_turn: u64,
    pub(super) came_now: bool,
    /// Whether failures without evidence have lasted so long that peers are asked for some.
    pub(super) in_doubt: bool,
    /// Whether that is still so at the end of this turn, without evidence.
    pub(super) doubts_on: bool,
    /// Whether an outage ended in this turn.
    ended_now: bool,
    /// Failures since the last evidence.
    failing: Failing,
    /// Netgroups of those before this turn: its input may be evidence.
    groups_before: Groups,
    /// Whether the pool says that the network is down.
    pub(super) offline: bool,
    /// How many outages have ended.
    pub(super) epoch: u64,
    probed_at: Option<Monotonic>,
    /// `offline_after`.
    window: Duration,
    /// Since when it is down in truth.
    down_since: Option<Monotonic>,
}

impl Outage {
    /// True if failures in one netgroup alone have lasted for `window`: that is no outage, their
    /// verdicts are given up, and counting begins anew.
    pub(super) fn begin_turn(&mut self, now: Monotonic, window: Duration) -> bool {
        (self.before, self.came_now, self.ended_now) = (self.evidence, false, false);
        self.window = window;
        let doubtful = |since| now >= since + window / 2;
        self.in_doubt = self.failing.since.is_some_and(doubtful);
        self.groups_before = self.failing.ever;
        let over = self.failing.since.is_some_and(|since| now >= since + window);
        let given_up = over && !is_apart(self.failing.groups);
        self.doubts_on = self.in_doubt && !given_up;
        if given_up {
            (self.failing.since, self.failing.groups) = (None, Groups::default());
        }
        given_up
    }

    /// Something failed that bears witness. After the evidence of this turn came only what is the
    /// input's `own`: deadlines come first.
    pub(super) fn on_failure(&mut self, now: Monotonic, group: Group, own: bool) {
        if self.offline || self.came_now && !own {
            return;
        }
        self.failing.since.get_or_insert(now);
        for groups in [&mut self.failing.groups, &mut self.failing.ever] {
            if *groups[0].get_or_insert(group) != group {
                groups[1].get_or_insert(group);
            }
        }
    }

    /// Whether evidence lies so near that a failure is a verdict at once.
    pub(super) fn is_near(&self, now: Monotonic, window: Duration) -> bool {
        let near = self.evidence.is_some_and(|at| now.since(at) <= window);
        near && !self.offline && !self.ended_now
    }

    pub(super) fn on_evidence(&mut self, now: Monotonic, turn: u64) {
        (self.evidence, self.evidence_turn, self.came_now) = (Some(now), turn, true);
        self.failing = Failing::default();
        self.doubts_on = false;
    }

    pub(super) fn on_network(&mut self, now: Monotonic, up: bool) {
        self.down_since = if up { None } else { Some(self.down_since.unwrap_or(now)) };
    }

    pub(super) fn on_offline(&mut self, now: Monotonic) -> Verdict {
        demand(!self.offline, Rule::Order, || "offline is told twice".to_owned())?;
        self.offline = true;
        let quiet = self.before.is_none_or(|at| now.since(at) >= self.window);
        demand(quiet, Rule::Outage, || format!("said to be offline {}", ago(self.before, now)))?;
        let apart = is_apart(self.groups_before) || is_apart(self.failing.ever);
        let text = || "said to be offline, and not two netgroups have failed".to_owned();
        demand(apart, Rule::Outage, text)?;
        self.failing = Failing::default();
        Ok(())
    }

    pub(super) fn on_online(&mut self) -> Verdict {
        demand(self.offline, Rule::Order, || "online is told, not offline".to_owned())?;
        (self.offline, self.epoch, self.ended_now) = (false, self.epoch + 1, true);
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

    pub(super) fn end_turn(&self, now: Monotonic, closed: bool) -> Verdict {
        if let Some(since) = self.failing.since.filter(|_| !closed && !self.offline) {
            let due = since + self.window + JUDGING;
            demand(now < due || !is_apart(self.failing.groups), Rule::Outage, || {
                let failing = now.since(since);
                format!("two netgroups fail for {failing:?}, and the pool does not say offline")
            })?;
        }
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
