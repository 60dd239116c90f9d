//! Selection: samples from the shelves, never scans.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Net};
use crate::netgroup::NetGroup;
use crate::rng::Rng;
use crate::time::{Monotonic, Now};

use super::Book;
use super::candidates::{Candidates, From};
use super::record::{Record, RecordId, ServiceClass, Shelf, Source};

impl Book {
    /// Brings shelves up to date with the clocks. The unix clock goes back by more than ten minutes
    /// or not at all: the engine evens out less.
    pub fn advance(&mut self, now: Now) {
        self.fade_burns(now);
        // By however little: whether to believe a clock is decided before.
        if now.unix < self.unix {
            self.on_clock_set_back(now);
        }
        self.unix = now.unix;
        while let Some((_, id)) = self.expiries.first().copied().filter(|e| e.0 <= now.unix) {
            self.shelve(now, id);
        }
        while let Some((_, id)) = self.retries.first().copied().filter(|e| e.0 <= now.mono) {
            // The time kept of it says the same.
            let changes = std::mem::take(&mut self.changes);
            self.update(now, id, |record| record.past.retry_at = None);
            self.changes = changes;
        }
        self.resolve_collisions(now);
    }

    /// The unix clock was wrong, or is now: nothing was seen later than now, lest what was taken
    /// in under the other time stay fresh until that time comes round; and what was too old then
    /// may not be now.
    fn on_clock_set_back(&mut self, now: Now) {
        for (_, id) in self.records.sorted() {
            self.update(now, id, |record| record.cap_times(now.unix));
        }
    }

    /// When the first back-off ends, or the next ban or discouragement.
    pub fn wake_at(&self) -> Option<Monotonic> {
        let retry = self.retries.first().map(|(at, _)| *at);
        retry.into_iter().chain(self.bars_end_at()).min()
    }

    /// Closes or opens a netgroup to selection.
    pub fn set_closed(&mut self, group: NetGroup, closed: bool) {
        if self.groups.set_closed(group, closed) {
            self.revision += 1;
            if let Some(id) = self.groups.id(group) {
                self.hearsay.set_closed(id, group, closed);
                self.experienced.set_closed(id, group, closed);
            }
        }
    }

    /// Sources whose candidates are passed over as long as others are drawn, and altogether if
    /// others are `awaited`.
    pub fn set_crowded(&mut self, sources: BTreeSet<Source>, awaited: bool) {
        self.crowded = (sources, awaited);
    }

    /// A candidate in an open netgroup on one of `nets` that offers `services`, as far as its class
    /// tells: from experience or hearsay, half and half where both have one, unless experience is
    /// enough (`enough_known`). Those that failed lately are less likely, by Core's factors, and so
    /// are those of netgroups that have many (`even_netgroups`) and of sources that have named
    /// enough (`max_source_share`): while others are awaited, nobody instead of one of these. In
    /// constant time, however many there are.
    pub fn select(
        &self,
        now: Now,
        nets: &[Net],
        services: ServiceFlags,
        rng: &mut Rng,
    ) -> Option<Address> {
        let first = match (self.experienced.has_open(nets), self.hearsay.has_open(nets)) {
            (true, true) if self.experienced.open_groups(nets) >= self.policy.enough_known => true,
            (true, true) => rng.chance(0.5),
            (experienced, _) => experienced,
        };
        let (first, second) = if first {
            (&self.experienced, &self.hearsay)
        } else {
            (&self.hearsay, &self.experienced)
        };
        let class = ServiceClass::of(services);
        self.select_of(first, now, nets, class, rng)
            .or_else(|| self.select_of(second, now, nets, class, rng))
    }

    fn select_of(
        &self,
        among: &Candidates,
        now: Now,
        nets: &[Net],
        class: ServiceClass,
        rng: &mut Rng,
    ) -> Option<Address> {
        self.draw(among, now, Among { nets, class, strict: false }, &|_| 1.0, rng)
    }

