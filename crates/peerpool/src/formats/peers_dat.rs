//! Core's addr book, `peers.dat` (addrman.cpp, addrdb.cpp).
//!
//! Formats 1 (Core 0.10), 2 (0.20: checksum of the AS map), 3 (0.21: addresses of any network) and
//! 4 (23: several ports of one host) are read as Core reads them, with the same checks, but for
//! one: which buckets an entry is in is not looked at, as the addr book has buckets of its own. So
//! a tried entry that Core would lose to a collision is kept.

use std::collections::HashSet;

use peerpool_core::address::{Address, Host};
use peerpool_core::time::UnixTime;

use super::buckets::{BUCKET_SIZE, Buckets, NEW_BUCKETS, TRIED_BUCKETS};
use super::disk::{Encoding, Reader, is_valid, put_address, put_checksum, put_host, put_name};
use super::skipped::Place;
use super::{
    Entry, Export, Format, FormatError, Import, SkipReason, Skipped, Source, check_len,
    round_to_day,
};

/// The newest format that is known.
pub const LATEST: u8 = 4;
/// The most new entries a file may claim: the places of that table.
pub const MAX_NEW: usize = (NEW_BUCKETS * BUCKET_SIZE) as usize;
/// The most tried entries a file may claim: the places of that table.
pub const MAX_TRIED: usize = (TRIED_BUCKETS * BUCKET_SIZE) as usize;

/// Core's `INCOMPATIBILITY_BASE`.
const COMPAT_BASE: u8 = 32;
/// What the number of buckets is XORed with, so that format 0 takes it for an error.
const BUCKETS_MASK: u32 = 1 << 30;
/// The fewest bytes of an entry: form, time, services, address, port, source, success, attempts.
const MIN_ENTRY_LEN: usize = 4 + 4 + 1 + 2 + 2 + 2 + 8 + 4;
/// The bytes before the entries: magic, format, least format, key, counts, buckets.
const HEAD_LEN: usize = 4 + 1 + 1 + 32 + 4 + 4 + 4;

/// The format to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Format 3, which Core reads from 0.21 on. It has one port of each host.
    #[default]
    V3,
    /// Format 4, which Core reads from 23 on.
    V4,
}

impl Version {
    const fn byte(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }
}

/// Reads a `peers.dat` of the chain of this magic. Invalid addresses are left out, as by Core.
///
/// # Errors
/// Whatever Core refuses to load: another magic, a least format of the future, counts out of
/// bounds, a file that is cut, a wrong checksum, a zero key, an address that is there twice or
/// stands in the tried table without a success. And format 0, which Core last wrote in 0.9.
pub fn read(bytes: &[u8], magic: [u8; 4]) -> Result<Import, FormatError> {
    check_len(bytes)?;
    let mut reader = Reader::new(bytes, magic)?;
    let head = Head::read(&mut reader)?;
    let mut found = Found::default();
    let room = (reader.remaining() / MIN_ENTRY_LEN).min(head.new + head.tried);
    found.entries.reserve(room);
    reader.part = "the new entries";
    for _ in 0..head.new {
        found.read(&mut reader, &head, false)?;
    }
    reader.part = "the tried entries";
    for _ in 0..head.tried {
        found.read(&mut reader, &head, true)?;
    }
    reader.part = "its buckets";
    // Negative counts are none, as with Core.
    for _ in 0..head.buckets {
        let count = usize::try_from(reader.i32()?).unwrap_or(0);
        reader.take(count.saturating_mul(4))?;
    }
    if head.format >= 2 {
        reader.part = "the checksum of its AS map";
        reader.take(32)?;
    }
    reader.checksum()?;
    if head.key == [0; 32] {
        return Err(FormatError::NullKey);
    }
    found.check()
}

/// What stands before the entries.
struct Head {
    format: u8,
    key: [u8; 32],
    new: usize,
    tried: usize,
    buckets: i32,
}

