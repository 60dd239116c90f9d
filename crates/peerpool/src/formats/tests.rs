//! The formats: written and read back, and whatever else a file may hold.

mod core_files;
mod hostile;
mod peers;
mod texts;

use std::collections::BTreeSet;

use bitcoin::hashes::{Hash as _, sha256d};
use peerpool_core::address::Net;
use proptest::prelude::*;

use super::*;

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
const KEY: [u8; 32] = [7; 32];
const NOON: UnixTime = UnixTime(1_700_000_000 / DAY * DAY + DAY / 2);

fn at(text: &str) -> Address {
    Address::parse(text, 8333).expect("an address")
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.address.to_string()).collect()
}

/// These bytes, and their checksum.
fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &sha256d::Hash::hash(body).to_byte_array()].concat()
}

fn regtest() -> Chain {
    Chain::from(bitcoin::Network::Regtest)
}

/// An address on each network.
fn some() -> Vec<Entry> {
    let addresses = [
        "1.2.3.4:8333",
        "[2a01::1]:18333",
        "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333",
        "c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p:0",
        "[fc00:1:2:3:4:5:6:7]:8333",
    ];
    let entries: Vec<_> = addresses
        .into_iter()
        .zip([Source::Host(at("5.6.7.8").host), Source::named("seed.test")].into_iter().cycle())
        .map(|(address, source)| Entry {
            source,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            last_seen: NOON,
            attempts: 3,
            ..Entry::of(at(address))
        })
        .collect();
    let nets: Vec<_> = entries.iter().map(|entry| entry.address.net()).collect();
    assert_eq!(nets, [Net::Ipv4, Net::Ipv6, Net::Onion, Net::I2p, Net::Cjdns]);
    entries
}

fn any_host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| Host::Ipv4(ip.into())),
        any::<[u8; 15]>().prop_map(|ip| {
            let mut bytes = [0x20; 16];
            bytes[1..].copy_from_slice(&ip);
            Host::Ipv6(bytes.into())
        }),
        any::<[u8; 32]>().prop_map(Host::Onion),
        any::<[u8; 32]>().prop_map(Host::I2p),
        any::<u32>().prop_map(|ip| Host::Cjdns((u128::from(ip) | 0xfc << 120).into())),
        // What only looks like IPv6, and what is for documentation.
        prop::sample::select(&["fd87:d87e:eb43::1", "fd6b:88c0:8724::1", "2001:db8::1", "::"][..])
            .prop_map(|ip| Host::Ipv6(ip.parse().expect("an IPv6 address"))),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let source = prop_oneof![
        Just(Source::Unknown),
        any_host().prop_filter("of a source that is one", disk::is_valid).prop_map(Source::Host),
        any::<[u8; 10]>().prop_map(Source::Name),
    ];
    let times = (any::<u32>(), prop::option::of(any::<u32>()));
    // Few hosts and ports, so that some are alike.
    let host = prop_oneof![any_host(), (0..4_u8).prop_map(|ip| Host::Ipv4([11, 0, 0, ip].into()))];
    (host, 0..3_u16, source, any::<u64>(), times, any::<u32>(), any::<bool>()).prop_map(
        |(host, port, source, services, (seen, success), attempts, tried)| Entry {
            address: Address { host, port },
            source,
            services: services.into(),
            last_seen: UnixTime(seen.into()),
            last_success: success.map(|time| UnixTime(time.into())),
            attempts,
            tried,
        },
    )
}

#[test]
fn times_are_rounded_down_to_the_day() {
    assert_eq!(round_to_day(NOON).0, NOON.0 - DAY / 2);
    assert_eq!(round_to_day(round_to_day(NOON)), round_to_day(NOON));
    assert_eq!(round_to_day(UnixTime(DAY - 1)).0, 0);
}

#[test]
fn a_source_has_the_name_that_core_gives_it() {
    // The first 80 bits of SHA256("abc").
    let name = [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41];
    assert_eq!(Source::named("abc"), Source::Name(name));
}

#[test]
fn formats_are_told_by_content() {
    let peers = peers_dat::write(&some(), MAGIC, KEY, peers_dat::Version::V4).unwrap().bytes;
    let anchors = anchors_dat::write(&some(), MAGIC).bytes;
    let empty_anchors = anchors_dat::write(&[], MAGIC).bytes;
    for (bytes, expected) in [
        (&peers[..], Some(Format::PeersDat)),
        (&peers[..2000], Some(Format::PeersDat)),
        (&peers[..40], Some(Format::PeersDat)),
        (&anchors, Some(Format::AnchorsDat)),
        (&anchors[..50], Some(Format::AnchorsDat)),
        (&empty_anchors, Some(Format::AnchorsDat)),
        (b"{\"nodes\": {}}", Some(Format::Bitnodes)),
        (b"{\"address\": \"1.2.3.4\"}\n{", Some(Format::Json)),
        (b"{\"address\":", Some(Format::Bitnodes)),
        (b" [ [\"1.2.3.4\", 8333, 1, 2]]", Some(Format::Bitnodes)),
        (b"[]", Some(Format::Bitnodes)),
        (b"[2a01::1]:8333\n", Some(Format::Plain)),
        (b"# address good lastSuccess %(2h)\n", Some(Format::Seeder)),
        (b"1.2.3.4:8333 1 5 90.00% 0% 0% 0% 0% 1 9 70016 \"/x/\"", Some(Format::Seeder)),
        (b"# my address book is good\n1.2.3.4\n", Some(Format::Plain)),
        (b"", None),
        (b" \n", None),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", None),
    ] {
        assert_eq!(detect(bytes), expected, "{}", bytes[..bytes.len().min(40)].escape_ascii());
    }
    assert_eq!(read(b"", &regtest()), Err(FormatError::Unknown));
    for format in Format::ALL {
        assert_eq!(Format::named(format.as_str()), Some(format));
    }
}

