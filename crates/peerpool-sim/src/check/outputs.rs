//! What the pool does, output by output.

use peerpool_core::address::Address;
use peerpool_core::event::Event;
use peerpool_core::id::{
    BurnReason, Chosen, ConnectionType, DisconnectReason, PeerId, PeerState, PoolId,
};
use peerpool_core::io::Output;
use peerpool_core::wire::Control;

use super::facts;
use super::fates::Cause;
use super::peers::{Ended, What};
use super::{Checks, Next, Rule, Verdict, demand};

impl Checks {
    pub(super) fn on_output(&mut self, output: &Output) -> Verdict {
        if let Some(next) = self.next.take() {
            let matches = match (next, output) {
                (
                    Next::Connecting(id, to),
                    Output::Event(Event::Connecting { peer, address, .. }),
                ) => (id, to) == (*peer, *address),
                (
                    Next::Ending(id),
                    Output::Event(
                        Event::DialFailed { peer, .. } | Event::Disconnected { peer, .. },
                    ),
                ) => id == *peer,
                (Next::Leased(id, to), Output::Event(Event::Leased { lease, peer })) => {
                    (id, to) == (*lease, *peer)
                }
                _ => false,
            };
            demand(matches, Rule::Order, || format!("{next:?} should come next, not {output:?}"))?;
        }
        let now = self.clock.mono;
        match output {
            Output::AskSeed { seed } => {
                demand(!self.closed && !self.connect_only, Rule::Target, || {
                    format!("seed {seed} is asked by a pool that needs none")
                })?;
                self.supply.on_ask_seed(now, *seed, &self.policy)
            }
            Output::Dial { peer, address, .. } => {
                let text = || format!("{address} is dialled by a closed pool");
                demand(!self.closed, Rule::Order, text)?;
                self.next = Some(Next::Connecting(*peer, *address));
                self.peers.on_dial(*peer)
            }
            Output::Send { peer, message } => self.on_send(*peer, message),
            Output::Disconnect { peer } => {
                self.next = Some(Next::Ending(*peer));
                self.peers.on_disconnect(now, *peer, &self.policy)
            }
            Output::Grant { lease, peer } => {
                self.next = Some(Next::Leased(*lease, *peer));
                let lent = self.peers.lent(*peer)?;
                self.peers.on_leased(*peer, self.policy.slots_per_peer)?;
                self.leases.on_grant(*lease, &lent)
            }
            Output::Refuse { lease, .. } => self.leases.on_refuse(*lease),
            Output::Event(event) => self.on_event(event),
        }
    }

    fn on_send(&mut self, peer: PeerId, message: &Control) -> Verdict {
        let now = self.clock.mono;
        if *message == Control::GetAddr {
            let address = self.peers.on_get_addr(peer)?;
            self.known.note_asked(now, address);
        }
        self.peers.on_send(now, peer, message, self.outage.in_doubt, &self.policy)
    }

    fn on_event(&mut self, event: &Event) -> Verdict {
        let now = self.clock;
        match event {
            Event::Connecting { peer, address, connection_type, chosen } => {
                self.on_connecting(*peer, *address, *connection_type, *chosen)
            }
            Event::Connected { peer, address } => {
                self.known.note_own(self.local, *address);
                self.peers.on_connected(now.mono, *peer, *address, &self.policy)
            }
            Event::Ready { peer, address, pool, .. } => self.on_ready(*peer, *address, *pool),
            Event::DialFailed { peer, address, error } => {
                self.peers.on_ended(*peer, *address, PeerState::Connecting)?;
                let local = facts::is_local(*error);
                self.on_failed(*peer, *address, if local { Cause::Local } else { Cause::Failed });
                Ok(())
            }
            Event::Disconnected { peer, address, state, reason } => {
                self.on_disconnected(*peer, *address, *state, *reason)
            }
            Event::Burned { address, reason } => {
                self.fates.on_told(address, false);
                self.on_burned(*address, *reason)
            }
            Event::BackedOff { address, failures, retry_in } => {
                self.fates.on_told(address, true);
                let hearsay = !self.known.backs_off(address);
                let local = self.fates.has(address, Cause::Local);
                let text = || format!("{address} backs off, and is hearsay");
                demand(!hearsay || local, Rule::Burned, text)?;
                let epoch = self.outage.epoch;
                self.known.on_backed_off(now, *address, *failures, *retry_in, epoch, &self.policy)
            }
            Event::VerdictWaits { address, .. } => {
                self.fates.on_told(address, false);
                let failed = self.fates.has(address, Cause::Failed);
                let text = || format!("the verdict of {address} waits, and it has not failed");
                demand(failed, Rule::Burned, text)?;
                self.known.on_verdict_waits(now.mono, *address, self.turn)
            }
            Event::Gossip { peer, address, received, kept } => {
                self.peers.on_gossip(now.mono, *peer, *address, [*received, *kept], &self.policy)
            }
            Event::Full { .. } | Event::Starved { .. } | Event::Fed => {
                let filled = self.peers.slots_filled();
                self.supply.on_event(now.mono, event, filled, self.target(), &self.policy)
            }
            Event::Banned { .. }
            | Event::Unbanned { .. }
            | Event::Misbehaved { .. }
            | Event::Discouraged { .. } => {
                let is_manual = |address: &Address| self.known.is_manual(address);
                self.bars.on_event(now, event, is_manual, &self.policy)
            }
            Event::Offline => self.outage.on_offline(now.mono),
            Event::Online => {
                self.known.on_online();
                self.supply.on_online(now.mono, &self.policy);
                self.outage.on_online()
            }
            Event::Released { lease, peer } => {
                self.leases.on_released(*lease, *peer)?;
                self.peers.on_released(*peer)
            }
            _ => Ok(()),
        }
    }

