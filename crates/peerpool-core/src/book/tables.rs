//! The new and tried tables: where an address may stand. As Core's addrman, an address that others
//! named has its place by its own netgroup and that of whoever named it, so that one source reaches
//! few places and one netgroup few of those; an address that we handshook with has another, by its
//! netgroup alone. All of it is keyed: nobody outside can tell whose place an address will want.

use std::mem;

use bitcoin::hashes::siphash24;

use crate::address::{Address, Host};
use crate::id::MAX_POOL_NAME;
use crate::netgroup::{NetGroup, NetGroups};
use crate::rng::Rng;

use super::record::{RecordId, Source};

/// Buckets of the new table. Core's `ADDRMAN_NEW_BUCKET_COUNT`.
pub(super) const NEW_BUCKETS: usize = 1024;
/// Buckets of the tried table. Core's `ADDRMAN_TRIED_BUCKET_COUNT`.
pub(super) const TRIED_BUCKETS: usize = 256;
/// Places in a bucket. Core's `ADDRMAN_BUCKET_SIZE`.
pub(super) const BUCKET_SIZE: usize = 64;
/// Buckets of the new table that one group of sources reaches.
const NEW_BUCKETS_PER_SOURCE: u64 = 64;
/// Buckets of the tried table that one netgroup reaches.
const TRIED_BUCKETS_PER_GROUP: u64 = 8;
/// Both tables, the new one first.
pub(super) const BUCKETS: usize = NEW_BUCKETS + TRIED_BUCKETS;

/// A place in one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u32);

impl Place {
    /// What fills a list of places that is not full.
    pub(super) const NONE: Self = Self(u32::MAX);

    fn new(bucket: usize, position: u64) -> Self {
        Self((bucket * BUCKET_SIZE) as u32 + position as u32)
    }

    /// Its bucket: those of the new table come first.
    pub(super) const fn bucket(self) -> usize {
        self.0 as usize / BUCKET_SIZE
    }

    /// Where in its bucket it is.
    pub(super) const fn position(self) -> usize {
        self.0 as usize % BUCKET_SIZE
    }

    /// Whether it is in the tried table.
    pub(super) const fn is_tried(self) -> bool {
        self.bucket() >= NEW_BUCKETS
    }
}

/// What hashes are keyed with: SipHash-2-4, whose 128 bits nobody outside knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key([u64; 2]);

impl Key {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self([rng.u64(), rng.u64()])
    }

    /// A hash of all parts one after the other.
    #[inline]
    pub(super) fn hash(&self, parts: &[&[u8]]) -> u64 {
        // The longest: a tag, a network, a number, a key, a port.
        let mut buffer = [0; 48];
        let mut len = 0;
        for part in parts {
            buffer[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        let [k0, k1] = self.0;
        siphash24::Hash::hash_to_u64_with_keys(k0, k1, &buffer[..len])
    }

    /// A hash of a host between two other parts; a tag tells what it is for.
    #[inline]
    pub(super) fn hash_host(&self, tag: u8, before: &[u8], host: &Host, after: &[u8]) -> u64 {
        let head = [tag, host.net() as u8];
        match host {
            Host::Ipv4(ip) => self.hash(&[&head, before, &ip.octets(), after]),
            Host::Ipv6(ip) | Host::Cjdns(ip) => self.hash(&[&head, before, &ip.octets(), after]),
            Host::Onion(key) | Host::I2p(key) => self.hash(&[&head, before, key, after]),
        }
    }
}

/// One bucket: who has each place.
type Bucket = [RecordId; BUCKET_SIZE];

/// Both tables.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    key: Key,
    groups: NetGroups,
    /// A bucket takes memory once somebody stands in it.
    buckets: Vec<Option<Box<Bucket>>>,
    /// Places taken.
    taken: usize,
}

impl Tables {
    /// Empty tables with a key of their own.
    pub(super) fn new(groups: NetGroups, rng: &mut Rng) -> Self {
        Self { key: Key::new(rng), groups, buckets: vec![None; BUCKETS], taken: 0 }
    }

