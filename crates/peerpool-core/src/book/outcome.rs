//! What became of a dial: success, loss, failure, verdicts that wait, and burns.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::Address;
use crate::id::BurnReason;
use crate::rng::Rng;
use crate::time::{Monotonic, Now};

use super::Book;
use super::record::{Experience, RecordId};

/// A back-off is longer than its base by a factor between these.
pub(super) const LONGER: [f64; 2] = [1.05, 1.25];

impl Book {
    /// Notes that a connection to `address` is being made or up.
    pub fn set_in_use(&mut self, now: Now, address: Address, in_use: bool) {
        self.revision += 1;
        if in_use {
            self.in_use.insert(address);
        } else {
            self.in_use.remove(&address);
        }
        let sisters: Vec<RecordId> = self.records.of_host(&address.host).collect();
        for sister in sisters {
            self.shelve(now, sister);
        }
        if in_use {
            self.note_tried(now, address);
        }
    }

    /// Notes that `address`, which is in use, is dialled now, or left of our own will: who was just
    /// left is not the first to go back to.
    pub fn note_tried(&mut self, now: Now, address: Address) {
        if let Some(id) = self.id(&address) {
            self.update(now, id, |record| record.set_tried_at(Some(now.mono)));
        }
    }

    /// The handshake is done: the address is good, and a candidate from experience. Failures are
    /// not forgotten yet: a quick drop would be one more in a row.
    pub fn on_ready(&mut self, now: Now, address: Address, services: ServiceFlags) {
        let Some(id) = self.id(&address) else { return };
        self.update(now, id, |record| {
            let proven = record.past.experience.is_some_and(|experience| experience.proven);
            record.past.experience = Some(Experience { last_success: now.unix, proven });
            record.services = services;
            record.past.retry_at = None;
            record.past.verdict = None;
        });
        self.promote(now, id);
    }

    /// The peer stayed long enough, or was closed by us: a later failure backs off, and is the
    /// first in a row.
    pub fn on_proven(&mut self, now: Now, address: Address) {
        let Some(id) = self.id(&address) else { return };
        self.update(now, id, |record| {
            record.failures = 0;
            record.past.experience = Some(Experience { last_success: now.unix, proven: true });
        });
        self.promote(now, id);
    }

    /// Burns an address: it is not a candidate until the burn fades and it is heard of anew.
    pub fn burn(&mut self, now: Now, address: Address, reason: BurnReason) {
        self.revision += 1;
        if reason == BurnReason::Itself {
            self.manual.remove(&address);
        }
        if let Some(id) = self.id(&address).filter(|_| !self.manual.contains(&address)) {
            self.remove(id);
        }
        self.changes.mark(address);
        if let Some(oldest) = self.burned.insert(now.mono, address, reason) {
            self.changes.mark(oldest);
        }
    }

    /// Forgets the burns that have faded.
    pub(super) fn fade_burns(&mut self, now: Now) {
        let Self { burned, changes, .. } = self;
        self.revision += burned.fade(now.mono, |address| changes.mark(address));
    }

    /// Keeps a verdict until evidence decides it.
    pub fn hold_verdict(&mut self, now: Now, address: Address, reason: BurnReason) {
        if let Some(id) = self.id(&address) {
            self.update(now, id, |record| record.past.verdict = Some((now.mono, reason)));
        }
    }

    /// Whether a failure of this address backs it off instead of burning it.
    pub fn backs_off(&self, now: Now, address: &Address) -> bool {
        let age = self.policy.experience_age;
        self.record(address).is_some_and(|record| record.backs_off(now.unix, age))
    }

    /// Puts off the next dial by `backoff_min`, doubled for each strike before this one, 5 to 25 %
    /// longer at random, and counts a strike. With `failed`, a failure is counted too, and after
    /// `max_failures` in a row an experienced address is hearsay again. Returns failures and wait.
    pub fn back_off(
        &mut self,
        now: Now,
        address: Address,
        failed: bool,
        rng: &mut Rng,
    ) -> Option<(u32, Duration)> {
        // The jitter only lengthens: doubling from 1 min to 1 h gives exactly 6 dials in the
        // first hour, and the 5 % keep the day's dials at 28.
        let (min, max) = (self.policy.backoff_min, self.policy.backoff_max);
        let max_failures = self.policy.max_failures as u32;
        let id = self.id(&address)?;
        let strikes = self.records.get(id)?.past.strikes;
        let base = min.saturating_mul(1 << strikes.min(31)).min(max.max(min));
        let wait = rng.between(base.mul_f64(LONGER[0]), base.mul_f64(LONGER[1]));
        let mut failures = 0;
        self.update(now, id, |record| {
            record.past.strikes = record.past.strikes.saturating_add(1);
            record.failures = record.failures.saturating_add(u32::from(failed));
            record.past.verdict = None;
            failures = record.failures;
            if failures >= max_failures && !record.manual {
                record.past.experience = None;
                record.failures = 0;
                record.past.strikes = 0;
            }
            record.past.retry_at = Some(now.mono + wait);
        });
        Some((failures, wait))
    }

    /// Forgets strikes after a long stay.
    pub fn forgive(&mut self, now: Now, address: Address) {
        if let Some(id) = self.id(&address) {
            self.update(now, id, |record| record.past.strikes = 0);
        }
    }

    /// Ends the wait of verdicts without evidence: their addresses back off.
    pub fn give_up_verdicts(&mut self, now: Now, rng: &mut Rng) {
        for (address, ..) in self.verdicts() {
            self.back_off(now, address, false, rng);
        }
    }

    /// Evidence came: verdicts no older than `age` are carried out and returned, the others lapse.
    pub fn settle_verdicts(&mut self, now: Now, age: Duration) -> Vec<(Address, BurnReason)> {
        let mut burned = Vec::new();
        for (address, at, reason) in self.verdicts() {
            if now.mono.since(at) <= age {
                self.burn(now, address, reason);
                burned.push((address, reason));
            } else if let Some(id) = self.id(&address) {
                self.update(now, id, |record| record.past.verdict = None);
            }
        }
        burned
    }

    /// An outage is over: waiting verdicts lapse and back-offs start anew, spread over `jitter`;
    /// those of anchors end.
    pub fn recover(&mut self, now: Now, jitter: Duration, rng: &mut Rng) {
        // By the queues and not by the shelves: a sister port in use hides both.
        let mut held = self.verdicts.clone();
        held.extend(self.retries.iter().map(|(_, id)| *id));
        for id in held {
            let anchor =
                self.records.get(id).is_some_and(|record| self.anchors.contains(&record.address));
            let wait = rng.between(Duration::ZERO, jitter);
            let retry_at = (!anchor).then_some(now.mono + wait);
            self.update(now, id, |record| {
                record.past.verdict = None;
                record.failures = 0;
                record.past.strikes = 0;
                record.past.retry_at = retry_at;
            });
        }
    }

    /// In the order of their addresses.
    fn verdicts(&self) -> Vec<(Address, Monotonic, BurnReason)> {
        let verdict = |id: &RecordId| {
            let record = self.records.get(*id)?;
            let (at, reason) = record.past.verdict?;
            Some((record.address, at, reason))
        };
        let mut all: Vec<_> = self.verdicts.iter().filter_map(verdict).collect();
        all.sort_unstable();
        all
    }
}
