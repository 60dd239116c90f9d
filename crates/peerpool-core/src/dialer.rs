//! Whom to dial and how many at once: `try_connect`'s decisions.
//!
//! Parallel and hedged: enough dials are in flight for the missing peers at the success rate seen
//! lately. A dial (or handshake) that takes much longer than answers do lately is no longer counted
//! on, but goes on until its deadline. Offline, one probe at a time takes the place of all that.

mod evidence;
mod extras;
mod floor;
mod pace;
mod rate;

pub use evidence::Evidence;
pub use extras::Extras;
pub use floor::{Standing, below_floor};
pub use pace::Pace;
pub use rate::Rate;

use std::fmt;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Net, PerNet};
use crate::book::Book;
use crate::id::{ConnectionType, PoolId};
use crate::netgroup::{NetGroup, NetGroups};
use crate::peer::{Peer, Peers, Purpose, Stage};
use crate::policy::Policy;
use crate::require::{Need, Require};
use crate::rng::Rng;
use crate::time::{Monotonic, Now};

/// What the dialer decides by, counted over all peers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Ready peers that count toward the target.
    pub ready: usize,
    /// Dials and handshakes in flight, those being given up included.
    pub in_flight: usize,
    /// Dials and handshakes in flight that may yet fill a slot.
    pub attempts: usize,
    /// Slots that the attempts still counted on will fill, as far as rates tell.
    pub expected: f64,
    /// Manual peers, ready or in flight.
    pub manual: usize,
    /// Addr-fetch connections, whatever their stage.
    pub addr_fetch: usize,
    /// Block-relay-only connections, whatever their stage.
    pub block_relay: usize,
    /// Feelers, whatever their stage.
    pub feelers: usize,
    /// Private connections, whatever their stage.
    pub private: usize,
    /// Those of them that are not ready yet.
    pub private_attempts: usize,
    /// Attempts to find who takes another's place.
    pub newcomers: usize,
    /// The same by network.
    pub nets: PerNet<NetTally>,
}

/// What the dialer decides by, counted over the peers of one network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetTally {
    /// Ready peers that count toward the target.
    pub ready: usize,
    /// Dials and handshakes in flight, those being given up left out.
    pub attempts: usize,
    /// Slots that the attempts still counted on will fill, as far as rates tell.
    pub expected: f64,
}

/// A dial that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Where to.
    pub address: Address,
    /// What for.
    pub connection_type: ConnectionType,
    /// Why this one.
    pub purpose: Purpose,
}

/// What is wanted of whoever is dialled.
pub struct Wishes<'a, 'r> {
    /// What somebody waits for and no peer is.
    pub unmet: &'a mut dyn Iterator<Item = Need>,
    /// What those want, in turn, who wait for a connection of their own.
    pub private: &'a mut dyn Iterator<Item = &'r Require>,
    /// Whether an address may serve this pool, or one that has room.
    pub serves: &'a dyn Fn(Option<PoolId>, &Address) -> bool,
    /// Whether this pool has room for a peer that somebody waits for, or somebody who may leave.
    pub takes: &'a dyn Fn(PoolId) -> bool,
    /// By what rule hosts are grouped.
    pub groups: &'a NetGroups,
}

impl fmt::Debug for Wishes<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wishes").finish_non_exhaustive()
    }
}

/// Addresses drawn at most to find one that fits. Of 16 separate pools each has a 17th.
const DRAWS: usize = 256;

/// An address that fits, drawn like any other; where none of many does, from hearsay, which is not
/// drawn from where there is much experience.
fn draw_fitting(
    now: Now,
    book: &Book,
    nets: &[Net],
    services: ServiceFlags,
    fits: impl Fn(&Address) -> bool,
    rng: &mut Rng,
) -> Option<Address> {
    for draw in 0..2 * DRAWS {
        let drawn = if draw < DRAWS {
            book.select(now, nets, services, rng)
        } else {
            book.select_heard(now, nets, services, rng)
        };
        let drawn = drawn?;
        if fits(&drawn) && book.offers(&drawn, services) {
            return Some(drawn);
        }
    }
    None
}

/// A slot, or a floor, that is four fifths sure to be filled is not worth another dial.
const SURE: f64 = 0.2;

/// Whether one more automatic dial is wanted. Pure: the whole of "how many at once".
pub fn wants_dial(tally: &Tally, target: usize, max_dials: usize) -> bool {
    let missing = target.saturating_sub(tally.ready);
    missing > 0 && tally.in_flight < max_dials && tally.expected + SURE < missing as f64
}

