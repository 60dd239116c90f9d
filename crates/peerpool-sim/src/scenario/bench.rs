//! A bench: one engine, and whoever it dials does as the scenario says. No nodes and no network
//! around them; time is virtual, and what the engine does is counted on this side.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Host};
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::{DialError, Event, Status, UserAgent};
use peerpool_core::id::{DisconnectReason, LeaseId, PeerId};
use peerpool_core::io::{Input, Output};
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::{AddrEntry, Control, PROTOCOL_VERSION, Version};

use super::Failure;
use crate::world::START;

/// Port that everybody listens on.
pub(super) const PORT: u16 = 8333;

/// What the pool is to call itself.
pub(super) const USER_AGENT: &str = "/peerpool-sim/";

/// Of up to 1000 addresses that one source names, so many in a hundred find a free place in the
/// book at least: a source has 64 of its buckets, and those that meet in a place keep one of them.
pub(super) const PLACED_PERCENT: usize = 85;

/// What everybody offers.
pub(super) fn services() -> ServiceFlags {
    ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED
}

/// What whoever is dialled does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers as Core does, and keeps to itself.
    Honest,
    /// Refuses.
    Refuses,
    /// Never answers the dial.
    Silent,
    /// Accepts, and resets the connection at the first bytes.
    Resets,
}

/// What a DNS seed does when it is asked.
#[derive(Clone, Debug)]
pub(super) enum Seed {
    /// Names these.
    Names(Vec<IpAddr>),
    /// Answers with an error.
    Fails(&'static str),
    /// Never answers, not even by a resolver that loses patience.
    Silent,
}

/// What a connection begins with, as seen on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A version in the clear.
    Clear,
    /// A key of BIP324.
    Key,
}

impl First {
    /// What this message begins a connection with, if it comes first. Nothing is encrypted yet: the
    /// one place to connect, the day that something is.
    const fn of(_message: &Control) -> Self {
        First::Clear
    }
}

/// What somebody answers to getaddr, by address and time.
pub(super) type Answers = Box<dyn FnMut(&Address, UnixTime) -> Vec<AddrEntry>>;

/// An engine, and all it dials.
pub(super) struct Bench {
    pub(super) engine: Engine,
    /// Who does what.
    pub(super) manner: Box<dyn Fn(&Address) -> Manner>,
    /// What each answers to getaddr, if anything.
    pub(super) answer: Answers,
    /// What each DNS seed does.
    pub(super) seeds: Vec<Seed>,
    /// What everybody takes the time to be; the right one if `None`.
    pub(super) their_time: Option<i64>,
    /// How far the pool's unix clock is off, in seconds.
    pub(super) unix_error: i64,
    /// The pool's own address on each connection.
    pub(super) local: Option<IpAddr>,
    /// Every dial.
    pub(super) dials: Vec<(Monotonic, PeerId, Address)>,
    /// What each connection began with that got as far as first bytes, in order.
    pub(super) firsts: Vec<(Address, First)>,
    /// Every `version` of the pool's, and to whom.
    pub(super) greetings: Vec<(Address, Version)>,
    /// Addresses that the pool told others of.
    pub(super) told: Vec<AddrEntry>,
    pub(super) events: Vec<Event>,
    /// Leases that were granted, and those that were refused.
    pub(super) grants: Vec<(LeaseId, PeerId)>,
    pub(super) refusals: Vec<LeaseId>,
    now: Monotonic,
    peers: BTreeMap<PeerId, Address>,
    /// Connections that had their first bytes.
    begun: BTreeSet<PeerId>,
    inbox: BTreeMap<(Monotonic, u64), Input>,
    sequence: u64,
}

const LATENCY: Duration = Duration::from_millis(20);
/// More outputs of one input than this are a loop.
const OUTPUTS_MAX: usize = 1_000_000;

impl Bench {
    /// A pool with one DNS seed for each of `seeds`.
    pub(super) fn new(seed: u64, policy: Policy, seeds: Vec<Vec<IpAddr>>) -> Result<Self, Failure> {
        let config = Config {
            policy,
            seeds: (0..seeds.len()).map(|seed| format!("seed{seed}.test")).collect(),
            default_port: PORT,
            manual: Vec::new(),
            connect_only: false,
            user_agent: USER_AGENT.to_owned(),
            only_nets: vec![],
            groups: NetGroups::default(),
            height: 0,
            pools: vec![],
        };
        let engine = Engine::new(config, Rng::from_u64(seed)).map_err(|error| error.to_string())?;
        Ok(Self {
            engine,
            manner: Box::new(|_| Manner::Honest),
            answer: Box::new(|_, _| Vec::new()),
            seeds: seeds.into_iter().map(Seed::Names).collect(),
            their_time: None,
            unix_error: 0,
            local: None,
            dials: Vec::new(),
            firsts: Vec::new(),
            greetings: Vec::new(),
            told: Vec::new(),
            events: Vec::new(),
            grants: Vec::new(),
            refusals: Vec::new(),
            now: Monotonic::default(),
            peers: BTreeMap::new(),
            begun: BTreeSet::new(),
            inbox: BTreeMap::new(),
            sequence: 0,
        })
    }

