//! Serving connected and ready peers: handshakes, pings, gossip.

use std::net::IpAddr;

use bitcoin::p2p::ServiceFlags;

use crate::address::Host;
use crate::book::{Heard, Source};
use crate::discovery::{AddrBudget, select_entries};
use crate::event::{Event, UserAgent};
use crate::handshake::{Handshake, Handshaken, Rules, Step};
use crate::id::{ConnectionType, DisconnectReason, PeerId};
use crate::io::Output;
use crate::liveness::{Due, Liveness};
use crate::misbehavior::Misbehavior;
use crate::peer::{Session, Stage};
use crate::time::Now;
use crate::wire::{AddrEntry, Control, PROTOCOL_VERSION, Version};

use super::{Engine, PeerTimer};

impl Engine {
    pub(super) fn on_connected(&mut self, now: Now, id: PeerId, local: Option<IpAddr>) {
        self.on_heard(now, id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Stage::Connecting { .. } = peer.stage else { return };
        let address = peer.address;
        let (handshake, message) = match peer.connection_type {
            ConnectionType::PrivateBroadcast => Handshake::begin_bare(peer.nonce),
            kind => Handshake::begin(Version {
                protocol: PROTOCOL_VERSION,
                services: ServiceFlags::NONE,
                timestamp: i64::try_from(now.unix.0).unwrap_or(i64::MAX),
                nonce: peer.nonce,
                user_agent: UserAgent(self.config.user_agent.clone().into_bytes()),
                height: self.config.height,
                relay: self.config.policy.relay && kind.counts(),
            }),
        };
        peer.stage = Stage::Connected { handshake, since: now.mono, fresh: true };
        let took = now.mono.since(peer.dialled_at);
        let before = self.dialer.hedge_delays(address.net());
        self.dialer.on_dial_answered(address.net(), took);
        // A node on this very machine is reached from its own address; that is no reason to lose
        // it.
        if let Some(own) = local.map(Host::from).filter(|own| *own != address.host) {
            self.book.note_own(own);
        }
        self.set_timer(id, PeerTimer::Deadline, now.mono + self.policy().handshake_deadline);
        self.set_timer(id, PeerTimer::Hedge, now.mono + before.1);
        self.set_hedges(address.net(), before);
        self.refresh_group(address);
        self.tell(Event::Connected { peer: id, address });
        self.send(id, message);
    }

    pub(super) fn on_control(&mut self, now: Now, id: PeerId, message: Control) {
        self.on_heard(now, id);
        let ours = |nonce| self.peers.nonces().contains(&nonce);
        let itself = matches!(&message, Control::Version(version) if ours(version.nonce));
        let Some(peer) = self.peers.get_mut(id) else { return };
        let address = peer.address;
        match &mut peer.stage {
            Stage::Connected { handshake, .. } => {
                let manual = peer.connection_type == ConnectionType::Manual;
                let policy = &self.config.policy;
                let rules = Rules {
                    // The user's own choice is not second-guessed, as in Core.
                    required: if manual { ServiceFlags::NONE } else { policy.required_services },
                    itself,
                };
                match handshake.handle(&message, &rules) {
                    Step::Send(messages) => {
                        for message in messages {
                            self.send(id, message);
                        }
                    }
                    Step::Done(handshaken) => self.on_handshaken(now, id, handshaken),
                    Step::Failed(reason) => self.fail_handshake(now, id, address, reason),
                    Step::Useless => self.leave_useless(now, id),
                }
            }
            Stage::Ready(session) => {
                session.liveness.on_heard(now.mono);
                self.on_ready_message(now, id, message);
            }
            Stage::Connecting { .. } | Stage::Closing { .. } => {}
        }
    }

    fn on_handshaken(&mut self, now: Now, id: PeerId, handshaken: Handshaken) {
        let Some(peer) = self.peers.get(id) else { return };
        let (address, connection_type) = (peer.address, peer.connection_type);
        if let Stage::Connected { since, .. } = peer.stage {
            let before = self.dialer.hedge_delays(address.net());
            self.dialer.on_handshake_done(address.net(), now.mono.since(since));
            self.set_hedges(address.net(), before);
        }
        let private = connection_type == ConnectionType::PrivateBroadcast;
        if !private {
            self.book.on_ready(now, address, handshaken.version().services);
        }
        let pool = match self.select_slot(now, id, handshaken.version()) {
            Ok(pool) => pool,
            Err(_) if private => return self.leave_useless(now, id),
            Err(reason) => {
                self.book.on_proven(now, address);
                return self.disconnect(id, reason);
            }
        };
        let version = handshaken.version().clone();
        let mut budget = AddrBudget::new(now.mono);
        let asks = !self.config.connect_only && connection_type.asks_for_addresses();
        if asks {
            budget.on_getaddr(&self.config.policy);
        }
        let session = Session {
            pool,
            repeated: handshaken.repeated(),
            handshaken,
            since: now.mono,
            liveness: Liveness::new(now.mono),
            budget,
            leases: 0,
            exclusive: false,
            requests: 0,
        };
        self.unset_timers(id);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.stage = Stage::Ready(Box::new(session));
        }
        self.refresh_group(address);
        if connection_type.is_kept() {
            self.book.set_anchor(address, true);
        }
        if connection_type == ConnectionType::BlockRelayOnly && self.short_since.is_none() {
            self.forget_old_anchors();
        }
        let pool = pool.filter(|_| connection_type.counts());
        self.tell(Event::Ready { peer: id, address, version, pool });
        if asks {
            self.book.note_asked(now, address);
            self.send(id, Control::GetAddr);
        }
        self.begin_service(now, id, connection_type);
    }

