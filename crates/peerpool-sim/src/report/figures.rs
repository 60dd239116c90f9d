//! The figures themselves. Shares are from 0 to 1, and 0 where there was nothing to share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerpool_core::address::{Address, Net};
use peerpool_core::event::DialError;
use peerpool_core::id::{BurnReason, ConnectionType, DisconnectReason};
use peerpool_core::netgroup::NetGroup;

use super::{DAY, Sample};

/// One pool over one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// How long the pool ran.
    pub lasted: Duration,
    /// Peers it was to keep.
    pub target: usize,
    /// From its start until it first was full.
    pub time_to_full: Option<Duration>,
    /// How it got full again.
    pub refills: Refills,
    /// Share of time with `target` ready peers or more.
    pub at_target: f64,
    /// Share of time it was starved.
    pub starved: f64,
    /// Share of time it thought the network down.
    pub offline: f64,
    /// Ready peers, weighted by time.
    pub ready_mean: f64,
    /// Dials by what they were for.
    pub dials: BTreeMap<ConnectionType, u64>,
    /// What came of them; as many as there were dials.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Ready peers lost, by reason.
    pub lost: BTreeMap<DisconnectReason, u64>,
    /// Burns by verdict. An address that is burned twice counts twice.
    pub burned: BTreeMap<BurnReason, u64>,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Who was ready at any time of the run.
    pub held: Variety,
    /// Who is ready at its end.
    pub holding: Variety,
    /// The attacker's part of it.
    pub hostile: Hostile,
    /// Ready peers and the attacker's over time.
    pub curve: Vec<Sample>,
}

impl Figures {
    /// What makes `count` in the run, by the day.
    pub fn a_day(&self, count: u64) -> f64 {
        if self.lasted.is_zero() {
            return 0.0;
        }
        count as f64 / share(self.lasted, DAY)
    }
}

/// The times from short of peers to full again. The first fill is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refills {
    /// How many.
    pub count: u64,
    /// The time that half of them did not exceed.
    pub median: Option<Duration>,
    /// The time that 95 of 100 did not exceed.
    pub p95: Option<Duration>,
    /// The longest.
    pub worst: Option<Duration>,
}

impl Refills {
    pub(super) fn new(count: u64, mut times: Vec<Duration>, worst: Option<Duration>) -> Self {
        times.sort_unstable();
        // Nearest rank.
        let quantile = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied()
        };
        Self { count, median: quantile(50), p95: quantile(95), worst }
    }
}

/// What came of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A ready peer.
    Ready,
    /// No connection.
    DialFailed(DialError),
    /// A connection or dial that ended before it was ready: the handshake failed, or the pool had
    /// no room for it.
    Closed(DisconnectReason),
    /// Nothing yet: the run ended before.
    UnderWay,
}

impl Outcome {
    /// The word for this outcome in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::DialFailed(error) => error.as_str(),
            Self::Closed(reason) => reason.as_str(),
            Self::UnderWay => "under_way",
        }
    }
}

/// How different some peers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variety {
    /// Different addresses.
    pub peers: usize,
    /// Different netgroups.
    pub netgroups: usize,
    /// Different autonomous systems.
    pub asns: usize,
    /// Different addresses on each network.
    pub nets: BTreeMap<Net, usize>,
}

impl Variety {
    pub(super) fn of<'a>(
        addresses: impl Iterator<Item = &'a Address>,
        asns: impl Iterator<Item = &'a u32>,
    ) -> Self {
        let addresses: BTreeSet<_> = addresses.collect();
        let netgroups: BTreeSet<_> = addresses.iter().map(|at| NetGroup::of(&at.host)).collect();
        let mut nets = BTreeMap::new();
        for address in &addresses {
            *nets.entry(address.net()).or_default() += 1;
        }
        let asns = asns.collect::<BTreeSet<_>>().len();
        Self { peers: addresses.len(), netgroups: netgroups.len(), asns, nets }
    }
}

/// What the attacker held of the slots of ready peers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hostile {
    /// Its share of them, weighted by time.
    pub share: f64,
    /// Slots at the end of the run.
    pub now: u32,
    /// Most slots at once.
    pub most: u32,
    /// Whether it ever held all the slots of a full pool.
    pub held_all: bool,
    /// Share of time in which every ready peer was the attacker's, were it but one.
    pub eclipsed: f64,
    /// Its slots after the days of [`MARKS`](super::MARKS) that the run has reached.
    pub marks: Vec<Mark>,
}

/// The slots after so many days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Days since the start.
    pub day: u32,
    /// Ready peers that count toward the target.
    pub ready: u32,
    /// Those among them that are the attacker's.
    pub hostile: u32,
}

impl Mark {
    /// The attacker's share of the ready peers.
    pub fn share(&self) -> f64 {
        f64::from(self.hostile) / f64::from(self.ready.max(1))
    }
}

/// `part` of `whole`.
pub(super) fn share(part: Duration, whole: Duration) -> f64 {
    // Divided as whole numbers of nanoseconds, which every platform rounds alike.
    part.as_nanos() as f64 / whole.as_nanos().max(1) as f64
}
