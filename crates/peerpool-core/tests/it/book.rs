//! The addr book against a naive model that scans: random operations, both clocks jumping.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Host, Net};
use peerpool_core::banned::Subnet;
use peerpool_core::book::{Book, Heard, Source};
use peerpool_core::id::BurnReason;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use proptest::prelude::*;

use crate::script::{SERVICES, START, address};

const NETS: [Net; 2] = [Net::Ipv4, Net::Ipv6];
/// Netgroups, hosts in each, ports of each.
const SHAPE: [usize; 3] = [3, 2, 2];

#[derive(Clone, Copy, Debug)]
enum Op {
    Hear {
        who: usize,
        age: u64,
    },
    AddManual(usize),
    SetInUse(usize, bool),
    Ready(usize),
    Proven(usize),
    Burn(usize, bool),
    Hold(usize),
    BackOff(usize, bool),
    Settle,
    Recover,
    GiveUp,
    SetClosed(usize, bool),
    /// A subnet, and for how many seconds.
    Ban(usize, u64),
    Unban(usize),
    /// A host, and for how many seconds.
    Discourage(usize, u64),
    /// Seconds on the monotonic clock, and on the unix clock.
    Advance(u64, i64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = || 0..SHAPE.iter().product::<usize>();
    let span = || prop_oneof![0u64..120, 0u64..20_000, 0u64..400_000];
    let op = prop_oneof![
        6 => (who(), span()).prop_map(|(who, age)| Op::Hear { who, age }),
        1 => who().prop_map(Op::AddManual),
        4 => (who(), any::<bool>()).prop_map(|(who, on)| Op::SetInUse(who, on)),
        2 => who().prop_map(Op::Ready),
        2 => who().prop_map(Op::Proven),
        2 => (who(), prop::bool::weighted(0.1)).prop_map(|(who, own)| Op::Burn(who, own)),
        2 => who().prop_map(Op::Hold),
        3 => (who(), any::<bool>()).prop_map(|(who, failed)| Op::BackOff(who, failed)),
        1 => Just(Op::Settle),
        1 => Just(Op::Recover),
        1 => Just(Op::GiveUp),
        2 => (0..SHAPE[0], any::<bool>()).prop_map(|(group, on)| Op::SetClosed(group, on)),
        2 => (0..SUBNETS.len(), 1u64..20_000).prop_map(|(which, secs)| Op::Ban(which, secs)),
        1 => (0..SUBNETS.len()).prop_map(Op::Unban),
        1 => (who(), 1u64..20_000).prop_map(|(who, secs)| Op::Discourage(who, secs)),
        4 => (span(), span()).prop_map(|(mono, unix)| Op::Advance(mono, unix as i64)),
        // The book is promised that no clock goes back by less.
        1 => (span(), span()).prop_map(|(mono, unix)| Op::Advance(mono, -601 - unix as i64)),
    ];
    prop::collection::vec(op, 1..120)
}

fn subnet(which: usize) -> Subnet {
    SUBNETS[which].parse().expect("a subnet")
}

fn nth(who: usize) -> Address {
    let (port, host, group) = (who % 2, who / 2 % 2, who / 4);
    address(&format!("11.{}.1.{}:{}", group + 1, host + 1, 8333 + port))
}

/// What is banned: of one netgroup a host, half and all of it, and of all a half.
const SUBNETS: [&str; 5] = ["11.1.1.1", "11.1.0.0/17", "11.1.0.0/16", "11.2.0.0/15", "11.1.1.2"];

/// Whether a host is in the subnet of this number.
fn is_in(which: usize, host: &Host) -> bool {
    let Host::Ipv4(ip) = host else { return false };
    let [_, group, _, host] = ip.octets();
    match which {
        0 => (group, host) == (1, 1),
        1 | 2 => group == 1,
        3 => group > 1,
        _ => (group, host) == (1, 2),
    }
}

#[derive(Clone, Debug, Default)]
struct Known {
    seen: u64,
    manual: bool,
    success: Option<u64>,
    failures: u32,
    strikes: u32,
    /// The back-off ends between these two.
    rests: Option<(Duration, Duration)>,
    verdict: Option<Duration>,
}

impl Known {
    fn is_unsure(&self, mono: Duration) -> bool {
        self.rests.is_some_and(|(from, to)| (from..to).contains(&mono))
    }
}

#[derive(Debug, Default)]
struct Model {
    mono: Duration,
    unix: u64,
    policy: Policy,
    known: BTreeMap<Address, Known>,
    burned: BTreeMap<Address, (Duration, bool)>,
    in_use: BTreeSet<Address>,
    closed: BTreeSet<NetGroup>,
    /// Until when, by the number of the subnet.
    bans: BTreeMap<usize, u64>,
    discouraged: BTreeMap<Host, Duration>,
}

impl Model {
    fn is_banned(&self, host: &Host) -> bool {
        self.bans.keys().any(|which| is_in(*which, host))
    }