    /// The rule by which addresses are grouped.
    pub(super) const fn groups(&self) -> &NetGroups {
        &self.groups
    }

    /// What places are hashed with.
    pub(super) const fn key(&self) -> Key {
        self.key
    }

    /// A keyed hash of a name and a netgroup.
    pub(super) fn weight(&self, name: &str, group: NetGroup) -> u64 {
        let name = name.as_bytes();
        let name = name.get(..name.len().min(MAX_POOL_NAME)).unwrap_or_default();
        self.key.hash(&[b"p", name, &group.to_bytes()])
    }

    /// Another key, for tables that are empty.
    pub(super) fn set_key(&mut self, key: [u8; 16]) {
        let [a, b, c, d, e, f, g, h, rest @ ..] = key;
        self.key = Key([u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest)]);
    }

    /// Where `address` stands in the new table if `source` names it.
    pub(super) fn new_place(&self, address: &Address, source: &Source) -> Place {
        let (group, source) = (self.group_of(address), self.group_of_source(source));
        let within = self.hash(&[b"g", &group, &source]) % NEW_BUCKETS_PER_SOURCE;
        let bucket = self.hash(&[b"s", &source, &within.to_le_bytes()]) % NEW_BUCKETS as u64;
        self.place(b'N', bucket as usize, address)
    }

    /// Where `address` stands in the tried table.
    pub(super) fn tried_place(&self, address: &Address) -> Place {
        let group = self.group_of(address);
        let within = self.hash_address(b'a', 0, address) % TRIED_BUCKETS_PER_GROUP;
        let bucket = self.hash(&[b"t", &group, &within.to_le_bytes()]) % TRIED_BUCKETS as u64;
        self.place(b'K', NEW_BUCKETS + bucket as usize, address)
    }

    fn group_of(&self, address: &Address) -> [u8; 6] {
        self.groups.of(&address.host).to_bytes()
    }

    /// The group of a source as bytes: each seed is one of its own, as in Core, and so is the user.
    fn group_of_source(&self, source: &Source) -> [u8; 6] {
        match source {
            Source::Peer(address) => self.group_of(address),
            Source::Seed(seed) => {
                let [a, b, c, d] = (*seed as u32).to_le_bytes();
                [5, a, b, c, d, 0]
            }
            Source::User => [6, 0, 0, 0, 0, 0],
            Source::Import => [8, 0, 0, 0, 0, 0],
        }
    }

    fn place(&self, tag: u8, bucket: usize, address: &Address) -> Place {
        Place::new(bucket, self.hash_address(tag, bucket as u64, address) % BUCKET_SIZE as u64)
    }

    fn hash_address(&self, tag: u8, number: u64, address: &Address) -> u64 {
        let Address { host, port } = address;
        self.key.hash_host(tag, &number.to_le_bytes(), host, &port.to_le_bytes())
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        self.key.hash(parts)
    }

    /// Who stands at `place`.
    pub(super) fn at(&self, place: Place) -> Option<RecordId> {
        self.in_bucket(place.bucket(), place.position())
    }

    /// Who stands at this position of a bucket.
    pub(super) fn in_bucket(&self, bucket: usize, position: usize) -> Option<RecordId> {
        self.buckets[bucket].as_ref()?[position].some()
    }

    /// Gives `place` to `id`, or to nobody.
    pub(super) fn set(&mut self, place: Place, id: Option<RecordId>) {
        let bucket = &mut self.buckets[place.bucket()];
        if bucket.is_none() && id.is_none() {
            return;
        }
        let bucket = bucket.get_or_insert_with(|| Box::new([RecordId::NONE; BUCKET_SIZE]));
        let before = mem::replace(&mut bucket[place.position()], id.unwrap_or(RecordId::NONE));
        self.taken += usize::from(id.is_some());
        self.taken -= usize::from(before.some().is_some());
    }

    /// Places taken.
    pub(super) const fn len(&self) -> usize {
        self.taken
    }
}

