//! The cases of Core's addrman_tests: collisions and multiplicity here, what is drawn and what is
//! kept in a file of their own.

mod drawn;

use bitcoin::p2p::ServiceFlags;

use super::tables::Place;
use super::*;

const HOUR: u64 = 3600;
const KEY: [u8; 16] = [7; 16];
const NETS: [Net; 3] = [Net::Ipv4, Net::Ipv6, Net::Onion];

fn at(a: u8, b: u8, c: u8, d: u8) -> Address {
    Address { host: Host::Ipv4([a, b, c, d].into()), port: 8333 }
}

/// What is required of a peer.
fn services() -> ServiceFlags {
    ServiceFlags::NETWORK | ServiceFlags::WITNESS
}

/// A host of one netgroup, of which one in 512 has the tried place of any other.
fn nth(n: usize) -> Address {
    at(11, 1, (n >> 8) as u8, n as u8)
}

struct World {
    book: Book,
    rng: Rng,
    now: Now,
}

impl World {
    fn new() -> Self {
        Self::with(&Policy::default(), KEY, NetGroups::default())
    }

    fn with(policy: &Policy, key: [u8; 16], groups: NetGroups) -> Self {
        let mut rng = Rng::from_u64(1);
        let mut book = Book::with_groups(policy, 8333, &NETS, groups, &mut rng);
        book.set_key(key);
        let mono = Monotonic::new(Duration::from_secs(1_000_000));
        Self { book, rng, now: Now { mono, unix: UnixTime(1_700_000_000) } }
    }

    fn pass(&mut self, secs: u64) {
        let by = Duration::from_secs(secs);
        self.now = Now { mono: self.now.mono + by, unix: self.now.unix + by };
        self.book.advance(self.now);
    }

    fn hear_from(&mut self, address: Address, source: Source) -> Heard {
        let Self { book, rng, now } = self;
        book.hear(*now, address, services(), now.unix, source, rng)
    }

    /// It names itself.
    fn hear(&mut self, address: Address) {
        assert_eq!(self.hear_from(address, Source::Peer(address)), Heard::New, "{address}");
    }

    /// A handshake is done, and the connection closed.
    fn good(&mut self, address: Address) {
        self.book.set_in_use(self.now, address, true);
        self.book.on_ready(self.now, address, services());
        self.book.set_in_use(self.now, address, false);
    }

    fn hear_good(&mut self, address: Address) {
        self.hear(address);
        self.good(address);
    }

    /// It is dialled, and does not answer.
    fn fail(&mut self, address: Address) {
        self.book.set_in_use(self.now, address, true);
        self.book.set_in_use(self.now, address, false);
        self.book.back_off(self.now, address, true, &mut self.rng);
    }

    fn places(&self, address: Address) -> Vec<Place> {
        self.book.record(&address).map(|record| record.places().to_vec()).unwrap_or_default()
    }

    fn is_tried(&self, address: Address) -> bool {
        self.places(address) == [self.book.tables.tried_place(&address)]
    }

    /// Whether it stands in the new table and nowhere else.
    fn is_new(&self, address: Address) -> bool {
        let places = self.places(address);
        !places.is_empty() && places.iter().all(|place| !place.is_tried())
    }

    fn waiting(&self) -> usize {
        self.book.collisions.ids().count()
    }

    /// So many addresses that have one tried place, and that do not collide in the new table.
    fn rivals<const N: usize>(&self) -> [Address; N] {
        let tables = &self.book.tables;
        let (place, mut new) = (tables.tried_place(&nth(1)), BTreeSet::new());
        let mut rivals = (1..65_536).map(nth).filter(|rival| {
            let own = tables.new_place(rival, &Source::Peer(*rival));
            tables.tried_place(rival) == place && new.insert(own)
        });
        std::array::from_fn(|_| rivals.next().expect("one in 512"))
    }

    /// An incumbent whose last success is five hours ago, and who challenges it just now.
    fn stale() -> (Self, [Address; 2]) {
        let mut world = Self::new();
        let [incumbent, challenger] = world.rivals();
        world.hear_good(incumbent);
        world.pass(5 * HOUR);
        world.hear_good(challenger);
        assert!(world.is_tried(incumbent) && world.is_new(challenger));
        assert_eq!(world.waiting(), 1);
        (world, [incumbent, challenger])
    }

