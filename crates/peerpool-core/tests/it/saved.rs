//! What the book keeps across runs: its changes, written to a naive map one after the other, are at
//! any time what the book knows, and another book filled from the map knows the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerpool_core::address::{Address, Host, Net};
use peerpool_core::book::{Book, Change, Saved, Source};
use peerpool_core::id::BurnReason;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use proptest::prelude::*;

use crate::script::{SERVICES, START};

const NETS: [Net; 2] = [Net::Ipv4, Net::Ipv6];
const KEY: [u8; 16] = *b"any key will do.";
/// A shell starts its clock so late that what it read can be put before that.
const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

#[derive(Clone, Copy, Debug)]
enum Op {
    Hear(usize, usize, u64),
    AddManual(usize),
    SetInUse(usize, bool),
    Ready(usize),
    Proven(usize),
    Burn(usize, bool),
    Hold(usize),
    BackOff(usize, bool),
    Asked(usize),
    Anchor(usize, bool),
    Settle,
    Recover,
    /// Seconds on both clocks.
    Advance(u64),
    /// Seconds back on the unix clock.
    SetBack(u64),
    /// What changed is written.
    Save,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = || 0..40usize;
    let span = || prop_oneof![0u64..120, 0u64..20_000, 0u64..400_000];
    let op = prop_oneof![
        8 => (who(), who(), span()).prop_map(|(who, from, age)| Op::Hear(who, from, age)),
        1 => who().prop_map(Op::AddManual),
        4 => (who(), any::<bool>()).prop_map(|(who, on)| Op::SetInUse(who, on)),
        3 => who().prop_map(Op::Ready),
        2 => who().prop_map(Op::Proven),
        2 => (who(), prop::bool::weighted(0.1)).prop_map(|(who, own)| Op::Burn(who, own)),
        2 => who().prop_map(Op::Hold),
        3 => (who(), any::<bool>()).prop_map(|(who, failed)| Op::BackOff(who, failed)),
        1 => who().prop_map(Op::Asked),
        2 => (who(), any::<bool>()).prop_map(|(who, on)| Op::Anchor(who, on)),
        1 => Just(Op::Settle),
        1 => Just(Op::Recover),
        4 => span().prop_map(Op::Advance),
        1 => span().prop_map(|span| Op::SetBack(601 + span)),
        4 => Just(Op::Save),
    ];
    prop::collection::vec(op, 1..150)
}

fn nth(who: usize) -> Address {
    let (host, group) = ((who % 4) as u8, (who / 4) as u8);
    Address { host: Host::Ipv4([11, group + 1, 1, host + 1].into()), port: 8333 }
}

struct World {
    book: Book,
    rng: Rng,
    now: Now,
    /// The clocks were set apart: times of the one that are told in the other moved.
    set_back: bool,
    written: BTreeMap<Address, Change>,
}

impl World {
    fn new(policy: &Policy, seed: u64, now: Now) -> Self {
        let mut rng = Rng::from_u64(seed);
        let mut book = Book::new(policy, 8333, &NETS, &mut rng);
        book.set_key(KEY);
        book.track_changes(true);
        Self { book, rng, now, set_back: false, written: BTreeMap::new() }
    }

    fn apply(&mut self, op: Op) {
        let Self { book, rng, now, .. } = self;
        let now = *now;
        match op {
            Op::Hear(who, from, age) => {
                let source = match from % 4 {
                    0 => Source::Seed(from),
                    1 => Source::Import,
                    _ => Source::Peer(nth(from)),
                };
                book.hear(
                    now,
                    nth(who),
                    SERVICES,
                    now.unix - Duration::from_secs(age),
                    source,
                    rng,
                );
            }
            Op::AddManual(who) => book.add_manual(now, nth(who)),
            Op::SetInUse(who, on) => book.set_in_use(now, nth(who), on),
            Op::Ready(who) => book.on_ready(now, nth(who), SERVICES),
            Op::Proven(who) => book.on_proven(now, nth(who)),
            Op::Burn(who, true) => book.burn(now, nth(who), BurnReason::Itself),
            Op::Burn(who, _) if book.is_manual(&nth(who)) => {}
            Op::Burn(who, _) => book.burn(now, nth(who), BurnReason::Refused),
            Op::Hold(who) if book.is_manual(&nth(who)) => {}
            Op::Hold(who) => book.hold_verdict(now, nth(who), BurnReason::TimedOut),
            Op::BackOff(who, failed) => {
                book.back_off(now, nth(who), failed, rng);
            }
            Op::Asked(who) => book.note_asked(now, nth(who)),
            Op::Anchor(who, on) => book.set_anchor(nth(who), on),
            Op::Settle => {
                book.settle_verdicts(now, Duration::from_secs(30));
            }
            Op::Recover => book.recover(now, Duration::from_secs(10), rng),
            Op::Advance(span) => {
                self.now.mono = now.mono + Duration::from_secs(span);
                self.now.unix = now.unix + Duration::from_secs(span);
                self.book.advance(self.now);
            }
            Op::SetBack(span) => {
                self.now.unix = now.unix - Duration::from_secs(span);
                self.set_back = true;
                self.book.advance(self.now);
            }
            Op::Save => self.save(),
        }
    }

