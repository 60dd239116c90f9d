//! What the book keeps across runs: which addresses changed, as they are now, and a book filled
//! again from what was kept.
//!
//! Every time in it is unix time, since the monotonic clock ends with the process. Places in the
//! tables are not kept: they follow from the key, the address and its source.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Net};
use crate::id::BurnReason;
use crate::time::{Monotonic, Now, UnixTime};

use super::Book;
use super::outcome::LONGER;
use super::record::{Experience, Past, Record, RecordId, Source};
use super::tables::Place;

/// What is kept of one address in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The address.
    pub address: Address,
    /// Where it was first heard of.
    pub source: Source,
    /// When it was first heard of.
    pub heard_at: UnixTime,
    /// Its services, as others or itself said.
    pub services: ServiceFlags,
    /// When it was last seen, as others say; 0 if nobody does.
    pub last_seen: UnixTime,
    /// Our last handshake with it, if there was one and it counts as experience.
    pub last_success: Option<UnixTime>,
    /// Whether it once stayed for `quick_drop`, or was closed by us.
    pub proven: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Exponent of its next back-off.
    pub strikes: u32,
    /// When its back-off ends.
    pub retry_at: Option<UnixTime>,
    /// When it was last dialled.
    pub tried_at: Option<UnixTime>,
    /// When it was last asked for addresses.
    pub asked_at: Option<UnixTime>,
    /// Whether it stands in the tried table.
    pub tried: bool,
    /// Whether it is an anchor: among the first to be dialled after a restart.
    pub anchor: bool,
}

/// All that is to be kept of one address, as it is now. The last change of an address holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The address.
    pub address: Address,
    /// What is known of it; `None` if it is not in the book.
    pub kept: Option<Saved>,
    /// When it was burned and why; `None` if it is not.
    pub burned: Option<(UnixTime, BurnReason)>,
}

impl Change {
    /// Whether the address is forgotten altogether.
    pub const fn is_gone(&self) -> bool {
        self.kept.is_none() && self.burned.is_none()
    }
}

/// What became of what was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Addresses that are in the book again.
    pub kept: usize,
    /// Burned addresses that are so still.
    pub burned: usize,
    /// Burns that have faded, and addresses for which there is no room, or which the rules of the
    /// book refuse now.
    pub refused: usize,
    /// Addresses on networks that this book does not keep. They are no change: a later run may.
    pub elsewhere: usize,
}

/// Which addresses changed since they were last asked for; `None` while nobody asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Option<BTreeSet<Address>>);

impl Changes {
    pub(super) fn mark(&mut self, address: Address) {
        if let Some(changed) = &mut self.0 {
            changed.insert(address);
        }
    }

    pub(super) fn are_tracked(&self) -> bool {
        self.0.is_some()
    }
}

impl Record {
    /// What is kept of this record, to be compared.
    pub(super) fn kept(&self) -> impl PartialEq + use<> {
        let Past { experience, strikes, retry_at, asked_at, .. } = *self.past;
        let seen = (self.services, self.last_seen, self.heard_at);
        let tried = (self.failures, self.tried_at(), self.is_tried());
        (seen, tried, experience, strikes, retry_at, asked_at)
    }
}

impl Book {
    /// Notes from now on which addresses change, or no longer. Off in a new book.
    pub fn track_changes(&mut self, on: bool) {
        if on != self.changes.are_tracked() {
            self.changes = Changes(on.then(BTreeSet::new));
        }
    }

    /// Whether an address changed since [`Book::take_changes`].
    pub fn has_changes(&self) -> bool {
        self.changes.0.as_ref().is_some_and(|changed| !changed.is_empty())
    }

    /// Each address that changed since this was last asked, once, as it is now, in the order of
    /// addresses. A back-off or a burn that is over may be told of late, or not at all: their times
    /// say so.
    pub fn take_changes(&mut self, now: Now) -> Vec<Change> {
        let changed = self.changes.0.as_mut().map(std::mem::take).unwrap_or_default();
        changed.into_iter().map(|address| self.as_kept(now, address)).collect()
    }

    /// Every address in the book and every burned one, as they are now; what changed is thereby
    /// told.
    pub fn take_all(&mut self, now: Now) -> Vec<Change> {
        if let Some(changed) = &mut self.changes.0 {
            changed.clear();
        }
        let burned = self.burned.entries().map(|(address, _)| *address);
        let known = self.records.entries().map(|(_, record)| record.address);
        let all: BTreeSet<Address> = known.chain(burned).collect();
        all.into_iter().map(|address| self.as_kept(now, address)).collect()
    }