/// What attempts on one network came to lately.
#[derive(Clone, Copy, Debug)]
struct Recent {
    dial: Rate,
    handshake: Rate,
    dial_pace: Pace,
    handshake_pace: Pace,
    /// Whether there was an attempt at all.
    seen: bool,
    /// Whether a handshake was ever done there, or the user says that it can be.
    reachable: bool,
    /// Attempts that failed, or were late and given up, since the last success.
    misses: usize,
    paused_until: Option<Monotonic>,
}

impl Recent {
    fn new(policy: &Policy) -> Self {
        let pace = Pace::new(policy);
        Self {
            dial: Rate::default(),
            handshake: Rate::default(),
            dial_pace: pace,
            handshake_pace: pace,
            seen: false,
            reachable: false,
            misses: 0,
            paused_until: None,
        }
    }
}

/// Attempts that are no longer counted on.
#[derive(Clone, Copy, Debug, Default)]
struct Late {
    dials: usize,
    handshakes: usize,
}

/// Rates, evidence and pauses.
#[derive(Clone, Debug)]
pub struct Dialer {
    target: usize,
    connect_only: bool,
    nets: Vec<Net>,
    recent: PerNet<Recent>,
    /// Whether the network is up.
    pub evidence: Evidence,
    next_probe: Monotonic,
    extras: Extras,
    /// When somebody may be dialled next for the sake of who waits.
    next_need: Monotonic,
    /// The same of a connection for one lease.
    next_private: Monotonic,
    /// When to look again for whom there was nobody.
    look_again: Option<Monotonic>,
    /// Peers of a former run, or of the time before an outage, that are to be dialled first.
    anchors: Vec<Address>,
}

impl Dialer {
    /// A dialer for addresses on `nets`.
    pub fn new(policy: &Policy, nets: &[Net], connect_only: bool) -> Self {
        Self {
            target: policy.target_connect_count,
            connect_only,
            nets: nets.to_vec(),
            recent: PerNet::new(|| Recent::new(policy)),
            evidence: Evidence::default(),
            next_probe: Monotonic::default(),
            extras: Extras::default(),
            next_need: Monotonic::default(),
            next_private: Monotonic::default(),
            look_again: None,
            anchors: Vec::new(),
        }
    }

    /// The user says that these networks are reachable.
    pub fn assume_reachable(&mut self, nets: &[Net]) {
        nets.iter().for_each(|net| self.recent[*net].reachable = true);
    }

    /// Peers to keep: the configured target, or all the addresses there are if only those of the
    /// user may be dialled.
    pub fn target(&self, book: &Book) -> usize {
        if self.connect_only { self.target.min(book.manual_len()) } else { self.target }
    }

    /// Networks that may be dialled now.
    pub fn open_nets(&self, now: Monotonic) -> Vec<Net> {
        let open = |net: &Net| self.recent[*net].paused_until.is_none_or(|until| until <= now);
        self.nets.iter().copied().filter(open).collect()
    }

    /// The networks whose addresses are dialled.
    pub fn nets(&self) -> &[Net] {
        &self.nets
    }

    /// No automatic dial on `nets` before `until`: there is no route, or no descriptor.
    pub fn pause(&mut self, nets: &[Net], until: Monotonic) {
        for net in nets {
            let paused = &mut self.recent[*net].paused_until;
            *paused = (*paused).max(Some(until));
        }
    }

    /// When the first pause ends.
    pub fn resumes_at(&self, now: Monotonic) -> Option<Monotonic> {
        self.recent
            .values()
            .filter_map(|recent| recent.paused_until)
            .filter(|until| *until > now)
            .min()
    }

    // ---- rates ----

    /// A dial was answered after so long.
    pub fn on_dial_answered(&mut self, net: Net, took: Duration) {
        let recent = &mut self.recent[net];
        recent.paused_until = None;
        recent.dial.count(true);
        recent.dial_pace.count(took);
    }

    /// A dial failed.
    pub fn on_dial_failed(&mut self, net: Net) {
        self.recent[net].seen = true;
        self.recent[net].dial.count(false);
        self.on_miss(net);
    }

    /// An attempt on `net` came to nothing, maybe through no fault of the network.
    pub fn on_miss(&mut self, net: Net) {
        self.recent[net].misses = self.recent[net].misses.saturating_add(1);
    }

    /// A dial that was late is given up after so long.
    pub fn on_dial_given_up(&mut self, net: Net, waited: Duration) {
        let recent = &mut self.recent[net];
        recent.dial_pace.count_given_up(waited, recent.dial.estimate(0));
        self.on_miss(net);
    }