impl Head {
    fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let format = reader.u8()?;
        let compat = reader.u8()?;
        let least = compat.checked_sub(COMPAT_BASE).ok_or(FormatError::Compat(compat))?;
        if least > LATEST {
            return Err(FormatError::Newer { format, least });
        }
        if format == 0 {
            return Err(FormatError::Old(format));
        }
        let key = reader.array()?;
        let new = reader.i32()?;
        let tried = reader.i32()?;
        let buckets = (reader.u32()? ^ BUCKETS_MASK) as i32;
        let within = |count: i32, max| usize::try_from(count).ok().filter(|count| *count <= max);
        Ok(Self {
            format,
            key,
            new: within(new, MAX_NEW).ok_or(FormatError::NewCount(new))?,
            tried: within(tried, MAX_TRIED).ok_or(FormatError::TriedCount(tried))?,
            buckets,
        })
    }

    const fn encoding(&self) -> Encoding {
        if self.format >= 3 { Encoding::V2 } else { Encoding::V1 }
    }
}

/// The entries of a file; their last success may still be negative.
#[derive(Default)]
struct Found {
    entries: Vec<(Entry, i64)>,
    read: usize,
    skipped: Skipped,
}

impl Found {
    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        head: &Head,
        tried: bool,
    ) -> Result<(), FormatError> {
        self.read += 1;
        let disk = reader.address(head.encoding())?;
        let source = reader.host(head.encoding())?;
        let success = reader.i64()?;
        let attempts = reader.i32()?;
        let Some(address) = disk.address() else {
            let text = format!("port {}", disk.port);
            self.skipped.add(SkipReason::Invalid, Place::Entry(self.read), text.as_bytes());
            return Ok(());
        };
        let entry = Entry {
            address,
            source: source.into(),
            services: disk.services,
            last_seen: disk.last_seen,
            last_success: u64::try_from(success).ok().filter(|time| *time > 0).map(UnixTime),
            attempts: attempts.try_into().unwrap_or(0),
            tried,
        };
        self.entries.push((entry, success));
        Ok(())
    }

    /// What Core's `CheckAddrman` can find wrong with a file whose checksum is right.
    fn check(self) -> Result<Import, FormatError> {
        let mut seen = HashSet::with_capacity(self.entries.len());
        for (entry, success) in &self.entries {
            let address = entry.address;
            if *success < 0 {
                return Err(FormatError::NegativeTime(address));
            }
            if entry.tried && *success == 0 {
                return Err(FormatError::TriedWithoutSuccess(address));
            }
            if !seen.insert(address) {
                return Err(FormatError::Twice(address));
            }
        }
        let entries = self.entries.into_iter().map(|(entry, _)| entry).collect();
        Ok(Import { format: Format::PeersDat, entries, skipped: self.skipped })
    }
}

/// Writes a `peers.dat` for the chain of this magic, without an AS map. Times are rounded to the
/// day.
///
/// `key` decides who collides with whom, and must be drawn at random for each file. An entry
/// without a source is its own. A tried entry that had no success, or whose place is another's,
/// stands in the new table if there is room; entries that come first have their places first.
///
/// # Errors
/// [`FormatError::NullKey`].
pub fn write(
    entries: &[Entry],
    magic: [u8; 4],
    key: [u8; 32],
    version: Version,
) -> Result<Export, FormatError> {
    if key == [0; 32] {
        return Err(FormatError::NullKey);
    }
    let tables = Tables::of(entries, Buckets(key), version);
    let mut out = magic.to_vec();
    out.extend([version.byte(), COMPAT_BASE + version.byte()]);
    out.extend(key);
    out.extend((tables.new.len() as u32).to_le_bytes());
    out.extend((tables.tried.len() as u32).to_le_bytes());
    out.extend((NEW_BUCKETS as u32 ^ BUCKETS_MASK).to_le_bytes());
    tables.new.iter().chain(&tables.tried).for_each(|entry| put_entry(&mut out, entry));
    for bucket in &tables.buckets {
        out.extend((bucket.len() as u32).to_le_bytes());
        bucket.iter().for_each(|index| out.extend(index.to_le_bytes()));
    }
    out.extend([0; 32]); // no AS map
    put_checksum(&mut out);
    Ok(Export {
        bytes: out,
        entries: tables.new.len() + tables.tried.len(),
        tried: tables.tried.len(),
        skipped: tables.skipped,
    })
}