    /// The networks whose addresses the book keeps.
    pub fn nets(&self) -> &[Net] {
        &self.nets
    }

    fn as_kept(&self, now: Now, address: Address) -> Change {
        let kept = self.record(&address).map(|record| Saved {
            address,
            source: *self.sources.get(record.source),
            heard_at: record.heard_at,
            services: record.services,
            last_seen: record.last_seen,
            last_success: record.past.experience.map(|experience| experience.last_success),
            proven: record.past.experience.is_some_and(|experience| experience.proven),
            failures: record.failures,
            strikes: record.past.strikes,
            retry_at: record.past.retry_at.map(|at| to_unix(now, at)),
            tried_at: record.tried_at().map(|at| to_unix(now, at)),
            asked_at: record.past.asked_at.map(|at| to_unix(now, at)),
            tried: record.is_tried(),
            anchor: self.anchors.contains(&address),
        });
        let burned = self.burned.entry(&address).map(|(at, reason)| (to_unix(now, at), reason));
        Change { address, kept, burned }
    }

    // ---- anchors ----

    /// Makes an address an anchor, or one no longer. Without effect on one that the book does not
    /// know, and undone when it is forgotten.
    pub fn set_anchor(&mut self, address: Address, anchor: bool) {
        let changed = if anchor {
            self.id(&address).is_some() && self.anchors.insert(address)
        } else {
            self.anchors.remove(&address)
        };
        if changed {
            self.revision += 1;
            self.changes.mark(address);
        }
    }

    /// The anchors, in the order of addresses.
    pub fn anchors(&self) -> Vec<Address> {
        self.anchors.iter().copied().collect()
    }

    // ---- restoring ----

    /// The key of the tables, for a book that is empty as yet.
    pub fn set_key(&mut self, key: [u8; 16]) {
        if self.is_empty() {
            self.tables.set_key(key);
            self.records.set_key(self.tables.key());
            self.groups.set_key(self.tables.key());
            self.sources.set_key(self.tables.key());
        }
    }

    /// Fills a new book with what was kept of another. Times to come are taken for now. A burn
    /// older than `burn_memory` is over, unless it is of ourselves. Where places or the book are
    /// full, those that we know best and latest go first. Those that are not taken in count as
    /// changed, if changes are tracked: they are to be forgotten.
    pub fn restore(&mut self, now: Now, kept: Vec<Change>) -> Restored {
        let mut restored = Restored::default();
        self.unix = now.unix;
        let tracked = std::mem::take(&mut self.changes);
        let mut refused: BTreeSet<Address> = BTreeSet::new();
        let mut burns: Vec<_> = kept
            .iter()
            .filter_map(|it| it.burned.map(|burn| (burn.0, it.address, burn.1)))
            .collect();
        burns.sort_unstable();
        for (at, address, reason) in burns {
            let age = now.unix.since(at);
            if age < self.policy.burn_memory || reason == BurnReason::Itself {
                let at = from_unix(now, at).unwrap_or_default().min(now.mono);
                refused.extend(self.burned.insert(at, address, reason));
            } else {
                refused.insert(address);
            }
        }
        restored.burned = self.burned.len();
        let mut saved: Vec<Saved> = kept.into_iter().filter_map(|it| it.kept).collect();
        saved.sort_by_key(|it| std::cmp::Reverse(merit(it)));
        for it in saved {
            if !self.nets.contains(&it.address.net()) {
                restored.elsewhere += 1;
            } else if self.restore_one(now, &it) {
                restored.kept += 1;
            } else if !self.burned.contains(&it.address) {
                refused.insert(it.address);
            }
        }
        restored.refused = refused.len();
        self.changes = tracked;
        refused.into_iter().for_each(|address| self.changes.mark(address));
        restored
    }

    fn restore_one(&mut self, now: Now, saved: &Saved) -> bool {
        let address = saved.address;
        let unheard = saved.last_seen == UnixTime(0) && saved.last_success.is_none();
        let known = self.id(&address).is_some() || self.burned.contains(&address);
        if unheard
            || known
            || self.is_full()
            || !self.acceptable(&address)
            || self.has_ports_enough(&address)
        {
            return false;
        }
        let tried = (saved.tried && saved.last_success.is_some())
            .then(|| self.tables.tried_place(&address))
            .filter(|place| self.tables.at(*place).is_none());
        // Of several places it is not known which were left to it: its first source gave it one.
        let place = tried
            .or_else(|| self.free_new_place(&address, saved.source))
            .or_else(|| self.cleared_new_place(now, &address, saved.source));
        let Some(place) = place else { return false };
        let mut record = self.as_record(now, saved);
        record.add_place(place);
        self.insert(now, record, &saved.source);
        if saved.anchor {
            self.anchors.insert(address);
        }
        true
    }

