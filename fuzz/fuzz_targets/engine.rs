//! The engine never panics, never talks without end, and keeps the contract of `io.rs`, whatever
//! the shell's inputs are and in whatever order a shell may give them.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use libfuzzer_sys::fuzz_target;
use peerpool_core::address::{Address, Host, Net};
use peerpool_core::banned::Subnet;
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::DialError;
use peerpool_core::id::{DisconnectReason, LeaseId, LinkFault, PeerId, PoolId};
use peerpool_core::io::{Input, Output};
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::rng::Rng;
use peerpool_core::slots::NamedPool;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::{AddrEntry, Control, Version};
use peerpool_fuzz::{Script, version};

/// More outputs to one input than this is talking without end.
const MAX_OUTPUTS: usize = 1_000;
const MAX_STEPS: usize = 400;

/// What the shell knows of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dialling,
    Up,
    /// The engine said to disconnect; `Closed` is still to come.
    Closing {
        up: bool,
    },
}

/// One pool of those in two, and one of these shares no node with the main one.
fn pools(target: u8) -> Vec<NamedPool> {
    let named = NamedPool { name: "a".to_owned(), target: 1, separate: target & 128 == 128 };
    if target % 4 > 0 && target & 64 == 64 { vec![named] } else { vec![] }
}

struct Shell<'a> {
    script: Script<'a>,
    engine: Engine,
    now: Now,
    peers: BTreeMap<PeerId, Phase>,
    /// The peer that the input at hand is the last one about. Timers that are due come before the
    /// input, so the engine may still speak of it.
    ending: Option<PeerId>,
    last_peer: Option<PeerId>,
    /// The nonce of our last `version`, so that a peer may turn out to be ourselves.
    nonce: u64,
    leases: u64,
    unanswered: BTreeSet<LeaseId>,
    started: bool,
}

fn config(script: &mut Script<'_>) -> Config {
    let ms = |millis| Duration::from_millis(millis);
    let target = script.u8();
    let policy = Policy {
        target_connect_count: 1 + usize::from(target % 4),
        need_interval: ms(10),
        private_lifetime: ms(100),
        max_private: 2,
        burn_memory: ms(500),
        quick_drop: ms(50),
        dial_timeout: ms(50),
        handshake_deadline: ms(80),
        hedge_delay: ms(10),
        max_dials: 6,
        backoff_min: ms(20),
        backoff_max: ms(200),
        max_failures: 3,
        offline_after: ms(60),
        probe_interval: ms(30),
        recovery_jitter: ms(10),
        seed_retry_min: ms(40),
        seed_retry_max: ms(160),
        seed_timeout: ms(30),
        addr_fetch_timeout: ms(100),
        addr_fetch_interval: ms(300),
        ping_interval: ms(40),
        pong_deadline: ms(60),
        inactivity: ms(200),
        max_addresses: 32,
        max_burned: 16,
        max_addr_entries: 16,
        max_handshake_messages: 8,
        slots_per_peer: 2,
        max_waiters: 3,
        allow_unroutable: script.flip(),
        ..Policy::default()
    };
    Config {
        policy,
        seeds: vec!["a.example".into(), "b.example".into()],
        default_port: 8333,
        manual: (0..script.u8() % 3).map(|n| address(n.into())).collect(),
        connect_only: script.u8() % 8 == 7,
        user_agent: "/fuzz/".into(),
        only_nets: vec![],
        groups: NetGroups::default(),
        height: 0,
        pools: pools(target),
    }
}

/// Few enough addresses that the same ones come again, over several netgroups, some unroutable.
fn address(n: u16) -> Address {
    let [a, b] = n.to_le_bytes();
    let net = [11, 12, 127, 0][usize::from(a >> 6)];
    let host = Host::Ipv4(Ipv4Addr::new(net, a & 7, 0, b & 3));
    Address { host, port: if b & 0x80 == 0 { 8333 } else { u16::from(b) } }
}