/// When an entry last had a success, as it will be written.
fn success(entry: &Entry) -> u64 {
    entry.last_success.map_or(0, |time| round_to_day(time).0).min(i64::MAX as u64)
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_address(out, &entry.address, entry.services, entry.last_seen);
    match &entry.source {
        Source::Unknown => put_host(out, &entry.address.host),
        Source::Host(host) => put_host(out, host),
        Source::Name(name) => put_name(out, name),
    }
    out.extend(success(entry).to_le_bytes());
    out.extend(entry.attempts.min(i32::MAX as u32).to_le_bytes());
}

/// Who stands where in the file.
struct Tables<'a> {
    tried: Vec<&'a Entry>,
    new: Vec<&'a Entry>,
    /// For each new bucket, the indices in `new`.
    buckets: Vec<Vec<u32>>,
    skipped: Skipped,
}

impl<'a> Tables<'a> {
    fn of(entries: &'a [Entry], keyed: Buckets, version: Version) -> Self {
        let mut tables = Self {
            tried: Vec::new(),
            new: Vec::new(),
            buckets: vec![Vec::new(); NEW_BUCKETS as usize],
            skipped: Skipped::default(),
        };
        let mut seen = Seen { version, addresses: HashSet::new(), hosts: HashSet::new() };
        let mut taken = HashSet::new();
        let mut rest = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let wanted = entry.tried && success(entry) > 0 && seen.refuse(&entry.address).is_none();
            if wanted && taken.insert(keyed.tried_place(&entry.address)) {
                seen.insert(&entry.address);
                tables.tried.push(entry);
            } else {
                rest.push((Place::Entry(at + 1), entry));
            }
        }
        taken.clear();
        for (place, entry) in rest {
            let at = keyed.new_place(&entry.address, &entry.source);
            let refused = seen.refuse(&entry.address);
            let refused = refused.or_else(|| (!taken.insert(at)).then_some(SkipReason::Collision));
            if let Some(reason) = refused {
                tables.skipped.add(reason, place, entry.address.to_string().as_bytes());
                continue;
            }
            seen.insert(&entry.address);
            if let Some(bucket) = tables.buckets.get_mut(at.bucket as usize) {
                bucket.push(tables.new.len() as u32);
            }
            tables.new.push(entry);
        }
        tables
    }
}

/// What is in the file already.
struct Seen {
    version: Version,
    addresses: HashSet<Address>,
    hosts: HashSet<Host>,
}

impl Seen {
    fn refuse(&self, address: &Address) -> Option<SkipReason> {
        if !is_valid(&address.host) {
            Some(SkipReason::Invalid)
        } else if self.addresses.contains(address) {
            Some(SkipReason::Duplicate)
        } else if self.version == Version::V3 && self.hosts.contains(&address.host) {
            Some(SkipReason::OtherPort)
        } else {
            None
        }
    }

    fn insert(&mut self, address: &Address) {
        self.addresses.insert(*address);
        self.hosts.insert(address.host);
    }
}

/// Whether this may be a `peers.dat`, damaged or not.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let compat = bytes.get(5).is_some_and(|compat| (COMPAT_BASE..2 * COMPAT_BASE).contains(compat));
    let buckets = bytes.get(HEAD_LEN - 1).is_some_and(|high| *high == 0x40);
    compat && (buckets || bytes.len() < HEAD_LEN)
}
