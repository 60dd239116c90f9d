//! Inputs and outputs made by hand, in the order an engine would give them.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::{DialError, Event, Known, PeerVersion, UserAgent};
use peerpool_core::id::{
    BurnReason, Chosen, ConnectionType, DisconnectReason, LeaseId, PeerId, PeerState, PoolId,
};
use peerpool_core::io::{Input, Output};
use peerpool_core::require::Require;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::{AddrEntry, Control};

use super::town::{SERVICES, START, config, greeting, nth};
use crate::check::{Breach, Checks, Rule};

/// Checks that are shown what no engine did.
pub(super) struct Forge {
    pub(super) checks: Checks,
    pub(super) engine: Engine,
    pub(super) now: Now,
}

impl Forge {
    /// A pool whose seed named these addresses.
    pub(super) fn new(addresses: &[Address]) -> Self {
        let mut config = config(|policy| policy.target_connect_count = 2);
        config.policy.max_addr_fetch = 1;
        Self::with(config, addresses)
    }

    pub(super) fn with(config: Config, addresses: &[Address]) -> Self {
        let mut checks = Checks::new(&config);
        checks.fates.demanded = false;
        let engine = Engine::new(config, Rng::from_u64(1)).expect("a valid policy");
        let now = Now { mono: Monotonic::default(), unix: UnixTime(START) };
        let mut forge = Self { checks, engine, now };
        forge.fine(Input::Wake, vec![Output::AskSeed { seed: 0 }]);
        forge.hear(addresses);
        forge
    }

    /// The seed names these addresses.
    pub(super) fn hear(&mut self, addresses: &[Address]) {
        let ips = addresses.iter().filter_map(|address| address.host.ip()).collect();
        self.fine(Input::SeedAnswer { seed: 0, result: Ok(ips) }, vec![]);
    }

    /// A question to the seed, and its answer.
    pub(super) fn hear_more(&mut self, addresses: &[Address]) {
        self.wait(60);
        self.fine(Input::Wake, vec![starved(), Output::AskSeed { seed: 0 }]);
        self.hear(addresses);
    }

    pub(super) fn turn(&mut self, input: Input, outputs: Vec<Output>) -> Result<(), Breach> {
        self.checks.on_input(self.now, &input);
        self.checks.on_outputs(self.now, &outputs, &self.engine)
    }

    /// A turn that breaks no rule.
    #[track_caller]
    pub(super) fn fine(&mut self, input: Input, outputs: Vec<Output>) {
        if let Err(breach) = self.turn(input, outputs) {
            panic!("{breach}");
        }
    }

    /// A turn that breaks this rule, with these words.
    #[track_caller]
    pub(super) fn breaks(&mut self, input: Input, outputs: Vec<Output>, rule: Rule, words: &str) {
        let breach = self.turn(input, outputs).expect_err("a fault was planted");
        assert_eq!((breach.rule, breach.at), (rule, self.now), "{breach}");
        assert!(breach.to_string().contains(words), "{breach}");
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now.mono = self.now.mono + Duration::from_secs(seconds);
        self.now.unix = self.now.unix + Duration::from_secs(seconds);
    }

    /// A peer dialled, connected and ready.
    #[track_caller]
    pub(super) fn ready(&mut self, id: u64, address: Address) {
        self.fine(Input::Wake, dial(id, address));
        self.connected(id, address);
        self.fine(message(id, Control::Verack), vec![said_ready(id, address)]);
    }

    /// The dial is given up.
    #[track_caller]
    pub(super) fn give_up(&mut self, id: u64, address: Address) {
        let (peer, state) = (PeerId(id), PeerState::Connecting);
        let reason = DisconnectReason::Surplus;
        let told = event(Event::Disconnected { peer, address, state, reason });
        self.fine(Input::Wake, vec![disconnect(id), told]);
        self.fine(closed(id), vec![]);
    }

    /// The dial is answered, and the peer's version came.
    #[track_caller]
    pub(super) fn connected(&mut self, id: u64, address: Address) {
        self.fine(answered(id), vec![said_connected(id, address), send(id, version())]);
        self.fine(message(id, their_version()), vec![send(id, Control::Verack)]);
    }

    /// Dials 1 and 2 fail, and nothing else is heard of until the pool says that it is offline.
    #[track_caller]
    pub(super) fn go_offline(&mut self) {
        for id in [1, 2] {
            let address = nth(17 + id as usize);
            self.fine(Input::Wake, dial(id, address));
            let (input, told) = failed(id, address);
            self.fine(input, vec![told, waits(address)]);
        }
        self.fine(Input::Wake, vec![starved()]);
        self.wait(30);
        self.fine(Input::Wake, vec![event(Event::Offline)]);
    }
}

