//! Plays a row in virtual time: the real engine and the real link, put together as the shell does
//! it, and a peer that is nothing but its bytes.

mod outcome;

use std::collections::VecDeque;
use std::time::Duration;

use bitcoin::consensus::deserialize;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use peerpool_core::address::Address;
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::{Event, UserAgent};
use peerpool_core::id::{DisconnectReason, PeerId, PeerState};
use peerpool_core::io::{Input, Output};
use peerpool_core::link::{Counters, Link, LinkOutput};
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::{Control, PROTOCOL_VERSION, Version};

use super::bytes::{MAGIC, ping, pong, verack, version};
use super::row::{Dial, Outcome, Phase, Row, Site, Step, secs};

const START: u64 = 1_700_000_000;
const PORT: u16 = 8333;
/// How much the shell reads at once.
const READ: usize = 16 * 1024;
/// How long a peer is ready before a row begins: proven, and pinged once.
const SETTLED: Duration = secs(90);
const CANARY: u64 = 0x00c0_ffee;

/// Where rows are played in virtual time.
pub(crate) const SITE: Site = Site { now: START as u32, net: [13, 1] };

fn peer_address() -> Address {
    address("11.1.1.1")
}

fn witness_address() -> Address {
    address("12.1.1.1")
}

fn address(text: &str) -> Address {
    Address::parse(text, PORT).expect("an address")
}

/// What came of a row in one phase, and what never may.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) breaches: Vec<String>,
}

/// Plays `steps` of `row` in `phase`.
pub(crate) fn play(row: &Row, steps: &[Step], phase: Phase) -> Seen {
    let mut bench = Bench::new(row);
    bench.dial();
    bench.enter(phase);
    for step in steps {
        bench.step(step);
    }
    if row.falls_silent {
        bench.run(secs(30 * 60));
    } else {
        bench.go_on();
    }
    let outcome = bench.outcome();
    bench.linger(phase, &outcome);
    Seen { outcome, breaches: bench.breaches }
}

/// One end of a connection, as the shell's task has it.
struct Wire {
    link: Link,
    received: usize,
}

struct Bench {
    engine: Engine,
    now: Now,
    dial: Dial,
    protocol: i32,
    /// What happens next, at once.
    soon: VecDeque<Input>,
    seed_answers: bool,
    witness: Option<PeerId>,
    peer: Option<PeerId>,
    dials: usize,
    wire: Option<Wire>,
    /// Of the link, whether it is still there or not.
    counters: Counters,
    /// What we said to the peer.
    said: Vec<NetworkMessage>,
    our_version: Vec<u8>,
    /// Nonces of our pings that are not answered.
    owed: Vec<u64>,
    events: Vec<(Monotonic, Event)>,
    began: Monotonic,
    breaches: Vec<String>,
}

impl Bench {
    fn new(row: &Row) -> Self {
        let config = Config {
            policy: Policy { target_connect_count: 2, ..Policy::bare() },
            seeds: vec!["seed.test".to_owned()],
            default_port: PORT,
            manual: if row.alone { vec![] } else { vec![witness_address()] },
            connect_only: false,
            user_agent: "/test/".to_owned(),
            only_nets: vec![],
            groups: NetGroups::default(),
            height: 0,
            pools: vec![],
        };
        Self {
            engine: Engine::new(config, Rng::from_u64(1)).expect("a valid policy"),
            now: Now { mono: Monotonic::default(), unix: UnixTime(START) },
            dial: row.dial,
            protocol: row.protocol,
            soon: VecDeque::new(),
            seed_answers: false,
            witness: None,
            peer: None,
            dials: 0,
            wire: None,
            counters: Counters::default(),
            said: vec![],
            our_version: vec![],
            owed: vec![],
            events: vec![],
            began: Monotonic::default(),
            breaches: vec![],
        }
    }

    // ---- the shell ----

