//! The surroundings of a node in a small network: everyone knows the same list of nodes.

use bitcoin::p2p::address::AddrV2Message;
use peerpool_core::rng::Rng;
use peerpool_core::time::UnixTime;

use super::ages::{self, Ages, Cached};
use super::{Kind, Listing, Profile, Surroundings};

/// Core answers getaddr with at most this share of what it knows (`MAX_PCT_ADDR_TO_SEND`).
const ANSWER_PERCENT: usize = 23;
/// Below this, a share would leave nothing to learn in small networks.
const ANSWER_FLOOR: usize = 10;
/// Most entries in one addr or addrv2 message, as in Core's `MAX_ADDR_TO_SEND`.
pub(super) const ANSWER_MAX: usize = 1000;

/// The knowledge that the nodes of a small network share: all of it, so that an answer is drawn
/// from the list of all nodes.
#[derive(Clone, Debug)]
pub struct Roster {
    /// How nodes introduce themselves.
    pub profile: Profile,
    /// Most addresses in an answer to getaddr, as long as it is no attacker's.
    pub gossip_answer: usize,
    /// Share of usable nodes among gossiped addresses, stale ones left out; their natural share,
    /// stale nodes among them, if `None`.
    pub gossip_share: Option<f64>,
    /// Seed of what a node keeps over its connections: its cached answer.
    pub seed: u64,
    /// Every node, the dead ones too.
    pub listings: Vec<Listing>,
}

impl Surroundings for &Roster {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    /// An attacker's node names up to 1000 of its cluster, as fresh as can be. Any other names a
    /// random sample of the network without repetition, of `gossip_answer` entries or 23 % of
    /// the network (but at least ten), whichever is less; fewer if the share cannot be had
    /// otherwise. How old it is, and for how long it is the same, [`Ages`] says.
    fn gossip(&mut self, now: UnixTime, from: &Listing, rng: &mut Rng) -> Vec<AddrV2Message> {
        if from.kind.is_hostile() {
            return self.cluster(now, from, ANSWER_MAX, rng);
        }
        let share = (self.listings.len() * ANSWER_PERCENT / 100).max(ANSWER_FLOOR);
        let count = share.min(self.gossip_answer).min(self.listings.len()).min(ANSWER_MAX);
        match self.profile.ages {
            Ages::Kind => {
                let entry = |listing: &Listing, rng: &mut Rng| {
                    let age = ages::kind_age(listing.kind == Kind::Stale, rng);
                    self.profile.entry(listing.address, now - age)
                };
                let named = self.select(count, true, rng);
                named.into_iter().map(|listing| entry(listing, rng)).collect()
            }
            Ages::Core => {
                let Cached { mut rng, filled } = Cached::of(self.seed, from.address, now);
                let entry = |listing: &Listing, rng: &mut Rng| {
                    let gone = !listing.kind.is_usable() || listing.kind == Kind::Stale;
                    let seen = filled - ages::cached_age(gone, rng);
                    self.profile.entry(listing.address, ages::within_horizon(now, seen))
                };
                let named = self.select(count, true, &mut rng);
                named.into_iter().map(|listing| entry(listing, &mut rng)).collect()
            }
        }
    }

    /// A few addresses that announced themselves within the last 10 min, as nodes relay them.
    /// Stale nodes are not among them. An attacker's node relays those of its cluster.
    fn relayed(&mut self, now: UnixTime, from: &Listing, rng: &mut Rng) -> Vec<AddrV2Message> {
        let count = ages::relay_entries(from.kind, rng);
        if from.kind.is_hostile() {
            return self.cluster(now, from, count, rng);
        }
        let named = self.select(count, false, rng);
        let entry = |at: &Listing| self.profile.entry(at.address, now - ages::relayed_age(rng));
        named.into_iter().map(entry).collect()
    }
}