    /// A free place in the new table: where `source` would give `address` one, or it itself.
    pub(super) fn free_new_place(&self, address: &Address, source: Source) -> Option<Place> {
        let sources = [source, Source::Peer(*address)];
        let mut places = sources.iter().map(|source| self.tables.new_place(address, source));
        places.find(|place| self.tables.at(*place).is_none())
    }

    /// A place in the new table from which others have moved, each to where it may stand as well: in
    /// another order than they came in, some would find none.
    fn cleared_new_place(&mut self, now: Now, address: &Address, source: Source) -> Option<Place> {
        // Longer chains hardly ever end.
        const LONGEST: usize = 16;
        for first in [source, Source::Peer(*address)] {
            let mut chain = vec![self.tables.new_place(address, &first)];
            while let Some(&last) = chain.last().filter(|_| chain.len() <= LONGEST) {
                let Some(id) = self.tables.at(last) else {
                    self.shift(now, &chain);
                    return chain.first().copied();
                };
                let next = self.other_place(id, last).filter(|next| !chain.contains(next));
                let Some(next) = next else { break };
                chain.push(next);
            }
        }
        None
    }

    /// Where a record that stands nowhere else may stand as well as there.
    fn other_place(&self, id: RecordId, there: Place) -> Option<Place> {
        let record = self.records.get(id).filter(|record| *record.places() == [there])?;
        let source = *self.sources.get(record.source);
        let mut places = [source, Source::Peer(record.address)]
            .into_iter()
            .map(|source| self.tables.new_place(&record.address, &source));
        places.find(|place| *place != there)
    }

    /// Moves whoever stands at a place of the chain to the next; the last is free.
    fn shift(&mut self, now: Now, chain: &[Place]) {
        for pair in chain.windows(2).rev() {
            let &[from, to] = pair else { continue };
            let Some(id) = self.tables.at(from) else { continue };
            self.tables.set(from, None);
            self.tables.set(to, Some(id));
            self.update(now, id, |record| {
                record.remove_place(from);
                record.add_place(to);
            });
        }
    }

    fn as_record(&self, now: Now, saved: &Saved) -> Record {
        let Saved { address, heard_at, services, last_seen, .. } = *saved;
        let mut record = Record::new(address, heard_at, services, last_seen);
        // No back-off is longer, so whatever says so was written under another time.
        let longest = now.mono + self.policy.backoff_max.mul_f64(LONGER[1]);
        let retry_at = saved.retry_at.filter(|at| *at > now.unix);
        let before = |at: Option<UnixTime>| Some(from_unix(now, at?)?.min(now.mono));
        let experience = saved
            .last_success
            .map(|last_success| Experience { last_success, proven: saved.proven });
        record.set_past(Past {
            experience,
            strikes: saved.strikes,
            retry_at: retry_at.and_then(|at| from_unix(now, at)).map(|at| at.min(longest)),
            verdict: None,
            asked_at: before(saved.asked_at),
        });
        record.failures = saved.failures;
        record.set_tried_at(before(saved.tried_at));
        record.cap_times(now.unix);
        record
    }
}

/// Who goes first: anchors, then those that we know, the latest first.
fn merit(saved: &Saved) -> impl Ord + use<> {
    let tried = saved.tried && saved.last_success.is_some();
    (saved.anchor, tried, saved.last_success, saved.last_seen, saved.address)
}

/// A point on the monotonic clock as unix time. What is less than a second ahead is ahead all the
/// same.
pub(super) fn to_unix(now: Now, at: Monotonic) -> UnixTime {
    if at > now.mono {
        let ahead = at.since(now.mono);
        return now.unix + ahead + Duration::from_millis(999);
    }
    now.unix - now.mono.since(at)
}

/// The other way round; `None` for what lies before the monotonic clock began.
fn from_unix(now: Now, at: UnixTime) -> Option<Monotonic> {
    if at > now.unix {
        return Some(now.mono + at.since(now.unix));
    }
    let at = now.mono.since_origin().checked_sub(now.unix.since(at))?;
    Some(Monotonic::new(at))
}
