//! `peers.dat`, written by hand as Core lays it out, and judged as Core judges it.

use super::*;
use crate::formats::peers_dat::{Version, read, write};

/// A file to be laid out.
#[derive(Clone)]
struct Raw {
    format: u8,
    compat: u8,
    key: [u8; 32],
    new: i32,
    tried: i32,
    buckets: u32,
    entries: Vec<Vec<u8>>,
    /// Bucket 0 has these.
    indices: Vec<i32>,
}

impl Raw {
    fn of(format: u8) -> Self {
        Self {
            format,
            compat: if format >= 3 { 32 + format } else { 32 },
            key: KEY,
            new: 0,
            tried: 0,
            buckets: 1024,
            entries: Vec::new(),
            indices: Vec::new(),
        }
    }

    fn heard(mut self, entry: Vec<u8>) -> Self {
        self.entries.push(entry);
        self.indices.push(self.new);
        self.new += 1;
        self
    }

    fn tried(mut self, entry: Vec<u8>) -> Self {
        self.entries.push(entry);
        self.tried += 1;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = [&MAGIC[..], &[self.format, self.compat], &self.key].concat();
        out.extend(self.new.to_le_bytes());
        out.extend(self.tried.to_le_bytes());
        out.extend((self.buckets ^ 1 << 30).to_le_bytes());
        out.extend(self.entries.concat());
        out.extend((self.indices.len() as i32).to_le_bytes());
        self.indices.iter().for_each(|index| out.extend(index.to_le_bytes()));
        out.extend(vec![0; 4 * (self.buckets as usize - 1)]);
        if self.format >= 2 {
            out.extend([9; 32]); // an AS map that we do not have
        }
        sealed(&out)
    }

    fn read(&self) -> Result<Import, FormatError> {
        read(&self.bytes(), MAGIC)
    }
}

const TIME: [u8; 4] = 1_700_000_000_u32.to_le_bytes();

/// An entry of formats 1 and 2, from 5.6.7.8.
fn v1(ip: [u8; 16], success: i64) -> Vec<u8> {
    let source = at("5.6.7.8").host;
    let Host::Ipv4(source) = source else { panic!("an IPv4 address") };
    [
        &199_900_u32.to_le_bytes()[..],
        &TIME,
        &[9, 4, 0, 0, 0, 0, 0, 0],
        &ip,
        &[0x20, 0x8d],
        &source.to_ipv6_mapped().octets(),
        &success.to_le_bytes(),
        &[2, 0, 0, 0],
    ]
    .concat()
}

/// An entry of formats 3 and 4, from a DNS seed.
fn v2(network: u8, address: &[u8], success: i64) -> Vec<u8> {
    [
        &[0x60, 0x5b, 0x03, 0x20],
        &TIME[..],
        &[0xfd, 9, 4],
        &[network, address.len() as u8],
        address,
        &[0x20, 0x8d],
        &[2, 16, 0xfd, 0x6b, 0x88, 0xc0, 0x87, 0x24, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        &success.to_le_bytes(),
        &[2, 0, 0, 0],
    ]
    .concat()
}

fn ip6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().expect("an IPv6 address").octets()
}

fn entry(address: &str, source: Source) -> Entry {
    Entry {
        source,
        services: ServiceFlags::from(0x409),
        last_seen: UnixTime(1_700_000_000),
        attempts: 2,
        ..Entry::of(at(address))
    }
}

#[test]
fn formats_1_and_2_are_read() {
    for format in [1, 2] {
        let raw = Raw::of(format)
            .heard(v1(ip6("::ffff:1.2.3.4"), 0))
            .heard(v1(ip6("fd87:d87e:eb43::1"), 0))
            .tried(v1(ip6("2a01::1"), 1_600_000_000));
        let import = raw.read().unwrap();
        let source = Source::Host(at("5.6.7.8").host);
        let success = Some(UnixTime(1_600_000_000));
        let tried = Entry { last_success: success, tried: true, ..entry("2a01::1", source) };
        assert_eq!(import.entries, [entry("1.2.3.4", source), tried]);
        assert_eq!(import.skipped.to_string(), "1 invalid (entry 2: port 8333)");
    }
}

