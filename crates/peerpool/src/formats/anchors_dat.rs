//! The peers that Core goes back to first, `anchors.dat` (addrdb.cpp). Core writes two at most, and
//! looks at no more.

use super::collect::Collector;
use super::disk::{Encoding, Reader, is_valid, put_address, put_checksum, put_compact_size};
use super::skipped::Place;
use super::{Entry, Export, Format, FormatError, Import, SkipReason, Skipped, check_len};

/// How many anchors Core keeps, and looks at.
pub const CORE_ANCHORS: usize = 2;

/// The most entries that a list of Core's may claim (`MAX_SIZE`).
const MAX_COUNT: u64 = 0x0200_0000;
/// The highest byte of an entry's form, in which the bit of `addrv2` is.
const FORM_HIGH: u8 = 0x20;

/// Reads the `anchors.dat` of the chain of this magic. Invalid addresses, and those named twice,
/// are left out.
///
/// # Errors
/// Another magic, a file that is cut, a wrong checksum, entries of an unknown form.
pub fn read(bytes: &[u8], magic: [u8; 4]) -> Result<Import, FormatError> {
    check_len(bytes)?;
    let mut reader = Reader::new(bytes, magic)?;
    let mut found = Collector::default();
    let count = reader.compact_size(MAX_COUNT)?;
    reader.part = "its entries";
    for number in 1..=count {
        let place = Place::Entry(number as usize);
        let disk = reader.address(Encoding::V2)?;
        let Some(address) = disk.address() else {
            let text = format!("port {}", disk.port);
            found.skip(SkipReason::Invalid, place, text.as_bytes());
            continue;
        };
        let entry =
            Entry { services: disk.services, last_seen: disk.last_seen, ..Entry::of(address) };
        found.take(place, entry);
    }
    reader.checksum()?;
    Ok(found.finish(Format::AnchorsDat))
}

/// Writes an `anchors.dat` for the chain of this magic: address, services and the day when each
/// entry was last seen. Core reads it from 22 on, and looks at the first [`CORE_ANCHORS`] only.
pub fn write(entries: &[Entry], magic: [u8; 4]) -> Export {
    let mut skipped = Skipped::default();
    let mut kept = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        if is_valid(&entry.address.host) {
            kept.push(entry);
        } else {
            let text = entry.address.to_string();
            skipped.add(SkipReason::Invalid, Place::Entry(at + 1), text.as_bytes());
        }
    }
    let mut out = magic.to_vec();
    put_compact_size(&mut out, kept.len() as u64);
    for entry in &kept {
        put_address(&mut out, &entry.address, entry.services, entry.last_seen);
    }
    put_checksum(&mut out);
    Export { bytes: out, entries: kept.len(), tried: 0, skipped }
}

/// Whether this may be a damaged `anchors.dat`: its first entry begins as those of Core do.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.get(8).is_some_and(|high| *high == FORM_HIGH)
}