    /// Writes what changed to the map, and holds the map against the book.
    fn save(&mut self) {
        self.book.advance(self.now);
        for change in self.book.take_changes(self.now) {
            if change.is_gone() {
                self.written.remove(&change.address);
            } else {
                self.written.insert(change.address, change);
            }
        }
        assert!(!self.book.has_changes());
        let mut copy = self.book.clone();
        let all = self.plain(copy.take_all(self.now));
        assert_eq!(self.plain(self.written.values().copied()), all);
    }

    /// What is equal in what was written then and what would be now.
    fn plain(&self, all: impl IntoIterator<Item = Change>) -> Vec<Change> {
        let now = self.now.unix;
        let plain = |mut change: Change| {
            if let Some(kept) = &mut change.kept {
                kept.retry_at = kept.retry_at.filter(|at| *at > now);
                if self.set_back {
                    (kept.retry_at, kept.tried_at, kept.asked_at) = (None, None, None);
                }
            }
            if let Some((at, _)) = change.burned.as_mut().filter(|_| self.set_back) {
                *at = UnixTime(0);
            }
            change
        };
        all.into_iter().map(plain).collect()
    }
}

/// What a book is to know of an address after it was filled.
fn expected(policy: &Policy, now: Now, saved: &Saved) -> Saved {
    let cap = |at: UnixTime| at.min(now.unix);
    let longest = now.unix + policy.backoff_max.mul_f64(1.25);
    Saved {
        heard_at: cap(saved.heard_at),
        last_seen: cap(saved.last_seen),
        last_success: saved.last_success.map(cap),
        retry_at: saved.retry_at.filter(|at| *at > now.unix).map(|at| at.min(longest)),
        tried_at: saved.tried_at.map(cap),
        asked_at: saved.asked_at.map(cap),
        ..*saved
    }
}

/// Fills a book from what was written, some time later, and compares.
fn restore(world: &World, policy: &Policy, later: u64) {
    let unix = world.now.unix + Duration::from_secs(later);
    let now = Now { mono: Monotonic::new(YEARS), unix };
    let mut other = World::new(policy, 7, now);
    let restored = other.book.restore(now, world.written.values().copied().collect());
    other.book.check(now).expect("the book's invariants");
    let refused: BTreeSet<Address> =
        other.book.take_changes(now).iter().map(|change| change.address).collect();
    assert_eq!(refused.len(), restored.refused);
    let all: BTreeMap<Address, Change> =
        other.book.take_all(now).into_iter().map(|change| (change.address, change)).collect();
    for (address, change) in &world.written {
        let found = all.get(address);
        if let Some((at, reason)) = change.burned {
            let fresh = now.unix.since(at) < policy.burn_memory || reason == BurnReason::Itself;
            let expected = fresh.then_some((at.min(now.unix), reason));
            assert_eq!(found.and_then(|found| found.burned), expected, "{address}");
            continue;
        }
        let saved = change.kept.expect("it is kept or burned");
        match found.and_then(|found| found.kept) {
            // Its place in the tried table may be another's by now.
            Some(kept) => {
                let tried = kept.tried;
                assert!(!tried || saved.tried);
                assert_eq!(kept, Saved { tried, ..expected(policy, now, &saved) });
            }
            None => assert!(refused.contains(address), "{address} is lost, and nobody is told"),
        }
    }
    assert!(all.keys().all(|address| world.written.contains_key(address)));
    assert_eq!((other.book.len(), restored.elsewhere), (restored.kept, 0));
}

