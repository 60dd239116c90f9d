//! What the pool learns, handed over to be saved, and how that goes. Nothing here waits for a disk.

use peerpool_core::event::{Event, Status};
use peerpool_core::time::Now;

use super::Driver;
use crate::store::{Saver, State};

/// What was told of the store.
#[derive(Debug, Default)]
pub(super) struct Saving {
    /// Why nothing is being saved.
    failure: Option<String>,
    /// Damaged files moved out of the way.
    set_aside: usize,
}

impl Driver {
    /// Hands over what one input changed.
    pub(super) fn hand_over(&mut self, now: Now) {
        let Some(saver) = &mut self.saver else { return };
        let (changes, round_trips) =
            (self.engine.take_changes(now), self.engine.take_round_trips());
        if saver.hand_over(changes, round_trips) {
            self.hand_over_all(now);
        }
    }

    fn hand_over_all(&mut self, now: Now) {
        let Some(saver) = &mut self.saver else { return };
        let (nets, all) = self.engine.take_all(now);
        saver.hand_over_all(nets, all, self.engine.book().banned().entries().collect());
    }

    /// Tells how it stands with the store.
    pub(super) fn on_saving(&mut self, state: Option<State>) {
        let Some(State { failure, wants_all, set_aside }) = state else {
            self.saver = None;
            let error = "the thread that saves has died".to_owned();
            self.saving.failure = Some(error.clone());
            return self.tell(Event::StoreFailed { error });
        };
        if let Some((count, path, error)) = set_aside.filter(|it| it.0 > self.saving.set_aside) {
            self.saving.set_aside = count;
            tracing::warn!(path, error, "the addr book was damaged: it is begun anew");
            self.tell(Event::StoreSetAside { path, error });
        }
        if failure != self.saving.failure {
            self.saving.failure.clone_from(&failure);
            match failure {
                Some(error) => {
                    tracing::warn!(error, "what the pool learns cannot be saved");
                    self.tell(Event::StoreFailed { error });
                }
                None => self.tell(Event::StoreRecovered),
            }
        }
        if wants_all {
            self.hand_over_all(self.common.clock.now());
        }
    }

    /// A snapshot of the pool.
    pub(super) fn status(&self) -> Status {
        let store_failure = self.saving.failure.clone();
        Status { store_failure, ..self.engine.status(self.common.clock.now()) }
    }

    /// Has the rest saved, which is waited for until the close's grace is over, and for `farewell`
    /// if that is later.
    pub(super) async fn finish_saving(&mut self) {
        let now = self.common.clock.now();
        self.hand_over(now);
        let Some(mut saver) = self.saver.take() else { return };
        let (nets, all) = self.engine.take_all(now);
        saver.hand_over_last(nets, all, self.engine.book().banned().entries().collect());
        let left = self.closing.as_ref().map(|closing| closing.deadline);
        let left = left.map(|at| at.saturating_duration_since(tokio::time::Instant::now()));
        let failure = saver.close(left.unwrap_or_default().max(self.common.policy.farewell)).await;
        if failure.is_some() && self.saving.failure.is_none() {
            self.on_saving(Some(State { failure, ..State::default() }));
        }
    }
}

/// Waits until it stands otherwise with the store. Cancel safe.
pub(super) async fn changed(saver: &mut Option<Saver>) -> Option<State> {
    match saver {
        Some(saver) => saver.changed().await,
        None => std::future::pending().await,
    }
}
