//! A scripted network around one engine: nodes answer by what they are, in virtual time, and a log
//! tells what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::{DialError, Event, Status, UserAgent};
use peerpool_core::id::{ConnectionType, DisconnectReason, LeaseId, PeerId};
use peerpool_core::io::{Input, Output};
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::{AddrEntry, Control, PROTOCOL_VERSION, Version};

pub(crate) const SERVICES: ServiceFlags = ServiceFlags::NETWORK_LIMITED;
pub(crate) const START: u64 = 1_700_000_000;

/// What a node does when it is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Alive,
    Refusing,
    Silent,
    Mute,
    Rude,
    Itself,
    /// Alive, but without the services required.
    Poor,
    /// Alive, with these services beside.
    Serving(ServiceFlags),
    /// Alive, and wants no transactions.
    Deaf,
    /// Alive, with this nonce.
    Says(u64),
    /// Local errors.
    Unreachable,
}

pub(crate) struct Script {
    pub(crate) engine: Engine,
    pub(crate) now: Now,
    /// What addresses not named in `nodes` are.
    pub(crate) others: Node,
    pub(crate) nodes: BTreeMap<Address, Node>,
    /// What every alive node answers to getaddr.
    pub(crate) gossip: Vec<AddrEntry>,
    /// What each seed answers.
    pub(crate) seeds: Vec<Result<Vec<IpAddr>, String>>,
    pub(crate) answers_pings: bool,
    /// Pings that were not answered.
    pub(crate) pings: Vec<(PeerId, u64)>,
    /// Our own address on every connection.
    pub(crate) local: Option<IpAddr>,
    /// What every node takes the time to be.
    pub(crate) their_time: i64,
    /// Called after every input.
    pub(crate) watch: Option<fn(&Script)>,
    /// How far the unix clock is off, in seconds.
    pub(crate) unix_error: i64,
    pub(crate) latency: Duration,
    /// How much longer answers of some peers take, at most.
    pub(crate) spread: Duration,
    /// Instead of a spread: so many peers of 256 take none of it, the others all.
    pub(crate) quick_of_256: Option<u32>,
    /// Every dial: when, and whom.
    pub(crate) dials: Vec<(Duration, Address)>,
    pub(crate) peers: BTreeMap<PeerId, Address>,
    pub(crate) granted: BTreeMap<LeaseId, PeerId>,
    pub(crate) events: Vec<Event>,
    /// What the pool has sent to whom.
    pub(crate) sent: Vec<(PeerId, &'static str)>,
    /// Every `version` the pool has sent.
    pub(crate) greetings: Vec<Version>,
    policy: Policy,
    config: Config,
    inbox: BTreeMap<(Monotonic, u64), Input>,
    sequence: u64,
    inputs: u64,
    closed: BTreeSet<PeerId>,
    log: String,
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text, 8333).expect("an address")
}

/// The `n`th address, each in a netgroup of its own.
pub(crate) fn nth(n: u32) -> Address {
    assert!(n < 40_000, "more netgroups than there are");
    address(&format!("{}.{}.1.1", 11 + n / 200, 1 + n % 200))
}

pub(crate) fn ips(addresses: &[Address]) -> Vec<IpAddr> {
    addresses.iter().filter_map(|address| address.host.ip()).collect()
}

