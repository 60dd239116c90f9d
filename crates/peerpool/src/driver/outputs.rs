//! What the engine wants done, done. Nothing here waits.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use peerpool_core::address::Address;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason, LeaseId, PeerId};
use peerpool_core::io::{Output, Refusal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::{Driver, FAILURES, Job, Outcome, Peer};
use crate::connection::{self, Close, Order, Wires};
use crate::events::Stamped;
use crate::lease::{self, DialFailure, Grant};

/// Shortest frame: a v1 header.
const FRAME_HEADER: usize = 24;

impl Driver {
    pub(super) fn on_output(&mut self, output: Output) {
        match output {
            Output::AskSeed { seed } => self.ask_seed(seed),
            Output::Dial { peer, address, connection_type } => {
                self.dial(peer, address, connection_type);
            }
            Output::Send { peer, message } => self.order(peer, Order::Send(Box::new(message))),
            Output::Disconnect { peer } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.asked = true;
                    peer.tell_to_close(Close::Flushed);
                }
            }
            Output::Grant { lease, peer } => self.grant(lease, peer),
            Output::Refuse { lease, refusal } => {
                if let Some(reply) = self.waiting.remove(&lease) {
                    // A caller that is gone needs no answer.
                    let _ = reply.send(Err(refusal));
                }
            }
            Output::Event(event) => self.tell(event),
        }
    }

    fn ask_seed(&mut self, seed: usize) {
        let Some(name) = self.seeds.get(seed).cloned() else { return };
        let resolver = self.resolver.clone();
        let policy = &self.common.policy;
        let (services, timeout) = (policy.required_services, policy.seed_timeout);
        let max = policy.max_seed_addresses;
        let ask = async move { Outcome::Seed(resolver.ask(&name, services, timeout, max).await) };
        let id = self.tasks.spawn(ask).id();
        self.jobs.insert(id, Job::Seed(seed));
    }

    fn dial(&mut self, peer: PeerId, address: Address, connection_type: ConnectionType) {
        let (to_orders, orders) = mpsc::channel(self.common.policy.send_queue / FRAME_HEADER);
        let (to_requests, requests) = mpsc::channel(self.common.policy.lease_send_queue);
        let (to_close, close) = oneshot::channel();
        let load = Arc::new(AtomicUsize::new(0));
        let common = Arc::clone(&self.common);
        let inputs = self.to_inputs.clone();
        let private = connection_type == ConnectionType::PrivateBroadcast;
        let wires = Wires {
            peer,
            private,
            common,
            inputs,
            orders,
            requests,
            close,
            load: Arc::clone(&load),
        };
        let run = async move { Outcome::Peer(connection::run(address, wires).await) };
        let id = self.tasks.spawn(run).id();
        self.jobs.insert(id, Job::Peer(peer));
        let entry = Peer {
            address,
            private,
            orders: to_orders,
            requests: to_requests,
            load,
            told_load: 0,
            times: Arc::default(),
            close: Some(to_close),
            asked: false,
            ready: None,
        };
        self.peers.insert(peer, entry);
    }

    pub(super) fn order(&mut self, peer: PeerId, order: Order) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        // Closed: the task has ended, and its report is on the way.
        if let Err(TrySendError::Full(_)) = peer.orders.try_send(order) {
            peer.tell_to_close(Close::Now(DisconnectReason::SendQueueFull));
        }
    }

    fn grant(&mut self, lease: LeaseId, id: PeerId) {
        // A withdrawn request: its release is on the way.
        let Some(reply) = self.waiting.remove(&lease) else { return };
        let granted = self.peers.get(&id).and_then(|peer| {
            let version = Arc::clone(peer.ready.as_ref()?);
            let of_net = &self.times[peer.address.net()];
            let times = [Arc::clone(&peer.times), Arc::clone(of_net)];
            Some((peer.address, version, peer.requests.clone(), times))
        });
        let Some((address, version, outbox, times)) = granted else {
            // The engine grants only what it has called ready; were it not so, the caller's ticket
            // gives the slot back.
            let _ = reply.send(Err(Refusal::NoneFree));
            return;
        };
        let (tap, inbox) = lease::queue(lease, &self.common.policy);
        self.order(id, Order::Attach(Box::new(tap)));
        self.held.insert(lease, id);
        // A caller that left meanwhile drops the grant; its release is on the way.
        let query_timeout = self.common.policy.query_timeout;
        let grant = Grant { peer: id, address, version, inbox, outbox, query_timeout, times };
        let _ = reply.send(Ok(grant));
    }

    /// Keeps what the driver itself needs to know of an event, and tells the subscribers.
    pub(super) fn tell(&mut self, event: Event) {
        let (now, at) = (self.common.clock.now(), SystemTime::now());
        // Whom a private broadcast was told to, nothing is to tell later.
        let private =
            event.peer().and_then(|peer| self.peers.get(&peer)).is_some_and(|it| it.private);
        if !private {
            self.log.write(now.mono, &event);
            if let Some(saver) = &mut self.saver {
                saver.note(now.unix, &event);
            }
        }
        match &event {
            Event::Ready { peer, version, .. } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.ready = Some(Arc::new(version.clone()));
                }
            }
            Event::Disconnected { peer, .. } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.ready = None;
                }
            }
            Event::DialFailed { address, error, .. } => {
                if self.failures.len() == FAILURES {
                    self.failures.pop_front();
                }
                self.failures.push_back(DialFailure { at, address: *address, error: *error });
            }
            _ => {}
        }
        let counts = matches!(event, Event::Ready { .. } | Event::Disconnected { .. });
        // An error means that nobody listens.
        let _ = self.events.send(Stamped { at, event });
        if counts {
            self.count_ready();
        }
    }

    pub(super) fn count_ready(&mut self) {
        let ready: Vec<usize> = self.engine.pools().map(|pool| pool.ready).collect();
        self.ready.send_if_modified(|counts| {
            let changed = *counts != ready;
            *counts = ready;
            changed
        });
    }
}

impl Peer {
    fn tell_to_close(&mut self, close: Close) {
        if let Some(sender) = self.close.take() {
            // An error means that the task has ended.
            let _ = sender.send(close);
        }
    }
}
