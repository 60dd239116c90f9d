//! Selection: samples from the shelves, never scans.

use crate::address::{Address, Net};
use crate::netgroup::NetGroup;
use crate::rng::Rng;
use crate::time::{Monotonic, Now};

use super::{Book, TOLERANCE};

impl Book {
    /// Brings shelves up to date with the clocks. The unix clock goes back by more than ten minutes
    /// or not at all: the engine evens out less.
    pub fn advance(&mut self, now: Now) {
        self.revision += self.burned.fade(now.mono);
        if now.unix + TOLERANCE < self.unix {
            self.on_clock_set_back(now);
        }
        self.unix = now.unix;
        while let Some((_, address)) = self.expiries.first().copied().filter(|e| e.0 <= now.unix) {
            self.shelve(now, address);
        }
        while let Some((_, address)) = self.retries.first().copied().filter(|e| e.0 <= now.mono) {
            self.update(now, address, |record| record.retry_at = None);
        }
    }

    /// The unix clock was wrong, or is now: nothing was seen later than now, lest what was taken
    /// in under the other time stay fresh until that time comes round; and what was too old then
    /// may not be now.
    fn on_clock_set_back(&mut self, now: Now) {
        let all: Vec<Address> = self.records.keys().copied().collect();
        for address in all {
            self.update(now, address, |record| record.cap_times(now.unix));
        }
    }

    /// When the first back-off ends.
    pub fn wake_at(&self) -> Option<Monotonic> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// Closes or opens a netgroup to selection.
    pub fn set_closed(&mut self, group: NetGroup, closed: bool) {
        let changed = if closed { self.closed.insert(group) } else { self.closed.remove(&group) };
        if changed {
            self.revision += 1;
            self.hearsay.set_closed(group, closed);
            self.experienced.set_closed(group, closed);
        }
    }

    /// A candidate in an open netgroup on one of `nets`: from experience or hearsay, half and
    /// half where both have one.
    pub fn select(&self, nets: &[Net], rng: &mut Rng) -> Option<Address> {
        let first = match (self.experienced.has_open(nets), self.hearsay.has_open(nets)) {
            (true, true) => rng.chance(0.5),
            (experienced, _) => experienced,
        };
        if first { self.experienced.select(nets, rng) } else { self.hearsay.select(nets, rng) }
    }

    /// An address to find out with whether the network is up: first one that the user named or that
    /// we know from experience, since most of hearsay is dead; of those that back off, one not tried
    /// for `probe_rest`, and one after the other over that time. Then a candidate from hearsay, and
    /// then whoever rests. Always the one tried longest ago, so that probes go round: nobody is
    /// knocked at for the whole of an outage, and who returns is found within as many probes as
    /// there are addresses. Its netgroup is open, or its name manual.
    pub fn select_probe(&self, now: Now, nets: &[Net], rng: &mut Rng) -> Option<Address> {
        let open = |(_, address): &&(Monotonic, Address)| {
            self.is_manual(address) || !self.closed.contains(&NetGroup::of(&address.host))
        };
        let backing_off = self.backing_off.iter().find(open);
        // Their turns are spread over the rest, or they would all come at once, and then none.
        let rest = self.policy.probe_rest;
        let turn = rest / u32::try_from(self.backing_off.len().max(1)).unwrap_or(u32::MAX);
        let last = self.backing_off.last().map_or(rest, |(at, _)| now.mono.since(*at));
        let rested = backing_off.filter(|(at, _)| now.mono.since(*at) >= rest && last >= turn);
        let known = self.select_manual(rng).or_else(|| self.experienced.select(nets, rng));
        if let Some(address) = known.or(rested.map(|(_, address)| *address)) {
            return Some(address);
        }
        let resting = || [backing_off, self.resting.iter().find(open)].into_iter().flatten().min();
        self.hearsay.select(nets, rng).or_else(|| resting().map(|(_, address)| *address))
    }

    /// Whether there is an address to dial that is not resting after a failure.
    pub fn has_candidate(&self, nets: &[Net]) -> bool {
        !self.manual_due.is_empty()
            || self.experienced.has_open(nets)
            || self.hearsay.has_open(nets)
    }

    /// A manual address that may be dialled now.
    pub fn select_manual(&self, rng: &mut Rng) -> Option<Address> {
        self.manual_due.select(rng)
    }

    /// An experienced address to ask for addresses: one that selection cannot reach because its
    /// netgroup is closed, and that was not asked within `addr_fetch_interval`.
    pub fn select_addr_fetch(&self, now: Now, rng: &mut Rng) -> Option<Address> {
        const DRAWS: usize = 8;
        let interval = self.policy.addr_fetch_interval;
        (0..DRAWS).filter_map(|_| self.experienced.select_shut(rng)).find(|address| {
            let record = self.records.get(address);
            let asked = record.and_then(|record| record.asked_at);
            asked.is_none_or(|at| now.mono.since(at) >= interval)
        })
    }

    /// Notes that a getaddr was sent to `address`.
    pub fn note_asked(&mut self, now: Now, address: Address) {
        if let Some(record) = self.records.get_mut(&address) {
            record.asked_at = Some(now.mono);
        }
    }
}
