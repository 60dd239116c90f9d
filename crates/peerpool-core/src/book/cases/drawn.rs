//! Selection, samples, services, and what is restored.

use super::*;
use crate::banned::Subnet;
use crate::netgroup::{NetGroup, cores};

fn parse(text: &str) -> Address {
    text.parse().expect("an address")
}

impl World {
    fn select(&mut self, nets: &[Net]) -> Option<Address> {
        let Self { book, rng, now } = self;
        book.select(*now, nets, ServiceFlags::NONE, rng)
    }

    /// All that a number of draws yield.
    fn selected(&mut self, nets: &[Net]) -> BTreeSet<Address> {
        (0..200).filter_map(|_| self.select(nets)).collect()
    }

    fn sample(&mut self, percent: usize) -> Vec<Address> {
        self.book.sample(self.now, percent, 2500, &mut self.rng)
    }

    /// A book of the same time that is filled with what is in this one.
    fn restored(&mut self, policy: &Policy, key: [u8; 16], groups: NetGroups) -> (Self, Restored) {
        let mut other = Self::with(policy, key, groups);
        other.now = self.now;
        other.book.track_changes(true);
        let kept = self.book.take_all(self.now);
        let restored = other.book.restore(self.now, kept);
        other.check();
        (other, restored)
    }
}

// ---- selection ----

#[test]
fn nobody_is_selected_from_an_empty_book() {
    let mut world = World::new();
    assert_eq!(world.select(&NETS), None);
    assert_eq!(world.select(&[Net::Ipv6]), None);
    assert_eq!(world.book.select_feeler(world.now, &NETS, &mut world.rng), None);
    world.check();
}

/// In how many of 4000 draws a netgroup of 16 is picked, where 16 others have one address each.
/// Each address is named by a `source` of its own, so that they stand in as many buckets.
fn picks_of_a_crowd(source: impl Fn(u8) -> Source, even: bool) -> usize {
    let policy = Policy { even_netgroups: even, ..Policy::default() };
    let mut world = World::with(&policy, KEY, NetGroups::default());
    // Some find their place taken.
    let named = |world: &mut World, address: Address, by: u8| {
        world.hear_from(address, source(by)) == Heard::New
    };
    let crowd = (1..=255).filter(|n| named(&mut world, at(11, 1, 1, *n), *n)).take(16).count();
    let others = (1..=255).filter(|n| named(&mut world, at(12, *n, 1, 1), *n)).take(16).count();
    assert_eq!((crowd, others), (16, 16));
    let drawn = (0..4000).filter_map(|_| world.select(&NETS));
    drawn.filter(|address| *address < at(12, 0, 0, 0)).count()
}

#[test]
fn a_crowded_netgroup_is_as_likely_as_another_if_seeds_name_it_and_hardly_likelier_if_peers_do() {
    // One of 17 netgroups would be 235 picks, and twice that 471.
    let seeds = picks_of_a_crowd(|n| Source::Seed(n.into()), true);
    assert!((180..300).contains(&seeds), "{seeds}");
    // Of the usual size, which is 32 / 17, are 1.9 of 17.9.
    let peers = picks_of_a_crowd(|n| Source::Peer(at(100 + n, 1, 1, 1)), true);
    assert!((350..500).contains(&peers), "{peers}");
    // Half of the addresses.
    let uneven = picks_of_a_crowd(|n| Source::Seed(n.into()), false);
    assert!((1850..2150).contains(&uneven), "{uneven}");
}

#[test]
fn either_table_alone_is_selected_from() {
    let (mut world, address) = (World::new(), at(11, 1, 1, 1));
    world.hear(address);
    assert_eq!(world.select(&NETS), Some(address));
    assert!(world.is_new(address));
    world.good(address);
    assert!(world.is_tried(address));
    assert_eq!(world.select(&NETS), Some(address));
    world.check();
}

#[test]
fn both_tables_are_selected_from() {
    let mut world = World::new();
    let all: Vec<Address> = (1..=20).map(|n| at(11, n, 1, 1)).collect();
    all.iter().for_each(|it| world.hear(*it));
    all[..10].iter().for_each(|it| world.good(*it));
    // Who was dialled within ten minutes is unlikely.
    world.pass(601);
    assert_eq!(world.selected(&NETS), all.iter().copied().collect());
    let half = (0..1000).filter(|_| {
        let drawn = world.select(&NETS).expect("there are candidates");
        all[..10].contains(&drawn)
    });
    // 500, give or take five deviations of 16.
    let half = half.count();
    assert!((420..580).contains(&half), "{half}");
    world.check();
}