impl Shell<'_> {
    fn step(&mut self) {
        let input = self.input();
        let millis = u64::from(self.script.u8());
        self.now.mono = self.now.mono + Duration::from_millis(millis);
        // The unix clock may jump either way.
        self.now.unix = match millis {
            255 => UnixTime(self.now.unix.0 + 4 * 3600),
            254 => UnixTime(self.now.unix.0.saturating_sub(3600)),
            _ => UnixTime(self.now.unix.0 + millis / 8),
        };
        if let Some(input) = input {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input) {
        let woken = matches!(input, Input::Wake);
        let closed = matches!(input, Input::Close);
        self.engine.handle(self.now, input);
        let mut outputs = 0;
        while let Some(output) = self.engine.poll() {
            self.on_output(output);
            outputs += 1;
            assert!(outputs <= MAX_OUTPUTS, "the engine talks without end");
        }
        if let Some(peer) = self.ending.take() {
            self.peers.remove(&peer);
        }
        let status = self.engine.status(self.now);
        assert!(status.ready_count() <= status.target, "more ready peers than the target");
        if woken {
            let next = self.engine.wake_at();
            assert!(next.is_none_or(|at| at > self.now.mono), "woken for nothing");
        }
        if closed {
            assert!(self.unanswered.is_empty(), "a closed pool refuses its waiters");
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Dial { peer, .. } => {
                assert!(self.last_peer.is_none_or(|last| last < peer), "an id is never reused");
                self.last_peer = Some(peer);
                self.peers.insert(peer, Phase::Dialling);
            }
            Output::Send { peer, message } => {
                assert_eq!(self.peers.get(&peer), Some(&Phase::Up), "{message:?}");
                if let Control::Version(version) = message {
                    self.nonce = version.nonce;
                }
            }
            Output::Disconnect { peer } => {
                let phase = self.peers.get_mut(&peer).expect("a peer that is there");
                assert!(!matches!(phase, Phase::Closing { .. }), "disconnected twice");
                *phase = Phase::Closing { up: *phase == Phase::Up };
            }
            Output::Grant { lease, peer } => {
                assert!(self.unanswered.remove(&lease), "a lease is answered once");
                assert_eq!(self.peers.get(&peer), Some(&Phase::Up));
            }
            Output::Refuse { lease, .. } => {
                assert!(self.unanswered.remove(&lease), "a lease is answered once");
            }
            Output::AskSeed { seed } => assert!(seed < 2),
            Output::Event(event) => drop(format!("{event:?}")),
        }
    }

    /// The next input that a shell could give here, if the script names one.
    fn input(&mut self) -> Option<Input> {
        if !std::mem::replace(&mut self.started, true) {
            return Some(Input::Wake);
        }
        Some(match self.script.u8() % 18 {
            0 => self.wake(),
            1 => Input::SeedAnswer {
                seed: usize::from(self.script.u8() % 2),
                result: self.seed_answer(),
            },
            2 => Input::AddManual(address(self.script.u16())),
            3 | 4 => self.connected()?,
            5 => self.shake_hands()?,
            6 => self.dial_failed()?,
            7..=11 => {
                let peer = self.up()?;
                Input::Control { peer, message: self.message() }
            }
            12 => Input::Progress { peer: self.up()? },
            13 => self.closed()?,
            14 => self.lease_or_release(),
            15 => self.ban_or_unban(),
            16 => self.report(),
            _ if self.script.u8() == 0xff => Input::Close,
            _ => self.wake(),
        })
    }

    /// Sleeps until the engine wants to be woken, if it does.
    fn wake(&mut self) -> Input {
        if let Some(at) = self.engine.wake_at() {
            self.now.mono = self.now.mono.max(at);
        }
        Input::Wake
    }

    fn pick(&mut self, which: impl Fn(Phase) -> bool) -> Option<PeerId> {
        let peers: Vec<_> =
            self.peers.iter().filter(|(_, phase)| which(**phase)).map(|(peer, _)| *peer).collect();
        self.script.pick(&peers)
    }

    /// A peer whose bytes may still arrive: the engine's `Disconnect` may not have reached it yet.
    fn up(&mut self) -> Option<PeerId> {
        self.pick(|phase| matches!(phase, Phase::Up | Phase::Closing { up: true }))
    }

    /// The answer to a dial, perhaps one that crosses the engine's `Disconnect`.
    fn connected(&mut self) -> Option<Input> {
        let peer =
            self.pick(|phase| matches!(phase, Phase::Dialling | Phase::Closing { up: false }))?;
        let up = match self.peers[&peer] {
            Phase::Dialling => Phase::Up,
            _ => Phase::Closing { up: true },
        };
        self.peers.insert(peer, up);
        let local = self.script.flip().then_some(IpAddr::from([11, 7, 0, 1]));
        Some(Input::Connected { peer, local })
    }

    /// A whole handshake with a peer that wants to be one, but for its last message.
    fn shake_hands(&mut self) -> Option<Input> {
        let peer = self.pick(|phase| phase == Phase::Dialling)?;
        self.peers.insert(peer, Phase::Up);
        self.handle(Input::Connected { peer, local: None });
        let message = Control::Version(Box::new(version(self.nonce ^ 1)));
        self.handle(Input::Control { peer, message });
        self.peers.contains_key(&peer).then_some(Input::Control { peer, message: Control::Verack })
    }

    fn dial_failed(&mut self) -> Option<Input> {
        let peer = self.pick(|phase| phase == Phase::Dialling)?;
        self.ending = Some(peer);
        let error = self.script.pick(&[
            DialError::Refused,
            DialError::TimedOut,
            DialError::NoRoute,
            DialError::NoDescriptors,
            DialError::Unsupported,
        ])?;
        Some(Input::DialFailed { peer, error })
    }

    /// A close that was asked for, or a link that ends by itself.
    fn closed(&mut self) -> Option<Input> {
        let peer = self.pick(|phase| phase != Phase::Dialling)?;
        self.ending = Some(peer);
        let reason = self.script.pick(&[
            DisconnectReason::ClosedByPeer,
            DisconnectReason::Broken,
            DisconnectReason::NotReading,
            DisconnectReason::SendQueueFull,
            DisconnectReason::Fault(LinkFault::BadMagic),
            DisconnectReason::Fault(LinkFault::Flood),
            DisconnectReason::Fault(LinkFault::TooMany),
        ])?;
        Some(Input::Closed { peer, reason })
    }

    fn seed_answer(&mut self) -> Result<Vec<IpAddr>, String> {
        let count = self.script.u8() % 16;
        if count == 15 {
            return Err("no such host".into());
        }
        let mut ip = |_| address(self.script.u16()).host.ip().expect("an IPv4 address");
        Ok((0..count).map(&mut ip).collect())
    }

    fn message(&mut self) -> Control {
        match self.script.u8() % 12 {
            0..=2 => Control::Version(Box::new(version(self.nonce ^ 1))),
            3..=5 => Control::Verack,
            6 => Control::Version(Box::new(Version {
                protocol: 60_000 + u32::from(self.script.u16()),
                services: ServiceFlags::from(u64::from(self.script.u16())),
                ..version(self.nonce ^ u64::from(self.script.u8()))
            })),
            7 => self.script.pick(&[0, 1, 2]).map_or(Control::GetAddr, |which| match which {
                0 => Control::WtxidRelay,
                1 => Control::SendAddrV2,
                _ => Control::GetAddr,
            }),
            8 | 9 => self.addresses(),
            10 => Control::Ping(self.script.u16().into()),
            _ => Control::Pong(self.script.u16().into()),
        }
    }

    fn addresses(&mut self) -> Control {
        let count = self.script.u8() % 17;
        let entry = |_| AddrEntry {
            time: UnixTime(
                (self.now.unix.0 + 3600).saturating_sub(60 * u64::from(self.script.u8())),
            ),
            services: ServiceFlags::from(u64::from(self.script.u8() | 8)),
            address: address(self.script.u16()),
        };
        Control::Addr((0..count).map(entry).collect())
    }

    fn ban_or_unban(&mut self) -> Input {
        let how = self.script.u8();
        let host = address(self.script.u16()).host;
        let subnet = Subnet::new(host, how % 40).unwrap_or_else(|_| Subnet::of(host));
        let lasts = u64::from(self.script.u16());
        match how & 0x80 {
            0 => Input::Ban { subnet, until: UnixTime(self.now.unix.0 + lasts) },
            _ => Input::Unban { subnet },
        }
    }

    /// What is said of a peer, as it may be said when it is gone.
    fn report(&mut self) -> Input {
        let address = address(self.script.u16());
        let how = self.script.u8();
        let misbehavior =
            if how & 1 == 0 { Misbehavior::Useless } else { Misbehavior::InvalidData };
        let reason = "\u{1b}\u{e4}".repeat(usize::from(how));
        Input::Report { peer: PeerId(u64::from(how)), address, misbehavior, reason }
    }

    fn lease_or_release(&mut self) -> Input {
        let how = self.script.u8();
        if how & 1 == 1 {
            // Any lease so far, given back already or not, and sometimes one that never was.
            let lease = LeaseId(u64::from(how >> 1) % (self.leases + 2));
            self.unanswered.remove(&lease);
            return Input::Release { lease };
        }
        let lease = LeaseId(self.leases);
        self.leases += 1;
        self.unanswered.insert(lease);
        let services = match how >> 6 {
            0 => ServiceFlags::NONE,
            1 => ServiceFlags::NETWORK,
            2 => ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            _ => ServiceFlags::COMPACT_FILTERS,
        };
        let require = Require::services(services).of_pool(PoolId(u64::from(how >> 4 & 3)));
        let require = match how >> 2 & 3 {
            0 => require.exclusive(),
            1 => Require::any().private(),
            2 => require.except([PeerId(u64::from(how >> 4))]).on(Net::Ipv6),
            _ => require,
        };
        Input::Lease { lease, require, wait: how & 2 == 2 }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(data);
    let config = config(&mut script);
    let rng = Rng::from_u64(script.u8().into());
    let engine = Engine::new(config, rng).expect("the policy is within its bounds");
    let now = Now { mono: Monotonic::new(Duration::from_secs(1)), unix: UnixTime(1_700_000_000) };
    let mut shell = Shell {
        script,
        engine,
        now,
        peers: BTreeMap::new(),
        ending: None,
        last_peer: None,
        nonce: 0,
        leases: 0,
        unanswered: BTreeSet::new(),
        started: false,
    };
    for _ in 0..MAX_STEPS {
        if shell.script.is_empty() {
            break;
        }
        shell.step();
    }
});
