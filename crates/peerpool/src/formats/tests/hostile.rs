//! Bytes that nobody meant well.

use super::*;

#[test]
fn counts_are_held_against_the_bytes_there_are() {
    // 65,536 new and 16,384 tried entries, and no byte of them.
    let mut head = [&MAGIC[..], &[4, 36], &KEY].concat();
    head.extend(65_536_i32.to_le_bytes());
    head.extend(16_384_i32.to_le_bytes());
    head.extend([0xff, 0xff, 0xff, 0x7f]);
    let error = peers_dat::read(&head, MAGIC).expect_err("cut");
    assert_eq!(error, FormatError::Truncated { part: "the new entries", len: 50 });
    // Two billion buckets; one of two billion entries.
    head[38..46].fill(0);
    head[46..50].copy_from_slice(&(i32::MAX ^ 1 << 30).to_le_bytes());
    let error = peers_dat::read(&head, MAGIC).expect_err("cut");
    assert_eq!(error, FormatError::Truncated { part: "its buckets", len: 50 });
    head.extend(i32::MAX.to_le_bytes());
    let error = peers_dat::read(&head, MAGIC).expect_err("cut");
    assert_eq!(error, FormatError::Truncated { part: "its buckets", len: 54 });
    // An address as long as memory.
    let entry = [0x60, 0x5b, 0x03, 0x20, 0, 0, 0, 0, 0, 9, 0xfe, 0xff, 0xff, 0xff, 0xff];
    let anchors = [&MAGIC[..], &[0xfe, 0, 0, 0, 2], &entry].concat();
    let error = anchors_dat::read(&anchors, MAGIC).expect_err("too long");
    assert!(matches!(error, FormatError::AddressLen { network: 9, .. }), "{error}");
    let anchors = [&MAGIC[..], &[0xfe, 1, 0, 0, 2]].concat();
    assert_eq!(anchors_dat::read(&anchors, MAGIC), Err(FormatError::Count { at: 4 }));
}

#[test]
fn deep_json_is_passed_without_recursion() {
    let deep = format!("[{}{}]", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let import = bitnodes::read(deep.as_bytes(), 8333).unwrap();
    assert_eq!(import.skipped.count(SkipReason::TooLong), 1);
    let deep = format!("[{}{}]", "[".repeat(500), "]".repeat(500));
    let import = bitnodes::read(deep.as_bytes(), 8333).unwrap();
    assert_eq!(import.skipped.count(SkipReason::Unreadable), 1);
}

fn every_reader(bytes: &[u8]) {
    let _ = read(bytes, &regtest());
    let _ = peers_dat::read(bytes, MAGIC);
    let _ = anchors_dat::read(bytes, MAGIC);
    let _ = bitnodes::read(bytes, 1);
    let _ = json_lines::read(bytes, 1);
    let _ = plain::read(bytes, 1);
    let _ = seeder::read(bytes, 1);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        every_reader(&bytes);
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}\",:0-9a-f.%# \n\\\\]{0,200}") {
        every_reader(text.as_bytes());
    }

    #[test]
    fn damage_is_never_read_as_another_book(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let good = peers_dat::write(&some(), MAGIC, KEY, peers_dat::Version::V3).unwrap().bytes;
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        every_reader(&bytes);
        if bytes != good {
            prop_assert!(peers_dat::read(&bytes, MAGIC).is_err());
        }
    }

    /// With a right checksum, so that all behind it is reached, too.
    #[test]
    fn sealed_damage_panics_nothing(
        changes in prop::collection::vec((any::<u8>(), any::<u8>()), 1..6),
    ) {
        let good = peers_dat::write(&some(), MAGIC, KEY, peers_dat::Version::V3).unwrap().bytes;
        let mut body = good[..good.len() - 32].to_vec();
        for (at, byte) in changes {
            body[4 + usize::from(at)] = byte;
        }
        every_reader(&sealed(&body));
    }
}
