//! A peer that is cut off at every byte of the handshake, in both directions and in every way: the
//! link and the engine together, in virtual time. The same over TCP is in `peerpool`'s tests.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use peerpool_core::engine::Engine;
use peerpool_core::event::Event;
use peerpool_core::id::{BurnReason, DisconnectReason, PeerId};
use peerpool_core::io::{Input, Output};
use peerpool_core::link::{Link, LinkOutput};
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::Control;

use crate::script::{SERVICES, START, config, greeting, ips, nth};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// How a peer ends its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Fin,
    Reset,
    /// It keeps the connection open and says no more.
    Stall,
}

/// A pool of one that knows one address, dialled and connected.
struct Rig {
    engine: Engine,
    link: Link,
    now: Now,
    peer: PeerId,
    /// What the pool has sent, as bytes.
    ours: Vec<u8>,
    events: Vec<Event>,
    dials: usize,
}

impl Rig {
    fn new() -> Self {
        let mut config = config(|policy| policy.target_connect_count = 1);
        config.seeds = vec!["seed.test".to_owned()];
        let mut rig = Self {
            link: Link::new(MAGIC, &config.policy),
            engine: Engine::new(config, Rng::from_u64(1)).expect("a valid policy"),
            now: Now { mono: Monotonic::default(), unix: UnixTime(START) },
            peer: PeerId(0),
            ours: Vec::new(),
            events: Vec::new(),
            dials: 0,
        };
        rig.input(Input::Wake);
        let peer = rig.peer;
        rig.input(Input::Connected { peer, local: None });
        rig
    }

    fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.engine.handle(self.now, input);
            while let Some(output) = self.engine.poll() {
                inputs.extend(self.on_output(output));
            }
        }
    }

    /// Does what the engine wants; what comes of it at once is the next input.
    fn on_output(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::AskSeed { seed } => {
                return Some(Input::SeedAnswer { seed, result: Ok(ips(&[nth(1)])) });
            }
            Output::Dial { peer, .. } => {
                self.peer = peer;
                self.dials += 1;
            }
            Output::Send { message, .. } => self.ours.extend(self.link.encode(&message)),
            Output::Disconnect { peer } => {
                return Some(Input::Closed { peer, reason: DisconnectReason::Broken });
            }
            Output::Event(event) => self.events.push(event),
            Output::Grant { .. } | Output::Refuse { .. } => {}
        }
        None
    }

    /// Bytes of the peer come.
    fn hear(&mut self, bytes: &[u8]) {
        let peer = self.peer;
        self.link.handle_bytes(self.now.mono, bytes);
        while let Some(output) = self.link.poll() {
            match output {
                LinkOutput::Control(message) => self.input(Input::Control { peer, message }),
                other => panic!("nothing else in a handshake: {other:?}"),
            }
        }
    }

    fn end(&mut self, ending: Ending) {
        let peer = self.peer;
        match ending {
            Ending::Fin => {
                self.input(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer });
            }
            Ending::Reset => self.input(Input::Closed { peer, reason: DisconnectReason::Broken }),
            Ending::Stall => self.run(Policy::default().handshake_deadline),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.engine.wake_at().filter(|at| *at <= end) {
            self.now.mono = self.now.mono.max(at);
            self.input(Input::Wake);
        }
        self.now.mono = end;
    }

    /// The peer is gone, and burned once for this reason.
    fn check(mut self, reason: BurnReason, what: &str) {
        let status = self.engine.status(self.now);
        let left = [&status.connecting, &status.connected, &status.ready].map(Vec::len);
        assert_eq!(left, [0; 3], "{what}: its slot is free");
        // Seeds name it again meanwhile.
        self.run(Duration::from_secs(3600));
        let burns: Vec<_> = (self.events.iter())
            .filter_map(|event| match event {
                Event::Burned { address, reason } => Some((*address, *reason)),
                _ => None,
            })
            .collect();
        assert_eq!(burns, [(nth(1), reason)], "{what}");
        let gone = self.events.iter().filter(|event| event.as_str() == "disconnected").count();
        assert_eq!((gone, self.dials), (1, 1), "{what}");
        assert!(self.engine.book().is_burned(&nth(1)), "{what}");
        self.engine.book().check(self.now).expect("the book's invariants");
    }
}

/// What the peer says: its `version`, and the rest.
fn theirs() -> [Vec<u8>; 2] {
    let codec = Link::new(MAGIC, &Policy::default());
    let [version, verack] = greeting(SERVICES).map(|message| codec.encode(&message));
    let offers = [Control::WtxidRelay, Control::SendAddrV2].map(|message| codec.encode(&message));
    [version, [&offers.concat()[..], &verack].concat()]
}

#[test]
fn a_peer_that_stops_sending_after_any_byte_is_burned_once() {
    let [version, rest] = theirs();
    let all = [&version[..], &rest].concat();
    for ending in [Ending::Fin, Ending::Reset, Ending::Stall] {
        for cut in 0..=all.len() {
            let mut rig = Rig::new();
            rig.hear(&all[..cut]);
            let ready = cut == all.len();
            assert_eq!(rig.engine.status(rig.now).ready.len(), usize::from(ready));
            if ready && ending == Ending::Stall {
                // From here on it is a peer that does not answer pings.
                continue;
            }
            rig.end(ending);
            let reason = match ending {
                Ending::Stall => BurnReason::HandshakeTimedOut,
                _ if ready => BurnReason::QuickDrop,
                _ if cut < version.len() => BurnReason::ClosedBeforeVersion,
                _ => BurnReason::ClosedInHandshake,
            };
            rig.check(reason, &format!("{ending:?} after sending {cut} of {}", all.len()));
        }
    }
    println!("{} offsets, in three ways", all.len() + 1);
}

/// Lengths of what we send before the peer says anything, after its `version`, after its `verack`.
fn parts_of_ours() -> [Range<usize>; 3] {
    let [version, rest] = theirs();
    let mut rig = Rig::new();
    let first = rig.ours.len();
    rig.hear(&version);
    let second = rig.ours.len();
    rig.hear(&rest);
    [0..first, first..second, second..rig.ours.len()]
}

#[test]
fn a_peer_that_reads_any_number_of_our_bytes_and_goes_is_burned_once() {
    let [version, rest] = theirs();
    let parts = parts_of_ours();
    let total = parts[2].end;
    for ending in [Ending::Fin, Ending::Reset] {
        for cut in 0..=total {
            let mut rig = Rig::new();
            // It answers what it has read whole, unless it goes there.
            if cut > parts[0].end {
                rig.hear(&version);
            }
            if cut > parts[1].end {
                rig.hear(&rest);
            }
            assert!(rig.ours.len() >= cut);
            rig.end(ending);
            let reason = match cut {
                _ if cut <= parts[0].end => BurnReason::ClosedBeforeVersion,
                _ if cut <= parts[1].end => BurnReason::ClosedInHandshake,
                _ => BurnReason::QuickDrop,
            };
            rig.check(reason, &format!("{ending:?} after reading {cut} of {total}"));
        }
    }
    println!("{} offsets, in two ways", total + 1);
}