    /// The time, as the pool's clocks show it.
    pub(super) fn now(&self) -> Now {
        let unix = self.right_time().0.saturating_add_signed(self.unix_error);
        Now { mono: self.now, unix: UnixTime(unix) }
    }

    fn right_time(&self) -> UnixTime {
        START + self.now.since_origin()
    }

    pub(super) fn status(&self) -> Status {
        self.engine.status(self.now())
    }

    /// Ready peers.
    pub(super) fn ready(&self) -> Vec<(PeerId, Address)> {
        self.status().ready.iter().map(|peer| (peer.id, peer.address)).collect()
    }

    /// Hands the engine an input now.
    pub(super) fn input(&mut self, input: Input) -> Result<(), Failure> {
        self.engine.handle(self.now(), input);
        let mut outputs = 0;
        while let Some(output) = self.engine.poll() {
            self.on_output(output);
            outputs += 1;
            if outputs > OUTPUTS_MAX {
                return Err(Failure::Stage("one input has outputs without end".to_owned()));
            }
        }
        Ok(())
    }

    /// A ready peer tells of addresses.
    pub(super) fn gossip(&mut self, peer: PeerId, entries: Vec<AddrEntry>) -> Result<(), Failure> {
        self.input(Input::Control { peer, message: Control::Addr(entries) })
    }

    /// A peer leaves.
    pub(super) fn leave(&mut self, peer: PeerId) -> Result<(), Failure> {
        self.peers.remove(&peer);
        self.input(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer })
    }

    /// Lets time pass; the book's own rules are held at its end.
    pub(super) fn run_for(&mut self, duration: Duration) -> Result<(), Failure> {
        let end = self.now + duration;
        // The first input starts the pool.
        self.input(Input::Wake)?;
        loop {
            let first = self.inbox.first_key_value().map(|((at, _), _)| *at);
            let next = [self.engine.wake_at(), first].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            let due = self.inbox.first_entry().filter(|entry| entry.key().0 <= self.now);
            match due.map(|entry| entry.remove()) {
                Some(input) if !self.is_stale(&input) => self.input(input)?,
                Some(_) => {}
                None => self.input(Input::Wake)?,
            }
        }
        self.now = end;
        let breach = |text| Failure::Stage(format!("the book breaks a rule: {text}"));
        self.engine.book().check(self.now()).map_err(breach)
    }

    /// Whether an input is of a peer that is gone.
    fn is_stale(&self, input: &Input) -> bool {
        match input {
            Input::Connected { peer, .. }
            | Input::DialFailed { peer, .. }
            | Input::Control { peer, .. } => !self.peers.contains_key(peer),
            _ => false,
        }
    }

    fn soon(&mut self, input: Input) {
        self.sequence += 1;
        self.inbox.insert((self.now + LATENCY, self.sequence), input);
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::AskSeed { seed } => {
                let result = match &self.seeds[seed] {
                    Seed::Names(hosts) => Ok(hosts.clone()),
                    Seed::Fails(error) => Err((*error).to_owned()),
                    Seed::Silent => return,
                };
                self.soon(Input::SeedAnswer { seed, result });
            }
            Output::Dial { peer, address, .. } => self.on_dial(peer, address),
            Output::Send { peer, message } => self.on_send(peer, message),
            Output::Disconnect { peer } => {
                self.peers.remove(&peer);
                self.soon(Input::Closed { peer, reason: DisconnectReason::PoolClosed });
            }
            Output::Event(event) => self.events.push(event),
            Output::Grant { lease, peer } => self.grants.push((lease, peer)),
            Output::Refuse { lease, .. } => self.refusals.push(lease),
        }
    }

    fn on_dial(&mut self, peer: PeerId, address: Address) {
        self.dials.push((self.now, peer, address));
        self.peers.insert(peer, address);
        self.begun.remove(&peer);
        let local = self.local;
        match (self.manner)(&address) {
            Manner::Honest | Manner::Resets => self.soon(Input::Connected { peer, local }),
            Manner::Refuses => self.soon(Input::DialFailed { peer, error: DialError::Refused }),
            Manner::Silent => {}
        }
    }

    fn on_send(&mut self, peer: PeerId, message: Control) {
        let Some(address) = self.peers.get(&peer).copied() else { return };
        if self.begun.insert(peer) {
            self.firsts.push((address, First::of(&message)));
        }
        if (self.manner)(&address) == Manner::Resets {
            if let Control::Version(version) = message {
                self.greetings.push((address, *version));
            }
            self.peers.remove(&peer);
            return self.soon(Input::Closed { peer, reason: DisconnectReason::Broken });
        }
        let say = |message| Input::Control { peer, message };
        match message {
            Control::Version(version) => {
                self.greetings.push((address, *version));
                let version = self.version_of(peer);
                self.soon(say(Control::Version(Box::new(version))));
                self.soon(say(Control::Verack));
            }
            Control::Ping(nonce) => self.soon(say(Control::Pong(nonce))),
            Control::GetAddr => {
                let now = self.right_time();
                let entries = (self.answer)(&address, now);
                if !entries.is_empty() {
                    self.soon(say(Control::Addr(entries)));
                }
            }
            Control::Addr(entries) => self.told.extend(entries),
            Control::Verack | Control::WtxidRelay | Control::SendAddrV2 | Control::Pong(_) => {}
        }
    }

    fn version_of(&self, peer: PeerId) -> Version {
        let right = i64::try_from(self.right_time().0).unwrap_or(i64::MAX);
        Version {
            protocol: PROTOCOL_VERSION,
            services: services(),
            timestamp: self.their_time.unwrap_or(right),
            // Not one of the pool's own but by a chance of 2^-64.
            nonce: crate::draw::hash(peer.0, &[]),
            user_agent: UserAgent(b"/Satoshi:28.1.0/".to_vec()),
            height: 800_000,
            relay: true,
        }
    }
}