    fn is_barred(&self, host: &Host) -> bool {
        self.is_banned(host) || self.discouraged.contains_key(host)
    }

    fn burn(&mut self, who: Address, own: bool) {
        let manual = self.known.get(&who).is_some_and(|known| known.manual);
        if own || !manual {
            self.known.remove(&who);
        }
        self.burned.insert(who, (self.mono, own));
    }

    fn back_off(&mut self, who: Address, failed: bool) {
        let (mono, policy) = (self.mono, &self.policy);
        let Some(known) = self.known.get_mut(&who) else { return };
        let doubled = policy.backoff_min * (1 << known.strikes.min(20));
        let wait = doubled.min(policy.backoff_max);
        known.rests = Some((mono + wait.mul_f64(1.05), mono + wait.mul_f64(1.25)));
        known.strikes += 1;
        known.failures += u32::from(failed);
        known.verdict = None;
        if known.failures as usize >= policy.max_failures && !known.manual {
            (known.success, known.failures, known.strikes) = (None, 0, 0);
        }
    }

    /// Whether it may be dialled; `None`: it depends on the jitter.
    fn eligible(&self, who: &Address) -> Option<bool> {
        let known = &self.known[who];
        let used =
            |other: &Address| if known.manual { other == who } else { other.host == who.host };
        let within = |at: u64, age: Duration| self.unix < at + age.as_secs();
        let worth = known.manual
            || within(known.seen, self.policy.max_address_age)
            || known.success.is_some_and(|at| within(at, self.policy.experience_age));
        let barred =
            if known.manual { self.is_banned(&who.host) } else { self.is_barred(&who.host) };
        if !worth || barred || self.in_use.iter().any(used) || known.verdict.is_some() {
            return Some(false);
        }
        if !known.manual && self.closed.contains(&NetGroup::of(&who.host)) {
            return Some(false);
        }
        match known.rests {
            Some((from, _)) if self.mono < from => Some(false),
            Some((_, to)) if self.mono < to => None,
            _ => Some(true),
        }
    }

    fn advance(&mut self, mono: u64, unix: i64) {
        self.mono += Duration::from_secs(mono);
        let before = self.unix;
        self.unix = self.unix.saturating_add_signed(unix);
        let memory = self.policy.burn_memory;
        self.burned.retain(|_, (at, own)| *own || self.mono - *at < memory);
        self.bans.retain(|_, until| self.unix < *until);
        self.discouraged.retain(|_, until| self.mono < *until);
        if self.unix + 600 < before {
            for known in self.known.values_mut() {
                known.seen = known.seen.min(self.unix);
                known.success = known.success.map(|at| at.min(self.unix));
            }
        }
    }
}

struct Pair {
    book: Book,
    model: Model,
    rng: Rng,
}

impl Pair {
    fn now(&self) -> Now {
        Now { mono: Monotonic::new(self.model.mono), unix: UnixTime(self.model.unix) }
    }

    fn apply(&mut self, op: Op) {
        let now = self.now();
        let Self { book, model, rng } = self;
        let unix = model.unix;
        match op {
            Op::Hear { who, age } => {
                let (who, seen) = (nth(who), unix.saturating_sub(age));
                let source = Source::Peer(nth(0));
                let heard = book.hear(now, who, SERVICES, UnixTime(seen), source, rng);
                let fresh = age < model.policy.max_address_age.as_secs();
                if model.is_barred(&who.host) {
                    assert_eq!(heard, Heard::Refused, "{who}");
                } else if let Some(known) = model.known.get_mut(&who) {
                    known.seen = known.seen.max(seen).min(known.seen.max(unix));
                } else if fresh && !model.burned.contains_key(&who) {
                    // Its place may be taken.
                    if heard == Heard::New {
                        model.known.insert(who, Known { seen, ..Known::default() });
                    }
                } else {
                    assert_ne!(heard, Heard::New, "{who}");
                }
            }
            Op::AddManual(who) => {
                let who = nth(who);
                book.add_manual(now, who);
                if model.burned.get(&who).is_none_or(|(_, own)| !own) {
                    model.burned.remove(&who);
                    let known = model.known.entry(who).or_default();
                    (known.manual, known.verdict, known.rests) = (true, None, None);
                }
            }
            _ => self.apply_outcome(op),
        }
    }

