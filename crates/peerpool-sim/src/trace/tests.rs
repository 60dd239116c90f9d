//! The hash changes with any one thing, and lines say what happened.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Net};
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::event::{DialError, Event, Known, PeerVersion, UserAgent};
use peerpool_core::id::{
    BurnReason, Chosen, ConnectionType, DisconnectReason, LeaseId, LinkFault, PeerState, PoolId,
};
use peerpool_core::io::Refusal;
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::require::Require;
use peerpool_core::time::{Monotonic, UnixTime};
use peerpool_core::wire::{AddrEntry, Control, Version};

use super::*;

const PEER: PeerId = PeerId(7);

fn now(millis: u64, unix: u64) -> Now {
    Now { mono: Monotonic::new(Duration::from_millis(millis)), unix: UnixTime(unix) }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn version(change: impl FnOnce(&mut Version)) -> Control {
    let mut version = Version {
        protocol: 70016,
        services: ServiceFlags::NETWORK,
        timestamp: 5,
        nonce: 6,
        user_agent: UserAgent(b"/a:1/".to_vec()),
        height: 8,
        relay: true,
    };
    change(&mut version);
    Control::Version(Box::new(version))
}

fn addr(time: u64, services: u64, at: &str) -> Control {
    let entry = AddrEntry { time: UnixTime(time), services: services.into(), address: address(at) };
    Control::Addr(vec![entry])
}

/// No two of them alike, and many alike but for one thing.
fn inputs() -> Vec<Input> {
    let ips = |text: &[&str]| Ok(text.iter().map(|ip| ip.parse().expect("an IP")).collect());
    let answer = |seed, result| Input::SeedAnswer { seed, result };
    let messages = [
        version(|_| ()),
        version(|version| version.protocol += 1),
        version(|version| version.services = ServiceFlags::NONE),
        version(|version| version.timestamp += 1),
        version(|version| version.nonce += 1),
        version(|version| version.user_agent = UserAgent(b"/a:2/".to_vec())),
        version(|version| version.height = -1),
        version(|version| version.relay = false),
        Control::Verack,
        Control::WtxidRelay,
        Control::SendAddrV2,
        Control::GetAddr,
        Control::Addr(vec![]),
        addr(1, 1, "1.2.3.4:8333"),
        addr(2, 1, "1.2.3.4:8333"),
        addr(1, 2, "1.2.3.4:8333"),
        addr(1, 1, "1.2.3.5:8333"),
        addr(1, 1, "1.2.3.4:8334"),
        addr(1, 1, "[2a01::1]:8333"),
        Control::Ping(1),
        Control::Ping(2),
        Control::Pong(1),
    ];
    let mut inputs = vec![
        Input::Wake,
        answer(0, ips(&[])),
        answer(1, ips(&[])),
        answer(0, ips(&["1.2.3.4"])),
        answer(0, ips(&["1.2.3.5"])),
        answer(0, Err("gone".to_owned())),
        answer(0, Err("lost".to_owned())),
        Input::AddManual(address("1.2.3.4:1")),
        Input::AddManual(address("1.2.3.4:2")),
        Input::Connected { peer: PEER, local: None },
        Input::Connected { peer: PeerId(8), local: None },
        Input::Connected { peer: PEER, local: Some([1, 2, 3, 4].into()) },
        Input::Connected { peer: PEER, local: Some([1, 2, 3, 5].into()) },
        Input::DialFailed { peer: PEER, error: DialError::Refused },
        Input::DialFailed { peer: PEER, error: DialError::TimedOut },
        Input::Progress { peer: PEER },
        Input::Closed { peer: PEER, reason: DisconnectReason::Broken },
        Input::Closed { peer: PEER, reason: DisconnectReason::Fault(LinkFault::Flood) },
        Input::Load { peer: PEER, requests: 1 },
        Input::Load { peer: PEER, requests: 2 },
        Input::Release { lease: LeaseId(1) },
        Input::Close,
        ban("1.2.3.4", 1),
        ban("1.2.3.0/24", 1),
        ban("1.2.3.4", 2),
        Input::Unban { subnet: subnet("1.2.3.4") },
        Input::Unban { subnet: subnet("1.2.3.5") },
        report("1.2.3.4:1", Misbehavior::Useless, ""),
        report("1.2.3.4:2", Misbehavior::Useless, ""),
        report("1.2.3.4:1", Misbehavior::InvalidData, ""),
        report("1.2.3.4:1", Misbehavior::Useless, "why"),
    ];
    inputs.extend(leases());
    inputs.extend(messages.map(|message| Input::Control { peer: PEER, message }));
    inputs
}

fn leases() -> [Input; 9] {
    let lease = |lease, services: u64, wait| Input::Lease {
        lease: LeaseId(lease),
        require: Require::services(services.into()),
        wait,
    };
    let require = |require| Input::Lease { lease: LeaseId(1), require, wait: true };
    [
        lease(1, 0, true),
        lease(2, 0, true),
        lease(1, 1, true),
        lease(1, 0, false),
        require(Require::any().on(Net::Ipv4)),
        require(Require::any().on(Net::Ipv6)),
        require(Require::any().except([PEER])),
        require(Require::any().exclusive()),
        require(Require::any().of_pool(PoolId(1))),
    ]
}

fn dialled(peer: PeerId, address: Address) -> Output {
    Output::Dial { peer, address, connection_type: ConnectionType::Manual }
}

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

fn ban(text: &str, until: u64) -> Input {
    Input::Ban { subnet: subnet(text), until: UnixTime(until) }
}

fn report(at: &str, misbehavior: Misbehavior, reason: &str) -> Input {
    Input::Report { peer: PEER, address: address(at), misbehavior, reason: reason.to_owned() }
}

fn events() -> Vec<Event> {
    let (peer, address) = (PEER, address("1.2.3.4:8333"));
    let known = Known::default();
    let version = |height| PeerVersion {
        protocol: 1,
        services: ServiceFlags::NETWORK,
        user_agent: UserAgent::default(),
        height,
        relay: true,
    };
    let backed_off = |failures, retry_in| Event::BackedOff { address, failures, retry_in };
    let gossip = |received, kept| Event::Gossip { peer, address, received, kept };
    let gone = |state, reason| Event::Disconnected { peer, address, state, reason };
    let (lease, span) = (LeaseId(1), Duration::from_millis(1));
    vec![
        Event::SeedAsked { seed: "a".to_owned() },
        Event::SeedAsked { seed: "b".to_owned() },
        Event::SeedAnswered { seed: "a".to_owned(), received: 1, kept: 0 },
        Event::SeedAnswered { seed: "a".to_owned(), received: 1, kept: 1 },
        Event::SeedFailed { seed: "a".to_owned(), error: "b".to_owned() },
        Event::Connecting {
            peer,
            address,
            connection_type: ConnectionType::Manual,
            chosen: Chosen::Manual,
        },
        Event::Connecting {
            peer,
            address,
            connection_type: ConnectionType::AddrFetch,
            chosen: Chosen::Experience,
        },
        Event::Connecting {
            peer,
            address,
            connection_type: ConnectionType::AddrFetch,
            chosen: Chosen::Test,
        },
        Event::Connected { peer, address },
        Event::Ready { peer, address, version: version(1), pool: None },
        Event::Ready { peer, address, version: version(2), pool: None },
        Event::Ready { peer, address, version: version(2), pool: Some(PoolId(1)) },
        Event::DialFailed { peer, address, error: DialError::Refused },
        Event::DialFailed { peer, address, error: DialError::NoRoute },
        gone(PeerState::Ready, DisconnectReason::Surplus),
        gone(PeerState::Connected, DisconnectReason::Surplus),
        gone(PeerState::Ready, DisconnectReason::Replaced),
        Event::Burned { address, reason: BurnReason::Refused },
        Event::Burned { address, reason: BurnReason::Itself },
        Event::VerdictWaits { address, reason: BurnReason::Refused },
        backed_off(1, span),
        backed_off(2, span),
        backed_off(1, 2 * span),
        gossip(1, 0),
        gossip(1, 1),
        Event::Full { took: span },
        Event::Full { took: 2 * span },
        Event::Starved { known },
        Event::Starved { known: Known { blocked: 1, ..known } },
        Event::Starved { known: Known { burned: 1, ..known } },
        Event::Starved { known: Known { banned: 1, ..known } },
        Event::Starved { known: Known { discouraged: 1, ..known } },
        Event::Fed,
        Event::Offline,
        Event::Online,
        Event::Leased { lease, peer },
        Event::Released { lease, peer },
        Event::Missed { events: 1 },
    ]
}

fn bar_events() -> Vec<Event> {
    let (peer, address) = (PEER, address("1.2.3.4:8333"));
    let span = Duration::from_millis(1);
    let banned = |since, until| {
        let (since, until) = (UnixTime(since), UnixTime(until));
        Event::Banned { ban: Ban { subnet: subnet("1.2.3.4"), since, until } }
    };
    let misbehaved = |misbehavior, reason: &str| Event::Misbehaved {
        peer,
        address,
        misbehavior,
        reason: reason.to_owned(),
    };
    vec![
        banned(1, 3),
        banned(2, 3),
        banned(1, 4),
        Event::Unbanned { subnet: subnet("1.2.3.4"), expired: false },
        Event::Unbanned { subnet: subnet("1.2.3.5"), expired: false },
        Event::Unbanned { subnet: subnet("1.2.3.4"), expired: true },
        misbehaved(Misbehavior::Useless, ""),
        misbehaved(Misbehavior::TooMany, ""),
        misbehaved(Misbehavior::Useless, "why"),
        Event::Discouraged { address, lasts: span },
        Event::Discouraged { address, lasts: 2 * span },
    ]
}

fn outputs() -> Vec<Output> {
    let refuse = |refusal| Output::Refuse { lease: LeaseId(1), refusal };
    let mut outputs = vec![
        Output::AskSeed { seed: 0 },
        Output::AskSeed { seed: 1 },
        dialled(PEER, address("1.2.3.4:8333")),
        dialled(PeerId(8), address("1.2.3.4:8333")),
        dialled(PEER, address("1.2.3.4:8334")),
        Output::Send { peer: PEER, message: Control::Ping(1) },
        Output::Send { peer: PEER, message: Control::Ping(2) },
        Output::Disconnect { peer: PEER },
        Output::Grant { lease: LeaseId(1), peer: PEER },
        Output::Grant { lease: LeaseId(2), peer: PEER },
        refuse(Refusal::NoneFree),
        refuse(Refusal::TooManyWaiters),
        refuse(Refusal::Closed),
    ];
    outputs.extend(events().into_iter().chain(bar_events()).map(Output::Event));
    outputs
}

fn hash(pool: usize, now: Now, inputs: &[Input], outputs: &[Output]) -> u64 {
    let mut trace = Trace::new();
    inputs.iter().for_each(|input| trace.on_input(pool, now, input));
    trace.on_outputs(pool, now, outputs);
    trace.hash()
}

#[test]
fn any_one_thing_changes_the_hash() {
    let at = now(1, 2);
    let mut hashes = vec![
        hash(0, at, &[], &[]),
        hash(1, at, &[Input::Wake], &[]),
        hash(0, now(2, 2), &[Input::Wake], &[]),
        hash(0, now(1, 3), &[Input::Wake], &[]),
        hash(0, at, &[Input::Wake, Input::Wake], &[]),
        hash(0, at, &[Input::Wake, Input::Close], &[]),
        hash(0, at, &[Input::Close, Input::Wake], &[]),
    ];
    hashes.extend(inputs().iter().map(|input| hash(0, at, std::slice::from_ref(input), &[])));
    hashes.extend(outputs().iter().map(|output| hash(0, at, &[], std::slice::from_ref(output))));
    let mut trace = Trace::new();
    trace.on_world(0, at, "network down");
    hashes.push(trace.hash());
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two of them are hashed alike");
    assert_eq!(hash(0, at, &inputs(), &outputs()), hash(0, at, &inputs(), &outputs()));
}

#[test]
fn the_hash_is_the_same_on_every_platform() {
    assert_eq!(
        hash(0, now(1, 2), &inputs(), &outputs()),
        11_221_761_190_027_814_776,
        "a new number is a new format"
    );
}

#[test]
fn lines_tell_what_happened_and_change_no_hash() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&written);
    let mut trace = Trace::with_lines(Box::new(move |line| {
        sink.lock().expect("no panic holds it").push(line.to_owned());
    }));
    let at = now(1500, 2);
    let dial = dialled(PEER, address("1.2.3.4:8333"));
    let mut plain = Trace::new();
    for trace in [&mut trace, &mut plain] {
        trace.on_world(3, at, "network up");
        trace.on_outputs(3, at, std::slice::from_ref(&dial));
        for message in [version(|_| ()), addr(1, 1, "1.2.3.4:8333"), Control::Pong(1)] {
            trace.on_input(3, at, &Input::Control { peer: PEER, message });
        }
        trace.on_input(3, at, &Input::Closed { peer: PEER, reason: DisconnectReason::Broken });
        let error = "caf\u{e9}\n".to_owned();
        trace.on_input(3, at, &Input::SeedAnswer { seed: 0, result: Err(error) });
        trace.on_outputs(3, at, &outputs()[..2]);
        let retry_in = Duration::from_millis(63_001);
        let address = address("1.2.3.4:8333");
        let event = Event::BackedOff { address, failures: 2, retry_in };
        trace.on_outputs(3, at, &[Output::Event(event)]);
    }
    assert_eq!(trace.hash(), plain.hash());
    let written = written.lock().expect("no panic holds it");
    let legend: Vec<&str> = LEGEND.lines().collect();
    assert_eq!(written[..legend.len()], legend);
    let expected = [
        "      1.500000    3 * network up          - -",
        "      1.500000    3 > dial                7 1.2.3.4:8333",
        "      1.500000    3 < version             7 1.2.3.4:8333          \
         protocol=70016 services=1 height=8 /a:1/",
        "      1.500000    3 < addr                7 1.2.3.4:8333          entries=1",
        "      1.500000    3 < pong                7 1.2.3.4:8333",
        "      1.500000    3 < closed              7 1.2.3.4:8333          broken",
        "      1.500000    3 < seed_answer         - -                     seed=0 caf\\u{e9}\\n",
        "      1.500000    3 > ask_seed            - -                     seed=0",
        "      1.500000    3 > ask_seed            - -                     seed=1",
        "      1.500000    3 > backed_off          - 1.2.3.4:8333          \
         failures=2 retry_in=63.001000s",
    ];
    assert_eq!(written[legend.len()..], expected);
    assert!(written.iter().all(|line| line.is_ascii()));
}