    /// A handshake was done after so long.
    pub fn on_handshake_done(&mut self, net: Net, took: Duration) {
        let recent = &mut self.recent[net];
        recent.seen = true;
        recent.reachable = true;
        recent.misses = 0;
        recent.handshake.count(true);
        recent.handshake_pace.count(took);
    }

    /// A handshake failed.
    pub fn on_handshake_failed(&mut self, net: Net) {
        self.recent[net].seen = true;
        self.recent[net].handshake.count(false);
        self.on_miss(net);
    }

    /// How long a dial and a handshake on `net` are counted on.
    pub fn hedge_delays(&self, net: Net) -> (Duration, Duration) {
        let Recent { dial_pace, handshake_pace, .. } = &self.recent[net];
        (dial_pace.delay(), handshake_pace.delay())
    }

    /// The share of attempts on `net` that end ready; `None` before the first.
    pub fn success_rate(&self, net: Net) -> Option<f64> {
        let recent = &self.recent[net];
        recent.seen.then_some(recent.dial.estimate(0) * recent.handshake.estimate(0))
    }

    fn chance(&self, peer: &Peer, late: &PerNet<Late>) -> f64 {
        let net = peer.address.net();
        let Recent { dial, handshake, .. } = &self.recent[net];
        let handshake = handshake.estimate(late[net].handshakes);
        match peer.stage {
            Stage::Connecting { fresh: true } | Stage::Connected { fresh: true, .. }
                if peer.purpose == Purpose::Anchor =>
            {
                1.0
            }
            Stage::Connecting { fresh: true } => dial.estimate(late[net].dials) * handshake,
            Stage::Connected { fresh: true, .. } => handshake,
            _ => 0.0,
        }
    }

    // ---- decisions ----

    /// Counts all peers.
    pub fn tally(&self, peers: &Peers) -> Tally {
        let mut tally = Tally::default();
        let late = late(peers);
        for (_, peer) in peers.iter() {
            let attempt = matches!(peer.stage, Stage::Connecting { .. } | Stage::Connected { .. });
            tally.newcomers += usize::from(peer.purpose == Purpose::Newcomer && attempt);
            let extra = match peer.connection_type {
                ConnectionType::AddrFetch => Some(&mut tally.addr_fetch),
                ConnectionType::BlockRelayOnly => Some(&mut tally.block_relay),
                ConnectionType::Feeler => Some(&mut tally.feelers),
                ConnectionType::PrivateBroadcast => {
                    tally.private_attempts += usize::from(attempt);
                    Some(&mut tally.private)
                }
                ConnectionType::OutboundFullRelay | ConnectionType::Manual => None,
            };
            if let Some(count) = extra {
                *count += 1;
                continue;
            }
            let chance = self.chance(peer, &late);
            let net = &mut tally.nets[peer.address.net()];
            net.ready += usize::from(peer.fills_slot());
            net.attempts += usize::from(attempt);
            net.expected += chance;
            tally.ready += usize::from(peer.fills_slot());
            tally.in_flight += usize::from(peer.session().is_none());
            tally.attempts += usize::from(attempt);
            tally.manual += usize::from(peer.connection_type == ConnectionType::Manual);
            tally.expected += chance;
        }
        tally
    }

    /// The next address to dial, if one is wanted and there is one.
    pub fn select_dial(
        &mut self,
        now: Now,
        tally: &Tally,
        wishes: &mut Wishes<'_, '_>,
        book: &Book,
        policy: &Policy,
        rng: &mut Rng,
    ) -> Option<Dial> {
        let target = self.target(book);
        let typed = |address: Address| {
            let manual = book.is_manual(&address);
            let outbound = ConnectionType::OutboundFullRelay;
            let connection_type = if manual { ConnectionType::Manual } else { outbound };
            Dial { address, connection_type, purpose: Purpose::Slot }
        };
        if self.evidence.is_offline() {
            if now.mono < self.next_probe {
                return None;
            }
            self.next_probe = now.mono + policy.probe_interval;
            if tally.in_flight >= policy.max_dials {
                return None;
            }
            return book.select_probe(now, &self.nets, rng).map(typed);
        }
        if tally.manual < target && tally.in_flight < policy.max_dials {
            if let Some(address) = book.select_manual(rng) {
                return Some(typed(address));
            }
        }
        if self.connect_only {
            return None;
        }
        let open = self.open_nets(now.mono);
        if let Some(dial) = self.select_private(now, tally, &open, wishes, book, policy, rng) {
            return Some(dial);
        }
        if let Some(dial) = self.select_needed(now, tally, &open, wishes, book, policy, rng) {
            return Some(dial);
        }
        if let Some(dial) = self.select_anchor(&open, tally, wishes, book, policy) {
            return Some(dial);
        }
        if tally.ready >= target {
            return self.extras.select_dial(now, tally, &open, book, policy, rng);
        }
        if !wants_dial(tally, target, policy.max_dials) {
            return None;
        }
        let missing = target.saturating_sub(tally.ready) as f64 - tally.expected;
        let standings = self.standings(&open, tally, book, policy);
        let first = below_floor(&standings, missing, policy.min_peers_per_net);
        let serves = |address: &Address| (wishes.serves)(None, address);
        let mut select =
            |nets: &[Net]| draw_fitting(now, book, nets, ServiceFlags::NONE, serves, rng);
        let dial = select(&first).or_else(|| select(&open)).map(typed);
        if dial.is_none() && book.has_candidate(&open) {
            self.look_again = Some(now.mono + policy.probe_interval);
        }
        dial
    }

