//! Dumps of DNS seeders: `dnsseed.dump` of sipa's bitcoin-seeder, `seeds.txt` of dnsseedrs.
//!
//! Columns, separated by blanks: address, good (0 or 1), time of the last success, share of good
//! tries within 2 h, 8 h, 1 d, 7 d and 30 d, height, services in hexadecimal, protocol version,
//! user agent.

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::time::UnixTime;

use super::lines::{self, Line};
use super::{Entry, Format, FormatError, Import, SkipReason};

/// Columns that each line has; the user agent may be missing, and may hold blanks.
const COLUMNS: usize = 11;

/// Reads a dump. The seeder's last success is when an address was last seen; nodes that are not
/// good are left out.
///
/// # Errors
/// [`FormatError::TooLarge`].
pub fn read(bytes: &[u8], default_port: u16) -> Result<Import, FormatError> {
    lines::read(bytes, Format::Seeder, |line| parse(line, default_port))
}

fn parse(line: &str, default_port: u16) -> Line {
    let mut columns = line.split_ascii_whitespace();
    let mut next = || columns.next().ok_or(SkipReason::Unreadable);
    let unreadable = |_| SkipReason::Unreadable;
    let address = Address::parse(next()?, default_port).map_err(|_| SkipReason::Unreadable)?;
    let good: u8 = next()?.parse().map_err(unreadable)?;
    let success: i64 = next()?.parse().map_err(unreadable)?;
    for _ in 3..9 {
        next()?;
    }
    let services = u64::from_str_radix(next()?, 16).map_err(unreadable)?;
    next()?;
    if good == 0 {
        return Err(SkipReason::NotGood);
    }
    Ok(Entry {
        services: ServiceFlags::from(services),
        last_seen: UnixTime(success.try_into().unwrap_or(0)),
        ..Entry::of(address)
    })
}

/// Whether a text that begins so is a dump.
pub(super) fn looks_like(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.lines().any(|line| match line.trim_start().strip_prefix('#') {
        Some(comment) => {
            let words: Vec<_> = comment.split_ascii_whitespace().take(3).collect();
            matches!(words.as_slice(), ["address", "good", _])
        }
        None => {
            let columns: Vec<_> = line.split_ascii_whitespace().take(COLUMNS).collect();
            columns.get(3).is_some_and(|share| share.ends_with('%'))
        }
    })
}
