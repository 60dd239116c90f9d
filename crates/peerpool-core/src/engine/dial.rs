//! Starting attempts and giving them up: `try_connect`, the seeds, addr-fetch.

use std::net::IpAddr;
use std::time::Duration;

use crate::address::{Address, Net};
use crate::book::{Heard, Source};
use crate::dialer::{Dial, Tally, Wishes, is_closed};
use crate::event::Event;
use crate::id::{BurnReason, Chosen, ConnectionType, DisconnectReason, PeerId, PeerState};
use crate::io::Output;
use crate::peer::{Peer, Purpose, Stage};
use crate::time::{Monotonic, Now};

use super::place::{may_serve, select_idle};
use super::{Engine, NETS, PeerTimer, Phase, Timer};

impl Engine {
    /// Decides whether to dial more; runs after every input that can change the answer.
    pub(super) fn try_connect(&mut self, now: Now) {
        if self.phase != Phase::Running {
            return;
        }
        self.tried_at = now.mono;
        self.book.advance(now);
        self.end_bars(now);
        let tally = loop {
            self.note_crowded();
            let (tally, dial) = self.select_dial(now);
            let Some(dial) = dial else { break tally };
            self.dial(now, dial);
        };
        let target = self.dialer.target(&self.book);
        self.note_full(now, tally.ready >= target);
        if tally.ready >= target {
            self.give_up_surplus(now);
        }
        self.note_starved(now, &tally, target);
    }

    fn select_dial(&mut self, now: Now) -> (Tally, Option<Dial>) {
        let Self { dialer, peers, leases, slots, book, config, rng, .. } = self;
        let (tally, policy) = (dialer.tally(peers), &config.policy);
        let with_room = slots.with_room(peers);
        let may_serve =
            |pool, address: &Address| may_serve(slots, book, &config.groups, pool, address);
        let mut wishes = Wishes {
            unmet: &mut leases.unmet(peers),
            private: &mut leases.private(),
            serves: &|pool, address| match pool {
                Some(pool) => may_serve(pool, address),
                None => with_room.iter().any(|pool| may_serve(*pool, address)),
            },
            takes: &|pool| {
                with_room.contains(&pool) || select_idle(peers, now.mono, pool, policy).is_some()
            },
            groups: &config.groups,
        };
        let dial = dialer.select_dial(now, &tally, &mut wishes, book, policy, rng);
        (tally, dial)
    }

    /// When [`Engine::try_connect`] may find something to do by itself.
    pub(super) fn connect_wake(&self) -> Option<Monotonic> {
        let seeds = self.seeds.next_round().filter(|_| self.starved);
        let resumes = self.dialer.resumes_at(self.tried_at);
        let extra = self.dialer.next_extra().filter(|_| self.short_since.is_none());
        let need = self.dialer.next_need(self.tried_at).filter(|_| self.leases.waiting() > 0);
        let look = self.dialer.next_look(self.tried_at);
        let probe = self.dialer.next_probe();
        let wakes = [self.book.wake_at(), seeds, probe, resumes, extra, need, look];
        wakes.into_iter().flatten().min()
    }

    fn dial(&mut self, now: Now, Dial { address, connection_type, purpose }: Dial) {
        let chosen = self.chosen(&address, connection_type, purpose);
        let nonce = self.rng.u64();
        let source = self.book.source(&address);
        let peer = self.peers.insert(now.mono, address, connection_type, purpose, source, nonce);
        self.book.set_in_use(now, address, true);
        self.refresh_group(address);
        self.set_timer(peer, PeerTimer::Deadline, now.mono + self.policy().dial_timeout);
        let (delay, _) = self.dialer.hedge_delays(address.net());
        self.set_timer(peer, PeerTimer::Hedge, now.mono + delay);
        self.dials += 1;
        self.outputs.push_back(Output::Dial { peer, address, connection_type });
        self.tell(Event::Connecting { peer, address, connection_type, chosen });
    }

    fn chosen(&self, address: &Address, kind: ConnectionType, purpose: Purpose) -> Chosen {
        match purpose {
            Purpose::Anchor => Chosen::Anchor,
            Purpose::Newcomer => Chosen::Rotation,
            Purpose::Need => Chosen::Need,
            // All that an offline pool dials is to find that out.
            Purpose::Slot if self.dialer.evidence.is_offline() => Chosen::Probe,
            Purpose::Slot => self.book.chosen(address, kind),
        }
    }