pub(crate) fn config(change: impl FnOnce(&mut Policy)) -> Config {
    let mut policy =
        Policy { required_services: SERVICES, max_source_share: 100, ..Policy::bare() };
    change(&mut policy);
    Config {
        policy,
        seeds: vec![],
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

impl Script {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_seed(config, 1)
    }

    pub(crate) fn with_seed(config: Config, seed: u64) -> Self {
        Self {
            policy: config.policy.clone(),
            config: config.clone(),
            engine: Engine::new(config, Rng::from_u64(seed)).expect("a valid policy"),
            now: Now { mono: Monotonic::default(), unix: UnixTime(START) },
            others: Node::Alive,
            nodes: BTreeMap::new(),
            gossip: vec![],
            seeds: vec![],
            answers_pings: true,
            pings: vec![],
            local: None,
            their_time: 0,
            watch: None,
            unix_error: 0,
            latency: Duration::from_millis(1),
            spread: Duration::ZERO,
            quick_of_256: None,
            dials: vec![],
            peers: BTreeMap::new(),
            granted: BTreeMap::new(),
            events: vec![],
            sent: vec![],
            greetings: vec![],
            inbox: BTreeMap::new(),
            sequence: 0,
            inputs: 0,
            closed: BTreeSet::new(),
            log: String::new(),
        }
    }

    /// A pool of `target` that has one seed, which names `addresses`.
    pub(crate) fn seeded(target: usize, addresses: &[Address]) -> Self {
        let mut config = config(|policy| policy.target_connect_count = target);
        config.seeds = vec!["seed.test".to_owned()];
        let mut script = Self::new(config);
        script.seeds = vec![Ok(ips(addresses))];
        script
    }

    /// Starts the pool, or gives it an input, at the time it is.
    pub(crate) fn input(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        let mut outputs = 0;
        while let Some(output) = self.engine.poll() {
            self.on_output(output);
            outputs += 1;
            assert!(outputs < 100_000, "poll does not end");
        }
        if let Some(watch) = self.watch {
            watch(self);
        }
        self.inputs += 1;
        // Checking reads the whole book.
        if self.engine.book().len() < 100 || self.inputs % 100 == 0 {
            self.engine.book().check(self.now).expect("the book's invariants");
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now.mono + duration;
        self.set_time(self.now.mono);
        self.input(Input::Wake);
        let mut at_once = 0;
        loop {
            let wake = self.engine.wake_at();
            let first = self.inbox.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = [wake, first].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            at_once = if at > self.now.mono { 0 } else { at_once + 1 };
            assert!(at_once < 10_000, "the engine is never content");
            self.set_time(at.max(self.now.mono));
            let due = self.inbox.first_entry().filter(|entry| entry.key().0 <= self.now.mono);
            let input = due.map_or(Input::Wake, |entry| entry.remove());
            self.input(input);
        }
        self.set_time(end);
    }

    pub(crate) fn run_secs(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn set_time(&mut self, mono: Monotonic) {
        let unix = START + mono.since_origin().as_secs();
        self.now = Now { mono, unix: UnixTime(unix.saturating_add_signed(self.unix_error)) };
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn status(&self) -> Status {
        self.engine.status(self.now)
    }

    pub(crate) fn ready(&self) -> Vec<Address> {
        self.status().ready.iter().map(|peer| peer.address).collect()
    }

    pub(crate) fn dialled(&self, address: Address) -> Vec<u64> {
        self.dials.iter().filter(|(_, to)| *to == address).map(|(at, _)| at.as_secs()).collect()
    }

    /// The peer leaves.
    pub(crate) fn drop_peer(&mut self, address: Address) {
        let peer = self.status().ready.iter().find(|peer| peer.address == address).map(|p| p.id);
        let peer = peer.expect("the address is ready");
        self.closed.insert(peer);
        self.input(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer });
    }

    /// A peer sends gossip.
    pub(crate) fn gossip_from(&mut self, address: Address, entries: Vec<AddrEntry>) {
        let peer = self.status().ready.iter().find(|peer| peer.address == address).map(|p| p.id);
        let peer = peer.expect("the address is ready");
        self.input(Input::Control { peer, message: Control::Addr(entries) });
    }

    /// What was seen `age` ago, as gossip.
    pub(crate) fn seen(&self, address: Address, age: Duration) -> AddrEntry {
        AddrEntry { time: self.now.unix - age, services: SERVICES, address }
    }

    /// Everybody who was dialled as this.
    pub(crate) fn kinds(&self, kind: ConnectionType) -> Vec<PeerId> {
        let of_kind = |event: &Event| match event {
            Event::Connecting { peer, connection_type, .. } if *connection_type == kind => {
                Some(*peer)
            }
            _ => None,
        };
        self.events.iter().filter_map(of_kind).collect()
    }

    /// What was sent to a peer, in order.
    pub(crate) fn sent_to(&self, peer: PeerId) -> Vec<&'static str> {
        self.sent.iter().filter(|(it, _)| *it == peer).map(|(_, command)| *command).collect()
    }

    /// A new engine in place of the old one, which never started.
    pub(crate) fn restart(&mut self, seed: u64) {
        let config = self.config.clone();
        self.engine = Engine::new(config, Rng::from_u64(seed)).expect("a valid policy");
    }

    /// The log since the last call.
    pub(crate) fn log(&mut self) -> String {
        std::mem::take(&mut self.log)
    }

    fn soon(&mut self, input: Input) {
        self.sequence += 1;
        let latency = match &input {
            Input::Connected { peer, .. }
            | Input::DialFailed { peer, .. }
            | Input::Control { peer, .. } => self.latency_of(*peer),
            _ => self.latency,
        };
        self.inbox.insert((self.now.mono + latency, self.sequence), input);
    }

    /// How long the answers of a peer take: always as long.
    fn latency_of(&self, peer: PeerId) -> Duration {
        // Spread evenly, over 256 steps.
        let place = (peer.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u32;
        match self.quick_of_256 {
            Some(quick) if place < quick => self.latency,
            Some(_) => self.latency + self.spread,
            None => self.latency + self.spread * place / 256,
        }
    }

    fn kind(&self, address: &Address) -> Node {
        self.nodes.get(address).copied().unwrap_or(self.others)
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::AskSeed { seed } => {
                let result = self.seeds.get(seed).cloned().unwrap_or(Ok(vec![]));
                self.soon(Input::SeedAnswer { seed, result });
            }
            Output::Dial { peer, address, .. } => self.on_dial(peer, address),
            Output::Send { peer, message } => self.on_send(peer, message),
            Output::Disconnect { peer } => {
                if self.closed.insert(peer) {
                    self.soon(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer });
                }
            }
            Output::Grant { lease, peer } => {
                self.granted.insert(lease, peer);
            }
            Output::Refuse { lease, refusal } => self.line(format!("lease {lease}: {refusal:?}")),
            Output::Event(event) => {
                self.line(describe(&event));
                self.events.push(event);
            }
        }
    }

    fn on_dial(&mut self, peer: PeerId, address: Address) {
        self.dials.push((self.now.mono.since_origin(), address));
        self.peers.insert(peer, address);
        match self.kind(&address) {
            Node::Refusing => self.soon(Input::DialFailed { peer, error: DialError::Refused }),
            Node::Unreachable => self.soon(Input::DialFailed { peer, error: DialError::NoRoute }),
            Node::Silent => {}
            _ => self.soon(Input::Connected { peer, local: self.local }),
        }
    }

    fn on_send(&mut self, peer: PeerId, message: Control) {
        let address = self.peers[&peer];
        self.sent.push((peer, command(&message)));
        if let Control::Version(version) = &message {
            self.greetings.push((**version).clone());
        }
        match (message, self.kind(&address)) {
            (Control::Version(_), Node::Rude) => {
                self.closed.insert(peer);
                self.soon(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer });
            }
            (Control::Version(ours), kind) if kind != Node::Mute => {
                let services = match kind {
                    Node::Poor => ServiceFlags::NONE,
                    Node::Serving(more) => SERVICES | more,
                    _ => SERVICES,
                };
                let nonce = match kind {
                    Node::Itself => ours.nonce,
                    Node::Says(nonce) => nonce,
                    _ => u64::MAX,
                };
                let [mut version, verack] = greeting_with(services, nonce, self.their_time);
                if let Control::Version(version) = &mut version {
                    version.relay = kind != Node::Deaf;
                }
                for message in [version, verack] {
                    self.soon(Input::Control { peer, message });
                }
            }
            (Control::Ping(nonce), _) if self.answers_pings => {
                self.soon(Input::Control { peer, message: Control::Pong(nonce) });
            }
            (Control::Ping(nonce), _) => self.pings.push((peer, nonce)),
            (Control::GetAddr, _) if !self.gossip.is_empty() => {
                let message = Control::Addr(self.gossip.clone());
                self.soon(Input::Control { peer, message });
            }
            _ => {}
        }
    }

    fn line(&mut self, text: String) {
        let at = self.now.mono.since_origin();
        writeln!(self.log, "{:.3} {text}", at.as_secs_f64()).expect("a String takes it all");
    }
}