    /// The peer is told of as ready: its timers begin, and whoever waits for it has it.
    fn begin_service(&mut self, now: Now, id: PeerId, connection_type: ConnectionType) {
        let private = connection_type == ConnectionType::PrivateBroadcast;
        if !private {
            self.set_timer(id, PeerTimer::Proof, now.mono + self.policy().quick_drop);
        }
        let lifetime = match connection_type {
            ConnectionType::AddrFetch => Some(self.policy().addr_fetch_timeout),
            ConnectionType::PrivateBroadcast => Some(self.policy().private_lifetime),
            _ => None,
        };
        if let Some(lifetime) = lifetime {
            self.set_timer(id, PeerTimer::Deadline, now.mono + lifetime);
        }
        self.tend(now, id);
        self.leases.on_changed();
        if connection_type.is_lent() {
            self.offer(id);
        }
        let lent = self.peers.get(id).and_then(|peer| peer.session()).map_or(0, |it| it.leases);
        if private && lent == 0 {
            self.leave_useless(now, id);
        }
    }

    /// Leaves a peer that was dialled for a lease of its own and is not what is wanted. The next one
    /// is not dialled at once: there may be no such peer.
    fn leave_useless(&mut self, now: Now, id: PeerId) {
        let Some(address) = self.peers.get(id).map(|peer| peer.address) else { return };
        self.book.note_tried(now, address);
        self.dialer.put_off_private(now.mono, &self.config.policy);
        self.disconnect(id, DisconnectReason::Surplus);
    }

    /// Leaves a peer for the sake of another: it did nothing wrong, and is no anchor any more.
    pub(super) fn let_go(&mut self, now: Now, id: PeerId, reason: DisconnectReason) {
        let Some(peer) = self.peers.get(id) else { return };
        let (address, ready) = (peer.address, peer.session().is_some());
        if ready {
            self.book.on_proven(now, address);
        }
        self.book.set_anchor(address, false);
        self.disconnect(id, reason);
    }

    fn on_ready_message(&mut self, now: Now, id: PeerId, message: Control) {
        match message {
            Control::Ping(nonce) => {
                let kind = self.peers.get(id).map(|peer| peer.connection_type);
                if kind != Some(ConnectionType::PrivateBroadcast) {
                    self.send(id, Control::Pong(nonce));
                }
            }
            Control::Pong(nonce) => {
                let Self { peers, config, round_trips, .. } = self;
                if let Some(peer) = peers.get_mut(id) {
                    let address = peer.address;
                    let took = peer.session_mut().and_then(|session| {
                        session.liveness.on_pong(now.mono, nonce, &config.policy)
                    });
                    if let Some(round_trips) = round_trips {
                        round_trips.extend(took.map(|took| (address, took)));
                    }
                }
                // It may be near enough by now for whoever waits.
                self.leases.on_changed();
                self.offer(id);
                self.tend(now, id);
            }
            Control::Addr(entries) => self.on_gossip(now, id, entries),
            Control::Version(_) => self.on_repeated_version(now, id),
            // They change nothing now; a peer we dialled is owed no addresses.
            Control::Verack | Control::WtxidRelay | Control::SendAddrV2 | Control::GetAddr => {}
        }
    }