    /// No source is to name more than its share of the pool's peers.
    fn note_crowded(&mut self) {
        let (share, target) = (self.policy().max_source_share, self.policy().target_connect_count);
        if share >= 100 {
            return;
        }
        let most = (target * share / 100).max(1);
        let crowded = self.peers.sources().into_iter().filter(|(_, count)| *count >= most);
        self.book.set_crowded(crowded.map(|it| it.0).collect(), self.seeds.is_asking());
    }

    pub(super) fn refresh_group(&mut self, address: Address) {
        let group = self.config.groups.of(&address.host);
        self.book.set_closed(group, is_closed(&self.peers, group, &self.config.policy));
    }

    /// Sets until when each attempt on `net` is counted on, by the answer times known by now: those
    /// made before the first answers came would be waited for much too long.
    pub(super) fn set_hedges(&mut self, net: Net, before: (Duration, Duration)) {
        let (dial, handshake) = self.dialer.hedge_delays(net);
        if (dial, handshake) == before {
            return;
        }
        let Self { peers, timers, .. } = self;
        for (id, peer) in peers.iter().filter(|(_, peer)| peer.address.net() == net) {
            let at = match peer.stage {
                Stage::Connecting { fresh: true } => peer.dialled_at + dial,
                Stage::Connected { since, fresh: true, .. } => since + handshake,
                _ => continue,
            };
            timers.set(Timer::Peer(id, PeerTimer::Hedge), at);
        }
    }

    /// The attempt is no longer counted on: another may be made in its place.
    pub(super) fn on_hedge(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let address = peer.address;
        match &mut peer.stage {
            Stage::Connecting { fresh } | Stage::Connected { fresh, .. } => *fresh = false,
            Stage::Ready(_) | Stage::Closing { .. } => return,
        }
        self.refresh_group(address);
    }

    /// The dial, the handshake or the addr-fetch connection has used up its time.
    pub(super) fn on_deadline(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let address = peer.address;
        match peer.state() {
            Some(PeerState::Connecting) => {
                self.close_dial(now, id, BurnReason::TimedOut);
            }
            Some(PeerState::Connected) => {
                self.fail_handshake(now, id, address, BurnReason::HandshakeTimedOut);
            }
            Some(PeerState::Ready) => {
                let private = peer.connection_type == ConnectionType::PrivateBroadcast;
                self.disconnect(
                    id,
                    match private {
                        true => DisconnectReason::PrivateBroadcastDone,
                        false => DisconnectReason::AddrFetchDone,
                    },
                );
            }
            None => {}
        }
    }

    /// Dials still unanswered when the pool is full are given up, but for those that are to take the
    /// place of another; handshakes under way may end, for what they tell of their address.
    fn give_up_surplus(&mut self, now: Now) {
        let automatic = |peer: &Peer| {
            peer.connection_type == ConnectionType::OutboundFullRelay
                && !matches!(peer.purpose, Purpose::Newcomer | Purpose::Need)
        };
        let mut unanswered = Vec::new();
        for (id, peer) in self.peers.iter().filter(|(_, peer)| automatic(peer)) {
            let Stage::Connecting { fresh } = peer.stage else { continue };
            if !fresh {
                let waited = now.mono.since(peer.dialled_at);
                self.dialer.on_dial_given_up(peer.address.net(), waited);
            }
            unanswered.push(id);
        }
        for peer in unanswered {
            self.disconnect(peer, DisconnectReason::Surplus);
        }
    }

    fn note_full(&mut self, now: Now, full: bool) {
        if !full {
            self.short_since.get_or_insert(now.mono);
        } else if let Some(since) = self.short_since.take() {
            self.forget_old_anchors();
            self.seeds.reset(now.mono + self.policy().seed_retry_min, &self.config.policy);
            self.tell(Event::Full { took: now.mono.since(since) });
        }
    }