    fn input(&mut self, input: Input) {
        self.soon.push_back(input);
        while let Some(input) = self.soon.pop_front() {
            self.engine.handle(self.now, input);
            while let Some(output) = self.engine.poll() {
                self.on_output(output);
            }
        }
        // Checking reads the whole book.
        if self.engine.book().len() < 100 {
            self.check_book();
        }
    }

    fn check_book(&mut self) {
        if let Err(error) = self.engine.book().check(self.now) {
            self.breaches.push(format!("the book: {error}"));
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::AskSeed { seed } if self.seed_answers => {
                let result = Ok(peer_address().host.ip().into_iter().collect());
                self.soon.push_back(Input::SeedAnswer { seed, result });
            }
            Output::Dial { peer, address, .. } => self.on_dial(peer, address),
            Output::Send { peer, message } if self.witness == Some(peer) => {
                self.on_witness(peer, message);
            }
            Output::Send { peer, message } if self.peer == Some(peer) => self.on_send(&message),
            Output::Disconnect { peer } => {
                if self.peer == Some(peer) {
                    self.hang_up();
                }
                let reason = DisconnectReason::PoolClosed;
                self.soon.push_back(Input::Closed { peer, reason });
            }
            Output::Event(event) => {
                let text = format!("{event:?}");
                if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                    self.breaches.push(format!("not printable: {text:?}"));
                }
                self.events.push((self.now.mono, event));
            }
            _ => {}
        }
    }

    fn on_dial(&mut self, peer: PeerId, address: Address) {
        if address == witness_address() {
            self.witness = Some(peer);
            return self.soon.push_back(Input::Connected { peer, local: None });
        }
        if address != peer_address() {
            return;
        }
        self.dials += 1;
        if self.peer.is_some() {
            return;
        }
        self.peer = Some(peer);
        match self.dial {
            Dial::Unanswered => {}
            Dial::Fails(error) => self.soon.push_back(Input::DialFailed { peer, error }),
            Dial::Answered => {
                let mut link = Link::new(MAGIC, &Policy::default());
                link.set_remote(address);
                self.wire = Some(Wire { link, received: 0 });
                let local = Some([99, 9, 9, 9].into());
                self.soon.push_back(Input::Connected { peer, local });
            }
        }
    }

    /// The witness is a good peer in message mode.
    fn on_witness(&mut self, peer: PeerId, message: Control) {
        let answers = match message {
            Control::Version(_) => {
                let version = Version {
                    protocol: PROTOCOL_VERSION,
                    services: 9.into(),
                    timestamp: 0,
                    nonce: 5,
                    user_agent: UserAgent::default(),
                    height: 0,
                    relay: true,
                };
                vec![Control::Version(Box::new(version)), Control::Verack]
            }
            Control::Ping(nonce) => vec![Control::Pong(nonce)],
            _ => vec![],
        };
        self.soon.extend(answers.into_iter().map(|message| Input::Control { peer, message }));
    }

    fn on_send(&mut self, message: &Control) {
        // The end may not have reached the engine yet.
        let Some(wire) = &self.wire else { return };
        let bytes = wire.link.encode(message);
        let raw: RawNetworkMessage = deserialize(&bytes).expect("what we send can be read");
        match raw.payload() {
            NetworkMessage::Version(_) => self.our_version = bytes,
            NetworkMessage::Ping(nonce) => self.owed.push(*nonce),
            _ => {}
        }
        self.said.push(raw.into_payload());
    }

    /// The connection is gone; what the link counted is not.
    fn hang_up(&mut self) {
        if let Some(wire) = self.wire.take() {
            self.counters = wire.link.counters();
        }
    }

    fn end(&mut self, reason: DisconnectReason) {
        if let (Some(_), Some(peer)) = (&self.wire, self.peer) {
            self.hang_up();
            self.input(Input::Closed { peer, reason });
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        for read in bytes.chunks(READ) {
            let Some(wire) = &mut self.wire else { return };
            wire.received += read.len();
            wire.link.handle_bytes(self.now.mono, read);
            self.pass_on();
        }
    }

    fn pass_on(&mut self) {
        let Some(peer) = self.peer else { return };
        while let Some(wire) = &mut self.wire {
            if wire.link.memory() > 2 * wire.received + 1024 {
                let (memory, received) = (wire.link.memory(), wire.received);
                self.breaches.push(format!("holds {memory} B of {received} B received"));
            }
            match wire.link.poll() {
                None => return,
                Some(LinkOutput::Control(message)) => self.input(Input::Control { peer, message }),
                Some(LinkOutput::Progress) => self.input(Input::Progress { peer }),
                Some(LinkOutput::Message(_) | LinkOutput::Invalid(_)) => {
                    self.breaches.push("a message for nobody was passed on".to_owned());
                }
                Some(LinkOutput::Fault(fault)) => self.end(DisconnectReason::Fault(fault)),
            }
        }
    }

    /// Lets time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.now.mono + duration;
        loop {
            let link = self.wire.as_ref().and_then(|wire| wire.link.wake_at());
            let wakes = [self.engine.wake_at(), link];
            let Some(at) = wakes.into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.set_time(at.max(self.now.mono));
            if let Some(wire) = &mut self.wire {
                wire.link.handle_timeout(self.now.mono);
                self.pass_on();
            }
            self.input(Input::Wake);
        }
        self.set_time(end);
    }

    fn set_time(&mut self, mono: Monotonic) {
        self.now = Now { mono, unix: UnixTime(START + mono.since_origin().as_secs()) };
    }

    // ---- the peer ----

    /// The pool starts, and comes to dial the peer.
    fn dial(&mut self) {
        self.input(Input::Wake);
        self.seed_answers = true;
        self.begin();
        let result = Ok(peer_address().host.ip().into_iter().collect());
        self.input(Input::SeedAnswer { seed: 0, result });
        assert_eq!(self.dials, 1, "the peer is dialled");
    }

    fn enter(&mut self, phase: Phase) {
        if phase == Phase::BeforeVersion {
            return;
        }
        self.receive(&version(|hello| hello.protocol = self.protocol));
        if phase == Phase::Ready {
            self.receive(&verack());
            self.answer_pings();
            self.run(SETTLED);
            assert_eq!(self.state(), Some(PeerState::Ready), "a good peer stays ready");
        }
        self.begin();
    }

    fn begin(&mut self) {
        self.began = self.now.mono;
        self.events.clear();
        self.said.clear();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Bytes(bytes) => self.receive(bytes),
            Step::Times(count, bytes) => (0..*count).for_each(|_| self.receive(bytes)),
            Step::Cut(bytes) => bytes.iter().for_each(|byte| self.receive(&[*byte])),
            Step::Drip(gap, pieces) => {
                for piece in pieces {
                    self.receive(piece);
                    self.run(*gap);
                }
            }
            Step::Wait(pause) => self.run(*pause),
            Step::Echo => self.receive(&self.our_version.clone()),
            Step::Fin => self.end(DisconnectReason::ClosedByPeer),
            Step::Rst => self.end(DisconnectReason::Broken),
        }
    }

    /// Finishes the handshake, and pings.
    fn go_on(&mut self) {
        if self.state() == Some(PeerState::Connected) {
            let status = self.engine.status(self.now);
            let greeted = status.connected.iter().any(|peer| peer.version.is_some());
            if !greeted {
                self.receive(&version(|hello| hello.protocol = self.protocol));
            }
            self.receive(&verack());
        }
        self.answer_pings();
        self.run(secs(1));
        self.receive(&ping(CANARY));
    }

    fn answer_pings(&mut self) {
        for nonce in std::mem::take(&mut self.owed) {
            self.receive(&pong(nonce));
        }
    }

    fn state(&self) -> Option<PeerState> {
        let status = self.engine.status(self.now);
        let views = [status.connecting, status.connected, status.ready];
        views.into_iter().flatten().find(|peer| Some(peer.id) == self.peer).map(|peer| peer.state)
    }
}