impl Roster {
    /// So many of the attacker's nodes that `from` is one of; fewer if there are not as many.
    fn cluster(
        &self,
        now: UnixTime,
        from: &Listing,
        count: usize,
        rng: &mut Rng,
    ) -> Vec<AddrV2Message> {
        let allied = self.listings.iter().filter(|other| from.kind.is_allied_with(other.kind));
        let named = sample(&allied.collect::<Vec<_>>(), count, rng);
        let entry = |at: &Listing| self.profile.entry(at.address, now - ages::relayed_age(rng));
        named.into_iter().map(entry).collect()
    }

    fn select(&self, count: usize, stale: bool, rng: &mut Rng) -> Vec<&Listing> {
        let stale = stale && self.gossip_share.is_none();
        let named = self.listings.iter().filter(|listing| stale || listing.kind != Kind::Stale);
        let (usable, others): (Vec<_>, Vec<_>) = named.partition(|named| named.kind.is_usable());
        sample_share(&usable, &others, count, self.gossip_share, rng)
    }
}

/// `count` different items in random order, this share of them from `some` and the rest from
/// `others`; any of both without a share. Fewer where there are not enough.
pub(crate) fn sample_share<T: Copy>(
    some: &[T],
    others: &[T],
    count: usize,
    share: Option<f64>,
    rng: &mut Rng,
) -> Vec<T> {
    let Some(share) = share else {
        let all: Vec<_> = some.iter().chain(others).copied().collect();
        return sample(&all, count, rng);
    };
    let count = count.min(some.len() + others.len());
    let wanted = count as f64 * share;
    // Rounded at random, so that the share is right on average in small answers too.
    let from_some = (wanted as usize + usize::from(rng.chance(wanted.fract()))).min(count);
    let mut picked = sample(some, from_some, rng);
    picked.extend(sample(others, count - from_some, rng));
    rng.shuffle(&mut picked);
    picked
}

