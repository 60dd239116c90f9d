//! The engine's own view beside ours, and the checks of its book.

use std::time::Duration;

use peerpool_core::engine::Engine;
use peerpool_core::id::PeerState;
use peerpool_core::time::{Monotonic, Now};

use super::{Checks, Fault, RARELY, Rule, Verdict, demand};

/// A book of more addresses than this is checked only every [`RARELY`] turns.
const SMALL_BOOK: usize = 500;
/// A book that does not change is checked again after this long: time may have told it wrong.
const HOURLY: Duration = Duration::from_secs(3600);

impl Checks {
    /// Compares the engine's own view with ours.
    pub(super) fn compare(&self, engine: &Engine) -> Verdict {
        let status = engine.status(self.clock);
        for (state, view) in [
            (PeerState::Connecting, &status.connecting),
            (PeerState::Connected, &status.connected),
            (PeerState::Ready, &status.ready),
        ] {
            let theirs = view.iter().map(|peer| (peer.id, peer.address, peer.connection_type));
            demand(theirs.eq(self.peers.view(state)), Rule::View, || {
                let ours: Vec<_> = self.peers.view(state).collect();
                format!("{state:?} by the engine {view:?}, by what it did {ours:?}")
            })?;
        }
        let burned: usize = status.burned.values().sum();
        let max = self.policy.max_burned;
        let text = || format!("{burned} burned addresses, {max} allowed");
        demand(burned <= max, Rule::Bound, text)?;
        let theirs = (status.waiters, status.leases, status.starved, status.offline);
        let (waiting, held) = self.leases.counts();
        let ours = (waiting, held, self.supply.starved, self.outage.offline);
        demand(theirs == ours, Rule::View, || {
            format!("waiters, leases, starved, offline: {theirs:?}, by what it did {ours:?}")
        })
    }
}

/// When to run the book's own checks.
#[derive(Debug, Default)]
pub(super) struct BookChecks {
    revision: u64,
    at: Monotonic,
}

impl BookChecks {
    pub(super) fn on_turn(&mut self, now: Now, turn: u64, engine: &Engine) -> Verdict {
        let book = engine.book();
        let due = if book.len() > SMALL_BOOK {
            turn.is_multiple_of(RARELY)
        } else {
            book.revision() != self.revision || now.mono.since(self.at) >= HOURLY
        };
        if due { self.check(now, engine) } else { Ok(()) }
    }

    pub(super) fn check(&mut self, now: Now, engine: &Engine) -> Verdict {
        (self.revision, self.at) = (engine.book().revision(), now.mono);
        engine.book().check(now).map_err(|text| Fault(Rule::Book, text))
    }
}
