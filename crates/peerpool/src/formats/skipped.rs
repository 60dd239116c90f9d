//! What was left out of a file, and why.

use std::collections::BTreeMap;
use std::fmt;

use super::{MAX_EXAMPLE_LEN, MAX_EXAMPLES};

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// A line or record that cannot be read.
    Unreadable,
    /// A line or record longer than [`MAX_LINE_LEN`](super::MAX_LINE_LEN).
    TooLong,
    /// An address that is none: unspecified, for documentation, on a network that we do not know,
    /// of Tor version 2.
    Invalid,
    /// A node that the seeder itself does not name to others.
    NotGood,
    /// The address was there before.
    Duplicate,
    /// There were [`MAX_ENTRIES`](super::MAX_ENTRIES) before.
    TooMany,
    /// Another port of the host was there before, and `peers.dat` before format 4 has one each.
    OtherPort,
    /// Its place in the table is another's.
    Collision,
}

impl SkipReason {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLong => "too_long",
            Self::Invalid => "invalid",
            Self::NotGood => "not_good",
            Self::Duplicate => "duplicate",
            Self::TooMany => "too_many",
            Self::OtherPort => "other_port",
            Self::Collision => "collision",
        }
    }
}

/// What was left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skips {
    /// How often.
    pub count: u64,
    /// The first [`MAX_EXAMPLES`]: where, and the text, escaped and cut.
    pub examples: Vec<String>,
}

/// What was left out of a file, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<SkipReason, Skips>);

impl Skipped {
    /// How often something was left out for this reason.
    pub fn count(&self, reason: SkipReason) -> u64 {
        self.0.get(&reason).map_or(0, |skips| skips.count)
    }

    /// How often something was left out at all.
    pub fn total(&self) -> u64 {
        self.0.values().map(|skips| skips.count).sum()
    }

    /// Each reason that there was.
    pub fn iter(&self) -> impl Iterator<Item = (SkipReason, &Skips)> {
        self.0.iter().map(|(reason, skips)| (*reason, skips))
    }

    pub(super) fn add(&mut self, reason: SkipReason, place: Place, text: &[u8]) {
        let skips = self.0.entry(reason).or_default();
        skips.count += 1;
        if skips.examples.len() < MAX_EXAMPLES {
            let cut = text.get(..MAX_EXAMPLE_LEN).unwrap_or(text);
            let more = if cut.len() < text.len() { "..." } else { "" };
            skips.examples.push(format!("{place}: {}{more}", cut.escape_ascii()));
        }
    }
}

impl fmt::Display for Skipped {
    /// One line; empty if nothing was left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (reason, skips)) in self.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{} {}", skips.count, reason.as_str())?;
            if !skips.examples.is_empty() {
                write!(f, " ({})", skips.examples.join("; "))?;
            }
        }
        Ok(())
    }
}

/// Where in a file something is, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Line(usize),
    Entry(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Entry(number) => write!(f, "entry {number}"),
        }
    }
}