#[test]
fn a_file_that_is_too_long_is_refused_unread() {
    let long = vec![b'\n'; MAX_FILE_LEN + 1];
    let error = read(&long, &regtest()).expect_err("too long");
    assert_eq!(error, FormatError::TooLarge(MAX_FILE_LEN + 1));
    assert_eq!(error.to_string(), "the file has 67108865 bytes; at most 67108864 are read");
}

#[test]
fn anchors_come_back_with_the_day_they_were_seen() {
    let export = anchors_dat::write(&some(), MAGIC);
    assert_eq!((export.entries, export.skipped.total()), (5, 0));
    let import = read(&export.bytes, &regtest()).unwrap();
    let expected: Vec<_> = some()
        .into_iter()
        .map(|entry| Entry {
            source: Source::Unknown,
            last_seen: round_to_day(NOON),
            attempts: 0,
            ..entry
        })
        .collect();
    assert_eq!((import.format, import.entries), (Format::AnchorsDat, expected));
}

/// Core's feature_anchors.py: an onion address in the form of addrv2, and a byte too many.
#[test]
fn anchors_are_those_of_core() {
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333";
    let Host::Onion(key) = at(onion).host else { panic!("an onion address") };
    let body = [
        &MAGIC[..],
        &[1],
        &[0x60, 0x5b, 0x03, 0x20], // 220000, with the bit of addrv2
        &[0xff, 0xff, 0x00, 0x00],
        &[0xfd, 0x09, 0x04],
        &[4, 32],
        &key,
        &[0x20, 0x8d],
    ]
    .concat();
    let import = anchors_dat::read(&sealed(&body), MAGIC).unwrap();
    assert_eq!(texts(&import.entries), [onion]);
    assert_eq!(import.entries[0].services.to_u64(), 0x409);
    assert_eq!(import.entries[0].last_seen, UnixTime(0xffff));

    let mut longer = sealed(&body);
    longer.insert(longer.len() / 2, 0);
    assert_eq!(anchors_dat::read(&longer, MAGIC), Err(FormatError::Checksum));
    let cut = anchors_dat::read(&body, MAGIC);
    assert_eq!(cut, Err(FormatError::Truncated { part: "its checksum", len: body.len() }));
}

proptest! {
    #[test]
    fn what_is_exported_is_imported_again(
        entries in prop::collection::vec(any_entry(), 0..60),
        four in any::<bool>(),
    ) {
        let version = if four { peers_dat::Version::V4 } else { peers_dat::Version::V3 };
        let export = peers_dat::write(&entries, MAGIC, KEY, version).unwrap();
        prop_assert_eq!(export.entries as u64 + export.skipped.total(), entries.len() as u64);
        let import = read(&export.bytes, &regtest()).unwrap();
        prop_assert_eq!(import.skipped.total(), 0);
        prop_assert_eq!(import.entries.len(), export.entries);
        prop_assert_eq!(import.entries.iter().filter(|e| e.tried).count(), export.tried);
        let day = |time: UnixTime| Some(round_to_day(time)).filter(|day| day.0 > 0);
        for read in &import.entries {
            let same = entries.iter().any(|entry| {
                let expected = Entry {
                    source: match entry.source {
                        Source::Unknown => Source::Host(entry.address.host),
                        source => source,
                    },
                    last_seen: round_to_day(entry.last_seen),
                    last_success: entry.last_success.and_then(day),
                    attempts: entry.attempts.min(i32::MAX as u32),
                    tried: read.tried,
                    ..*entry
                };
                expected == *read && (entry.tried || !read.tried)
            });
            prop_assert!(same, "{:?}", read);
        }
        // What was read is written as it was.
        let again = peers_dat::write(&import.entries, MAGIC, KEY, version).unwrap();
        prop_assert_eq!(again.skipped.total(), 0);
        prop_assert_eq!(&read(&again.bytes, &regtest()).unwrap().entries, &import.entries);
    }

    #[test]
    fn json_lines_come_back(entries in prop::collection::vec(any_entry(), 0..60)) {
        let mut seen = BTreeSet::new();
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| Entry {
                address: Address { port: entry.address.port + 1, ..entry.address },
                source: Source::Unknown,
                attempts: 0,
                ..entry
            })
            .filter(|entry| disk::is_valid(&entry.address.host) && seen.insert(entry.address))
            .collect();
        let import = json_lines::read(json_lines::write(&entries).as_bytes(), 8333).unwrap();
        prop_assert_eq!((import.entries, import.skipped), (entries, Skipped::default()));
    }

    #[test]
    fn plain_lists_come_back(hosts in prop::collection::btree_set(any_host(), 0..30)) {
        let entries: Vec<_> = hosts
            .into_iter()
            .filter(disk::is_valid)
            .map(|host| Entry::of(Address { host, port: 1 }))
            .collect();
        let import = plain::read(plain::write(&entries).as_bytes(), 8333).unwrap();
        prop_assert_eq!((import.entries, import.skipped), (entries, Skipped::default()));
    }
}
