//! How old gossip is, and how fresh addresses spread.
//!
//! Numbers of Bitcoin Core are from 28.1: `CConnman::GetAddresses`, `MaybeSendAddr`,
//! `RelayAddress`, `AddrManImpl::AddSingle`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use peerpool_core::rng::Rng;
use peerpool_core::time::UnixTime;

use super::Kind;
use crate::draw::exponential;

/// How old the timestamps are that nodes gossip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ages {
    /// Kind to those who ask: up to 2 h, drawn anew for each answer; stale nodes 3 h 15 min to
    /// 10 days. Nodes tell of others only when asked.
    #[default]
    Kind,
    /// As Core's answers are. A node fills its answer to getaddr once in 21 to 27 h and gives the
    /// same one until then, so an entry is as old as that answer, plus 2 h for each hop it came by
    /// (1 to 3 hops: an assumption of ours), plus the time since its node announced itself last
    /// (exponential, mean 24 h; a dead or stale node has been gone up to 30 days besides). Nothing
    /// is older than 30 days. Hardly an entry is under 3 h old. The answer goes out with the next
    /// addr message that is due: after 30 s in the mean, exponentially distributed.
    ///
    /// Fresh addresses come as they do from Core: a node announces itself right after the
    /// handshake, and relays what announced itself in the last 10 min, in messages of 1 to 3
    /// entries (an assumption of ours) that are 30 s apart in the mean. (Core does both for a peer
    /// that dialled it only once that peer has sent getaddr.)
    Core,
}

impl Ages {
    /// Every way.
    pub const ALL: [Ages; 2] = [Ages::Kind, Ages::Core];