    /// Peers are missing, nothing is under way and nobody is left to dial: say so, and look for
    /// addresses.
    fn note_starved(&mut self, now: Now, tally: &Tally, target: usize) {
        let offline = self.dialer.evidence.is_offline();
        // Probing those that have just failed feeds nobody: they may all be dead, and the network
        // up. It is the seeds that know others then.
        let candidates = self.book.has_candidate(&NETS);
        // Until the links of dials given up are closed, they may be what keeps others from going.
        let idle = tally.in_flight == 0 && !self.seeds.is_asking() && !(offline && candidates);
        if tally.ready < target && idle && self.yield_extras(now) {
            return;
        }
        if tally.ready < target && idle && !self.starved {
            self.starved = true;
            self.tell(Event::Starved { known: self.book.known() });
        }
        let under_way = tally.attempts > 0 && (candidates || !offline);
        if self.starved && (tally.ready >= target || under_way) {
            self.starved = false;
            self.tell(Event::Fed);
        }
        if self.starved && !self.config.connect_only {
            self.ask_seeds(now);
            if !offline {
                self.fetch_addresses(now, tally.addr_fetch);
            }
        }
    }

    /// Lets go of block-relay-only peers, so that they may fill slots. Returns whether there are
    /// any still, as long as their links are not closed.
    fn yield_extras(&mut self, now: Now) -> bool {
        let extra = |(id, peer): (PeerId, &Peer)| {
            let extra = peer.connection_type == ConnectionType::BlockRelayOnly;
            extra.then_some(id)
        };
        let extras: Vec<_> = self.peers.iter().filter_map(extra).collect();
        for id in &extras {
            self.let_go(now, *id, DisconnectReason::Yielded);
        }
        !extras.is_empty()
    }

    // ---- seeds ----

    pub(super) fn ask_seeds(&mut self, now: Now) {
        for seed in self.seeds.begin_round(now.mono, &self.config.policy) {
            self.outputs.push_back(Output::AskSeed { seed });
            if let Some(name) = self.config.seeds.get(seed).cloned() {
                self.tell(Event::SeedAsked { seed: name });
            }
        }
    }

    pub(super) fn on_seed_answer(
        &mut self,
        now: Now,
        seed: usize,
        result: Result<Vec<IpAddr>, String>,
    ) {
        let Some(name) = self.config.seeds.get(seed).cloned() else { return };
        if self.phase != Phase::Running || !self.seeds.on_answer(seed) {
            return;
        }
        let addresses = match result {
            Ok(addresses) => addresses,
            Err(error) => return self.tell(Event::SeedFailed { seed: name, error }),
        };
        // The answer says neither port nor age nor services: the chain's default port is assumed,
        // the address counts as seen now, and the services are those that were asked for.
        let received = addresses.len();
        let services = self.policy().required_services;
        let mut kept = 0;
        for ip in addresses.into_iter().take(self.policy().max_seed_addresses) {
            let address = Address { host: ip.into(), port: self.config.default_port };
            let source = Source::Seed(seed);
            let heard = self.book.hear(now, address, services, now.unix, source, &mut self.rng);
            kept += usize::from(heard == Heard::New);
        }
        self.tell(Event::SeedAnswered { seed: name, received, kept });
    }

    // ---- addr-fetch ----

    fn fetch_addresses(&mut self, now: Now, mut open: usize) {
        while open < self.policy().max_addr_fetch {
            let Some(address) = self.book.select_addr_fetch(now, &mut self.rng) else { return };
            self.book.note_asked(now, address);
            let connection_type = ConnectionType::AddrFetch;
            self.dial(now, Dial { address, connection_type, purpose: Purpose::Slot });
            open += 1;
        }
    }

    // ---- closing ----

    /// Gives up a dial or closes a connection, without a verdict. The peer is gone when the link
    /// reports it.
    pub(super) fn disconnect(&mut self, id: PeerId, reason: DisconnectReason) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(state) = peer.state() else { return };
        let address = peer.address;
        peer.stage = Stage::Closing { was: state };
        self.surplus += u64::from(reason == DisconnectReason::Surplus);
        self.unset_timers(id);
        self.drop_leases(id);
        self.refresh_group(address);
        self.outputs.push_back(Output::Disconnect { peer: id });
        self.tell(Event::Disconnected { peer: id, address, state, reason });
    }

    pub(super) fn drop_leases(&mut self, peer: PeerId) {
        for lease in self.leases.on_gone(peer) {
            self.tell(Event::Released { lease, peer });
        }
        self.offer_reserved();
    }

    /// Forgets a peer whose link is closed.
    pub(super) fn forget(&mut self, now: Now, id: PeerId) {
        self.unset_timers(id);
        let Some(peer) = self.peers.remove(id) else { return };
        self.book.set_in_use(now, peer.address, false);
        self.refresh_group(peer.address);
    }
}
