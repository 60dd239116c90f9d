//! Whether the network is up. Evidence is an established connection or bytes read; never a
//! refusal, which a dead router gives too, and never a DNS answer, which a cache gives.

use std::time::Duration;

use crate::netgroup::NetGroup;
use crate::time::Monotonic;

/// Evidence for and against.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    last: Option<Monotonic>,
    /// The first failure since the last evidence.
    failing_since: Option<Monotonic>,
    /// Two netgroups with a failure since then; two are enough.
    failing: [Option<NetGroup>; 2],
    offline: bool,
}

impl Evidence {
    /// Whether the network is taken to be down.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Whether there was evidence within `window`.
    pub fn is_recent(&self, now: Monotonic, window: Duration) -> bool {
        !self.offline && self.last.is_some_and(|last| now.since(last) <= window)
    }

    /// Evidence came. Returns whether it ends an outage.
    pub fn on_evidence(&mut self, now: Monotonic) -> bool {
        self.last = Some(now);
        self.failing_since = None;
        self.failing = [None; 2];
        std::mem::take(&mut self.offline)
    }

    /// A dial failed, for whatever reason.
    pub fn on_failure(&mut self, now: Monotonic, group: NetGroup) {
        self.failing_since.get_or_insert(now);
        let [first, second] = &mut self.failing;
        if first.get_or_insert(group) != &group {
            second.get_or_insert(group);
        }
    }

    /// The first failure since the last evidence, unless the outage is known. Whether this is one
    /// is judged `offline_after` later, not as long after the last evidence: a quiet pool hears
    /// nothing for longer than that.
    pub fn failing_since(&self) -> Option<Monotonic> {
        self.failing_since.filter(|_| !self.offline)
    }

    /// Judges: failures in two netgroups and no evidence are an outage. Otherwise counting starts
    /// anew.
    pub fn judge(&mut self) -> bool {
        self.offline = self.failing[1].is_some();
        if !self.offline {
            self.failing_since = None;
            self.failing = [None; 2];
        }
        self.offline
    }
}