    /// What became of a dial.
    fn apply_outcome(&mut self, op: Op) {
        let now = self.now();
        let Self { book, model, rng } = self;
        let (mono, unix) = (model.mono, model.unix);
        match op {
            Op::SetInUse(who, on) => {
                book.set_in_use(now, nth(who), on);
                if on {
                    model.in_use.insert(nth(who))
                } else {
                    model.in_use.remove(&nth(who))
                };
            }
            Op::Ready(who) => {
                book.on_ready(now, nth(who), SERVICES);
                if let Some(known) = model.known.get_mut(&nth(who)) {
                    (known.success, known.rests, known.verdict) = (Some(unix), None, None);
                }
            }
            Op::Proven(who) => {
                book.on_proven(now, nth(who));
                if let Some(known) = model.known.get_mut(&nth(who)) {
                    (known.success, known.failures) = (Some(unix), 0);
                }
            }
            // As in the engine: a manual address is burned only if it is ourselves.
            Op::Burn(who, own) if own || !book.is_manual(&nth(who)) => {
                let reason = if own { BurnReason::Itself } else { BurnReason::Refused };
                if !book.is_burned(&nth(who)) {
                    book.burn(now, nth(who), reason);
                    model.burn(nth(who), own);
                }
            }
            Op::Hold(who) if !book.is_manual(&nth(who)) => {
                book.hold_verdict(now, nth(who), BurnReason::TimedOut);
                if let Some(known) = model.known.get_mut(&nth(who)) {
                    known.verdict = Some(mono);
                }
            }
            Op::BackOff(who, failed) => {
                book.back_off(now, nth(who), failed, rng);
                model.back_off(nth(who), failed);
            }
            Op::Burn(..) | Op::Hold(_) => {}
            _ => self.apply_to_all(op),
        }
    }

    /// What concerns many addresses at once.
    fn apply_to_all(&mut self, op: Op) {
        let now = self.now();
        let Self { book, model, rng } = self;
        let mono = model.mono;
        match op {
            Op::Settle => {
                let age = Duration::from_secs(30);
                let burned = book.settle_verdicts(now, age);
                let held: Vec<_> = (model.known.iter())
                    .filter_map(|(who, known)| Some((*who, known.verdict?)))
                    .collect();
                let mut expected = Vec::new();
                for (who, at) in held {
                    if mono - at <= age {
                        model.burn(who, false);
                        expected.push((who, BurnReason::TimedOut));
                    } else if let Some(known) = model.known.get_mut(&who) {
                        known.verdict = None;
                    }
                }
                assert_eq!(burned, expected);
            }
            // Who may or may not rest any more, by its jitter, may or may not be forgiven.
            Op::Recover if model.known.values().any(|known| known.is_unsure(mono)) => {}
            Op::Recover => {
                book.recover(now, Duration::ZERO, rng);
                for known in model.known.values_mut() {
                    if known.rests.is_some() || known.verdict.is_some() {
                        (known.rests, known.verdict) = (None, None);
                        (known.failures, known.strikes) = (0, 0);
                    }
                }
            }
            Op::GiveUp => {
                book.give_up_verdicts(now, rng);
                for who in model.known.keys().copied().collect::<Vec<_>>() {
                    if model.known[&who].verdict.is_some() {
                        model.back_off(who, false);
                    }
                }
            }
            Op::SetClosed(group, on) => {
                let group = NetGroup::of(&nth(4 * group).host);
                book.set_closed(group, on);
                if on {
                    model.closed.insert(group)
                } else {
                    model.closed.remove(&group)
                };
            }
            Op::Advance(mono, unix) => model.advance(mono, unix),
            Op::Ban(..) | Op::Unban(_) | Op::Discourage(..) => self.apply_bar(op),
            _ => unreachable!("every operation has its arm"),
        }
    }

    /// Whom the book is to offer nobody.
    fn apply_bar(&mut self, op: Op) {
        let now = self.now();
        let Self { book, model, .. } = self;
        match op {
            Op::Ban(which, secs) => {
                let until = model.unix + secs;
                // Wider ones cover: the whole netgroup each of its parts, the half both hosts.
                let wider: &[usize] = [&[0, 1, 2][..], &[1, 2], &[2], &[3], &[4, 1, 2]][which];
                let covered = wider.iter().any(|other| model.bans.contains_key(other));
                let ban = book.ban(now, subnet(which), UnixTime(until));
                assert_eq!(ban.is_err(), covered, "{ban:?}");
                if !covered {
                    model.bans.insert(which, until);
                }
            }
            Op::Unban(which) => {
                let ended = book.unban(now, &subnet(which)).is_ok();
                assert_eq!(ended, model.bans.remove(&which).is_some());
            }
            Op::Discourage(who, secs) => {
                let (host, memory) = (nth(who).host, Duration::from_secs(secs));
                book.discourage(now, host, memory);
                let until = model.discouraged.entry(host).or_default();
                *until = (*until).max(model.mono + memory);
            }
            _ => unreachable!("every operation has its arm"),
        }
    }