    /// A peer is ready, and fills a slot of this pool, if it fills one.
    fn on_ready(&mut self, peer: PeerId, address: Address, pool: Option<PoolId>) -> Verdict {
        let (now, target) = (self.clock, self.target());
        self.peers.on_ready(now.mono, peer, address, target, &self.policy)?;
        let (kind, ready) = self.peers.place_in(peer, pool)?;
        let text = || format!("{address} is ready, and serves {pool:?} as {kind:?}");
        demand(pool.is_some() == facts::counts(kind), Rule::Order, text)?;
        // Of those of a private broadcast nothing is remembered.
        if kind != ConnectionType::PrivateBroadcast {
            self.known.on_success(now, address);
        }
        let Some(pool) = pool else { return Ok(()) };
        // Whom the user named may serve any.
        let chosen = facts::is_kept(kind).then(|| self.peers.group(&address.host)).flatten();
        self.pools.on_placed(pool, ready, address, chosen)
    }

    /// A dial: everything that can forbid one.
    fn on_connecting(
        &mut self,
        peer: PeerId,
        address: Address,
        connection_type: ConnectionType,
        chosen: Chosen,
    ) -> Verdict {
        let now = self.clock;
        let need = chosen == Chosen::Need;
        let offline = self.outage.offline;
        let target = self.target();
        let filled = self.peers.slots_filled();
        let full = filled >= target;
        let newcomer =
            full && !need && !offline && self.peers.has_all(connection_type, &self.policy);
        let rotates = self.peers.newcomers() == 0 && !self.policy.rotation_interval.is_zero();
        let what = What { connection_type, newcomer, need };
        self.peers.on_connecting(now.mono, peer, address, what, &self.policy)?;
        if need {
            self.check_need(address, connection_type)?;
        }
        let needed = match connection_type {
            // A probe asks whether the network is up, not for a peer.
            ConnectionType::OutboundFullRelay if offline => true,
            ConnectionType::Manual => offline || self.peers.manual() <= target,
            _ if offline || self.connect_only => false,
            ConnectionType::OutboundFullRelay => !full || need || rotates,
            ConnectionType::BlockRelayOnly => full && (!newcomer || rotates),
            ConnectionType::Feeler => full,
            ConnectionType::AddrFetch => self.supply.starved,
            // The dial is told of by now.
            ConnectionType::PrivateBroadcast => {
                self.peers.private_attempts() <= self.leases.private()
            }
        };
        demand(needed, Rule::Target, || {
            format!("{address} is dialled as {connection_type:?} with {filled} ready of {target}")
        })?;
        if newcomer {
            self.paces.on_newcomer(now.mono, address, &self.policy)?;
        } else if connection_type == ConnectionType::Feeler {
            self.paces.on_feeler(now.mono, address, &self.policy)?;
        }
        if offline {
            self.outage.on_probe(now.mono, self.policy.probe_interval)?;
        }
        self.bars.check_dial(now, address, connection_type)?;
        self.known.check_dial(now, address, connection_type, &self.outage, &self.policy)?;
        self.known.on_dialled(now.mono, address, connection_type);
        self.supply.on_dialled(now.mono)
    }

    /// A dial for the sake of who waits: it is for what none of the ready peers is, where it may be
    /// found, and not the next too soon.
    fn check_need(&mut self, address: Address, connection_type: ConnectionType) -> Verdict {
        let ready: Vec<_> = self.peers.ready().collect();
        let lacks = self.leases.lacks_on(&ready, address.net());
        let fits = lacks && connection_type == ConnectionType::OutboundFullRelay;
        let text = || format!("{address} is dialled for who waits, and nobody waits for such");
        demand(fits && !self.outage.offline && !self.connect_only, Rule::Target, text)?;
        self.paces.on_need(self.clock.mono, address, &self.policy)
    }

