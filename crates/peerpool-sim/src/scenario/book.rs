//! The addr book alone, under floods: whoever names most addresses wants to be picked most.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Net};
use peerpool_core::book::{Book, Source};
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};

use super::bench::{self, PORT};
use super::{Expected, Failure, Outcome, Scenario, Setting};
use crate::world::START;

pub(super) const ONE_SOURCE: Scenario = Scenario {
    name: "a1-flood-one-source",
    row: "A1",
    says: "a book of 8000 honest addresses is told of 200,000 more by sources in one /16",
    accepts: "at most 4096 of them are kept, and at most 15 % of picks among hearsay are theirs",
    expected: Expected::Pass,
    run: |setting| {
        let mut flood = Flood::new(setting, 1);
        let mut outcome = Outcome::new();
        outcome.note_count("addresses told", flood.count);
        outcome.demand_count("hostile addresses kept", flood.kept(), |kept| kept <= 4096);
        let picks = setting.of(100_000, 2000);
        let hostile = flood.picks(picks);
        outcome.note_count("picks", picks);
        outcome.demand_share("hostile picks", hostile, picks, |share| share <= 0.15);
        Ok(outcome)
    },
};

pub(super) const EIGHT_SOURCES: Scenario = Scenario {
    name: "a1-flood-eight-sources",
    row: "A1",
    says: "the same flood from eight source groups; then 10,000 restarts pick ten slots each, in \
           netgroups of their own",
    accepts: "at most 55 % of picks are hostile, and all ten in at most 0.5 % of the restarts",
    expected: Expected::Pass,
    run: |setting| {
        let mut flood = Flood::new(setting, 8);
        let mut outcome = Outcome::new();
        let picks = setting.of(100_000, 2000);
        let hostile = flood.picks(picks);
        outcome.note_count("addresses told", flood.count);
        outcome.note_count("picks", picks);
        outcome.demand_share("hostile picks", hostile, picks, |share| share <= 0.55);
        let restarts = setting.of(10_000, 200);
        let lost = (0..restarts).filter(|_| flood.restart() == SLOTS).count();
        outcome.note_count("restarts", restarts);
        outcome.demand_share("restarts lost", lost, restarts, |share| share <= 0.005);
        Ok(outcome)
    },
};

pub(super) const ANSWERING_GROUPS: Scenario = Scenario {
    name: "a1-answering-groups",
    row: "A1",
    says: "hostile addresses in 400 netgroups, which all answer, crowd a book of 8192 for 24 h \
           with twice as many as it holds",
    accepts: "none of 300 honest addresses known from experience, which still answer, is evicted \
              (all answer the test dials that decide)",
    expected: Expected::Pass,
    run: run_answering,
};

pub(super) const HOSTILE_FIRST: Scenario = Scenario {
    name: "a1-hostile-first",
    row: "A1",
    says: "the same the other way round: hostile addresses in 400 netgroups, all known from \
           experience, fill a book of 8192 before the pool hears of 300 honest ones and meets them",
    accepts: "at least 90 % of the honest ones are in the book after 24 h (as hearsay, where those \
              that they would evict answer a test dial)",
    expected: Expected::Pass,
    run: run_hostile_first,
};

/// Of the honest addresses that come to a full book, the share that must find a place in a day.
const KEPT: f64 = 0.9;
/// Slots of a pool, as in Core.
const SLOTS: usize = 10;
/// Honest addresses, and the netgroups they live in.
const HONEST: usize = 8000;
const HONEST_GROUPS: usize = 2000;
/// Netgroups that a flood names addresses in: one can name what is not one's own.
const FLOODED_GROUPS: usize = 10_000;
const FLOOD: usize = 200_000;
const FLOOD_LEAST: usize = 20_000;
const NETS: [Net; 1] = [Net::Ipv4];
const HOUR: Duration = Duration::from_secs(3600);

fn at(mono: Duration) -> Now {
    Now { mono: Monotonic::new(mono), unix: START + mono }
}

fn honest(number: usize) -> Address {
    bench::address(number % HONEST_GROUPS, number / HONEST_GROUPS + 1)
}

fn hostile(number: usize) -> Address {
    bench::address(HONEST_GROUPS + number % FLOODED_GROUPS, number / FLOODED_GROUPS + 1)
}

/// A book that was flooded.
struct Flood {
    book: Book,
    honest_groups: BTreeSet<NetGroup>,
    rng: Rng,
    count: usize,
}

impl Flood {
    /// Honest addresses come first, as old as fresh hearsay is, and then the flood, seen just now.
    fn new(setting: &Setting, source_groups: usize) -> Self {
        let mut rng = Rng::from_u64(setting.seed);
        let mut book = Book::new(&Policy::default(), PORT, &NETS, &mut rng);
        let (now, services) = (at(Duration::ZERO), bench::services());
        let mut hear = |address, seen: UnixTime, source: Address, rng: &mut Rng| {
            book.hear(now, address, services, seen, Source::Peer(source), rng);
        };
        for number in 0..HONEST {
            let seen = now.unix - rng.between(Duration::ZERO, HOUR * 2);
            let source = honest(rng.below(HONEST));
            hear(honest(number), seen, source, &mut rng);
        }
        let count = setting.of(FLOOD, FLOOD_LEAST);
        for number in 0..count {
            let group = HONEST_GROUPS + FLOODED_GROUPS + number % source_groups;
            let source = bench::address(group, number / source_groups % 256);
            hear(hostile(number), now.unix, source, &mut rng);
        }
        let honest_groups = (0..HONEST_GROUPS).map(|group| NetGroup::of(&honest(group).host));
        Self { book, honest_groups: honest_groups.collect(), rng, count }
    }

