//! What an ending means: verdicts, back-offs, evidence.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::address::Address;
use crate::event::{DialError, Event};
use crate::id::{BurnReason, ConnectionType, DisconnectReason, LinkFault, PeerId, PeerState};
use crate::io::Output;
use crate::misbehavior::Misbehavior;
use crate::peer::{Peer, Stage};
use crate::time::Now;

use super::{Engine, NETS, PoolTimer, Timer};

impl Engine {
    // ---- dials ----

    pub(super) fn on_dial_failed(&mut self, now: Now, id: PeerId, error: DialError) {
        let Some(peer) = self.peers.get(id) else { return };
        let Stage::Connecting { .. } = peer.stage else {
            // We had given it up; its failure says nothing more.
            return self.forget(now, id);
        };
        let address = peer.address;
        self.forget(now, id);
        self.tell(Event::DialFailed { peer: id, address, error });
        if error.is_local() {
            self.dialer.on_miss(address.net());
        } else {
            self.dialer.on_dial_failed(address.net());
        }
        match error {
            DialError::Refused => self.on_failed(now, address, BurnReason::Refused),
            DialError::TimedOut => self.on_failed(now, address, BurnReason::TimedOut),
            DialError::NoRoute => {
                // A router far away may say so too: whoever gossips addresses behind one must not
                // hold up all others for long.
                let policy = &self.config.policy;
                let pause = if self.peers.has_link_on(address.net()) {
                    policy.no_route_pause
                } else {
                    policy.probe_interval
                };
                self.dialer.pause(&[address.net()], now.mono + pause);
                self.on_local_failure(now, address);
            }
            DialError::NoDescriptors => {
                self.dialer.pause(&NETS, now.mono + self.policy().probe_interval);
                self.on_local_failure(now, address);
            }
            DialError::Unsupported => self.on_local_failure(now, address),
        }
    }