#[test]
fn formats_3_and_4_are_read() {
    for format in [3, 4] {
        // An entry may be in the old form, but for its source.
        let mut old = v1(ip6("::ffff:4.4.4.4"), 0);
        old.splice(34..50, [1, 4, 5, 6, 7, 8]);
        let raw = Raw::of(format)
            .heard(v2(1, &[1, 2, 3, 4], 0))
            .heard(v2(3, &[5; 10], 0)) // Tor version 2
            .heard(old)
            .heard(v2(2, &ip6("::ffff:1.2.3.4"), 0))
            .heard(v2(77, &[5; 100], 0))
            .heard(v2(6, &ip6("fd00::1"), 0))
            .heard(v2(2, &ip6("2001:db8::1"), 0))
            .tried(v2(2, &ip6("2a01::1"), 1_600_000_000))
            .tried(v2(1, &[0; 4], 0)); // what is invalid is not judged further
        let import = raw.read().unwrap();
        let named = Source::Name([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let success = Some(UnixTime(1_600_000_000));
        let tried = Entry { last_success: success, tried: true, ..entry("2a01::1", named) };
        let old = entry("4.4.4.4", Source::Host(at("5.6.7.8").host));
        assert_eq!(import.entries, [entry("1.2.3.4", named), old, tried]);
        assert_eq!(import.skipped.count(SkipReason::Invalid), 6);
        assert_eq!(import.skipped.iter().next().unwrap().1.examples.len(), MAX_EXAMPLES);
    }
}

/// Core's feature_addrman.py, and what addrman.cpp refuses beside.
#[test]
fn what_core_refuses_is_refused() {
    let good = Raw::of(4).heard(v2(1, &[1, 2, 3, 4], 0)).tried(v2(1, &[1, 2, 3, 5], 1));
    assert_eq!(good.read().unwrap().entries.len(), 2);
    let with = |change: fn(&mut Raw)| {
        let mut raw = good.clone();
        change(&mut raw);
        raw.read().expect_err("must be refused")
    };
    assert_eq!(with(|raw| raw.compat = 31), FormatError::Compat(31));
    assert_eq!(with(|raw| raw.compat = 0), FormatError::Compat(0));
    assert_eq!(with(|raw| raw.compat = 37), FormatError::Newer { format: 4, least: 5 });
    assert_eq!(with(|raw| raw.format = 0), FormatError::Old(0));
    assert_eq!(with(|raw| raw.new = -1), FormatError::NewCount(-1));
    assert_eq!(with(|raw| raw.new = 65_537), FormatError::NewCount(65_537));
    assert_eq!(with(|raw| raw.tried = -1), FormatError::TriedCount(-1));
    assert_eq!(with(|raw| raw.tried = 16_385), FormatError::TriedCount(16_385));
    assert_eq!(with(|raw| raw.key = [0; 32]), FormatError::NullKey);
    let twice = with(|raw| *raw = raw.clone().tried(v2(1, &[1, 2, 3, 4], 1)));
    assert_eq!(twice, FormatError::Twice(at("1.2.3.4")));
    let never = with(|raw| *raw = raw.clone().tried(v2(1, &[1, 2, 3, 6], 0)));
    assert_eq!(never, FormatError::TriedWithoutSuccess(at("1.2.3.6")));
    let negative = with(|raw| *raw = raw.clone().tried(v2(1, &[1, 2, 3, 6], -1)));
    assert_eq!(negative, FormatError::NegativeTime(at("1.2.3.6")));

    let bytes = good.bytes();
    let other = read(&bytes, [1, 2, 3, 4]).expect_err("another chain");
    assert_eq!(other, FormatError::Magic { found: MAGIC, expected: [1, 2, 3, 4] });
    assert_eq!(
        other.to_string(),
        "the file is of another chain: its magic is fabfb5da, that of the chain is 01020304"
    );
    let mut flipped = bytes.clone();
    flipped[60] ^= 1;
    assert_eq!(read(&flipped, MAGIC), Err(FormatError::Checksum));
    for len in 0..bytes.len() {
        let error = read(&bytes[..len], MAGIC).expect_err("cut");
        assert!(matches!(error, FormatError::Truncated { len: at, .. } if at == len), "{error}");
    }
    // Core does not look behind the checksum.
    assert!(read(&[&bytes[..], b"more"].concat(), MAGIC).is_ok());
}

#[test]
fn a_file_of_the_future_is_read_where_it_says_that_it_can_be() {
    let mut raw = Raw::of(4).heard(v2(1, &[1, 2, 3, 4], 0));
    raw.format = 9;
    assert_eq!(texts(&raw.read().unwrap().entries), ["1.2.3.4:8333"]);
}

#[test]
fn another_number_of_buckets_is_no_error() {
    let mut raw = Raw::of(3).heard(v2(1, &[1, 2, 3, 4], 0));
    raw.buckets = 256;
    raw.indices = vec![0, -5, 1_000_000];
    assert_eq!(raw.read().unwrap().entries.len(), 1);
}

#[test]
fn addresses_of_a_wrong_length_are_refused() {
    for (network, len) in [(1, 5), (2, 4), (4, 10), (5, 31), (6, 15)] {
        let raw = Raw::of(3).heard(v2(network, &vec![1; len], 0));
        // Head, form, time, services.
        assert_eq!(raw.read(), Err(FormatError::AddressLen { network, len, at: 50 + 4 + 4 + 3 }));
    }
    // Before format 3 there are no addresses of the new form.
    let raw = Raw::of(2).heard(v2(1, &[1, 2, 3, 4], 0));
    assert_eq!(raw.read(), Err(FormatError::EntryForm { form: 0x2003_5b60, at: 50 }));
}

/// What `CheckAddrman` wants of a file that was just loaded, worked out from its bytes.
fn check(export: &Export, expected: Version) {
    let import = read(&export.bytes, MAGIC).unwrap();
    let keyed = buckets::Buckets(KEY);
    let new: Vec<_> = import.entries.iter().filter(|entry| !entry.tried).collect();
    let tail = 32 + 32 + 4 * (1024 + new.len());
    let tables = &export.bytes[export.bytes.len() - tail..export.bytes.len() - 64];
    let mut numbers =
        tables.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
    let mut taken = std::collections::HashSet::new();
    let mut references = vec![0; new.len()];
    for bucket in 0..1024 {
        for _ in 0..numbers.next().unwrap() {
            let index = numbers.next().unwrap() as usize;
            references[index] += 1;
            let place = keyed.new_place(&new[index].address, &new[index].source);
            assert_eq!(place.bucket, bucket);
            assert!(taken.insert(place), "two in one place");
        }
    }
    assert_eq!((numbers.next(), references), (None, vec![1; new.len()]));
    taken.clear();
    for entry in import.entries.iter().filter(|entry| entry.tried) {
        assert!(taken.insert(keyed.tried_place(&entry.address)), "two in one place");
    }
    let byte = if expected == Version::V3 { 3 } else { 4 };
    assert_eq!(export.bytes[4..6], [byte, 32 + byte]);
}

#[test]
fn tables_that_overflow_are_exported_as_core_would_keep_them() {
    // One source reaches 64 buckets, one netgroup 8 of the tried ones.
    let entries: Vec<_> = (0..20_000_u32)
        .map(|n| Entry {
            source: Source::Host(at("5.6.7.8").host),
            last_success: Some(NOON),
            tried: n % 2 == 0,
            ..Entry::of(Address { host: Host::Ipv4((0x0b00_0000 + n).into()), port: 1 })
        })
        .collect();
    for version in [Version::V3, Version::V4] {
        let export = write(&entries, MAGIC, KEY, version).unwrap();
        check(&export, version);
        assert!((400..=512).contains(&export.tried), "{}", export.tried);
        let new = export.entries - export.tried;
        // 0.0.0.0/16 is one netgroup, so one source puts it into one bucket.
        assert_eq!(new, 64);
        assert_eq!(export.skipped.count(SkipReason::Collision), 20_000 - export.entries as u64);
    }
}

#[test]
fn many_groups_and_sources_find_room() {
    let entries: Vec<_> = (0..5_000_u32)
        .map(|n| Entry {
            source: Source::Host(Host::Ipv4((0x0c00_0000 + (n << 12)).into())),
            ..Entry::of(Address { host: Host::Ipv4((0x0b00_0000 + (n << 16)).into()), port: 1 })
        })
        .collect();
    let export = write(&entries, MAGIC, KEY, Version::V3).unwrap();
    check(&export, Version::V3);
    assert!(export.entries > 4_700, "{}", export.entries);
}

#[test]
fn format_3_has_one_port_of_each_host_and_the_tried_one_first() {
    let entries = [
        Entry::of(at("1.2.3.4:1")),
        Entry { tried: true, last_success: Some(NOON), ..Entry::of(at("1.2.3.4:2")) },
        Entry::of(at("1.2.3.4:2")),
        Entry::of(at("0.0.0.0:1")),
    ];
    let export = write(&entries, MAGIC, KEY, Version::default()).unwrap();
    assert_eq!(texts(&read(&export.bytes, MAGIC).unwrap().entries), ["1.2.3.4:2"]);
    assert_eq!(
        export.skipped.to_string(),
        "1 invalid (entry 4: 0.0.0.0:1), 1 duplicate (entry 3: 1.2.3.4:2), \
         1 other_port (entry 1: 1.2.3.4:1)"
    );
    let export = write(&entries, MAGIC, KEY, Version::V4).unwrap();
    assert_eq!(texts(&read(&export.bytes, MAGIC).unwrap().entries), ["1.2.3.4:1", "1.2.3.4:2"]);
    assert_eq!(export.tried, 1);
}

#[test]
fn tried_without_a_success_that_can_be_written_is_new() {
    for last_success in [None, Some(UnixTime(0)), Some(UnixTime(DAY - 1))] {
        let entry = Entry { tried: true, last_success, ..Entry::of(at("1.2.3.4:1")) };
        let export = write(&[entry], MAGIC, KEY, Version::V3).unwrap();
        assert_eq!((export.entries, export.tried), (1, 0));
        check(&export, Version::V3);
    }
}

#[test]
fn exact_times_do_not_leave_the_house() {
    let seen = UnixTime(NOON.0 + 12_345);
    let success = UnixTime(NOON.0 + 54_321);
    let entry = |tried, ip: [u8; 4]| Entry {
        last_seen: seen,
        last_success: Some(success),
        tried,
        ..Entry::of(Address { host: Host::Ipv4(ip.into()), port: 1 })
    };
    let entries = [entry(false, [1, 2, 3, 4]), entry(true, [1, 3, 3, 4])];
    let export = write(&entries, MAGIC, KEY, Version::V3).unwrap();
    for entry in read(&export.bytes, MAGIC).unwrap().entries {
        assert_eq!(entry.last_seen, round_to_day(seen));
        assert_eq!(entry.last_success, Some(round_to_day(success)));
    }
    let anchors = anchors_dat::write(&entries, MAGIC).bytes;
    for time in [seen, success] {
        let exact = (time.0 as u32).to_le_bytes();
        for bytes in [&export.bytes, &anchors] {
            assert!(!bytes.windows(4).any(|window| window == exact));
        }
    }
}

#[test]
fn a_null_key_is_not_written() {
    assert_eq!(write(&[], MAGIC, [0; 32], Version::V3), Err(FormatError::NullKey));
}

#[test]
fn an_empty_book_is_a_good_file() {
    let export = write(&[], MAGIC, KEY, Version::V3).unwrap();
    check(&export, Version::V3);
    assert_eq!(read(&export.bytes, MAGIC).unwrap().entries, []);
}
