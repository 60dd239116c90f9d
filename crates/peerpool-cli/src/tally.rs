//! What a demo is summed up from: the pool's events, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use peerpool::{Address, Event, PeerId, Stamped};

/// The pool lost peers while it was full, and was full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refill {
    /// Peers lost before it was full again.
    pub(crate) lost: usize,
    /// From the first loss until it was full again.
    pub(crate) took: Duration,
}

/// Counts events as they come.
#[derive(Debug)]
pub(crate) struct Tally {
    start: SystemTime,
    target: usize,
    /// Attempts and peers that count toward the target, should they become ready.
    counting: BTreeSet<PeerId>,
    ready: BTreeSet<PeerId>,
    /// When peers were first missing again, and how many were lost since.
    losing: Option<(SystemTime, usize)>,
    /// Dials sent to each address.
    dials: BTreeMap<Address, u64>,
    /// Dials sent to each burned address up to its burn.
    dials_until_burn: BTreeMap<Address, u64>,
    /// From the start until the pool was full.
    pub(crate) time_to_full: Option<Duration>,
    /// How often it was full again.
    pub(crate) refills: Vec<Refill>,
    /// Dials sent to addresses after they were burned.
    pub(crate) burned_dialled: u64,
    /// Events that came too fast to be counted.
    pub(crate) missed: u64,
}

impl Tally {
    /// Nothing yet, of a pool with this target, started at `start`.
    pub(crate) const fn new(target: usize, start: SystemTime) -> Self {
        Self {
            start,
            target,
            counting: BTreeSet::new(),
            ready: BTreeSet::new(),
            losing: None,
            dials: BTreeMap::new(),
            dials_until_burn: BTreeMap::new(),
            time_to_full: None,
            refills: Vec::new(),
            burned_dialled: 0,
            missed: 0,
        }
    }

    /// Counts one event.
    pub(crate) fn on_event(&mut self, Stamped { at, event }: &Stamped) {
        match event {
            Event::Connecting { peer, address, connection_type, .. } => {
                *self.dials.entry(*address).or_default() += 1;
                self.burned_dialled += u64::from(self.dials_until_burn.contains_key(address));
                if connection_type.counts() {
                    self.counting.insert(*peer);
                }
            }
            Event::Ready { peer, .. } if self.counting.contains(peer) => {
                self.ready.insert(*peer);
                if self.ready.len() == self.target {
                    self.on_full(*at);
                }
            }
            Event::DialFailed { peer, .. } => {
                self.counting.remove(peer);
            }
            Event::Disconnected { peer, .. } => {
                self.counting.remove(peer);
                if self.ready.remove(peer) && self.time_to_full.is_some() {
                    self.losing.get_or_insert((*at, 0)).1 += 1;
                }
            }
            Event::Burned { address, .. } => {
                let dials = self.dials.get(address).copied().unwrap_or(0);
                self.dials_until_burn.insert(*address, dials);
            }
            Event::Missed { events } => self.missed += events,
            _ => (),
        }
    }

    fn on_full(&mut self, at: SystemTime) {
        let since = |from: SystemTime| at.duration_since(from).unwrap_or_default();
        if self.time_to_full.is_none() {
            self.time_to_full = Some(since(self.start));
        }
        if let Some((from, lost)) = self.losing.take() {
            self.refills.push(Refill { lost, took: since(from) });
        }
    }

    /// No more refills are counted: the pool is about to close, and loses every peer.
    pub(crate) const fn missing_at_the_end(&self) -> usize {
        match self.losing {
            Some((_, lost)) => lost,
            None => 0,
        }
    }

    /// Burned addresses, each with the dials sent to it up to its burn.
    pub(crate) fn burned(&self) -> impl Iterator<Item = (Address, u64)> {
        self.dials_until_burn.iter().map(|(address, dials)| (*address, *dials))
    }
}

#[cfg(test)]
mod tests {
    use peerpool::{BurnReason, Chosen, ConnectionType, DisconnectReason, PeerState, PeerVersion};

    use super::*;

    struct Script {
        tally: Tally,
        now: SystemTime,
    }

    impl Script {
        fn on(&mut self, event: Event) {
            self.now += Duration::from_secs(1);
            self.tally.on_event(&Stamped { at: self.now, event });
        }

        fn ready(&mut self, id: u64, connection_type: ConnectionType) {
            let (peer, address) = (PeerId(id), address(id));
            let chosen = Chosen::Hearsay;
            self.on(Event::Connecting { peer, address, connection_type, chosen });
            let version = PeerVersion {
                protocol: 70016,
                services: peerpool::ServiceFlags::NONE,
                user_agent: Default::default(),
                height: 0,
                relay: false,
            };
            self.on(Event::Ready { peer, address, version, pool: None });
        }

        fn lost(&mut self, id: u64) {
            let (peer, address) = (PeerId(id), address(id));
            let reason = DisconnectReason::ClosedByPeer;
            self.on(Event::Disconnected { peer, address, state: PeerState::Ready, reason });
        }
    }

    fn address(id: u64) -> Address {
        format!("127.0.0.{id}:18444").parse().expect("an address")
    }

    #[test]
    fn a_refill_lasts_from_the_first_loss_until_full_again() {
        let now = SystemTime::UNIX_EPOCH;
        let mut script = Script { tally: Tally::new(2, now), now };
        script.ready(1, ConnectionType::OutboundFullRelay);
        script.ready(2, ConnectionType::AddrFetch); // does not count
        assert_eq!(script.tally.time_to_full, None);
        script.ready(3, ConnectionType::Manual);
        assert_eq!(script.tally.time_to_full, Some(Duration::from_secs(6)));
        script.lost(2);
        assert_eq!(script.tally.missing_at_the_end(), 0);
        script.lost(1);
        script.lost(3);
        assert_eq!(script.tally.missing_at_the_end(), 2);
        script.ready(4, ConnectionType::OutboundFullRelay);
        script.ready(5, ConnectionType::OutboundFullRelay);
        assert_eq!(script.tally.refills, [Refill { lost: 2, took: Duration::from_secs(5) }]);
        assert_eq!(script.tally.time_to_full, Some(Duration::from_secs(6)));
    }

    #[test]
    fn a_dial_after_the_burn_is_counted() {
        let now = SystemTime::UNIX_EPOCH;
        let mut script = Script { tally: Tally::new(2, now), now };
        script.ready(1, ConnectionType::OutboundFullRelay);
        script.on(Event::Burned { address: address(1), reason: BurnReason::QuickDrop });
        assert_eq!(script.tally.burned().collect::<Vec<_>>(), [(address(1), 1)]);
        assert_eq!(script.tally.burned_dialled, 0);
        script.ready(1, ConnectionType::OutboundFullRelay);
        assert_eq!(script.tally.burned_dialled, 1);
    }
}