    /// Somebody like what is waited for: into a free slot, or else in place of another, if there is
    /// one that may leave. Paced, for nobody knows whether there is such a peer at all.
    #[expect(clippy::too_many_arguments, reason = "what a dial is decided by")]
    fn select_needed(
        &mut self,
        now: Now,
        tally: &Tally,
        open: &[Net],
        wishes: &mut Wishes<'_, '_>,
        book: &Book,
        policy: &Policy,
        rng: &mut Rng,
    ) -> Option<Dial> {
        let paced = policy.need_interval.is_zero() || now.mono < self.next_need;
        if paced || tally.in_flight >= policy.max_dials {
            return None;
        }
        let mut needs: Vec<Need> = wishes.unmet.filter(|need| (wishes.takes)(need.pool)).collect();
        if needs.is_empty() {
            return None;
        }
        rng.shuffle(&mut needs);
        let select = |need: &Need| {
            let serves = |address: &Address| (wishes.serves)(Some(need.pool), address);
            draw_fitting(now, book, &nets_of(need, open), need.services, serves, rng)
        };
        let Some(address) = needs.iter().find_map(select) else {
            self.look_again = Some(now.mono + policy.need_interval);
            return None;
        };
        self.next_need = now.mono + policy.need_interval;
        let connection_type = ConnectionType::OutboundFullRelay;
        Some(Dial { address, connection_type, purpose: Purpose::Need })
    }

    /// Somebody for a lease that is to have a connection of its own.
    #[expect(clippy::too_many_arguments, reason = "what a dial is decided by")]
    fn select_private(
        &mut self,
        now: Now,
        tally: &Tally,
        open: &[Net],
        wishes: &mut Wishes<'_, '_>,
        book: &Book,
        policy: &Policy,
        rng: &mut Rng,
    ) -> Option<Dial> {
        if tally.private >= policy.max_private || now.mono < self.next_private {
            return None;
        }
        // Whose the attempts are, nobody knows before their handshakes are done.
        let waiting: Vec<&Require> = wishes.private.skip(tally.private_attempts).collect();
        if waiting.is_empty() {
            return None;
        }
        let select = |require: &&Require| {
            let need = require.need();
            let fits = |address: &Address| {
                require.may_be_at(address, wishes.groups)
                    && (wishes.serves)(Some(need.pool), address)
            };
            draw_fitting(now, book, &nets_of(&need, open), need.services, fits, rng)
        };
        let Some(address) = waiting.iter().find_map(select) else {
            self.look_again = Some(now.mono + policy.probe_interval);
            return None;
        };
        let connection_type = ConnectionType::PrivateBroadcast;
        Some(Dial { address, connection_type, purpose: Purpose::Slot })
    }

    /// One that was dialled for a lease of its own is not what is wanted: the next is not dialled at
    /// once.
    pub fn put_off_private(&mut self, now: Monotonic, policy: &Policy) {
        let pause = policy.need_interval.max(Duration::from_millis(1));
        self.next_private = now + pause;
    }

    /// When to look again for whom there was nobody, and who may not be there by then either.
    pub fn next_look(&self, now: Monotonic) -> Option<Monotonic> {
        let idle = self.connect_only || self.evidence.is_offline();
        self.look_again.filter(|at| !idle && *at > now)
    }

    /// When somebody may be dialled for the sake of who waits, if not yet.
    pub fn next_need(&self, now: Monotonic) -> Option<Monotonic> {
        let idle = self.connect_only || self.evidence.is_offline();
        [self.next_need, self.next_private].into_iter().filter(|at| !idle && *at > now).min()
    }