    /// A candidate, each by its chance and what else weighs.
    fn draw(
        &self,
        candidates: &Candidates,
        now: Now,
        among: Among<'_>,
        weight: &dyn Fn(&Record) -> f64,
        rng: &mut Rng,
    ) -> Option<Address> {
        let Among { nets, class, strict } = among;
        let Self { groups, sources, tables, records, .. } = self;
        let even = self.policy.even_netgroups;
        let from = From { nets, class, strict, even, groups, sources, tables, records };
        let (crowded, awaited) = &self.crowded;
        let is_crowded = |record: &Record| {
            !crowded.is_empty() && crowded.contains(self.sources.get(record.source))
        };
        let chance = |record: &Record| {
            if is_crowded(record) { 0.0 } else { chance(now.mono, record) * weight(record) }
        };
        let record = records.get(candidates.select(&from, chance, rng)?)?;
        (!awaited || !is_crowded(record)).then_some(record.address)
    }

    /// An address to find out with whether the network is up: first one that the user named or that
    /// we know from experience, since most of hearsay is dead; of those that back off, one not
    /// tried for `probe_rest`, and one after the other over that time. Then a candidate from
    /// hearsay, and then whoever rests. Always the one tried longest ago, so that probes go round:
    /// nobody is knocked at for the whole of an outage, and who returns is found within as many
    /// probes as there are addresses. Its netgroup is open, or its name manual.
    pub fn select_probe(&self, now: Now, nets: &[Net], rng: &mut Rng) -> Option<Address> {
        let open = |(_, id): &&(Option<Monotonic>, RecordId)| {
            let record = self.records.get(*id);
            record.is_some_and(|record| record.manual || !self.groups.is_closed(record.group))
        };
        let since = |at: &Option<Monotonic>| now.mono.since(at.unwrap_or_default());
        let address =
            |(_, id): &(Option<Monotonic>, RecordId)| Some(self.records.get(*id)?.address);
        let any = ServiceClass::default();
        let backing_off = self.backing_off.iter().find(open);
        // Their turns are spread over the rest, or they would all come at once, and then none.
        let rest = self.policy.probe_rest;
        let turn = rest / u32::try_from(self.backing_off.len().max(1)).unwrap_or(u32::MAX);
        let last = self.backing_off.last().map_or(rest, |(at, _)| since(at));
        let rested = backing_off.filter(|(at, _)| since(at) >= rest && last >= turn);
        let known = self
            .select_manual(rng)
            .or_else(|| self.select_of(&self.experienced, now, nets, any, rng))
            .or_else(|| address(rested?));
        if known.is_some() {
            return known;
        }
        let resting = || [backing_off, self.resting.iter().find(open)].into_iter().flatten().min();
        self.select_of(&self.hearsay, now, nets, any, rng).or_else(|| address(resting()?))
    }

    /// As [`Book::select`], and from hearsay, however much experience there is.
    pub fn select_heard(
        &self,
        now: Now,
        nets: &[Net],
        services: ServiceFlags,
        rng: &mut Rng,
    ) -> Option<Address> {
        self.select_of(&self.hearsay, now, nets, ServiceClass::of(services), rng)
    }

    /// Whether an address is said to offer all of these services, those left out of which no note is
    /// taken.
    pub fn offers(&self, address: &Address, services: ServiceFlags) -> bool {
        let services = self.meaningful(services);
        self.record(address).is_some_and(|record| record.services.has(services))
    }

    /// A candidate from experience, or, where there is none, from hearsay: for connections that are
    /// not pressing. Feelers see to it that there is experience.
    pub fn select_known(&self, now: Now, nets: &[Net], rng: &mut Rng) -> Option<Address> {
        let any = ServiceClass::default();
        self.select_of(&self.experienced, now, nets, any, rng)
            .or_else(|| self.select_of(&self.hearsay, now, nets, any, rng))
    }

