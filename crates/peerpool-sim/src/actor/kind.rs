//! What kinds of node a network is made of, and in which shares.

use std::fmt;
use std::str::FromStr;

use peerpool_core::rng::Rng;

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Answers as Bitcoin Core does.
    Honest,
    /// Refuses connections: nothing is bound to its address.
    Refusing,
    /// Lets a connection attempt hang: never accepted, never refused.
    Silent,
    /// Accepts, reads, and never says a word.
    Mute,
    /// Accepts and closes at once.
    Rude,
    /// Honest, but gossiped with timestamps over 3 h old and never named by the DNS seed.
    Stale,
    /// Honest, but dies some time after its first connection.
    Vanishing,
}

impl Kind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Kind; 7] = [
        Kind::Honest,
        Kind::Refusing,
        Kind::Silent,
        Kind::Mute,
        Kind::Rude,
        Kind::Stale,
        Kind::Vanishing,
    ];

    /// The name in options, logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Honest => "honest",
            Kind::Refusing => "refusing",
            Kind::Silent => "silent",
            Kind::Mute => "mute",
            Kind::Rude => "rude",
            Kind::Stale => "stale",
            Kind::Vanishing => "vanishing",
        }
    }

    /// Whether a node of this kind finishes a handshake.
    pub const fn shakes_hands(self) -> bool {
        matches!(self, Kind::Honest | Kind::Stale | Kind::Vanishing)
    }

    /// Whether a pool may count a node of this kind as a good peer, once it has dialled it.
    pub const fn is_usable(self) -> bool {
        self.shakes_hands()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text names no kind or no mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKindError(String);

impl fmt::Display for ParseKindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Kind::ALL.map(Kind::as_str).join(", ");
        write!(f, "{:?} is not understood; the kinds of node are {names}, ", self.0)?;
        f.write_str("and a mix is written honest=30,refusing=70 with any whole shares")
    }
}

impl std::error::Error for ParseKindError {}

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| ParseKindError(text.to_owned()))
    }
}

/// The share of each kind in a network. Shares are weights: they need not add up to 100.
///
/// The default is what a demo shows: honest 30, refusing 30, silent 20, and 5 each of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix([u16; Kind::ALL.len()]);

impl Mix {
    /// Nodes of one kind only.
    pub const fn only(kind: Kind) -> Self {
        Self([0; Kind::ALL.len()]).with(kind, 1)
    }

    /// The same mix with another share of `kind`.
    pub const fn with(mut self, kind: Kind, share: u16) -> Self {
        self.0[kind as usize] = share;
        self
    }

    /// The share of `kind`, relative to the other shares.
    pub const fn share(&self, kind: Kind) -> u16 {
        self.0[kind as usize]
    }

    /// Kinds for `nodes` nodes in random order; each kind's count is within one of its exact share.
    /// Empty if every share is zero.
    pub fn deal(&self, nodes: usize, rng: &mut Rng) -> Vec<Kind> {
        let total: usize = self.0.iter().map(|&share| usize::from(share)).sum();
        let mut dealt = Vec::with_capacity(nodes);
        let mut shares = 0;
        for kind in Kind::ALL {
            shares += usize::from(self.share(kind));
            // Rounding the running sum, not each share, makes the counts add up.
            let upto = (shares * nodes + total / 2).checked_div(total).unwrap_or(0);
            dealt.resize(upto, kind);
        }
        rng.shuffle(&mut dealt);
        dealt
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self::only(Kind::Honest)
            .with(Kind::Honest, 30)
            .with(Kind::Refusing, 30)
            .with(Kind::Silent, 20)
            .with(Kind::Mute, 5)
            .with(Kind::Rude, 5)
            .with(Kind::Stale, 5)
            .with(Kind::Vanishing, 5)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = Kind::ALL.into_iter().filter(|&kind| self.share(kind) > 0);
        let parts: Vec<_> = present.map(|kind| format!("{kind}={}", self.share(kind))).collect();
        f.pad(&parts.join(","))
    }
}

impl FromStr for Mix {
    type Err = ParseKindError;

    /// Reads `honest=30,refusing=70`; kinds left out have no share.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseKindError(text.to_owned());
        let mut mix = Self([0; Kind::ALL.len()]);
        for part in text.split(',') {
            let (kind, share) = part.trim().split_once('=').ok_or_else(fail)?;
            mix = mix.with(kind.trim().parse()?, share.trim().parse().map_err(|_| fail())?);
        }
        if mix.0 == [0; Kind::ALL.len()] { Err(fail()) } else { Ok(mix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_mixes_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(Kind::ALL[kind as usize], kind);
        }
        let mix = Mix::default();
        assert_eq!(mix.to_string().parse(), Ok(mix));
        for bad in ["", "honest", "honest=x", "honest=-1", "honest=0", "polite=1"] {
            assert!(bad.parse::<Mix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_deal_keeps_the_shares_for_any_size() {
        let mut rng = Rng::from_u64(1);
        for nodes in [0, 1, 3, 7, 100, 1000, 1003] {
            let dealt = Mix::default().deal(nodes, &mut rng);
            assert_eq!(dealt.len(), nodes);
            for kind in Kind::ALL {
                let exact = f64::from(Mix::default().share(kind)) * nodes as f64 / 100.0;
                let count = dealt.iter().filter(|&&dealt| dealt == kind).count();
                assert!((count as f64 - exact).abs() <= 1.0, "{kind}: {count} of {nodes}");
            }
        }
    }
}
