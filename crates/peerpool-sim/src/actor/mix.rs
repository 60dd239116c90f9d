//! In which shares the kinds of node make up a network.

use std::fmt;
use std::str::FromStr;

use peerpool_core::rng::Rng;

use super::{Kind, ParseKindError};

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

    /// The same mix with a share of 1 for each of these kinds besides.
    pub fn with_each(self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        kinds.into_iter().fold(self, |mix, kind| mix.with(kind, 1))
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

    /// Reads `honest=30,refusing=70`; kinds left out have no share, and none may come twice.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseKindError::of(text);
        let mut mix = Self([0; Kind::ALL.len()]);
        let mut seen = Vec::new();
        for part in text.split(',') {
            let (kind, share) = part.trim().split_once('=').ok_or_else(fail)?;
            let kind = kind.trim().parse()?;
            if seen.contains(&kind) {
                return Err(ParseKindError::repeated(kind));
            }
            seen.push(kind);
            mix = mix.with(kind, share.trim().parse().map_err(|_| fail())?);
        }
        if mix.0 == [0; Kind::ALL.len()] { Err(fail()) } else { Ok(mix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_round_trip() {
        let mix = Mix::default();
        assert_eq!(mix.to_string().parse(), Ok(mix));
        let all = Mix::only(Kind::Honest).with_each(Kind::ALL);
        assert_eq!(all.to_string().parse(), Ok(all));
        for bad in ["", "honest", "honest=x", "honest=-1", "honest=0", "polite=1"] {
            assert!(bad.parse::<Mix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_kind_given_twice_is_an_error_that_names_it() {
        for bad in ["honest=1,silent=2,honest=1", "silent=1, honest=0 ,honest=2"] {
            let error = bad.parse::<Mix>().expect_err(bad);
            assert_eq!(error.to_string(), "honest is given more than one share", "{bad}");
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