    /// One `version` too many may be a slip.
    fn on_repeated_version(&mut self, now: Now, id: PeerId) {
        let session = self.peers.get_mut(id).and_then(|peer| peer.session_mut());
        if session.is_some_and(|session| std::mem::replace(&mut session.repeated, true)) {
            self.leave(now, id, DisconnectReason::Protocol);
            if let Some(address) = self.peers.get(id).map(|peer| peer.address) {
                let misbehavior = Misbehavior::Protocol;
                self.on_misbehavior(now, id, address, misbehavior, String::new());
            }
        }
    }

    /// Leaves a ready peer through its own fault.
    fn leave(&mut self, now: Now, id: PeerId, reason: DisconnectReason) {
        let Some(address) = self.peers.get(id).map(|peer| peer.address) else { return };
        let uptime = self.peers.uptime(id, now.mono).unwrap_or_default();
        self.disconnect(id, reason);
        self.on_lost(now, address, uptime);
    }

    fn on_gossip(&mut self, now: Now, id: PeerId, entries: Vec<AddrEntry>) {
        let Self { peers, config, rng, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return };
        let (source, connection_type) = (peer.address, peer.connection_type);
        // Of whom nothing was asked, nothing is taken, as in Core.
        if config.connect_only || !connection_type.asks_for_addresses() {
            return;
        }
        let received = entries.len();
        let Some(session) = peer.session_mut() else { return };
        let taken = select_entries(entries, now.mono, &mut session.budget, &config.policy, rng);
        let paid = !taken.is_empty();
        let mut kept = 0;
        for AddrEntry { time, services, address } in taken {
            let source = Source::Peer(source);
            let heard = self.book.hear(now, address, services, time, source, &mut self.rng);
            kept += usize::from(heard == Heard::New);
        }
        // What the budget does not pay for is not told either: a flood of it would fill logs.
        if paid {
            self.tell(Event::Gossip { peer: id, address: source, received, kept });
        }
        // One entry is the peer announcing itself; more is the answer we came for.
        if connection_type == ConnectionType::AddrFetch && received > 1 {
            self.disconnect(id, DisconnectReason::AddrFetchDone);
        }
    }

    pub(super) fn on_progress(&mut self, now: Now, id: PeerId) {
        self.on_heard(now, id);
        if let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.session_mut()) {
            session.liveness.on_progress(now.mono);
        }
    }

    /// Sends a ping if one is due, drops the peer if it is dead, and looks again later.
    pub(super) fn tend(&mut self, now: Now, id: PeerId) {
        let Self { peers, config, rng, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return };
        if peer.connection_type == ConnectionType::PrivateBroadcast {
            // A ping would tell it from Core's. Its life is short, and bounded.
            return;
        }
        let Some(session) = peer.session_mut() else { return };
        let leased = session.leases > 0;
        let mut due = session.liveness.poll_due(now.mono, leased, &config.policy);
        let mut ping = None;
        if due == Due::Ping {
            let nonce = rng.u64();
            session.liveness.on_ping(now.mono, nonce);
            ping = Some(nonce);
            due = session.liveness.poll_due(now.mono, leased, &config.policy);
        }
        if let Some(nonce) = ping {
            self.send(id, Control::Ping(nonce));
        }
        match due {
            Due::Nothing(until) => self.set_timer(id, PeerTimer::Liveness, until),
            Due::Dead(reason) => self.leave(now, id, reason),
            // Not again: the ping that was just sent is outstanding.
            Due::Ping => {}
        }
    }

    /// Asks every ready peer for a sign of life: something failed, and it may be the network.
    pub(super) fn hasten_pings(&mut self, now: Now) {
        let ready: Vec<PeerId> = (self.peers.iter())
            .filter(|(_, peer)| peer.session().is_some())
            .map(|(id, _)| id)
            .collect();
        for id in ready {
            if let Some(session) = self.peers.get_mut(id).and_then(|peer| peer.session_mut()) {
                session.liveness.hasten(now.mono);
            }
            self.tend(now, id);
        }
    }

    fn send(&mut self, peer: PeerId, message: Control) {
        self.outputs.push_back(Output::Send { peer, message });
    }
}
