//! Bans and discouraged hosts: whom the book keeps, and offers nobody.

use std::time::Duration;

use crate::address::Host;
use crate::banned::{Ban, BanError, Banned, Subnet};
use crate::misbehavior::Discouraged;
use crate::time::{Monotonic, Now, UnixTime};

use super::Book;
use super::record::{Record, RecordId, Shelf};

/// The end of a ban is waited for no longer than this at a time: the unix clock, by which it ends,
/// may be set meanwhile.
const LOOK: Duration = Duration::from_secs(3600);

impl Book {
    /// Bans a subnet until a time. The addresses in it that are known are kept, manual ones among
    /// them, but are not candidates while it lasts; hearsay of others there is refused.
    ///
    /// # Errors
    /// See [`Banned::check`].
    pub fn ban(&mut self, now: Now, subnet: Subnet, until: UnixTime) -> Result<Ban, BanError> {
        let ban = self.banned.ban(now.unix, subnet, until)?;
        self.on_bans_changed(now, &[ban]);
        Ok(ban)
    }

    /// Ends the ban of just this subnet.
    ///
    /// # Errors
    /// There is none.
    pub fn unban(&mut self, now: Now, subnet: &Subnet) -> Result<Ban, BanError> {
        let ban = self.banned.unban(subnet)?;
        self.on_bans_changed(now, &[ban]);
        Ok(ban)
    }

    /// Takes in bans of an earlier run, each with the time that is left of it. Returns how many
    /// were: not those that are over, nor more than `max_bans`.
    pub fn restore_bans(&mut self, now: Now, bans: impl IntoIterator<Item = Ban>) -> usize {
        let banned = &mut self.banned;
        let bans: Vec<Ban> =
            bans.into_iter().filter(|ban| banned.restore(now.unix, *ban)).collect();
        self.on_bans_changed(now, &bans);
        bans.len()
    }

    /// Every ban.
    pub const fn banned(&self) -> &Banned {
        &self.banned
    }

    /// Discourages a host for so long: as a ban, but manual addresses are not touched by it. The
    /// table is bounded, so another host may be forgotten for it.
    pub fn discourage(&mut self, now: Now, host: Host, memory: Duration) {
        let former = self.discouraged.insert(host, now.mono + memory);
        for host in [Some(host), former].into_iter().flatten() {
            self.shelve_host(now, host);
        }
    }

    /// Every discouraged host.
    pub const fn discouraged(&self) -> &Discouraged {
        &self.discouraged
    }

    /// Whether `host` is banned or discouraged: nothing is heard of it, and only the user dials it,
    /// unless it is banned.
    pub fn is_barred(&self, host: &Host) -> bool {
        self.discouraged.contains(host) || self.banned.contains(host)
    }

    /// Ends the bans that are over, which are returned, and forgets whoever was discouraged for
    /// long enough.
    pub fn end_bars(&mut self, now: Now) -> Vec<Ban> {
        for host in self.discouraged.expire(now.mono) {
            self.shelve_host(now, host);
        }
        let over = self.banned.expire(now.unix);
        self.on_bans_changed(now, &over);
        over
    }

    /// When [`Book::end_bars`] may find something to end.
    pub(super) fn bars_end_at(&self) -> Option<Monotonic> {
        [self.bans_end_at, self.discouraged.first_end()].into_iter().flatten().min()
    }

    fn on_bans_changed(&mut self, now: Now, bans: &[Ban]) {
        let left = |until: UnixTime| until.since(now.unix).min(LOOK);
        self.bans_end_at = self.banned.first_end().map(|until| now.mono + left(until));
        let mut sorted = None;
        for ban in bans {
            if ban.subnet.is_single() {
                let ranges = ban.subnet.addresses();
                ranges.for_each(|range| self.shelve_host(now, range.start().host));
                continue;
            }
            let all = sorted.get_or_insert_with(|| self.records.sorted());
            for range in ban.subnet.addresses() {
                let from = all.partition_point(|(address, _)| address < range.start());
                let within = all[from..].iter().take_while(|(address, _)| address <= range.end());
                within.for_each(|(_, id)| self.shelve(now, *id));
            }
        }
        self.revision += bans.len() as u64;
    }

    fn shelve_host(&mut self, now: Now, host: Host) {
        self.revision += 1;
        let ids: Vec<RecordId> = self.records.of_host(&host).collect();
        ids.into_iter().for_each(|id| self.shelve(now, id));
    }

    /// The shelf of those that are kept from being dialled, if that is so of a record.
    pub(super) fn bar(&self, record: &Record) -> Option<Shelf> {
        let host = &record.address.host;
        if self.banned.contains(host) {
            Some(Shelf::Banned)
        } else {
            (!record.manual && self.discouraged.contains(host)).then_some(Shelf::Discouraged)
        }
    }
}