    fn kept(&self) -> usize {
        (0..self.count).filter(|&number| self.book.source(&hostile(number)).is_some()).count()
    }

    fn is_hostile(&self, address: &Address) -> bool {
        !self.honest_groups.contains(&NetGroup::of(&address.host))
    }

    fn pick(&mut self) -> Option<Address> {
        self.book.select(at(Duration::ZERO), &NETS, ServiceFlags::NONE, &mut self.rng)
    }

    /// Hostile ones among so many picks.
    fn picks(&mut self, count: usize) -> usize {
        (0..count).filter(|_| self.pick().is_some_and(|at| self.is_hostile(&at))).count()
    }

    /// Hostile ones among the slots of a pool that starts anew.
    fn restart(&mut self) -> usize {
        let mut groups = BTreeSet::new();
        let mut hostile = 0;
        for _ in 0..SLOTS {
            let Some(address) = self.pick() else { break };
            hostile += usize::from(self.is_hostile(&address));
            let group = NetGroup::of(&address.host);
            self.book.set_closed(group, true);
            groups.insert(group);
        }
        for group in groups {
            self.book.set_closed(group, false);
        }
        hostile
    }
}

/// Room in a book that is crowded, and the honest addresses that want to be in it.
const ROOM: usize = 8192;
const KNOWN: usize = 300;

/// A book that addresses come to know from experience.
struct Crowd {
    book: Book,
    rng: Rng,
}

impl Crowd {
    fn new(setting: &Setting) -> Self {
        let policy = Policy { max_addresses: ROOM, ..Policy::default() };
        let mut rng = Rng::from_u64(setting.seed);
        Self { book: Book::new(&policy, PORT, &NETS, &mut rng), rng }
    }

    /// An address is heard of, shakes hands and stays. Everybody in this file answers the test dial
    /// that a book may want before it evicts somebody.
    fn meet(&mut self, now: Now, address: Address) {
        let Self { book, rng } = self;
        let source = Source::Peer(bench::address(HONEST_GROUPS, 1));
        book.advance(now);
        book.hear(now, address, bench::services(), now.unix, source, rng);
        book.on_ready(now, address, bench::services());
        book.on_proven(now, address);
        if let Some(tested) = book.select_test(rng) {
            book.on_ready(now, tested, bench::services());
            book.on_proven(now, tested);
        }
    }

    /// So many hostile addresses in 400 netgroups.
    fn meet_hostile(&mut self, count: usize, over: Duration) {
        const GROUPS: usize = 400;
        for number in 0..count {
            let (group, host) = (number % GROUPS, number / GROUPS);
            let address = bench::address(HONEST_GROUPS + 1 + group, host + 1);
            self.meet(at(over * number as u32 / count as u32), address);
        }
    }

    /// Honest addresses that are in the book, and those that are known from experience.
    fn honest(&mut self) -> Result<(usize, usize), Failure> {
        let now = at(HOUR * 24);
        self.book.advance(now);
        self.book.check(now)?;
        let all = || (0..KNOWN).map(honest);
        let kept = all().filter(|address| self.book.source(address).is_some()).count();
        Ok((kept, all().filter(|address| self.book.backs_off(now, address)).count()))
    }
}

fn run_answering(setting: &Setting) -> Result<Outcome, Failure> {
    let mut crowd = Crowd::new(setting);
    for number in 0..KNOWN {
        crowd.meet(at(Duration::ZERO), honest(number));
    }
    crowd.meet_hostile(2 * ROOM, HOUR * 24);
    let (_, known) = crowd.honest()?;
    let mut outcome = Outcome::new();
    outcome.demand_count("honest addresses evicted", KNOWN - known, |evicted| evicted == 0);
    outcome.note_count("addresses in the book", crowd.book.len());
    Ok(outcome)
}

fn run_hostile_first(setting: &Setting) -> Result<Outcome, Failure> {
    let mut crowd = Crowd::new(setting);
    crowd.meet_hostile(2 * ROOM, HOUR * 12);
    let before = crowd.book.len();
    for number in 0..KNOWN {
        crowd.meet(at(HOUR * 12 + HOUR * 12 * number as u32 / KNOWN as u32), honest(number));
    }
    let (kept, known) = crowd.honest()?;
    let mut outcome = Outcome::new();
    outcome.demand_count("addresses in the book before", before, |before| before > KNOWN);
    outcome.demand_share("honest addresses kept", kept, KNOWN, |share| share >= KEPT);
    outcome.note_count("known from experience", known);
    Ok(outcome)
}
