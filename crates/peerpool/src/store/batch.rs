//! What is to be written: the last change of each address, and what happened to it.

use std::collections::HashMap;
use std::time::Duration;

use peerpool_core::address::{Address, Net};
use peerpool_core::book::Change;
use peerpool_core::event::Event;
use peerpool_core::time::UnixTime;

use super::history::{History, Limits};

/// What is to be written, in one transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// If set, the changes are all there is on these networks, and whatever else the file has there
    /// goes.
    pub(super) whole: Option<Vec<Net>>,
    pub(super) changes: HashMap<Address, Change>,
    /// What happened to addresses, to be added to what the file says.
    pub(super) happened: HashMap<Address, History>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_none() && self.changes.is_empty() && self.happened.is_empty()
    }

    /// Addresses in it, those that changed and that something happened to counted twice.
    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.happened.len()
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
    pub(super) fn replace(&mut self, nets: Vec<Net>, all: Vec<Change>) {
        self.changes = all.into_iter().map(|change| (change.address, change)).collect();
        let Self { changes, happened, .. } = self;
        happened.retain(|address, _| changes.contains_key(address));
        self.whole = Some(nets);
    }

    pub(super) fn note(&mut self, at: UnixTime, event: &Event, limits: Limits) {
        let Some(address) = event.address() else { return };
        if !matches!(event, Event::Gossip { .. }) {
            self.happened.entry(address).or_default().note(at, event, limits);
        }
    }

    pub(super) fn note_round_trip(&mut self, address: Address, took: Duration, limits: Limits) {
        self.happened.entry(address).or_default().note_round_trip(took, limits);
    }

    /// Takes in another that came later.
    pub(super) fn extend(&mut self, later: Self, limits: Limits) {
        match later.whole {
            Some(nets) => self.replace(nets, later.changes.into_values().collect()),
            None => self.change(later.changes.into_values()),
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
        all.replace(vec![Net::Ipv4], vec![burned(4, 4), burned(5, 5)]);
        all.change([gone(5)]);
        batch.extend(all, LIMITS);
        assert_eq!(batch.whole, Some(vec![Net::Ipv4]));
        assert_eq!(Vec::from_iter(batch.changes.values()), [&burned(4, 4)]);
        assert!(batch.happened.is_empty() && !batch.is_empty());
    }
}