pub(super) fn event(event: Event) -> Output {
    Output::Event(event)
}

pub(super) fn dial(id: u64, address: Address) -> Vec<Output> {
    dial_as(id, address, ConnectionType::OutboundFullRelay)
}

pub(super) fn dial_as(id: u64, address: Address, kind: ConnectionType) -> Vec<Output> {
    let peer = PeerId(id);
    let connecting =
        Event::Connecting { peer, address, connection_type: kind, chosen: Chosen::Hearsay };
    vec![Output::Dial { peer, address, connection_type: kind }, event(connecting)]
}

pub(super) fn answered(id: u64) -> Input {
    Input::Connected { peer: PeerId(id), local: None }
}

pub(super) fn message(id: u64, message: Control) -> Input {
    Input::Control { peer: PeerId(id), message }
}

pub(super) fn version() -> Control {
    let [version, _] = greeting(SERVICES, 1);
    version
}

/// The version of a peer that is not ourselves.
pub(super) fn their_version() -> Control {
    let [version, _] = greeting(SERVICES, 2);
    version
}

pub(super) fn send(id: u64, message: Control) -> Output {
    Output::Send { peer: PeerId(id), message }
}

pub(super) fn disconnect(id: u64) -> Output {
    Output::Disconnect { peer: PeerId(id) }
}

pub(super) fn closed(id: u64) -> Input {
    Input::Closed { peer: PeerId(id), reason: DisconnectReason::ClosedByPeer }
}

pub(super) fn said_connected(id: u64, address: Address) -> Output {
    event(Event::Connected { peer: PeerId(id), address })
}

pub(super) fn said_ready(id: u64, address: Address) -> Output {
    let version = PeerVersion {
        protocol: 70016,
        services: SERVICES,
        user_agent: UserAgent::default(),
        height: 0,
        relay: false,
    };
    event(Event::Ready { peer: PeerId(id), address, version, pool: Some(PoolId::MAIN) })
}

/// The same of one that fills no slot.
pub(super) fn said_ready_beside(id: u64, address: Address) -> Output {
    match said_ready(id, address) {
        Output::Event(Event::Ready { peer, address, version, .. }) => {
            event(Event::Ready { peer, address, version, pool: None })
        }
        other => other,
    }
}

pub(super) fn said_gone(id: u64, address: Address, state: PeerState) -> Output {
    let reason = DisconnectReason::ClosedByPeer;
    event(Event::Disconnected { peer: PeerId(id), address, state, reason })
}

/// A dial of `address` fails.
pub(super) fn failed(id: u64, address: Address) -> (Input, Output) {
    failed_as(id, address, DialError::Refused)
}

pub(super) fn failed_as(id: u64, address: Address, error: DialError) -> (Input, Output) {
    let peer = PeerId(id);
    (Input::DialFailed { peer, error }, event(Event::DialFailed { peer, address, error }))
}

pub(super) fn waits(address: Address) -> Output {
    event(Event::VerdictWaits { address, reason: BurnReason::Refused })
}

pub(super) fn lease(n: u64, wait: bool) -> Input {
    lease_with(n, ServiceFlags::NONE, wait)
}

pub(super) fn lease_with(n: u64, services: ServiceFlags, wait: bool) -> Input {
    lease_of(n, Require::services(services), wait)
}

pub(super) fn lease_of(n: u64, require: Require, wait: bool) -> Input {
    Input::Lease { lease: LeaseId(n), require, wait }
}

pub(super) fn burned(address: Address) -> Output {
    event(Event::Burned { address, reason: BurnReason::Refused })
}

pub(super) fn backed_off(address: Address, failures: u32, seconds: u64) -> Output {
    event(Event::BackedOff { address, failures, retry_in: Duration::from_secs(seconds) })
}

pub(super) fn starved() -> Output {
    event(Event::Starved { known: Known::default() })
}

pub(super) fn grant(lease: u64, id: u64) -> Vec<Output> {
    let (lease, peer) = (LeaseId(lease), PeerId(id));
    vec![Output::Grant { lease, peer }, event(Event::Leased { lease, peer })]
}

pub(super) fn gossip(id: u64, address: Address, time: UnixTime) -> Input {
    message(id, Control::Addr(vec![AddrEntry { time, services: SERVICES, address }]))
}