    fn check(&self) {
        self.book.check(self.now).expect("the book's invariants");
    }
}

// ---- collisions ----

#[test]
fn an_incumbent_that_was_good_within_four_hours_is_kept() {
    let mut world = World::new();
    let [incumbent, challenger] = world.rivals();
    world.hear_good(incumbent);
    world.pass(4 * HOUR - 1);
    world.hear_good(challenger);
    assert_eq!(world.waiting(), 1);
    world.pass(0);
    assert_eq!(world.waiting(), 0);
    world.pass(HOUR);
    assert!(world.is_tried(incumbent) && world.is_new(challenger));
    world.check();
}

#[test]
fn an_incumbent_that_failed_its_test_is_replaced_and_back_in_the_new_table() {
    let (mut world, [incumbent, challenger]) = World::stale();
    world.pass(10);
    // A feeler tests it.
    let tested = world.book.select_feeler(world.now, &NETS, &mut world.rng);
    assert_eq!(tested, Some(incumbent));
    world.fail(incumbent);
    world.pass(59);
    assert!(world.is_tried(incumbent) && world.waiting() == 1);
    world.pass(2);
    assert!(world.is_tried(challenger) && world.waiting() == 0);
    let back = world.book.tables.new_place(&incumbent, &Source::Peer(incumbent));
    assert_eq!(world.places(incumbent), [back]);
    world.check();
}

#[test]
fn an_incumbent_that_is_not_tested_is_replaced_after_40_minutes() {
    let (mut world, [incumbent, challenger]) = World::stale();
    world.pass(40 * 60);
    assert!(world.is_tried(incumbent) && world.waiting() == 1);
    world.pass(1);
    assert!(world.is_new(incumbent) && world.is_tried(challenger));
    assert_eq!(world.waiting(), 0);
    world.check();
}

#[test]
fn an_incumbent_that_answers_its_test_is_kept() {
    let (mut world, [incumbent, challenger]) = World::stale();
    world.pass(10);
    world.good(incumbent);
    world.pass(61);
    assert_eq!(world.waiting(), 0);
    world.pass(HOUR);
    assert!(world.is_tried(incumbent) && world.is_new(challenger));
    world.check();
}

#[test]
fn an_incumbent_in_use_is_never_displaced() {
    let (mut world, [incumbent, challenger]) = World::stale();
    world.book.set_in_use(world.now, incumbent, true);
    world.pass(HOUR);
    assert!(world.is_tried(incumbent) && world.is_new(challenger));
    world.good(challenger);
    world.pass(HOUR);
    assert!(world.is_tried(incumbent) && world.is_new(challenger));
    world.check();
}

#[test]
fn ten_challengers_wait_at_most_and_one_of_them_gets_the_place() {
    let mut world = World::new();
    let [incumbent, challengers @ ..] = world.rivals::<13>();
    world.hear_good(incumbent);
    world.pass(5 * HOUR);
    for (n, challenger) in challengers.into_iter().enumerate() {
        world.hear_good(challenger);
        assert_eq!(world.waiting(), (n + 1).min(10));
    }
    world.pass(41 * 60);
    assert_eq!(world.waiting(), 0);
    let tried: Vec<Address> = challengers.into_iter().filter(|it| world.is_tried(*it)).collect();
    assert_eq!(tried, challengers[..1]);
    assert!(world.is_new(incumbent));
    assert!(challengers[1..].iter().all(|it| world.is_new(*it)));
    world.check();
}

#[test]
fn who_is_good_twice_collides_with_nobody_and_waits_but_once() {
    let mut world = World::new();
    let [alone] = world.rivals();
    world.hear_good(alone);
    world.good(alone);
    assert!(world.is_tried(alone) && world.waiting() == 0);
    world.check();
    let (mut world, [_, challenger]) = World::stale();
    world.pass(60);
    world.good(challenger);
    world.book.on_proven(world.now, challenger);
    assert_eq!(world.waiting(), 1);
    // Nor does it wait anew.
    world.pass(39 * 60 + 1);
    assert!(world.is_tried(challenger));
    world.check();
}

