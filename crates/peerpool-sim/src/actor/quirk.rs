//! Small faults of manners that an otherwise honest node has on one connection.

use std::time::Duration;

/// A fault of manners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// It pings now and then, as Core does. No fault, but no other node here does it.
    Pings,
    /// It answers pings with a nonce of its own.
    WrongPongs,
    /// It never says verack, but goes on sending pings.
    Dawdles,
    /// It says its version three times.
    Repeats,
    /// It does not answer getaddr.
    KeepsMum,
}

impl Quirk {
    /// Every quirk.
    pub const ALL: [Quirk; 5] =
        [Quirk::Pings, Quirk::WrongPongs, Quirk::Dawdles, Quirk::Repeats, Quirk::KeepsMum];

    /// How long after one ping of the node's the next comes.
    pub(super) const fn ping_pause(self) -> Duration {
        Duration::from_secs(if matches!(self, Quirk::Dawdles) { 1 } else { 120 })
    }
}
