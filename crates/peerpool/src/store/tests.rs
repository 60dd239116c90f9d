//! The store by itself and with its thread. What a full disk, a failing one, a read-only directory
//! and a kill come to is tried in processes of their own.

mod alone;
mod broken;
mod kills;
mod saving;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Host, Net};
use peerpool_core::book::{Book, Saved, Source};
use peerpool_core::id::BurnReason;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::UnixTime;

use super::batch::Batch;
use super::history::Limits;
use super::*;

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
const KEY: [u8; 16] = [7; 16];
const LIMITS: Limits = Limits { facts: 16, round_trips: 32 };

/// A directory that is gone after the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peerpool-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(STORE_FILE)
    }

    /// The files in it, by name.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        load(&self.0, MAGIC, SeedNames::new(["seed.test".to_owned()]), KEY)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn address(n: u32) -> Address {
    Address { host: Host::Ipv4((0x0b00_0000 + n).into()), port: 8333 }
}

fn kept(n: u32, generation: u64) -> Change {
    let every = |nth: u32| n.is_multiple_of(nth);
    let saved = Saved {
        address: address(n),
        source: if every(2) { Source::Seed(0) } else { Source::Peer(address(n + 1)) },
        heard_at: UnixTime(1),
        services: ServiceFlags::from(u64::MAX - u64::from(n)),
        last_seen: UnixTime(generation),
        last_success: (every(3)).then_some(UnixTime(generation)),
        proven: every(3),
        failures: n,
        strikes: n + 1,
        retry_at: (every(4)).then_some(UnixTime(generation + 1)),
        tried_at: (every(5)).then_some(UnixTime(generation)),
        asked_at: (every(6)).then_some(UnixTime(generation)),
        tried: every(3),
        anchor: n == 0,
    };
    Change { address: address(n), kept: Some(saved), burned: None }
}

fn burned(n: u32, generation: u64) -> Change {
    let burned = Some((UnixTime(generation), BurnReason::TimedOut));
    Change { address: address(n), kept: None, burned }
}

fn gone(n: u32) -> Change {
    Change { address: address(n), kept: None, burned: None }
}

fn batch(changes: impl IntoIterator<Item = Change>) -> Batch {
    let mut batch = Batch::default();
    batch.change(changes);
    batch
}

fn sorted(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| change.address);
    changes
}

fn names() -> SeedNames {
    SeedNames::new(["seed.test".to_owned()])
}

/// Saves soon, and tries again soon.
fn hasty() -> Policy {
    let soon = Duration::from_millis(10);
    Policy { save_interval: soon, save_retry_max: 2 * soon, ..Policy::default() }
}

#[test]
fn what_is_written_is_read() {
    let dir = Dir::new();
    let mut loaded = dir.load().unwrap();
    assert!(loaded.changes.is_empty() && loaded.key == KEY && loaded.failure.is_none());
    let store = loaded.store.as_mut().unwrap();
    let mut first = batch((0..20).map(|n| kept(n, 5)).chain([burned(20, 5)]));
    first.note_round_trip(address(1), Duration::from_millis(8), LIMITS);
    first.note_round_trip(address(99), Duration::from_millis(8), LIMITS);
    store.write(&first, &names(), LIMITS).unwrap();
    store.write(&batch([gone(2), burned(3, 6), kept(20, 6)]), &names(), LIMITS).unwrap();
    drop(loaded);
    let loaded = load(&dir.0, MAGIC, names(), [9; 16]).unwrap();
    assert_eq!(loaded.key, KEY, "it is drawn once");
    let expected: Vec<Change> = (0..20)
        .filter(|n| *n != 2)
        .map(|n| if n == 3 { burned(3, 6) } else { kept(n, 5) })
        .chain([kept(20, 6)])
        .collect();
    assert_eq!(sorted(loaded.changes), expected);
    let store = loaded.store.unwrap();
    assert_eq!(store.history(&address(1)).unwrap().unwrap().round_trips.len(), 1);
    assert_eq!(store.history(&address(99)).unwrap(), None, "nobody in the book");
    assert_eq!(store.chain().unwrap(), Some(MAGIC));
}

#[test]
fn an_address_of_cjdns_comes_back_as_one() {
    let dir = Dir::new();
    let host = Host::Cjdns("fc00:1::2".parse().unwrap());
    let ours = |n: u16| Address { host, port: 20_000 + n };
    let mut store = dir.load().unwrap().store.unwrap();
    let of = |n, address, change: Change| {
        let source = Source::Peer(ours(n));
        let kept = change.kept.map(|saved| Saved { address, source, anchor: n == 1, ..saved });
        Change { address, kept, ..change }
    };
    let all =
        [of(1, ours(1), kept(1, 5)), of(2, ours(2), kept(2, 5)), of(3, ours(3), burned(3, 5))];
    let mut written = batch(all);
    let ban = Ban { subnet: host.into(), since: UnixTime(1), until: UnixTime(2) };
    written.ban(ban.subnet, Some(ban));
    store.write(&written, &names(), LIMITS).unwrap();
    drop(store);
    let loaded = dir.load().unwrap();
    assert_eq!((sorted(loaded.changes.clone()), loaded.bans), (all.to_vec(), vec![ban]));
    let mut book = Book::new(&Policy::default(), 8333, &Net::ALL, &mut Rng::from_u64(0));
    book.restore(now_at(UnixTime(6)), loaded.changes);
    assert_eq!(book.anchors(), [ours(1)]);
}