/// `count` different items in random order; all of them if there are fewer.
fn sample<T: Copy>(items: &[T], count: usize, rng: &mut Rng) -> Vec<T> {
    let mut order = items.to_vec();
    let count = count.min(order.len());
    for at in 0..count {
        let other = at + rng.below(order.len() - at);
        order.swap(at, other);
    }
    order.truncate(count);
    order
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;
    use std::time::Duration;

    use bitcoin::p2p::{Magic, ServiceFlags};

    use super::super::HeaderChain;
    use super::*;

    pub(in crate::actor) fn roster(nodes: usize) -> Roster {
        let kind = |at| if at % 2 == 0 { Kind::Stale } else { Kind::Refusing };
        let address = |at: usize| SocketAddr::from(([127, 1, (at >> 8) as u8, at as u8], 18444));
        Roster {
            profile: Profile {
                magic: Magic::REGTEST,
                services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
                user_agent: "/devnet:test/".to_owned(),
                ages: Ages::Kind,
                headers: HeaderChain::regtest(3),
                wrong_headers: HeaderChain::foreign(4),
                mempool: None,
                slow_rate: 1,
            },
            gossip_answer: 1000,
            gossip_share: None,
            seed: 1,
            listings: (0..nodes)
                .map(|at| Listing { address: address(at), kind: kind(at) })
                .collect(),
        }
    }

    /// The same roster, with gossip of these ages.
    fn aged(roster: &Roster, ages: Ages) -> Roster {
        Roster { profile: Profile { ages, ..roster.profile.clone() }, ..roster.clone() }
    }

    const NOW: UnixTime = UnixTime(2_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn ask(mut roster: &Roster, seed: u64) -> Vec<AddrV2Message> {
        roster.gossip(NOW, &roster.listings[0], &mut Rng::from_u64(seed))
    }

    fn kind_of(roster: &Roster, entry: &AddrV2Message) -> Kind {
        let address = entry.socket_addr().unwrap();
        roster.listings.iter().find(|listing| listing.address == address).unwrap().kind
    }

    fn age(entry: &AddrV2Message) -> Duration {
        NOW.since(UnixTime(entry.time.into()))
    }

    #[test]
    fn gossip_is_a_bounded_sample_without_repetition() {
        let sizes = [(0, 0), (5, 5), (30, 10), (100, 23), (1000, 230), (10_000, 1000)];
        for (nodes, expected) in sizes {
            let roster = roster(nodes);
            let address = SocketAddr::from(([127, 1, 0, 1], 18444));
            let from = Listing { address, kind: Kind::Honest };
            for ages in Ages::ALL {
                let gossip = (&aged(&roster, ages)).gossip(NOW, &from, &mut Rng::from_u64(1));
                let distinct: BTreeSet<_> =
                    gossip.iter().map(|entry| entry.socket_addr().unwrap()).collect();
                assert_eq!((gossip.len(), distinct.len()), (expected, expected), "{nodes} nodes");
            }
        }
    }

    #[test]
    fn stale_nodes_are_old_and_all_others_fresh() {
        let roster = roster(1000);
        for entry in ask(&roster, 2) {
            let stale = kind_of(&roster, &entry) == Kind::Stale;
            assert_eq!(age(&entry) > 3 * HOUR, stale, "{entry:?} {:?}", age(&entry));
        }
    }

    #[test]
    fn gossip_holds_as_many_usable_nodes_as_told() {
        let mut roster = roster(999);
        for (listing, kind) in roster
            .listings
            .iter_mut()
            .zip([Kind::Honest, Kind::Refusing, Kind::Stale].into_iter().cycle())
        {
            listing.kind = kind;
        }
        for (share, allowed) in [(0.0, 0..=0), (0.05, 11..=12), (0.9, 206..=207), (1.0, 229..=229)]
        {
            roster.gossip_share = Some(share);
            for ages in Ages::ALL {
                roster.profile.ages = ages;
                let kinds: Vec<_> =
                    ask(&roster, 3).iter().map(|entry| kind_of(&roster, entry)).collect();
                let usable = kinds.iter().filter(|kind| **kind == Kind::Honest).count();
                assert_eq!(kinds.len(), 229);
                assert!(allowed.contains(&usable), "{share}: {usable}");
                assert!(!kinds.contains(&Kind::Stale));
            }
        }
    }

    #[test]
    fn an_answer_as_cores_is_one_for_a_day_and_old() {
        let mut roster = aged(&roster(10_000), Ages::Core);
        for listing in roster.listings.iter_mut().filter(|listing| listing.kind == Kind::Stale) {
            listing.kind = Kind::Honest;
        }
        assert_eq!(ask(&roster, 4), ask(&roster, 5), "the cache answers, whoever asks");
        let answers: Vec<_> = roster.listings[..50]
            .iter()
            .map(|listing| (&roster).gossip(NOW, listing, &mut Rng::from_u64(4)))
            .collect();
        assert_ne!(answers[0], answers[1], "each node has its own");

        let ages = |wanted: Kind| -> Vec<Duration> {
            let entries = answers.iter().flatten().step_by(7);
            entries.filter(|entry| kind_of(&roster, entry) == wanted).map(age).collect()
        };
        let mean = |ages: &[Duration]| ages.iter().sum::<Duration>() / ages.len() as u32;
        let (living, dead) = (ages(Kind::Honest), ages(Kind::Refusing));
        let fresh = living.iter().filter(|&&age| age < 3 * HOUR).count();
        assert!(fresh * 100 < living.len(), "{fresh} of {} are under 3 h old", living.len());
        assert!(living.iter().all(|&age| age >= 2 * HOUR), "a hop costs 2 h");
        assert!(mean(&living) < 48 * HOUR, "{:?}", mean(&living));
        assert!(mean(&dead) > 14 * 24 * HOUR, "{:?}", mean(&dead));
        assert!(dead.iter().all(|&age| age <= 30 * 24 * HOUR), "the horizon");
    }

    #[test]
    fn relayed_addresses_are_few_and_fresh() {
        let roster = roster(1000);
        let mut rng = Rng::from_u64(6);
        for _ in 0..100 {
            let relayed = (&roster).relayed(NOW, &roster.listings[1], &mut rng);
            assert!((1..=3).contains(&relayed.len()));
            for entry in relayed {
                assert!(age(&entry) < HOUR / 6);
                assert_ne!(kind_of(&roster, &entry), Kind::Stale);
            }
        }
    }
}