    fn on_disconnected(
        &mut self,
        peer: PeerId,
        address: Address,
        state: PeerState,
        reason: DisconnectReason,
    ) -> Verdict {
        let now = self.clock;
        self.bars.check_drop(now, address, reason)?;
        let barred = matches!(reason, DisconnectReason::Banned | DisconnectReason::Discouraged);
        let ours = barred
            || matches!(
                reason,
                DisconnectReason::Surplus
                    | DisconnectReason::Replaced
                    | DisconnectReason::AddrFetchDone
                    | DisconnectReason::PrivateBroadcastDone
                    | DisconnectReason::FeelerDone
                    | DisconnectReason::Rotated
                    | DisconnectReason::Yielded
                    | DisconnectReason::PoolClosed
            );
        if reason == DisconnectReason::Rotated {
            self.peers.on_rotated(peer, self.about, &self.pools, &self.policy)?;
            self.paces.on_rotated(now.mono, address, &self.policy)?;
        }
        if reason == DisconnectReason::Replaced {
            let (leases, policy) = (&self.leases, &self.policy);
            self.peers.on_replaced(now.mono, peer, self.about, leases, policy)?;
        }
        let ended = self.peers.on_ended(peer, address, state)?;
        self.check_own_end(address, state, reason, &ended)?;
        let Ended { ready_at, fetched, by_us, shaken, connection_type } = ended;
        let private = connection_type == ConnectionType::PrivateBroadcast;
        let uptime = now.mono.since(ready_at);
        let stayed = uptime >= self.policy.quick_drop;
        match state {
            PeerState::Connecting => {}
            PeerState::Connected if barred || ours && (private || !shaken) => {}
            PeerState::Ready if private => {}
            PeerState::Connected if ours => {
                self.known.on_success(now, address);
                self.known.prove(address);
            }
            PeerState::Connected => self.on_failed(peer, address, Cause::Failed),
            PeerState::Ready => {
                self.known.on_success(now, address);
                let left = matches!(
                    reason,
                    DisconnectReason::Replaced
                        | DisconnectReason::Rotated
                        | DisconnectReason::Yielded
                );
                if stayed || left {
                    self.known.prove(address);
                }
                if uptime >= self.policy.backoff_max {
                    self.known.forgive(address);
                }
                // Who was only asked for addresses may leave when it likes.
                if !ours && (by_us || !fetched) {
                    let cause = if stayed { Cause::Lost } else { Cause::Failed };
                    self.on_failed(peer, address, cause);
                }
            }
        }
        Ok(())
    }

    /// Whether the pool may have left the peer for the reason it tells.
    fn check_own_end(
        &self,
        address: Address,
        state: PeerState,
        reason: DisconnectReason,
        ended: &Ended,
    ) -> Verdict {
        let Ended { connection_type, shaken, .. } = *ended;
        let extra = connection_type == ConnectionType::BlockRelayOnly;
        let fits = match reason {
            DisconnectReason::FeelerDone => {
                connection_type == ConnectionType::Feeler && state == PeerState::Connected && shaken
            }
            DisconnectReason::PrivateBroadcastDone => {
                connection_type == ConnectionType::PrivateBroadcast && state == PeerState::Ready
            }
            DisconnectReason::Rotated => {
                facts::is_kept(connection_type) && state == PeerState::Ready
            }
            DisconnectReason::Yielded => extra && self.peers.slots_filled() < self.target(),
            _ => true,
        };
        demand(fits, Rule::Target, || {
            let what = (connection_type, state, reason);
            format!("{address} is left, {what:?}, with {} ready", self.peers.slots_filled())
        })
    }

    fn on_failed(&mut self, peer: PeerId, address: Address, cause: Cause) {
        self.fates.add(address, cause);
        if cause != Cause::Lost && self.is_witness(&address.host) {
            let own = self.about == Some(peer);
            let group = self.peers.group(&address.host).unwrap_or_default();
            self.outage.on_failure(self.clock.mono, group, own);
        }
    }

    fn on_burned(&mut self, address: Address, reason: BurnReason) -> Verdict {
        let now = self.clock;
        let window = self.policy.offline_after;
        if reason == BurnReason::Itself {
            self.itself = self.itself.filter(|itself| *itself != address);
        }
        // That it is ourselves is certain, network or not.
        if reason != BurnReason::Itself {
            self.outage.check_burn(now.mono, address, window)?;
            let waits = self.known.waits_since(&address);
            let failed = self.fates.has(&address, Cause::Failed)
                || waits.is_some_and(|since| now.mono.since(since) <= window);
            let text = || format!("{address} is burned, and has not failed within {window:?}");
            demand(failed, Rule::Outage, text)?;
        }
        self.known.on_burned(now.mono, address, reason, &self.policy);
        Ok(())
    }
}
