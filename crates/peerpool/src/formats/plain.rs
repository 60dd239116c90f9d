//! Plain lists: an address on each line, `#` before a comment.

use std::fmt::Write as _;

use peerpool_core::address::Address;

use super::lines;
use super::{Entry, Format, FormatError, Import, SkipReason};

/// Reads a list. Where a line names no port, `default_port` is meant.
///
/// # Errors
/// [`FormatError::TooLarge`].
pub fn read(bytes: &[u8], default_port: u16) -> Result<Import, FormatError> {
    lines::read(bytes, Format::Plain, |line| {
        Address::parse(line, default_port).map(Entry::of).map_err(|_| SkipReason::Unreadable)
    })
}

/// A list of these addresses, with their ports.
pub fn write(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", entry.address);
    }
    text
}