    /// The name in options and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ages::Kind => "kind",
            Ages::Core => "core",
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Ages of kind gossip, drawn uniformly. The oldest fresh one lies an hour under the 3 h at which
/// hearsay ends, the youngest stale one a quarter of an hour above.
const FRESH: (Duration, Duration) = (Duration::ZERO, HOUR.saturating_mul(2));
const STALE: (Duration, Duration) = (MINUTE.saturating_mul(195), DAY.saturating_mul(10));

/// Core: the life of a cached answer to getaddr is 21 h and up to 6 h more.
pub(crate) const CACHE_LIFE: (Duration, Duration) =
    (HOUR.saturating_mul(21), HOUR.saturating_mul(27));
/// Core: what is stored of an address heard of from others is 2 h older than they said.
pub(crate) const HOP_PENALTY: Duration = HOUR.saturating_mul(2);
/// Hops of an address on its way into a cache. Not Core's: measured nowhere, so kept small.
const HOPS_MAX: usize = 3;
/// Core: mean time between two announcements of a node's own address to one peer.
const SELF_ANNOUNCE_MEAN: Duration = DAY;
/// Core: older addresses are not given (`ADDRMAN_HORIZON`).
pub(crate) const HORIZON: Duration = DAY.saturating_mul(30);
/// Core: only addresses seen this lately are relayed.
const RELAY_AGE_MAX: Duration = MINUTE.saturating_mul(10);
/// Core: mean time between two addr messages to one peer
/// (`AVG_ADDRESS_BROADCAST_INTERVAL`).
const RELAY_MEAN: Duration = Duration::from_secs(30);
/// Most entries of a relayed message. Core relays up to 10 from one message; three keep a
/// connection at the handful a minute that a node is seen to get.
const RELAY_ENTRIES_MAX: usize = 3;
/// The flood of July 2021: 500 messages of ten addresses, as many as Core relays further, within a
/// minute of the handshake. What follows is an assumption of ours: more than a message a minute is
/// more than Core's ration takes.
const SPAM_ENTRIES: usize = 10;
const SPAM_BURST: Duration = MINUTE;
const SPAM_BURST_PAUSE: Duration = Duration::from_millis(120);
const SPAM_PAUSE: Duration = MINUTE;

/// How old an address of a kind answer is.
pub(crate) fn kind_age(stale: bool, rng: &mut Rng) -> Duration {
    let (from, to) = if stale { STALE } else { FRESH };
    rng.between(from, to)
}

/// How old an address was when it went into a cached answer.
pub(crate) fn cached_age(gone: bool, rng: &mut Rng) -> Duration {
    let hops = 1 + rng.below(HOPS_MAX);
    let since_gone = if gone { rng.between(Duration::ZERO, HORIZON) } else { Duration::ZERO };
    let since_seen = exponential(SELF_ANNOUNCE_MEAN, rng) + since_gone;
    HOP_PENALTY.saturating_mul(u32::try_from(hops).unwrap_or(u32::MAX)) + since_seen
}

/// What `seen` is given as: nothing is older than the horizon.
pub(crate) fn within_horizon(now: UnixTime, seen: UnixTime) -> UnixTime {
    seen.max(now - HORIZON)
}

/// How old a relayed address is.
pub(crate) fn relayed_age(rng: &mut Rng) -> Duration {
    // A second short, so that it is under the limit when it arrives, too.
    rng.between(Duration::ZERO, RELAY_AGE_MAX - Duration::from_secs(1))
}

/// How long until the answer to getaddr goes out.
pub(crate) fn answer_pause(rng: &mut Rng) -> Duration {
    exponential(RELAY_MEAN, rng)
}

/// How long until a node of this kind relays its next message, so long after hands were shaken.
pub(crate) fn relay_pause(kind: Kind, linked: Duration, rng: &mut Rng) -> Duration {
    match kind {
        Kind::Spammer if linked < SPAM_BURST => SPAM_BURST_PAUSE,
        Kind::Spammer => SPAM_PAUSE,
        _ => exponential(RELAY_MEAN, rng),
    }
}

/// Entries of a message that a node of this kind relays.
pub(crate) fn relay_entries(kind: Kind, rng: &mut Rng) -> usize {
    if kind == Kind::Spammer { SPAM_ENTRIES } else { 1 + rng.below(RELAY_ENTRIES_MAX) }
}

/// A node's cached answer: the generator that draws it the same way each time, and when it was
/// drawn.
pub(crate) struct Cached {
    pub(crate) rng: Rng,
    pub(crate) filled: UnixTime,
}

impl Cached {
    /// The answer that the node at `address` gives now, in a network with this seed. Its life, and
    /// the time of the day it ends at, are the node's own.
    pub(crate) fn of(seed: u64, address: SocketAddr, now: UnixTime) -> Self {
        let node = match address.ip() {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let node = (node as u64) ^ ((node >> 64) as u64) ^ u64::from(address.port()) << 48;
        let mut rng = Rng::from_u64(seed ^ node);
        let life = rng.between(CACHE_LIFE.0, CACHE_LIFE.1).as_secs();
        let phase = rng.below(CACHE_LIFE.1.as_secs() as usize) as u64;
        let lives = (now.0 + phase) / life;
        Self {
            rng: Rng::from_u64(rng.u64() ^ lives),
            filled: UnixTime((lives * life).saturating_sub(phase)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_answer_lives_21_to_27_hours() {
        let fills_of = |host: u8| {
            let address = SocketAddr::from(([127, 1, 2, host], 18444));
            let mut fills = Vec::new();
            for hour in 0..5 * 24 {
                let now = UnixTime(2_000_000_000) + HOUR * hour;
                let filled = Cached::of(1, address, now).filled;
                assert!(filled <= now && now.since(filled) < HOUR * 27);
                if fills.last() != Some(&filled) {
                    fills.push(filled);
                }
            }
            fills
        };
        let mut ages = Vec::new();
        for host in 1..50 {
            let fills = fills_of(host);
            let lives: Vec<_> = fills.windows(2).map(|pair| pair[1].since(pair[0])).collect();
            assert!(lives.iter().all(|life| (HOUR * 21..=HOUR * 27).contains(life)), "{lives:?}");
            ages.push(UnixTime(2_000_000_000).since(fills[0]));
        }
        ages.sort();
        assert!(ages[10] < HOUR * 10 && ages[38] > HOUR * 14, "all over the day: {ages:?}");
    }
}