#[test]
fn a_network_is_selected_from_alone_and_nobody_is_where_it_has_none() {
    let mut world = World::new();
    let fourth: Vec<Address> = (1..=3).map(|n| at(11, n, 1, 1)).collect();
    let sixth = parse("[2a01:4f8::1]:8333");
    fourth.iter().for_each(|it| world.hear(*it));
    assert_eq!(world.selected(&[Net::Ipv6, Net::Onion]), BTreeSet::new());
    assert_eq!(world.selected(&[Net::Ipv4]), fourth.iter().copied().collect());
    // One in the new table though all others are tried, and the other way round.
    world.hear(sixth);
    fourth.iter().for_each(|it| world.good(*it));
    assert_eq!(world.selected(&[Net::Ipv6]), BTreeSet::from([sixth]));
    world.good(sixth);
    world.hear(at(11, 4, 1, 1));
    assert_eq!(world.selected(&[Net::Ipv6]), BTreeSet::from([sixth]));
    assert_eq!(world.selected(&[Net::Onion]), BTreeSet::new());
    // Of two tables that both have the network, both are reached.
    world.pass(601);
    let both = world.selected(&[Net::Ipv4]);
    assert!(both.contains(&at(11, 4, 1, 1)) && fourth.iter().any(|it| both.contains(it)));
    assert!(!both.contains(&sixth));
    world.check();
}

// ---- samples ----

#[test]
fn who_asks_is_named_23_percent() {
    let mut world = World::new();
    assert_eq!(world.sample(23), []);
    (1..=5).for_each(|n| world.hear(at(11, n, 1, 1)));
    world.good(at(11, 1, 1, 1));
    assert_eq!(world.sample(23).len(), 1);
    for n in 0.. {
        if world.book.len() == 2006 {
            break;
        }
        let told = at(20 + (n / 256) as u8, n as u8, 1, 1);
        world.hear_from(told, Source::Peer(told));
        if n % 8 == 0 {
            world.good(told);
        }
    }
    assert_eq!(world.sample(23).len(), 461);
    assert_eq!(world.book.sample(world.now, 23, 100, &mut world.rng).len(), 100);
    world.check();
}

#[test]
fn the_share_is_of_all_and_who_is_left_out_is_made_up_for() {
    let mut world = World::new();
    (1..=10).for_each(|n| world.hear(at(11, n, 1, 1)));
    world.pass(3 * HOUR);
    (1..=40).for_each(|n| world.hear(at(12, n, 1, 1)));
    let banned = Subnet::of(at(12, 1, 1, 1).host);
    let until = world.now.unix + Duration::from_secs(HOUR);
    world.book.ban(world.now, banned, until).expect("a ban");
    world.book.burn(world.now, at(12, 2, 1, 1), BurnReason::Refused);
    // Ten are too old, one is banned, one is gone: 49 are left in the book.
    assert_eq!((world.book.known().ineligible, world.book.len()), (10, 49));
    assert_eq!(world.sample(23).len(), 11);
    let named: BTreeSet<Address> = world.sample(100).into_iter().collect();
    assert_eq!(named, (3..=40).map(|n| at(12, n, 1, 1)).collect());
    world.check();
}

// ---- handshakes ----

#[test]
fn a_handshake_with_an_unknown_address_changes_nothing() {
    let (mut world, known, unknown) = (World::new(), at(11, 1, 1, 1), at(11, 2, 1, 1));
    world.hear(known);
    world.book.track_changes(true);
    let revision = world.book.revision();
    world.book.on_ready(world.now, unknown, services());
    world.book.on_proven(world.now, unknown);
    assert_eq!((world.book.revision(), world.book.has_changes()), (revision, false));
    assert_eq!((world.book.len(), world.book.tables.len(), world.waiting()), (1, 1, 0));
    // Another port of a host is another address.
    world.book.on_ready(world.now, Address { port: 8334, ..known }, services());
    assert!(world.is_new(known));
    world.check();
}

#[test]
fn gossip_adds_services_and_a_handshake_replaces_them() {
    let (mut world, address) = (World::new(), at(11, 1, 1, 1));
    let of = |world: &World| world.book.record(&address).expect("it is known").services;
    let mut tell = |services: ServiceFlags| {
        let World { book, rng, now } = &mut world;
        book.hear(*now, address, services, now.unix, Source::Seed(0), rng);
        of(&world)
    };
    let (filters, bloom) = (ServiceFlags::COMPACT_FILTERS, ServiceFlags::BLOOM);
    assert_eq!(tell(services()), services());
    assert_eq!(tell(services() | filters), services() | filters);
    assert_eq!(tell(bloom), services() | filters | bloom);
    assert_eq!(tell(ServiceFlags::NONE), services() | filters | bloom);
    world.book.on_ready(world.now, address, services());
    assert_eq!(of(&world), services());
    world.book.on_proven(world.now, address);
    assert_eq!(of(&world), services());
    world.hear_from(address, Source::Seed(1));
    assert_eq!(of(&world), services());
    world.check();
}

// ---- restoring ----