#[test]
fn who_is_burned_while_one_waits_leaves_nothing_behind() {
    let (mut world, [incumbent, challenger]) = World::stale();
    world.book.burn(world.now, challenger, BurnReason::Refused);
    assert_eq!(world.waiting(), 0);
    assert_eq!(world.book.select_test(&mut world.rng), None);
    world.pass(HOUR);
    assert!(world.is_tried(incumbent) && world.places(challenger).is_empty());
    world.check();

    let (mut world, [incumbent, challenger]) = World::stale();
    world.book.burn(world.now, incumbent, BurnReason::Refused);
    assert_eq!(world.book.select_test(&mut world.rng), None);
    world.pass(0);
    assert!(world.is_tried(challenger) && world.places(incumbent).is_empty());
    assert_eq!((world.waiting(), world.book.len()), (0, 1));
    world.check();
}

#[test]
fn who_comes_to_a_place_that_was_left_is_the_incumbent_then() {
    let mut world = World::new();
    let [first, second, third] = world.rivals();
    world.hear_good(first);
    world.pass(5 * HOUR);
    world.hear_good(second);
    world.book.burn(world.now, first, BurnReason::Refused);
    world.hear_good(third);
    assert!(world.is_tried(third));
    world.pass(HOUR);
    assert!(world.is_tried(third) && world.is_new(second) && world.waiting() == 0);
    world.check();
}

#[test]
fn both_survive_where_the_way_back_is_the_challengers_only_place() {
    let mut world = World::new();
    let (mut seen, tables) = (BTreeMap::new(), &world.book.tables);
    let found = (1..65_536).map(nth).find_map(|it| {
        let places = (tables.tried_place(&it), tables.new_place(&it, &Source::Peer(it)));
        seen.insert(places, it).map(|other| [other, it])
    });
    let [incumbent, challenger] = found.expect("two of 65,536 share both of 32,768 places");
    world.hear_good(incumbent);
    world.pass(5 * HOUR);
    world.hear_good(challenger);
    let back = world.places(challenger);
    world.pass(40 * 60 + 1);
    assert!(world.is_tried(challenger), "{:?}", world.places(challenger));
    assert_eq!(world.places(incumbent), back);
    assert_eq!((world.waiting(), world.book.len()), (0, 2));
    world.check();
}

#[test]
fn an_incumbent_being_dialled_is_kept_though_its_experience_is_lost() {
    let mut world = World::new();
    let [incumbent, challenger] = world.rivals();
    world.hear_good(incumbent);
    for _ in 0..Policy::default().max_failures {
        world.pass(2 * HOUR);
        world.fail(incumbent);
    }
    world.pass(2 * HOUR);
    assert!(world.is_tried(incumbent));
    world.book.set_in_use(world.now, incumbent, true);
    world.hear_good(challenger);
    assert!(!world.places(incumbent).is_empty(), "who is being dialled was forgotten");
    // It answers, and that counts.
    world.book.on_ready(world.now, incumbent, services());
    assert!(world.is_tried(incumbent) || world.is_tried(challenger));
    world.check();
}

// ---- multiplicity ----

/// Sources of as many netgroups.
fn source(n: usize) -> Source {
    Source::Peer(at(20 + (n / 256) as u8, n as u8, 1, 1))
}

#[test]
fn an_address_named_by_many_with_one_time_has_one_place() {
    let mut world = World::new();
    for n in 0..19 {
        world.hear_from(nth(1), source(n));
    }
    assert_eq!((world.places(nth(1)).len(), world.book.len()), (1, 1));
    world.check();
}

#[test]
fn an_address_named_by_many_with_later_and_later_times_has_eight_places_and_no_more() {
    let mut world = World::new();
    let mut most = 0;
    for n in 0..2_500 {
        world.pass(1);
        world.hear_from(nth(1), source(n));
        let places = world.places(nth(1)).len();
        assert!((most..=8).contains(&places), "{places} after {most}");
        most = places;
    }
    assert_eq!((most, world.book.tables.len(), world.book.len()), (8, 8, 1));
    world.check();
    // Once it is tried it has one, whoever names it.
    world.good(nth(1));
    for n in 0..200 {
        world.pass(1);
        world.hear_from(nth(1), source(n));
    }
    assert!(world.is_tried(nth(1)));
    assert_eq!(world.book.tables.len(), 1);
    world.check();
}