/// What a peer with these services says in its handshake.
pub(crate) fn greeting(services: ServiceFlags) -> [Control; 2] {
    greeting_with(services, u64::MAX, 0)
}

fn greeting_with(services: ServiceFlags, nonce: u64, timestamp: i64) -> [Control; 2] {
    let version = Version {
        protocol: PROTOCOL_VERSION,
        services,
        timestamp,
        nonce,
        user_agent: UserAgent(b"/node/".to_vec()),
        height: 7,
        relay: true,
    };
    [Control::Version(Box::new(version)), Control::Verack]
}

fn command(message: &Control) -> &'static str {
    match message {
        Control::Version(_) => "version",
        Control::Verack => "verack",
        Control::WtxidRelay => "wtxidrelay",
        Control::SendAddrV2 => "sendaddrv2",
        Control::GetAddr => "getaddr",
        Control::Addr(_) => "addr",
        Control::Ping(_) => "ping",
        Control::Pong(_) => "pong",
    }
}

fn describe(event: &Event) -> String {
    let mut text = event.as_str().to_owned();
    if let Some(peer) = event.peer() {
        write!(text, " #{peer}").expect("a String takes it all");
    }
    if let Some(address) = event.address() {
        write!(text, " {address}").expect("a String takes it all");
    }
    let more = match event {
        Event::SeedAsked { seed } => seed.clone(),
        Event::SeedAnswered { seed, received, kept } => format!("{seed} {kept} of {received}"),
        Event::SeedFailed { seed, error } => format!("{seed} {error}"),
        Event::Connecting { connection_type, .. } => format!("{connection_type:?}"),
        Event::DialFailed { error, .. } => error.as_str().to_owned(),
        Event::Disconnected { state, reason, .. } => format!("{state:?} {}", reason.as_str()),
        Event::Burned { reason, .. } | Event::VerdictWaits { reason, .. } => {
            reason.as_str().to_owned()
        }
        Event::BackedOff { failures, retry_in, .. } => {
            format!("failures={failures} retry_in={}s", retry_in.as_secs())
        }
        Event::Banned { ban } => format!("{} until {}", ban.subnet, ban.until.0 - START),
        Event::Unbanned { subnet, expired } => format!("{subnet} expired={expired}"),
        Event::Misbehaved { misbehavior, reason, .. } => {
            format!("{} {reason:?}", misbehavior.as_str())
        }
        Event::Discouraged { lasts, .. } => format!("lasts={}s", lasts.as_secs()),
        Event::Gossip { received, kept, .. } => format!("{kept} of {received}"),
        Event::Starved { known } => format!("{known:?}"),
        Event::Full { took } => format!("{:.3}s", took.as_secs_f64()),
        Event::Leased { lease, .. } | Event::Released { lease, .. } => format!("lease {lease}"),
        _ => return text,
    };
    text + " " + &more
}