    /// The dial's time is up: the verdict now, the rest when the link reports the end.
    pub(super) fn close_dial(&mut self, now: Now, id: PeerId, reason: BurnReason) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let address = peer.address;
        peer.stage = Stage::Closing { was: PeerState::Connecting };
        self.dialer.on_dial_failed(address.net());
        self.unset_timers(id);
        self.refresh_group(address);
        self.outputs.push_back(Output::Disconnect { peer: id });
        self.tell(Event::DialFailed { peer: id, address, error: DialError::TimedOut });
        self.on_failed(now, address, reason);
    }

    // ---- connections ----

    /// The handshake failed: close, and the verdict.
    pub(super) fn fail_handshake(
        &mut self,
        now: Now,
        id: PeerId,
        address: Address,
        reason: BurnReason,
    ) {
        self.dialer.on_handshake_failed(address.net());
        self.disconnect(id, DisconnectReason::Handshake(reason));
        self.on_failed(now, address, reason);
    }

    /// The link ended.
    pub(super) fn on_closed(&mut self, now: Now, id: PeerId, reason: DisconnectReason) {
        let Some(peer) = self.peers.get(id) else { return };
        let (address, connection_type) = (peer.address, peer.connection_type);
        let uptime = self.peers.uptime(id, now.mono);
        let verdict = match &peer.stage {
            Stage::Closing { .. } => return self.forget(now, id),
            // The dial ended without a word from the network: our own fault.
            Stage::Connecting { .. } => {
                return self.on_dial_failed(now, id, DialError::Unsupported);
            }
            Stage::Connected { handshake, .. } => {
                Some(handshake_verdict(reason, handshake.version().is_some()))
            }
            Stage::Ready(_) => None,
        };
        if verdict.is_some() {
            self.dialer.on_handshake_failed(address.net());
        }
        self.forget(now, id);
        self.drop_leases(id);
        let (state, told) = match verdict {
            Some(verdict) => (PeerState::Connected, DisconnectReason::Handshake(verdict)),
            None => (PeerState::Ready, reason),
        };
        self.tell(Event::Disconnected { peer: id, address, state, reason: told });
        match verdict {
            Some(verdict) => self.on_failed(now, address, verdict),
            // It was asked one thing, or told one.
            None if !connection_type.is_lasting() => {}
            None => {
                // Its word came over the network, which is up, then.
                if matches!(reason, DisconnectReason::ClosedByPeer | DisconnectReason::Fault(_)) {
                    self.book.set_anchor(address, false);
                }
                self.on_lost(now, address, uptime.unwrap_or_default());
            }
        }
        let (PeerState::Ready, DisconnectReason::Fault(fault)) = (state, reason) else { return };
        if let Some(misbehavior) = Misbehavior::of(fault) {
            self.on_misbehavior(now, id, address, misbehavior, String::new());
        }
    }

    /// A ready peer left, or had to be left. Soon after becoming ready that is a failure; later
    /// it is a loss, after which the address rests as if it had failed once.
    pub(super) fn on_lost(&mut self, now: Now, address: Address, uptime: Duration) {
        if uptime < self.policy().quick_drop {
            return self.on_failed(now, address, BurnReason::QuickDrop);
        }
        self.drop_anchor(now, address);
        self.book.on_proven(now, address);
        if uptime >= self.policy().backoff_max {
            self.book.forgive(now, address);
        }
        self.back_off(now, address, false);
    }

    // ---- anchors ----

    /// Those that were ready when the last run ended, or before an outage, are dialled before
    /// others.
    pub(super) fn recall_anchors(&mut self) {
        let mut anchors = self.book.anchors();
        self.rng.shuffle(&mut anchors);
        anchors.truncate(self.policy().max_anchors);
        self.dialer.set_anchors(anchors);
    }

    /// An anchor that fails or leaves is none any more, unless it is the network that fails.
    fn drop_anchor(&mut self, now: Now, address: Address) {
        if self.dialer.evidence.is_recent(now.mono, self.policy().offline_after) {
            self.book.set_anchor(address, false);
        }
    }

    /// A full pool has new anchors: its peers. Of the old ones it keeps as many as it may dial.
    pub(super) fn forget_old_anchors(&mut self) {
        let relays_blocks =
            |(_, peer): &(PeerId, &Peer)| peer.connection_type == ConnectionType::BlockRelayOnly;
        let there = self.peers.iter().filter(relays_blocks).count();
        self.dialer.keep_anchors(self.policy().block_relay_count.saturating_sub(there));
        let kept =
            |(_, peer): (PeerId, &Peer)| peer.connection_type.is_kept().then_some(peer.address);
        let up: BTreeSet<Address> = self.peers.iter().filter_map(kept).collect();
        let old = |it: &Address| !up.contains(it) && !self.dialer.is_anchor(it);
        for anchor in self.book.anchors().into_iter().filter(old).collect::<Vec<_>>() {
            self.book.set_anchor(anchor, false);
        }
    }

    // ---- verdicts ----

    /// A dial or handshake failed: the address backs off, burns, or waits for evidence.
    fn on_failed(&mut self, now: Now, address: Address, reason: BurnReason) {
        self.note_failure(now, address);
        self.drop_anchor(now, address);
        if reason == BurnReason::Itself {
            return self.burn(now, address, reason);
        }
        if self.book.backs_off(now, &address) {
            self.back_off(now, address, true);
        } else if self.dialer.evidence.is_recent(now.mono, self.policy().offline_after) {
            self.burn(now, address, reason);
        } else {
            self.book.hold_verdict(now, address, reason);
            self.tell(Event::VerdictWaits { address, reason });
        }
    }

    /// A local error says nothing of the address: it rests, and is not burned.
    fn on_local_failure(&mut self, now: Now, address: Address) {
        self.note_failure(now, address);
        self.back_off(now, address, false);
    }

    fn back_off(&mut self, now: Now, address: Address, failed: bool) {
        let Self { book, rng, .. } = self;
        if let Some((failures, retry_in)) = book.back_off(now, address, failed, rng) {
            self.tell(Event::BackedOff { address, failures, retry_in });
        }
    }

    fn burn(&mut self, now: Now, address: Address, reason: BurnReason) {
        self.book.burn(now, address, reason);
        self.tell(Event::Burned { address, reason });
    }

    // ---- evidence ----

    /// Whether an address can tell if the network is up. One that the public internet cannot
    /// reach answers through any outage, and its silence is none, unless such addresses are all
    /// there is.
    fn bears_witness(&self, address: Address) -> bool {
        address.host.is_routable() || self.policy().allow_unroutable || self.config.connect_only
    }

    /// The peer answered its dial, or its bytes came.
    pub(super) fn on_heard(&mut self, now: Now, id: PeerId) {
        if self.peers.get(id).is_some_and(|peer| self.bears_witness(peer.address)) {
            self.on_evidence(now);
        }
    }

    fn note_failure(&mut self, now: Now, address: Address) {
        if !self.bears_witness(address) {
            return;
        }
        let window = self.policy().offline_after;
        let evidence = &mut self.dialer.evidence;
        evidence.on_failure(now.mono, self.config.groups.of(&address.host));
        if evidence.failing_since() == Some(now.mono) {
            self.timers.set(Timer::Pool(PoolTimer::Doubt), now.mono + window / 2);
            self.timers.set(Timer::Pool(PoolTimer::Judge), now.mono + window);
        }
    }

    /// An established connection, or bytes read: the network is up.
    fn on_evidence(&mut self, now: Now) {
        self.timers.unset(Timer::Pool(PoolTimer::Doubt));
        self.timers.unset(Timer::Pool(PoolTimer::Judge));
        if self.dialer.evidence.on_evidence(now.mono) {
            let jitter = self.policy().recovery_jitter;
            self.book.recover(now, jitter, &mut self.rng);
            self.recall_anchors();
            let next = now.mono + self.rng.between(Duration::ZERO, jitter);
            self.seeds.reset(next, &self.config.policy);
            self.tell(Event::Online);
            return;
        }
        let window = self.policy().offline_after;
        for (address, reason) in self.book.settle_verdicts(now, window) {
            self.tell(Event::Burned { address, reason });
        }
    }

    /// Failures for `offline_after` without evidence: in two netgroups they are an outage, else
    /// their addresses rest without a verdict.
    pub(super) fn judge_network(&mut self, now: Now) {
        if self.dialer.evidence.judge() {
            self.tell(Event::Offline);
        } else {
            self.book.give_up_verdicts(now, &mut self.rng);
        }
    }
}

fn handshake_verdict(reason: DisconnectReason, version_came: bool) -> BurnReason {
    match reason {
        DisconnectReason::Fault(LinkFault::BadMagic) => BurnReason::BadMagic,
        DisconnectReason::Fault(_) => BurnReason::Protocol,
        _ if version_came => BurnReason::ClosedInHandshake,
        _ => BurnReason::ClosedBeforeVersion,
    }
}
