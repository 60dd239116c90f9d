//! A small town of nodes around a real engine, in virtual time, with checks that watch it. What the
//! engine does can be meddled with before anyone sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::{DialError, UserAgent};
use peerpool_core::id::{DisconnectReason, PeerId};
use peerpool_core::io::{Input, Output};
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::{AddrEntry, Control, PROTOCOL_VERSION, Version};

use crate::check::{Breach, Checks};
use crate::trace::Trace;

pub(super) const SERVICES: ServiceFlags = ServiceFlags::NETWORK_LIMITED;
pub(super) const START: u64 = 1_700_000_000;

/// What a node does when it is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Alive,
    Refusing,
    Silent,
    Mute,
    Rude,
    Itself,
    /// Alive, but without the services required.
    Poor,
    Unreachable,
}

pub(super) fn address(text: &str) -> Address {
    Address::parse(text, 8333).expect("an address")
}

/// The `n`th address, each in a netgroup of its own.
pub(super) fn nth(n: usize) -> Address {
    address(&format!("{}.{}.1.1", 11 + n / 200, 1 + n % 200))
}

/// Another address in its netgroup.
pub(super) fn beside(address: Address) -> Address {
    let Some(IpAddr::V4(ip)) = address.host.ip() else { return address };
    let [a, b, c, d] = ip.octets();
    Address { host: IpAddr::from([a, b, c, d + 1]).into(), ..address }
}

pub(super) fn config(change: impl FnOnce(&mut Policy)) -> Config {
    let mut policy = Policy { required_services: SERVICES, ..Policy::bare() };
    change(&mut policy);
    Config {
        policy,
        seeds: vec!["seed.test".to_owned()],
        default_port: 8333,
        manual: vec![],
        connect_only: false,
        user_agent: "/test/".to_owned(),
        only_nets: vec![],
        groups: NetGroups::default(),
        height: 0,
        pools: vec![],
    }
}

/// What is done to the outputs of a turn before the town and the checks see them.
pub(super) type Meddle = Box<dyn FnMut(Now, &mut Vec<Output>)>;

pub(super) struct Town {
    pub(super) engine: Engine,
    pub(super) checks: Checks,
    pub(super) trace: Trace,
    pub(super) now: Now,
    pub(super) nodes: BTreeMap<Address, Node>,
    /// What nodes not named in `nodes` are.
    pub(super) others: Node,
    /// What the seed answers.
    pub(super) seeded: Vec<IpAddr>,
    /// What every node answers to getaddr: whom, and how old.
    pub(super) gossip: Vec<(Address, Duration)>,
    pub(super) latency: Duration,
    pub(super) up: bool,
    pub(super) meddle: Option<Meddle>,
    pub(super) unix_error: i64,
    /// How often the pool told what.
    pub(super) told: BTreeMap<&'static str, u64>,
    links: BTreeMap<PeerId, Address>,
    inbox: BTreeMap<(Monotonic, u64), Input>,
    sequence: u64,
    outputs: Vec<Output>,
}

