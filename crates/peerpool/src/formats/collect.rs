//! What a file tells, gathered: each address once, and no more than there may be.

use std::collections::HashSet;

use peerpool_core::address::Address;

use super::disk::is_valid;
use super::skipped::Place;
use super::{Entry, Format, Import, MAX_ENTRIES, SkipReason, Skipped};

#[derive(Debug, Default)]
pub(super) struct Collector {
    pub(super) entries: Vec<Entry>,
    seen: HashSet<Address>,
    pub(super) skipped: Skipped,
}

impl Collector {
    /// Takes in an entry, unless its address is invalid or was there before.
    pub(super) fn take(&mut self, place: Place, entry: Entry) {
        let reason = if !is_valid(&entry.address.host) {
            SkipReason::Invalid
        } else if self.entries.len() >= MAX_ENTRIES {
            SkipReason::TooMany
        } else if !self.seen.insert(entry.address) {
            SkipReason::Duplicate
        } else {
            return self.entries.push(entry);
        };
        self.skip(reason, place, entry.address.to_string().as_bytes());
    }

    pub(super) fn skip(&mut self, reason: SkipReason, place: Place, text: &[u8]) {
        self.skipped.add(reason, place, text);
    }

    pub(super) fn finish(self, format: Format) -> Import {
        Import { format, entries: self.entries, skipped: self.skipped }
    }
}