/// Addresses of eight autonomous systems in Core's map, half of them tried.
fn filled() -> (World, Vec<Address>) {
    let mut world = World::new();
    let all: Vec<Address> = (0..80).map(|n| at(101, 1 + n % 8, n, 1)).collect();
    for (n, address) in all.iter().enumerate() {
        assert_eq!(world.hear_from(*address, Source::Seed(n)), Heard::New);
    }
    all[..40].iter().for_each(|it| world.good(*it));
    assert!(all[..40].iter().all(|it| world.is_tried(*it)));
    (world, all)
}

#[test]
fn the_same_key_and_map_give_the_same_places() {
    let (mut world, all) = filled();
    let (other, restored) = world.restored(&Policy::default(), KEY, NetGroups::default());
    assert_eq!(restored, Restored { kept: 80, ..Restored::default() });
    assert!(all.iter().all(|it| world.places(*it) == other.places(*it)));
    let mapped = || NetGroups::with_as_map(cores());
    let (mut other, _) = world.restored(&Policy::default(), KEY, mapped());
    let (third, restored) = other.restored(&Policy::default(), KEY, mapped());
    assert_eq!(restored.kept, other.book.len());
    assert!(all.iter().all(|it| other.places(*it) == third.places(*it)));
    world.check();
}

#[test]
fn another_key_or_map_gives_other_places_and_both_tables_stay_what_they_were() {
    let (mut world, all) = filled();
    let groups = NetGroups::with_as_map(cores());
    for (key, groups) in [([8; 16], NetGroups::default()), (KEY, groups)] {
        let (other, restored) = world.restored(&Policy::default(), key, groups);
        // Two may collide now that did not.
        assert!(restored.kept >= 78, "{restored:?}");
        assert_eq!(restored.kept + restored.refused, 80);
        let same = all.iter().filter(|it| world.places(**it) == other.places(**it));
        assert!(same.count() < 4);
        let tried = all.iter().filter(|it| other.is_tried(**it)).count();
        assert!((38..=40).contains(&tried), "{tried}");
        other.check();
    }
}

#[test]
fn hearsay_makes_room_before_those_we_know() {
    let policy = Policy { max_addresses: 16, ..Policy::default() };
    let mut world = World::with(&policy, KEY, NetGroups::default());
    // Some find their place taken.
    let named = |it: &Address| world.hear_from(*it, Source::Peer(*it)) == Heard::New;
    let all: Vec<Address> = (1..=255).map(|n| at(11, 1, n, 1)).filter(named).take(16).collect();
    let known = &all[12..];
    known.iter().for_each(|it| world.good(*it));
    world.book.set_closed(NetGroup::of(&all[0].host), true);
    for n in 1..=12 {
        let newcomer = at(12, n, 1, 1);
        assert_eq!(world.hear_from(newcomer, Source::Seed(0)), Heard::New, "{newcomer}");
        // It has a peer at once, and is of no more use.
        world.book.set_closed(NetGroup::of(&newcomer.host), true);
        world.check();
    }
    assert_eq!(world.book.len(), 16);
    assert!(known.iter().all(|it| world.is_tried(*it)));
}

#[test]
fn whatever_order_they_come_back_in_all_find_a_place() {
    let mut world = World::new();
    let World { book, rng, now } = &mut world;
    let wanted = Policy::default().required_services;
    for n in 0..30_000_u32 {
        let [a, b, c] = [20 + n % 100, n / 100 % 250, n / 25_000].map(|byte| byte as u8);
        book.import(*now, at(a, b, c, 4), wanted, now.unix, rng);
    }
    let kept = world.book.len();
    assert!(kept > 20_000, "{kept}");
    let (other, restored) = world.restored(&Policy::default(), KEY, NetGroups::default());
    assert_eq!((restored.kept, restored.refused), (kept, 0));
    other.check();
}

#[test]
fn what_the_rules_refuse_now_vanishes() {
    let lenient = Policy { allow_unroutable: true, ..Policy::default() };
    let mut world = World::with(&lenient, KEY, NetGroups::default());
    let good = [at(11, 1, 1, 1), at(11, 2, 1, 1)];
    let bad = [at(10, 1, 1, 1), at(127, 0, 0, 1), parse("[fe80::1]:8333")];
    good.into_iter().chain(bad).for_each(|it| world.hear(it));
    world.good(good[0]);
    world.good(bad[0]);
    let (mut other, restored) = world.restored(&Policy::default(), KEY, NetGroups::default());
    assert_eq!(restored, Restored { kept: 2, refused: 3, ..Restored::default() });
    assert!(other.is_tried(good[0]) && other.is_new(good[1]) && other.book.len() == 2);
    // They are to be forgotten where they were kept, too.
    let gone = other.book.take_changes(other.now);
    assert!(gone.iter().all(Change::is_gone));
    let gone: BTreeSet<Address> = gone.into_iter().map(|change| change.address).collect();
    assert_eq!(gone, BTreeSet::from(bad));
    other.check();
}