/// Netgroups that [`ip`] knows.
pub(super) const GROUPS: usize = 130 * 256;

/// The `host`th address of the `group`th of all /16s that are routable throughout.
pub(super) fn ip(group: usize, host: usize) -> IpAddr {
    // First bytes from 11 to 99 and from 128 to 168: nothing in them is special.
    let [.., first, second] = ((group % GROUPS) as u32).to_be_bytes();
    let first = if first < 89 { 11 + first } else { 128 + (first - 89) };
    let [.., third, fourth] = (host as u32).to_be_bytes();
    Ipv4Addr::new(first, second, third, fourth).into()
}

/// The same, as an address.
pub(super) fn address(group: usize, host: usize) -> Address {
    Address { host: Host::from(ip(group, host)), port: PORT }
}

/// An entry of gossip that was seen `age` before `now`.
pub(super) fn entry(address: Address, now: UnixTime, age: Duration) -> AddrEntry {
    AddrEntry { time: now - age, services: services(), address }
}

/// How many of `addresses` are in the engine's book, burned ones left out.
pub(super) fn stored(engine: &Engine, addresses: &[Address]) -> usize {
    let known = |address: &&Address| engine.book().source(address).is_some();
    addresses.iter().filter(known).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use peerpool_core::netgroup::NetGroup;

    use super::*;

    #[test]
    fn every_group_is_a_netgroup_of_its_own_and_routable() {
        let hosts: Vec<Host> = (0..GROUPS).map(|group| ip(group, 257).into()).collect();
        assert!(hosts.iter().all(Host::is_routable));
        assert_eq!(hosts.iter().map(NetGroup::of).collect::<BTreeSet<_>>().len(), GROUPS);
    }

    #[test]
    fn manners_are_what_they_are_called() {
        let all: Vec<IpAddr> = (0..4).map(|group| ip(group, 1)).collect();
        let mut bench = Bench::new(1, Policy::default(), vec![all]).expect("a bench");
        let manners = [Manner::Honest, Manner::Refuses, Manner::Silent, Manner::Resets];
        bench.manner = Box::new(move |to| {
            let place = (0..4).find(|&group| address(group, 1) == *to).expect("one of four");
            manners[place]
        });
        bench.run_for(Duration::from_secs(60)).expect("a run");
        assert_eq!(bench.ready().len(), 1);
        let burned = bench.status().burned;
        assert_eq!(burned.values().sum::<usize>(), 3, "{burned:?}");
        assert_eq!(burned.len(), 3, "each for its own reason: {burned:?}");
        assert_eq!(bench.greetings.len(), 2);
    }
}