impl Town {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        Self {
            checks: Checks::new(&config),
            trace: Trace::new(),
            engine: Engine::new(config, Rng::from_u64(seed)).expect("a valid policy"),
            now: Now { mono: Monotonic::default(), unix: UnixTime(START) },
            nodes: BTreeMap::new(),
            others: Node::Alive,
            seeded: vec![],
            gossip: vec![],
            latency: Duration::from_millis(30),
            up: true,
            meddle: None,
            unix_error: 0,
            told: BTreeMap::new(),
            links: BTreeMap::new(),
            inbox: BTreeMap::new(),
            sequence: 0,
            outputs: vec![],
        }
    }

    /// One turn: the engine is given an input, and what it does is judged and done.
    pub(super) fn input(&mut self, input: Input) -> Result<(), Breach> {
        if let Input::Closed { peer, .. } | Input::DialFailed { peer, .. } = &input {
            self.links.remove(peer);
        }
        self.checks.on_input(self.now, &input);
        self.trace.on_input(0, self.now, &input);
        self.engine.handle(self.now, input);
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.extend(std::iter::from_fn(|| self.engine.poll()));
        if let Some(meddle) = &mut self.meddle {
            meddle(self.now, &mut outputs);
        }
        self.trace.on_outputs(0, self.now, &outputs);
        self.checks.on_outputs(self.now, &outputs, &self.engine)?;
        for output in outputs.drain(..) {
            self.on_output(output);
        }
        self.outputs = outputs;
        Ok(())
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) -> Result<(), Breach> {
        let end = self.now.mono + span;
        self.input(Input::Wake)?;
        loop {
            let first = self.inbox.first_key_value().map(|((at, _), _)| *at);
            let next = [self.engine.wake_at(), first].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.set_time(at.max(self.now.mono));
            let due = self.inbox.first_entry().filter(|entry| entry.key().0 <= self.now.mono);
            let input = due.map_or(Input::Wake, |entry| entry.remove());
            self.input(input)?;
        }
        self.set_time(end);
        Ok(())
    }

    pub(super) fn set_time(&mut self, mono: Monotonic) {
        let unix = START + mono.since_origin().as_secs();
        self.now = Now { mono, unix: UnixTime(unix.saturating_add_signed(self.unix_error)) };
    }

    pub(super) fn ready(&self) -> Vec<(PeerId, Address)> {
        self.engine.status(self.now).ready.iter().map(|peer| (peer.id, peer.address)).collect()
    }

    /// The pool's own link goes down, or comes up.
    pub(super) fn set_up(&mut self, up: bool) {
        self.up = up;
        self.checks.on_network(self.now, up);
    }

    /// The peer leaves.
    pub(super) fn leave(&mut self, peer: PeerId) -> Result<(), Breach> {
        self.end(peer, DisconnectReason::ClosedByPeer)
    }

    /// The peer's link ends.
    pub(super) fn end(&mut self, peer: PeerId, reason: DisconnectReason) -> Result<(), Breach> {
        if self.links.contains_key(&peer) {
            self.input(Input::Closed { peer, reason })?;
        }
        Ok(())
    }

    fn soon(&mut self, input: Input) {
        self.sequence += 1;
        self.inbox.insert((self.now.mono + self.latency, self.sequence), input);
    }

    fn kind(&self, address: &Address) -> Node {
        self.nodes.get(address).copied().unwrap_or(self.others)
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::AskSeed { seed } => {
                let result = match self.up {
                    true => Ok(self.seeded.clone()),
                    false => Err("no answer".to_owned()),
                };
                self.soon(Input::SeedAnswer { seed, result });
            }
            Output::Dial { peer, address, .. } => {
                self.links.insert(peer, address);
                match self.kind(&address) {
                    _ if !self.up => {}
                    Node::Silent => {}
                    Node::Refusing => {
                        self.soon(Input::DialFailed { peer, error: DialError::Refused });
                    }
                    Node::Unreachable => {
                        self.soon(Input::DialFailed { peer, error: DialError::NoRoute });
                    }
                    _ => self.soon(Input::Connected { peer, local: None }),
                }
            }
            Output::Send { peer, message } if self.up => self.on_send(peer, message),
            Output::Disconnect { peer } => {
                // What comes from a link that is closed is not told.
                let about = |input: &Input| match input {
                    Input::Connected { peer, .. }
                    | Input::DialFailed { peer, .. }
                    | Input::Control { peer, .. }
                    | Input::Closed { peer, .. } => Some(*peer),
                    _ => None,
                };
                self.inbox.retain(|_, input| about(input) != Some(peer));
                if self.links.contains_key(&peer) {
                    self.soon(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer });
                }
            }
            Output::Event(event) => *self.told.entry(event.as_str()).or_default() += 1,
            _ => {}
        }
    }

    fn on_send(&mut self, peer: PeerId, message: Control) {
        let Some(address) = self.links.get(&peer).copied() else { return };
        match (message, self.kind(&address)) {
            (Control::Version(_), Node::Mute) => {}
            (Control::Version(_), Node::Rude) => {
                self.soon(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer });
            }
            (Control::Version(ours), kind) => {
                let services = if kind == Node::Poor { ServiceFlags::NONE } else { SERVICES };
                let nonce = if kind == Node::Itself { ours.nonce } else { u64::MAX };
                for message in greeting(services, nonce) {
                    self.soon(Input::Control { peer, message });
                }
            }
            (Control::Ping(nonce), _) => {
                self.soon(Input::Control { peer, message: Control::Pong(nonce) });
            }
            (Control::GetAddr, _) if !self.gossip.is_empty() => {
                let entry = |(address, age): &(Address, Duration)| AddrEntry {
                    time: self.now.unix - *age,
                    services: SERVICES,
                    address: *address,
                };
                let message = Control::Addr(self.gossip.iter().map(entry).collect());
                self.soon(Input::Control { peer, message });
            }
            _ => {}
        }
    }
}

/// What a peer says in its handshake.
pub(super) fn greeting(services: ServiceFlags, nonce: u64) -> [Control; 2] {
    let version = Version {
        protocol: PROTOCOL_VERSION,
        services,
        timestamp: 0,
        nonce,
        user_agent: UserAgent(b"/node/".to_vec()),
        height: 7,
        relay: false,
    };
    [Control::Version(Box::new(version)), Control::Verack]
}