    fn compare(&mut self) {
        let now = self.now();
        self.model.advance(0, 0);
        // A back-off that is over is over for good, whatever the clocks do.
        for known in self.model.known.values_mut() {
            known.rests = known.rests.filter(|(_, to)| self.model.mono < *to);
        }
        self.book.advance(now);
        let ended = self.book.end_bars(now).len();
        assert_eq!(self.book.banned().len(), self.model.bans.len(), "{ended} ended");
        let discouraged = self.book.discouraged().entries().map(|(host, _)| host);
        assert!(discouraged.eq(self.model.discouraged.keys().copied()));
        // Who made room for others was good for nothing.
        let gone = |at: &Address| self.book.source(at).is_none();
        let forgotten: Vec<_> = self.model.known.keys().copied().filter(gone).collect();
        for at in forgotten {
            assert_eq!(self.model.eligible(&at), Some(false), "{at} was forgotten");
            self.model.known.remove(&at);
        }
        self.book.check(now).expect("the book's invariants");
        let verdicts: Vec<_> = self.model.known.keys().map(|at| self.model.eligible(at)).collect();
        let sure = verdicts.iter().filter(|eligible| **eligible == Some(true)).count();
        let maybe = verdicts.iter().filter(|eligible| eligible.is_none()).count();
        let available = self.book.available();
        assert!((sure..=sure + maybe).contains(&available), "{available} of {sure}+{maybe}");
        assert_eq!(self.book.len(), self.model.known.len());
        let burned: usize = self.book.burned().values().sum();
        assert_eq!(burned, self.model.burned.len());
        for _ in 0..4 {
            let drawn = self.book.select(now, &NETS, ServiceFlags::NONE, &mut self.rng);
            for at in drawn.into_iter().chain(self.book.select_manual(&mut self.rng)) {
                assert_ne!(self.model.eligible(&at), Some(false), "{at} was drawn");
                assert!(!self.book.is_burned(&at), "{at} is burned");
                assert!(!self.model.is_banned(&at.host), "{at} is banned");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_book_is_what_a_naive_one_would_be(ops in ops(), seed in any::<u64>()) {
        let policy = Policy {
            required_services: SERVICES,
            max_address_age: Duration::from_secs(10_800),
            experience_age: Duration::from_secs(100_000),
            burn_memory: Duration::from_secs(50_000),
            max_failures: 3,
            ..Policy::default()
        };
        let mut rng = Rng::from_u64(seed);
        let book = Book::new(&policy, 8333, &NETS, &mut rng);
        let model = Model { unix: START, policy, ..Model::default() };
        let mut pair = Pair { book, model, rng };
        for op in ops {
            pair.apply(op);
            pair.compare();
        }
    }
}

#[test]
fn a_verdict_waits_though_another_port_of_its_host_is_in_use() {
    let now = |secs| Now {
        mono: Monotonic::new(Duration::from_secs(secs)),
        unix: UnixTime(START + secs),
    };
    let policy = Policy { required_services: ServiceFlags::NONE, ..Policy::default() };
    let window = policy.offline_after;
    for ends in 0..3 {
        let mut rng = Rng::from_u64(1);
        let mut book = Book::new(&policy, 8333, &NETS, &mut rng);
        let source = Source::Seed(0);
        book.hear(now(0), nth(0), SERVICES, UnixTime(START), source, &mut rng);
        book.hold_verdict(now(0), nth(0), BurnReason::Refused);
        book.set_in_use(now(0), nth(1), true);
        match ends {
            0 => assert_eq!(book.settle_verdicts(now(5), window).len(), 1),
            1 => book.give_up_verdicts(now(30), &mut rng),
            _ => book.recover(now(99), Duration::from_secs(10), &mut rng),
        }
        book.set_in_use(now(100), nth(1), false);
        book.advance(now(200));
        assert_eq!(book.known().waiting, 0);
        assert_eq!(book.available() + book.known().burned, 1);
    }
}
