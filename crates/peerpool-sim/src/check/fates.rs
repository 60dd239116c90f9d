//! What must come of whoever failed or was lost in this turn.

use peerpool_core::address::Address;

use super::{Rule, Verdict, demand};

/// What happened to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its dial or handshake failed, or it left too soon: it burns, backs off, or waits.
    Failed,
    /// Its dial failed, and the reason lies here: it rests.
    Local,
    /// It was ready for long enough, and is gone through no will of ours: it rests.
    Lost,
}

#[derive(Debug)]
pub(super) struct Fates {
    /// Who, and whether it was told what comes of it.
    open: Vec<(Address, Cause, bool)>,
    /// Forged events, which tell one thing at a time, are excused.
    pub(super) demanded: bool,
}

impl Default for Fates {
    fn default() -> Self {
        Self { open: Vec::new(), demanded: true }
    }
}

impl Fates {
    pub(super) fn begin_turn(&mut self) {
        self.open.clear();
    }

    pub(super) fn add(&mut self, address: Address, cause: Cause) {
        self.open.push((address, cause, false));
    }

    /// Whether this happened to `address` in this turn.
    pub(super) fn has(&self, address: &Address, cause: Cause) -> bool {
        self.open.iter().any(|(other, why, _)| (other, *why) == (address, cause))
    }

    /// It was told what comes of `address`; a rest if it `rests`.
    pub(super) fn on_told(&mut self, address: &Address, rests: bool) {
        for (other, cause, told) in &mut self.open {
            *told |= other == address && (rests || *cause == Cause::Failed);
        }
    }

    pub(super) fn end_turn(&self) -> Verdict {
        for (address, cause, told) in self.open.iter().filter(|_| self.demanded) {
            let text = || format!("{address} has failed ({cause:?}), and nothing comes of it");
            demand(*told, Rule::Burned, text)?;
        }
        Ok(())
    }
}
