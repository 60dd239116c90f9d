//! What outlives the engine: passed on to the book, and taken from it.

use std::time::Duration;

use crate::address::{Address, Net};
use crate::book::{Change, Restored};
use crate::time::Now;

use super::{Engine, Phase};

impl Engine {
    /// Notes from now on what changes and how long pings take: both are to be taken after each
    /// [`Engine::handle`].
    pub fn track_changes(&mut self) {
        self.book.track_changes(true);
        self.round_trips = Some(Vec::new());
    }

    /// Fills the addr book of a pool that has not started with what was kept of a former run. Whom
    /// it does not take in counts as changed, if changes are tracked. `key` is that of the book's
    /// tables, so that addresses find their places again. A pool that dials named addresses only
    /// takes in no others; those count as [`Restored::elsewhere`]. Without effect on a pool that
    /// has started.
    pub fn restore(&mut self, now: Now, key: [u8; 16], mut kept: Vec<Change>) -> Restored {
        if self.phase != Phase::New {
            return Restored::default();
        }
        let before = kept.len();
        if self.config.connect_only {
            kept.retain(|it| self.config.manual.contains(&it.address));
        }
        let others = before - kept.len();
        self.book.set_key(key);
        let restored = self.book.restore(now, kept);
        Restored { elsewhere: restored.elsewhere + others, ..restored }
    }

    /// Each address that changed since this was last asked, as it is now, once; to be asked after
    /// each [`Engine::handle`]. None before [`Engine::track_changes`].
    pub fn take_changes(&mut self, now: Now) -> Vec<Change> {
        self.book.take_changes(now)
    }

    /// All that is to be kept, and the networks of which it is all: whatever else was kept on those
    /// is to be forgotten.
    pub fn take_all(&mut self, now: Now) -> (Vec<Net>, Vec<Change>) {
        let nets = if self.config.connect_only { Vec::new() } else { self.book.nets().to_vec() };
        (nets, self.book.take_all(now))
    }

    /// Round trips of pings since this was last asked, by address; to be asked after each
    /// [`Engine::handle`]. None before [`Engine::track_changes`].
    pub fn take_round_trips(&mut self) -> Vec<(Address, Duration)> {
        self.round_trips.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
