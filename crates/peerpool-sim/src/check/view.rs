//! The engine's own view beside ours, and the checks of its book.

use peerpool_core::engine::Engine;
use peerpool_core::id::PeerState;
use peerpool_core::time::Now;

use super::{Checks, Fault, Rule, Verdict, demand};

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
        let (bans, discouraged) = (status.bans, status.discouraged);
        let fits = bans == self.bars.bans() && discouraged >= self.bars.discouraged();
        demand(fits, Rule::View, || {
            let ours = (self.bars.bans(), self.bars.discouraged());
            format!("{bans} bans and {discouraged} discouraged, by what it did {ours:?}")
        })?;
        let max = self.policy.max_discouraged;
        let text = || format!("{discouraged} discouraged hosts, {max} allowed");
        demand(discouraged <= max, Rule::Bound, text)?;
        let theirs = (status.waiters, status.leases, status.starved, status.offline);
        let (waiting, held) = self.leases.counts();
        let ours = (waiting, held, self.supply.starved, self.outage.offline);
        demand(theirs == ours, Rule::View, || {
            format!("waiters, leases, starved, offline: {theirs:?}, by what it did {ours:?}")
        })
    }
}

/// A book of so many addresses is checked after each change, one of twice as many after every
/// fourth, and so on by the square: worlds with large books are long, and have many changes.
const SMALL: u64 = 32;
/// The same where a book is to be checked as often as can be.
const SMALL_ALWAYS: u64 = 512;
/// Turns between two checks of any book.
const SELDOM: u64 = 50_000;
/// Turns between two checks of a book that says it has not changed: it may be wrong.
const ANYWAY: u64 = 256;

/// When to run the book's own checks.
#[derive(Debug, Default)]
pub(super) struct BookChecks {
    /// As often as can be, whatever it says of itself.
    pub(super) always: bool,
    revision: u64,
    /// Turns since the last one.
    since: u64,
}

impl BookChecks {
    pub(super) fn on_turn(&mut self, now: Now, engine: &Engine) -> Verdict {
        self.since += 1;
        let book = engine.book();
        let changed = book.revision() != self.revision;
        let asked = self.always || changed || self.since >= ANYWAY;
        let small = if self.always { SMALL_ALWAYS } else { SMALL };
        let due = self.since * small * small >= (book.len() as u64).pow(2);
        if asked && (due || self.since >= SELDOM) { self.check(now, engine) } else { Ok(()) }
    }

    pub(super) fn check(&mut self, now: Now, engine: &Engine) -> Verdict {
        (self.revision, self.since) = (engine.book().revision(), 0);
        engine.book().check(now).map_err(|text| Fault(Rule::Book, text))
    }
}