fn policy() -> Policy {
    Policy {
        required_services: SERVICES,
        max_address_age: Duration::from_secs(10_800),
        experience_age: Duration::from_secs(100_000),
        burn_memory: Duration::from_secs(50_000),
        max_failures: 3,
        max_burned: 16,
        max_addresses: 32,
        ..Policy::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_what_the_book_knows(ops in ops(), seed in any::<u64>(), later in 0u64..200_000) {
        let policy = policy();
        let start = Now { mono: Monotonic::new(YEARS), unix: UnixTime(START) };
        let mut world = World::new(&policy, seed, start);
        for op in ops {
            world.apply(op);
            world.book.check(world.now).expect("the book's invariants");
        }
        world.save();
        restore(&world, &policy, later);
    }
}

fn roomy() -> Policy {
    Policy { required_services: SERVICES, ..Policy::default() }
}

fn random(rng: &mut Rng) -> Address {
    let [a, b, c, d, ..] = rng.u64().to_le_bytes();
    Address { host: Host::Ipv4([a % 9 + 1, b, c, d].into()), port: 8333 }
}

#[test]
fn a_full_book_finds_its_places_again_and_what_does_not_is_told() {
    let (policy, now) = (roomy(), Now { mono: Monotonic::new(YEARS), unix: UnixTime(START) });
    let mut world = World::new(&policy, 1, now);
    let mut rng = Rng::from_u64(2);
    let peers: Vec<Address> = (0..400).map(|_| random(&mut rng)).collect();
    while world.book.len() < 40_000 {
        let address = random(&mut rng);
        for age in (0..1 + rng.below(8) as u64).rev() {
            let source = Source::Peer(peers[rng.below(peers.len())]);
            let seen = now.unix - Duration::from_secs(age);
            world.book.hear(now, address, SERVICES, seen, source, &mut rng);
        }
        if rng.chance(0.05) {
            world.book.on_ready(now, address, SERVICES);
        }
    }
    world.save();
    let kept: Vec<Change> = world.written.values().copied().collect();
    let mut other = World::new(&policy, 3, now);
    let restored = other.book.restore(now, kept);
    other.book.check(now).expect("the book's invariants");
    assert_eq!(restored.kept + restored.refused, world.written.len());
    // Of those that stand in several places it is not known which are left to them.
    assert!(restored.refused * 12 < world.written.len(), "{restored:?}");
    let tried = |world: &mut World| {
        let all = world.book.take_all(now);
        all.iter().filter(|change| change.kept.is_some_and(|kept| kept.tried)).count()
    };
    assert_eq!(tried(&mut other), tried(&mut world));
}

#[test]
fn what_does_not_change_is_not_told_again() {
    let now = Now { mono: Monotonic::new(YEARS), unix: UnixTime(START) };
    let policy = roomy();
    let mut world = World::new(&policy, 1, now);
    let mut rng = Rng::from_u64(1);
    let (who, group) = (nth(0), peerpool_core::netgroup::NetGroup::of(&nth(0).host));
    let source = Source::Seed(0);
    world.book.hear(now, who, SERVICES, now.unix, source, &mut rng);
    assert_eq!(world.book.take_changes(now).len(), 1);
    world.book.hear(now, who, SERVICES, now.unix, source, &mut rng);
    world.book.set_closed(group, true);
    world.book.set_in_use(now, nth(1), true);
    world.book.hold_verdict(now, who, BurnReason::Refused);
    world.book.advance(now);
    assert!(!world.book.has_changes());
    world.book.track_changes(false);
    world.book.burn(now, who, BurnReason::Refused);
    assert!(!world.book.has_changes() && world.book.take_changes(now).is_empty());
}

#[test]
fn networks_that_are_not_kept_now_are_left_for_later() {
    let now = Now { mono: Monotonic::new(YEARS), unix: UnixTime(START) };
    let policy = roomy();
    let mut world = World::new(&policy, 1, now);
    world.book.hear(now, nth(0), SERVICES, now.unix, Source::Seed(0), &mut Rng::from_u64(1));
    let mut kept = world.book.take_changes(now);
    let onion = Address { host: Host::Onion([7; 32]), port: 8333 };
    let saved = kept[0].kept.expect("it is in the book");
    let there =
        Change { address: onion, kept: Some(Saved { address: onion, ..saved }), burned: None };
    kept.push(there);
    let mut other = World::new(&policy, 2, now);
    let restored = other.book.restore(now, kept);
    assert_eq!((restored.kept, restored.elsewhere, restored.refused), (1, 1, 0));
    assert!(!other.book.has_changes());
}
