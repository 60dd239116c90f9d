//! What is to be written: the last change of each address, and what happened to it.

use std::collections::HashMap;
use std::time::Duration;

use peerpool_core::address::{Address, Net};
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::book::Change;
use peerpool_core::event::Event;
use peerpool_core::time::UnixTime;

use super::history::{History, Limits};

/// What is to be written, in one transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// If set, the changes are all there is on these networks, and the bans all there are: whatever
    /// else the file has there goes.
    pub(super) whole: Option<Vec<Net>>,
    pub(super) changes: HashMap<Address, Change>,
    /// What happened to addresses, to be added to what the file says.
    pub(super) happened: HashMap<Address, History>,
    /// Bans that were made, and `None` for those that ended.
    pub(super) bans: HashMap<Subnet, Option<Ban>>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_none() && self.len() == 0
    }

    /// Addresses and bans in it, addresses that changed and that something happened to counted
    /// twice.
    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.happened.len() + self.bans.len()
    }

    /// Takes in changes that came later: the last one of an address holds.
    pub(super) fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            if self.whole.is_some() && change.is_gone() {
                self.changes.remove(&change.address);
            } else {
                self.changes.insert(change.address, change);
            }
            if change.is_gone() {
                self.happened.remove(&change.address);
            }
        }
    }

    /// Takes in all there is: whatever was to be changed before is in it.
    pub(super) fn replace(&mut self, nets: Vec<Net>, all: Vec<Change>, bans: Vec<Ban>) {
        self.bans = bans.into_iter().map(|ban| (ban.subnet, Some(ban))).collect();
        self.changes = all.into_iter().map(|change| (change.address, change)).collect();
        let Self { changes, happened, .. } = self;
        happened.retain(|address, _| changes.contains_key(address));
        self.whole = Some(nets);
    }

    pub(super) fn note(&mut self, at: UnixTime, event: &Event, limits: Limits) {
        match event {
            Event::Banned { ban } => self.ban(ban.subnet, Some(*ban)),
            Event::Unbanned { subnet, .. } => self.ban(*subnet, None),
            _ => {}
        }
        let Some(address) = event.address() else { return };
        if !matches!(event, Event::Gossip { .. }) {
            self.happened.entry(address).or_default().note(at, event, limits);
        }
    }

    /// Takes note that a ban was made, or ended.
    pub(super) fn ban(&mut self, subnet: Subnet, ban: Option<Ban>) {
        self.bans.insert(subnet, ban);
    }

    pub(super) fn note_round_trip(&mut self, address: Address, took: Duration, limits: Limits) {
        self.happened.entry(address).or_default().note_round_trip(took, limits);
    }

    /// Takes in another that came later.
    pub(super) fn extend(&mut self, later: Self, limits: Limits) {
        match later.whole {
            Some(nets) => {
                let bans = later.bans.into_values().flatten().collect();
                self.replace(nets, later.changes.into_values().collect(), bans);
            }
            None => {
                self.change(later.changes.into_values());
                self.bans.extend(later.bans);
            }
        }
        for (address, history) in later.happened {
            self.happened.entry(address).or_default().extend(history, limits);
        }
    }
}

#[cfg(test)]
mod tests {
    use peerpool_core::id::BurnReason;

    use super::*;

    fn address(n: u8) -> Address {
        format!("1.2.3.{n}:8333").parse().unwrap()
    }

    fn burned(n: u8, at: u64) -> Change {
        let burned = Some((UnixTime(at), BurnReason::Refused));
        Change { address: address(n), kept: None, burned }
    }

    fn gone(n: u8) -> Change {
        Change { address: address(n), kept: None, burned: None }
    }

    const LIMITS: Limits = Limits { facts: 4, round_trips: 4 };

    #[test]
    fn the_last_change_holds_and_all_there_is_replaces_what_was() {
        let mut batch = Batch::default();
        batch.change([burned(1, 1), burned(2, 1)]);
        batch.note_round_trip(address(1), Duration::from_millis(1), LIMITS);
        let mut later = Batch::default();
        later.change([gone(1), burned(2, 2), gone(3)]);
        batch.extend(later, LIMITS);
        assert_eq!(batch.changes[&address(1)], gone(1));
        assert_eq!(batch.changes[&address(2)], burned(2, 2));
        assert!(batch.happened.is_empty() && batch.len() == 3);

        batch.note_round_trip(address(2), Duration::from_millis(1), LIMITS);
        let mut all = Batch::default();
        let ban = |subnet: &str| {
            let (since, until) = (UnixTime(1), UnixTime(2));
            Ban { subnet: subnet.parse().unwrap(), since, until }
        };
        let (kept, gone_before, gone_after) = (ban("1.0.0.0/8"), ban("2.0.0.0/8"), ban("3.3.3.3"));
        batch.note(UnixTime(1), &Event::Banned { ban: gone_before }, LIMITS);
        let (nets, changes) = (vec![Net::Ipv4], vec![burned(4, 4), burned(5, 5)]);
        all.replace(nets, changes, vec![kept, gone_after]);
        let ended = Event::Unbanned { subnet: gone_after.subnet, expired: true };
        all.note(UnixTime(1), &ended, LIMITS);
        all.change([gone(5)]);
        batch.extend(all, LIMITS);
        assert_eq!(batch.whole, Some(vec![Net::Ipv4]));
        assert_eq!(Vec::from_iter(batch.changes.values()), [&burned(4, 4)]);
        assert!(batch.happened.is_empty() && !batch.is_empty());
        assert_eq!(batch.bans, HashMap::from([(kept.subnet, Some(kept))]));
    }
}
