//! What pools were given and did: as one number, and as a line for each event.
//!
//! Two runs with the same hash went the same way: it takes in each input and output with all that
//! it carries, and its time. It is the same on every platform and in every build. Lines say the
//! same, but for the entries of an `addr` and for nonces.

mod parts;
mod sink;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use peerpool_core::address::Address;
use peerpool_core::id::PeerId;
use peerpool_core::io::{Input, Output};
use peerpool_core::time::Now;

use parts::{Life, Parts, Said};
use sink::{Line, Mix, Sink as _};

/// What the columns of a trace mean; printed first.
pub const LEGEND: &str = "\
# time     seconds since the start of the run
# pool     number of the pool
# < > *    < the pool was given this, > it did this, * it happened in the world
# what     the input, output or event; of a message, its command
# peer     number of the attempt and of the connection that came of it
# address  of the peer, or what the event is about
# details  as name=value, or as words
#         time pool   what             peer address               details
";

/// Takes the lines of a trace, without their ends.
pub type Lines = Box<dyn FnMut(&str) + Send>;

/// The hash of an address.
pub(crate) fn hash_address(address: &Address) -> u64 {
    let mut hash = Mix::default();
    hash.address(address);
    hash.finish()
}

/// The trace of a run.
pub struct Trace {
    hash: Mix,
    lines: Option<Lines>,
    line: String,
    /// Where peers are, while lines are written: inputs do not say.
    addresses: BTreeMap<(usize, PeerId), Address>,
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("hash", &self.hash()).finish_non_exhaustive()
    }
}

impl Trace {
    /// A trace that is only hashed.
    pub fn new() -> Self {
        let hash = Mix::default();
        Self { hash, lines: None, line: String::new(), addresses: BTreeMap::new() }
    }

    /// A trace that is written to `lines` too, the [`LEGEND`] first.
    pub fn with_lines(mut lines: Lines) -> Self {
        LEGEND.lines().for_each(&mut lines);
        Self { lines: Some(lines), ..Self::new() }
    }

    /// The hash of all that happened.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Pool number `pool` is about to be given `input`.
    pub fn on_input(&mut self, pool: usize, now: Now, input: &Input) {
        self.add(pool, now, '<', input);
    }

    /// Pool number `pool` took its input and did all of `outputs`.
    pub fn on_outputs(&mut self, pool: usize, now: Now, outputs: &[Output]) {
        for output in outputs {
            self.add(pool, now, '>', output);
        }
    }

    /// Something happened in the world, such as the network of `pool` going down.
    pub fn on_world(&mut self, pool: usize, now: Now, what: &str) {
        self.add(pool, now, '*', &what);
    }

    fn add(&mut self, pool: usize, now: Now, side: char, said: &impl Said) {
        let Parts { tag, what, peer, address } = said.parts();
        let at = now.mono.since_origin();
        self.hash.word((at.as_secs() << 30) | u64::from(at.subsec_nanos()));
        self.hash.word(now.unix.0);
        self.hash.word(((pool as u64) << 16) | (u64::from(tag) << 8) | side as u64);
        self.hash.word(peer.map_or(u64::MAX, |peer| peer.0));
        if let Some(address) = &address {
            self.hash.address(address);
        }
        said.details(&mut self.hash);
        let Some(lines) = &mut self.lines else { return };
        let place = peer.map(|peer| (pool, peer));
        if let (Life::Begins, Some(place), Some(address)) = (said.life(), place, address) {
            self.addresses.insert(place, address);
        }
        let known = || self.addresses.get(&place?).copied();
        let address = address.or_else(known);
        if let (Life::Ends, Some(place)) = (said.life(), place) {
            self.addresses.remove(&place);
        }
        self.line.clear();
        let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
        let address = address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let (secs, micros) = (at.as_secs(), at.subsec_micros());
        write!(
            self.line,
            "{secs:>7}.{micros:06} {pool:>4} {side} {what:<14} {peer:>6} {address:<21}"
        )
        .expect("a String takes it all");
        said.details(&mut Line(&mut self.line));
        lines(self.line.trim_end());
    }
}