impl NetGroup {
    /// A netgroup as bytes, one network's never those of another.
    pub(super) fn to_bytes(self) -> [u8; 6] {
        match self {
            Self::Ipv4([a, b]) => [0, a, b, 0, 0, 0],
            Self::Ipv6([a, b, c, d], tail) => [1, a, b, c, d, tail],
            Self::Onion(bits) => [2, bits, 0, 0, 0, 0],
            Self::I2p(bits) => [3, bits, 0, 0, 0, 0],
            Self::Cjdns(bits) => [4, bits, 0, 0, 0, 0],
            Self::Asn(asn) => {
                let [a, b, c, d] = asn.to_le_bytes();
                [7, a, b, c, d, 0]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::netgroup::cores;

    fn tables() -> Tables {
        Tables::new(NetGroups::default(), &mut Rng::from_u64(1))
    }

    fn address(a: u8, b: u8, c: u8, d: u8, port: u16) -> Address {
        Address { host: Host::Ipv4([a, b, c, d].into()), port }
    }

    fn peer(a: u8, b: u8) -> Source {
        Source::Peer(address(a, b, 1, 1, 8333))
    }

    fn new_buckets(places: impl IntoIterator<Item = (Address, Source)>) -> BTreeSet<usize> {
        new_buckets_of(&tables(), places)
    }

    fn new_buckets_of(
        tables: &Tables,
        places: impl IntoIterator<Item = (Address, Source)>,
    ) -> BTreeSet<usize> {
        places.into_iter().map(|(at, source)| tables.new_place(&at, &source).bucket()).collect()
    }

    /// Tables with the map of Core's tests, and the same key.
    fn mapped() -> Tables {
        Tables::new(NetGroups::with_as_map(cores()), &mut Rng::from_u64(1))
    }

    // The cases of Core's addrman_tests: caddrinfo_get_new_bucket and _tried_bucket.

    #[test]
    fn one_group_named_by_one_source_shares_a_bucket_of_the_new_table() {
        let hosts = (0..=255).map(|host| (address(250, 1, 2, host, 8333), peer(250, 1)));
        assert_eq!(new_buckets(hosts).len(), 1);
        // Nor does the port play a part in it, though it does in the place.
        let ports = (1..500).map(|port| (address(250, 1, 1, 1, port), peer(250, 1)));
        assert_eq!(new_buckets(ports).len(), 1);
    }

    #[test]
    fn one_source_reaches_at_most_64_buckets_of_the_new_table() {
        let groups = (0..4u16 * 255)
            .map(|n| (address(250 + (n / 255) as u8, (n % 255) as u8, 1, 1, 8333), peer(251, 4)));
        let reached = new_buckets(groups).len();
        assert!((56..=64).contains(&reached), "{reached}");
    }

    #[test]
    fn one_group_named_by_many_sources_is_in_many_buckets() {
        let sources = (0..255).map(|source| (address(250, 1, 1, 1, 8333), peer(250, source)));
        assert!(new_buckets(sources).len() > 64);
    }

    #[test]
    fn one_group_reaches_at_most_8_buckets_of_the_tried_table_and_many_reach_many() {
        let tables = tables();
        let buckets = |at: &mut dyn Iterator<Item = Address>| {
            at.map(|at| tables.tried_place(&at).bucket()).collect::<BTreeSet<_>>().len()
        };
        assert_eq!(buckets(&mut (0..=255).map(|host| address(250, 1, 1, host, 8333))), 8);
        assert!(buckets(&mut (0..=255).map(|group| address(250, group, 1, 1, 8333))) > 100);
        assert!(buckets(&mut (1..100).map(|port| address(250, 1, 1, 1, port))) > 1);
    }

    // The same with an AS map: caddrinfo_get_new_bucket_asmap and _tried_bucket_asmap.

    #[test]
    fn one_as_named_by_one_source_shares_a_bucket_of_the_new_table() {
        let tables = mapped();
        let hosts = |by| (0..=255).map(move |group| (address(250, group, 1, 1, 8333), by));
        assert_eq!(new_buckets_of(&tables, hosts(peer(251, 4))).len(), 1);
        assert!(new_buckets(hosts(peer(251, 4))).len() > 32);
        // Sources of one AS are one, others are not.
        let told = |a| (0..=255).map(move |group| (address(250, 1, 1, 1, 8333), peer(a, group)));
        assert_eq!(new_buckets_of(&tables, told(250)).len(), 1);
        assert!(new_buckets_of(&tables, told(101)).len() > 64);
        let many = (0..4u16 * 255)
            .map(|n| (address(101 + (n / 255) as u8, (n % 255) as u8, 1, 1, 8333), peer(251, 4)));
        assert!((56..=64).contains(&new_buckets_of(&tables, many).len()));
    }

    #[test]
    fn one_as_reaches_at_most_8_buckets_of_the_tried_table() {
        let tables = mapped();
        let buckets = |a| {
            let hosts = (0..=255).map(move |group| address(a, group, 1, 1, 8333));
            hosts.map(|at| tables.tried_place(&at).bucket()).collect::<BTreeSet<_>>().len()
        };
        // Two of the eight may be the same by chance.
        assert!((7..=8).contains(&buckets(250)), "{}", buckets(250));
        assert!(buckets(101) > 100);
        // What embeds an address of the AS is of the AS, and so is who is named by it.
        let embeds = "[2002:fa05:1::1]:8333".parse().expect("an address");
        let plain = address(250, 9, 1, 1, 8333);
        let places = [(plain, peer(251, 4)), (embeds, peer(251, 4))];
        assert_eq!(new_buckets_of(&tables, places).len(), 1);
        let places = [(plain, Source::Peer(embeds)), (plain, peer(250, 7))];
        assert_eq!(new_buckets_of(&tables, places).len(), 1);
    }

    #[test]
    fn the_same_map_gives_the_same_places_and_another_gives_others() {
        let hosts = || (0..=255).map(|group| address(250, group, 1, 1, 8333));
        let places = |tables: Tables| {
            hosts().map(|at| tables.new_place(&at, &peer(250, 1))).collect::<Vec<_>>()
        };
        assert_eq!(places(mapped()), places(mapped()));
        let same = places(mapped()).into_iter().zip(places(tables())).filter(|(a, b)| a == b);
        assert!(same.count() < 3);
    }

    #[test]
    fn places_are_of_the_table_they_are_for_and_spread_over_it() {
        let tables = tables();
        let all = || (0..65_536u32).map(|n| address((n >> 8) as u8, n as u8, 1, 1, 8333));
        let new: BTreeSet<_> = all().map(|at| tables.new_place(&at, &Source::Peer(at))).collect();
        let tried: BTreeSet<_> = all().map(|at| tables.tried_place(&at)).collect();
        assert!(new.iter().all(|place| !place.is_tried()) && tried.iter().all(|at| at.is_tried()));
        // Of n places, n draws reach 1 - 1/e.
        assert!((40_000..43_000).contains(&new.len()), "{}", new.len());
        assert!(tried.len() > 15_500, "{}", tried.len());
    }

    #[test]
    fn another_key_gives_other_places() {
        let other = Tables::new(NetGroups::default(), &mut Rng::from_u64(2));
        let same = (0..=255).filter(|&group| {
            let at = address(250, group, 1, 1, 8333);
            tables().tried_place(&at) == other.tried_place(&at)
        });
        assert!(same.count() < 3);
    }

    #[test]
    fn what_is_set_is_there_until_it_is_not() {
        let mut tables = tables();
        let place = tables.tried_place(&address(1, 2, 3, 4, 5));
        assert_eq!((tables.at(place), tables.len()), (None, 0));
        tables.set(place, Some(RecordId(7)));
        assert_eq!((tables.at(place), tables.len()), (Some(RecordId(7)), 1));
        tables.set(place, Some(RecordId(8)));
        assert_eq!((tables.at(place), tables.len()), (Some(RecordId(8)), 1));
        tables.set(place, None);
        assert_eq!((tables.at(place), tables.len()), (None, 0));
        tables.set(place, None);
        assert_eq!(tables.len(), 0);
    }
}
