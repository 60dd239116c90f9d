//! Test before evict: who comes to a place of the tried table that is taken waits until it is known
//! whether the incumbent still answers. As in Core's `ResolveCollisions`.

use std::time::Duration;

use crate::address::Address;
use crate::rng::Rng;
use crate::time::{Monotonic, Now};

use super::Book;
use super::record::{Record, RecordId, Shelf};
use super::tables::Place;

/// Challengers that wait at once. Core's `ADDRMAN_SET_TRIED_COLLISION_SIZE`.
const WAITING: usize = 10;
/// A success protects an incumbent for this long, and a dial counts as a test for as long. Core's
/// `ADDRMAN_REPLACEMENT`.
const PROTECTED: Duration = Duration::from_secs(4 * 3600);
/// A test is over after this long.
const TEST: Duration = Duration::from_secs(60);
/// A challenger takes the place untested after this long. Core's `ADDRMAN_TEST_WINDOW`.
const PATIENCE: Duration = Duration::from_secs(40 * 60);

/// Challengers, and since when each waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Collisions(Vec<(RecordId, Monotonic)>);

impl Collisions {
    pub(super) fn forget(&mut self, challenger: RecordId) {
        self.0.retain(|(id, _)| *id != challenger);
    }

    fn wait(&mut self, challenger: RecordId, since: Monotonic) {
        if self.0.len() < WAITING && self.0.iter().all(|(id, _)| *id != challenger) {
            self.0.push((challenger, since));
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.0.iter().map(|(id, _)| *id)
    }
}

/// What becomes of a challenger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruling {
    Waits,
    Moves,
    GivesUp,
}

impl Book {
    /// Moves an address that we handshook with to its place in the tried table, unless another
    /// stands there that may still be good.
    pub(super) fn promote(&mut self, now: Now, id: RecordId) {
        let Some(record) = self.records.get(id).filter(|record| !record.is_tried()) else { return };
        let place = self.tables.tried_place(&record.address);
        let incumbent = self.tables.at(place).and_then(|id| self.records.get(id));
        match incumbent {
            Some(it)
                if it.shelf == Shelf::InUse
                    || it.past.experience.is_some() && it.shelf != Shelf::Idle =>
            {
                self.collisions.wait(id, now.mono);
            }
            _ => self.move_to_tried(now, id, place),
        }
    }

    fn move_to_tried(&mut self, now: Now, id: RecordId, place: Place) {
        self.vacate(now, place);
        self.leave_places(now, id);
        self.tables.set(place, Some(id));
        self.update(now, id, |record| {
            record.add_place(place);
        });
    }

    fn leave_places(&mut self, now: Now, id: RecordId) {
        let Some(record) = self.records.get(id) else { return };
        record.places().iter().for_each(|place| self.tables.set(*place, None));
        self.update(now, id, Record::clear_places);
    }

    /// Sees what became of incumbents since challengers came.
    pub(super) fn resolve_collisions(&mut self, now: Now) {
        for (id, since) in self.collisions.0.clone() {
            match self.rule(now, id, since) {
                Ruling::Waits => {}
                Ruling::GivesUp => self.collisions.forget(id),
                Ruling::Moves => {
                    self.collisions.forget(id);
                    let Some(challenger) = self.records.get(id) else { continue };
                    let place = self.tables.tried_place(&challenger.address);
                    // Its place in the new table may be the one that the incumbent goes back to.
                    self.leave_places(now, id);
                    self.demote_incumbent(now, place);
                    self.move_to_tried(now, id, place);
                }
            }
        }
    }

    fn rule(&self, now: Now, id: RecordId, since: Monotonic) -> Ruling {
        let Some(challenger) = self.records.get(id).filter(|it| !it.is_tried()) else {
            return Ruling::GivesUp;
        };
        let place = self.tables.tried_place(&challenger.address);
        let Some(incumbent) = self.tables.at(place).and_then(|id| self.records.get(id)) else {
            return Ruling::Moves;
        };
        let success = incumbent.past.experience.map(|experience| experience.last_success);
        let lately = success.is_some_and(|at| now.unix.since(at) < PROTECTED);
        if incumbent.shelf == Shelf::InUse || lately {
            return Ruling::GivesUp;
        }
        let tested = incumbent.tried_at().map(|at| now.mono.since(at));
        let failed = tested.is_some_and(|ago| (TEST..PROTECTED).contains(&ago));
        if failed || now.mono.since(since) > PATIENCE { Ruling::Moves } else { Ruling::Waits }
    }

    /// The incumbent of a place goes back to the new table, in place of whoever stands
    /// there, unless that one is being dialled: then it is forgotten.
    fn demote_incumbent(&mut self, now: Now, place: Place) {
        let Some(id) = self.tables.at(place) else { return };
        let Some(incumbent) = self.records.get(id) else { return };
        let back = self.tables.new_place(&incumbent.address, self.sources.get(incumbent.source));
        let occupant = self.tables.at(back).and_then(|id| self.records.get(id));
        if occupant.is_some_and(|it| matches!(it.shelf, Shelf::InUse | Shelf::Waiting)) {
            return self.vacate(now, place);
        }
        self.vacate(now, back);
        self.tables.set(place, None);
        self.tables.set(back, Some(id));
        self.update(now, id, |record| {
            record.remove_place(place);
            record.add_place(back);
        });
    }

    /// An incumbent whom a challenger waits for, if it may be dialled now: a feeler tests it.
    pub fn select_test(&self, rng: &mut Rng) -> Option<Address> {
        let incumbent = |id| {
            let challenger = self.records.get(id)?;
            let place = self.tables.tried_place(&challenger.address);
            let incumbent = self.records.get(self.tables.at(place)?)?;
            let due = matches!(incumbent.shelf, Shelf::Experienced | Shelf::Hearsay);
            due.then_some(incumbent.address)
        };
        let waiting: Vec<Address> = self.collisions.ids().filter_map(incumbent).collect();
        if waiting.is_empty() { None } else { waiting.get(rng.below(waiting.len())).copied() }
    }
}