    fn standings(
        &self,
        open: &[Net],
        tally: &Tally,
        book: &Book,
        policy: &Policy,
    ) -> Vec<Standing> {
        let standing = |net: &Net| {
            let (recent, tally) = (&self.recent[*net], &tally.nets[*net]);
            Standing {
                net: *net,
                peers: tally.ready as f64 + tally.expected,
                reachable: recent.reachable,
                hopeful: open.contains(net)
                    && recent.misses + tally.attempts < policy.net_patience
                    && book.has_candidate_on(*net),
            }
        };
        self.nets.iter().map(standing).collect()
    }

    /// The first slots go to anchors, and what is left of them to block-relay-only peers.
    fn select_anchor(
        &mut self,
        nets: &[Net],
        tally: &Tally,
        wishes: &Wishes<'_, '_>,
        book: &Book,
        policy: &Policy,
    ) -> Option<Dial> {
        let connection_type = if tally.ready >= self.target {
            let wanted = tally.block_relay < policy.block_relay_count;
            wanted.then_some(ConnectionType::BlockRelayOnly)?
        } else {
            let filled = tally.ready + tally.attempts;
            let wanted = filled < self.target && tally.in_flight < policy.max_dials;
            wanted.then_some(ConnectionType::OutboundFullRelay)?
        };
        while let Some(address) = self.anchors.pop() {
            let serves = connection_type == ConnectionType::BlockRelayOnly
                || (wishes.serves)(None, &address);
            if serves && nets.contains(&address.net()) && book.is_candidate(&address) {
                return Some(Dial { address, connection_type, purpose: Purpose::Anchor });
            }
        }
        None
    }

    /// Peers that are to be dialled before others, the last of them first.
    pub fn set_anchors(&mut self, anchors: Vec<Address>) {
        self.anchors = anchors;
    }

    /// Keeps no more than so many of them.
    pub fn keep_anchors(&mut self, most: usize) {
        self.anchors.truncate(most);
    }

    /// Whether this one is still to be dialled.
    pub fn is_anchor(&self, address: &Address) -> bool {
        self.anchors.contains(address)
    }

    /// When a full pool dials next by itself.
    pub fn next_extra(&self) -> Option<Monotonic> {
        let idle = self.connect_only || self.evidence.is_offline();
        if idle { None } else { self.extras.next() }
    }

    /// The newcomer of a rotation is ready.
    pub fn on_rotated(&mut self, now: Monotonic, policy: &Policy, rng: &mut Rng) {
        self.extras.on_rotated(now, policy, rng);
    }

    /// When an offline pool dials its next probe.
    pub fn next_probe(&self) -> Option<Monotonic> {
        self.evidence.is_offline().then_some(self.next_probe)
    }
}

/// Those of the open networks that may have what is needed.
fn nets_of(need: &Need, open: &[Net]) -> Vec<Net> {
    let on = |net: &Net| need.net.is_none_or(|only| only == *net);
    open.iter().copied().filter(on).collect()
}

fn late(peers: &Peers) -> PerNet<Late> {
    let mut late = PerNet::<Late>::default();
    for (_, peer) in peers.iter() {
        let late = &mut late[peer.address.net()];
        match peer.stage {
            Stage::Connecting { fresh: false } => late.dials += 1,
            Stage::Connected { fresh: false, .. } => late.handshakes += 1,
            _ => {}
        }
    }
    late
}

/// Whether a netgroup takes no further automatic dial. One peer that is still counted on fills a
/// group's share, so that a second dial goes out only once the first is late.
pub fn is_closed(peers: &Peers, group: NetGroup, policy: &Policy) -> bool {
    let load = peers.load(group);
    group.limited()
        && (load.counted_on >= policy.max_peers_per_netgroup
            || load.in_flight >= policy.max_dials_per_netgroup)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_max_dials_and_none_without_need(
            ready in 0usize..20, in_flight in 0usize..200, expected in 0.0f64..20.0,
            target in 1usize..20, max_dials in 1usize..200,
        ) {
            let tally = Tally { ready, in_flight, expected, ..Tally::default() };
            if wants_dial(&tally, target, max_dials) {
                prop_assert!(in_flight < max_dials && ready < target);
                prop_assert!(expected < (target - ready) as f64);
            } else {
                prop_assert!(
                    in_flight >= max_dials
                        || ready >= target
                        || expected + SURE >= (target - ready) as f64
                );
            }
        }
    }
}