    /// Whom a feeler dials: an incumbent of the tried table whose place another waits for, or else
    /// somebody from hearsay in a netgroup of which we know nobody. Where none is found, somebody
    /// we know, who may be gone; whoever fills netgroups with addresses is not met again and again.
    pub fn select_feeler(&self, now: Now, nets: &[Net], rng: &mut Rng) -> Option<Address> {
        let test = self.select_test(rng).filter(|address| nets.contains(&address.net()));
        let news = |record: &Record| {
            if self.experienced.crowd(record.group) == 0 { 1.0 } else { 0.0 }
        };
        let among = Among { nets, class: ServiceClass::default(), strict: true };
        test.or_else(|| self.draw(&self.hearsay, now, among, &news, rng))
            .or_else(|| self.select_known(now, nets, rng))
    }

    /// Whether there is an address to dial that is not resting after a failure.
    pub fn has_candidate(&self, nets: &[Net]) -> bool {
        !self.manual_due.is_empty() || nets.iter().any(|net| self.has_candidate_on(*net))
    }

    /// Whether `address` may be dialled now as one of the pool's own choice.
    pub fn is_candidate(&self, address: &Address) -> bool {
        self.record(address).is_some_and(|record| {
            matches!(record.shelf, Shelf::Experienced | Shelf::Hearsay)
                && !self.groups.is_closed(record.group)
        })
    }

    /// Whether there is a candidate on `net` that no netgroup rule holds back.
    pub fn has_candidate_on(&self, net: Net) -> bool {
        self.experienced.has_open(&[net]) || self.hearsay.has_open(&[net])
    }

    /// A manual address that may be dialled now.
    pub fn select_manual(&self, rng: &mut Rng) -> Option<Address> {
        Some(self.records.get(self.manual_due.select(rng)?)?.address)
    }

    /// An experienced address to ask for addresses: one that selection cannot reach because its
    /// netgroup is closed, and that was not asked within `addr_fetch_interval`.
    pub fn select_addr_fetch(&self, now: Now, rng: &mut Rng) -> Option<Address> {
        const DRAWS: usize = 8;
        let interval = self.policy.addr_fetch_interval;
        let drawn = (0..DRAWS).filter_map(|_| self.experienced.select_shut(rng));
        let mut records = drawn.filter_map(|id| self.records.get(id));
        let due =
            |record: &&Record| record.past.asked_at.is_none_or(|at| now.mono.since(at) >= interval);
        records.find(due).map(|record| record.address)
    }

    /// Notes that a getaddr was sent to `address`.
    pub fn note_asked(&mut self, now: Now, address: Address) {
        let Some(id) = self.id(&address) else { return };
        if let Some(record) = self.records.get_mut(id) {
            record.past.asked_at = Some(now.mono);
            self.changes.mark(address);
        }
    }
}

/// What a draw is among.
#[derive(Clone, Copy)]
struct Among<'a> {
    nets: &'a [Net],
    class: ServiceClass,
    /// Whether nobody is better than whoever has no chance.
    strict: bool,
}

/// How likely a candidate is taken when it is drawn: Core's `GetChance`.
fn chance(now: Monotonic, record: &Record) -> f64 {
    const LATELY: Duration = Duration::from_secs(600);
    const AFTER_LATELY: f64 = 0.01;
    let lately = record.tried_at().is_some_and(|at| now.since(at) < LATELY);
    let after = after_failures(record.failures);
    if lately { AFTER_LATELY * after } else { after }
}

/// What so many failures in a row leave of a chance of 1.
pub(super) fn after_failures(failures: u32) -> f64 {
    const AFTER_FAILURE: f64 = 0.66;
    const AFTER: [f64; 9] = {
        let (mut after, mut failures) = ([1.0; 9], 1);
        while failures < after.len() {
            after[failures] = after[failures - 1] * AFTER_FAILURE;
            failures += 1;
        }
        after
    };
    AFTER[(failures as usize).min(AFTER.len() - 1)]
}