#[test]
fn all_there_is_replaces_what_was_on_its_networks() {
    let dir = Dir::new();
    let mut store = dir.load().unwrap().store.unwrap();
    let onion = Address { host: Host::Onion([1; 32]), port: 1 };
    let far = Change { address: onion, ..burned(0, 1) };
    let mut first = batch([kept(1, 1), kept(2, 1), burned(3, 1), far]);
    for n in 1..4 {
        first.note_round_trip(address(n), Duration::from_millis(8), LIMITS);
    }
    store.write(&first, &names(), LIMITS).unwrap();
    let mut all = Batch::default();
    let nets = vec![Net::Ipv4, Net::Ipv6];
    all.replace(nets, vec![kept(2, 2)], Vec::new());
    store.write(&all, &names(), LIMITS).unwrap();
    drop(store);
    let loaded = dir.load().unwrap();
    assert_eq!(sorted(loaded.changes), [kept(2, 2), far]);
    let store = loaded.store.unwrap();
    let has = |n| store.history(&address(n)).unwrap().is_some();
    assert_eq!([has(1), has(2), has(3)], [false, true, false]);
}

#[test]
fn rows_by_hand_are_written_read_and_forgotten() {
    let dir = Dir::new();
    let mut store = Store::open(&dir.0).unwrap();
    let rows: Vec<AddressRow> = (0..3)
        .map(|n| AddressRow::of(&kept(n, 5).kept.unwrap(), &names()))
        .chain([AddressRow {
            origin: Origin::Import,
            ..AddressRow::of(&kept(3, 5).kept.unwrap(), &names())
        }])
        .collect();
    store.insert(&rows).unwrap();
    assert_eq!(store.addresses().unwrap(), rows);
    assert_eq!(store.address(&address(3)).unwrap().as_ref(), rows.last());
    let burn = BurnedRow { address: address(1), at: UnixTime(9), reason: BurnReason::Refused };
    store.insert_burned(&[burn]).unwrap();
    assert_eq!(store.address(&address(1)).unwrap(), None);
    // Others read meanwhile, and read on while it is written.
    let reader = Store::open_read_only(&dir.0).unwrap();
    assert_eq!(reader.burned().unwrap(), [burn]);
    assert!(store.remove(&address(1)).unwrap() && !store.remove(&address(1)).unwrap());
    assert_eq!((reader.burn(&address(1)).unwrap(), reader.addresses().unwrap().len()), (None, 3));
}

#[test]
fn one_owner_at_a_time_is_told_what_to_do() {
    let dir = Dir::new();
    let owner = Store::open(&dir.0).unwrap();
    let error = Store::open(&dir.0).unwrap_err();
    assert_eq!(error, StoreError::Locked { dir: dir.0.clone(), holder: Some(std::process::id()) });
    let text = error.to_string();
    assert!(text.contains(dir.0.to_str().unwrap()) && text.contains("name another directory"));
    assert_eq!(dir.load().unwrap_err(), error);
    drop(owner);
    Store::open(&dir.0).unwrap();
}

#[test]
fn bans_are_kept_until_they_are_ended() {
    let dir = Dir::new();
    let ban = |subnet: &str, until| {
        let (subnet, since) = (subnet.parse().unwrap(), UnixTime(1));
        Ban { subnet, since, until: UnixTime(until) }
    };
    let all = [ban("11.0.0.0/8", 9), ban("2a01::/16", 253_402_300_799), ban("1.2.3.4", 5)];
    let mut store = dir.load().unwrap().store.unwrap();
    let mut first = Batch::default();
    all.iter().for_each(|it| first.ban(it.subnet, Some(*it)));
    store.write(&first, &names(), LIMITS).unwrap();
    let mut second = Batch::default();
    second.ban(all[2].subnet, None);
    store.write(&second, &names(), LIMITS).unwrap();
    drop(store);
    let mut loaded = dir.load().unwrap();
    loaded.bans.sort();
    assert_eq!(loaded.bans, all[..2]);

    let store = loaded.store.as_mut().unwrap();
    let longer = ban("11.0.0.0/8", 12);
    store.insert_ban(&longer).unwrap();
    assert!(
        store.remove_ban(&all[1].subnet).unwrap() && !store.remove_ban(&all[1].subnet).unwrap()
    );
    assert_eq!(store.bans().unwrap(), [longer]);
    let mut whole = Batch::default();
    whole.replace(Vec::new(), Vec::new(), vec![all[2]]);
    store.write(&whole, &names(), LIMITS).unwrap();
    assert_eq!(store.bans().unwrap(), [all[2]]);
}
