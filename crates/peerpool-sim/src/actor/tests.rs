//! The actor, spoken to in bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message::RawNetworkMessage;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;
use bitcoin::p2p::{Magic, ServiceFlags};
use peerpool_core::time::UnixTime;

use super::frame::Frame;
use super::roster::tests::roster;
use super::*;

mod attackers;

const NOW: UnixTime = UnixTime(2_000_000_000);
/// One of the roster's.
const NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1)), 18444);

struct Talk {
    roster: Roster,
    actor: ByteActor,
    next: Next,
}

impl Talk {
    fn with(kind: Kind) -> Self {
        Self::on(roster(100), kind)
    }

    fn on(roster: Roster, kind: Kind) -> Self {
        let peer = SocketAddr::from(([127, 0, 0, 1], 50000));
        let node = Listing { address: NODE, kind };
        let actor = Actor::new(node, peer, Rng::from_u64(7));
        let mut actor = ByteActor::new(actor, &roster.profile);
        let next = actor.handle_open();
        Self { roster, actor, next }
    }

    fn send(&mut self, bytes: &[u8]) -> Vec<NetworkMessage> {
        let mut out = Vec::new();
        let now = Now { unix: NOW, ..Now::default() };
        self.next = self.actor.handle_bytes(&mut &self.roster, now, bytes, &mut out);
        messages_in(&out)
    }

    /// What it says of itself in a while.
    fn wait(&mut self, time: Duration) -> Vec<(Duration, NetworkMessage)> {
        let mut said = Vec::new();
        while let Some(at) = self.actor.wake_at().filter(|at| at.since_origin() <= time) {
            let passed = at.since_origin();
            let mut out = Vec::new();
            assert_eq!(self.wake(Now { mono: at, unix: NOW + passed }, &mut out), Next::Stay);
            said.extend(messages_in(&out).into_iter().map(|message| (passed, message)));
        }
        said
    }

    fn wake(&mut self, now: Now, out: &mut Vec<u8>) -> Next {
        self.next = self.actor.handle_timeout(&mut &self.roster, now, out);
        self.next
    }

    fn say(&mut self, message: NetworkMessage) -> Vec<NetworkMessage> {
        self.send(&frame(message))
    }

    fn ready(kind: Kind, addrv2: bool) -> Self {
        let mut talk = Self::with(kind);
        talk.say(version(PROTOCOL_VERSION));
        if addrv2 {
            talk.say(NetworkMessage::SendAddrV2);
        }
        talk.say(NetworkMessage::Verack);
        talk
    }
}

fn with(mut roster: Roster, change: impl FnOnce(&mut Profile)) -> Roster {
    change(&mut roster.profile);
    roster
}

fn messages_in(out: &[u8]) -> Vec<NetworkMessage> {
    let mut messages = Vec::new();
    let mut rest = out;
    while let Frame::Whole(length) = Frame::first_in(Magic::REGTEST, rest) {
        let message: RawNetworkMessage = deserialize(&rest[..length]).unwrap();
        messages.push(message.into_payload());
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "an actor writes whole messages");
    messages
}

fn frame(message: NetworkMessage) -> Vec<u8> {
    serialize(&RawNetworkMessage::new(Magic::REGTEST, message))
}

fn version(version: u32) -> NetworkMessage {
    let nobody = Address::new(&SocketAddr::from(([0, 0, 0, 0], 0)), ServiceFlags::NONE);
    NetworkMessage::Version(VersionMessage {
        version,
        services: ServiceFlags::NONE,
        timestamp: 0,
        receiver: nobody.clone(),
        sender: nobody,
        nonce: 1,
        user_agent: "/client:1/".to_owned(),
        start_height: 0,
        relay: false,
    })
}

fn commands(messages: &[NetworkMessage]) -> Vec<&'static str> {
    messages.iter().map(NetworkMessage::cmd).collect()
}

#[test]
fn an_honest_node_shakes_hands() {
    let mut talk = Talk::with(Kind::Honest);
    assert!(talk.say(NetworkMessage::Ping(1)).is_empty(), "nothing before version");
    let hello = talk.say(version(PROTOCOL_VERSION));
    assert_eq!(commands(&hello), ["version", "wtxidrelay", "sendaddrv2", "verack"]);
    let NetworkMessage::Version(hello) = &hello[0] else { panic!("version comes first") };
    assert_eq!((hello.version, hello.start_height), (70016, 3));
    assert_eq!((hello.user_agent.as_str(), hello.timestamp), ("/devnet:test/", 2_000_000_000));
    assert!(talk.say(NetworkMessage::Ping(2)).is_empty(), "nothing before verack");
    talk.say(NetworkMessage::Verack);
    assert_eq!(talk.say(NetworkMessage::Ping(3)), [NetworkMessage::Pong(3)]);
    assert!(talk.say(version(PROTOCOL_VERSION)).is_empty(), "a second version is ignored");
    assert_eq!(talk.next, Next::Stay);
}

#[test]
fn an_old_peer_is_offered_no_new_features() {
    assert_eq!(commands(&Talk::with(Kind::Stale).say(version(70015))), ["version", "verack"]);
}

#[test]
fn a_feature_offered_after_verack_ends_the_connection() {
    for late in [NetworkMessage::WtxidRelay, NetworkMessage::SendAddrV2] {
        let mut talk = Talk::ready(Kind::Honest, true);
        talk.say(late);
        assert_eq!(talk.next, Next::Close);
    }
}

#[test]
fn getaddr_is_answered_once_in_the_form_asked_for() {
    for (addrv2, command) in [(true, "addrv2"), (false, "addr")] {
        let mut talk = Talk::ready(Kind::Honest, addrv2);
        let answer = talk.say(NetworkMessage::GetAddr);
        assert_eq!(commands(&answer), [command]);
        let entries = match &answer[0] {
            NetworkMessage::Addr(entries) => entries.len(),
            NetworkMessage::AddrV2(entries) => entries.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(entries, 23);
        assert!(talk.say(NetworkMessage::GetAddr).is_empty());
    }
}

#[test]
fn getheaders_is_answered_from_the_chain() {
    let mut talk = Talk::ready(Kind::Vanishing, true);
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).block_hash();
    let request = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
    let answer = talk.say(NetworkMessage::GetHeaders(request));
    let [NetworkMessage::Headers(headers)] = &answer[..] else { panic!("{answer:?}") };
    assert_eq!((headers.len(), headers[0].prev_blockhash), (3, genesis));
}

#[test]
fn a_stream_cut_anywhere_is_the_same_stream() {
    let stream: Vec<u8> = [
        version(PROTOCOL_VERSION),
        NetworkMessage::SendAddrV2,
        NetworkMessage::Verack,
        NetworkMessage::Ping(5),
        NetworkMessage::GetAddr,
    ]
    .into_iter()
    .flat_map(frame)
    .collect();
    let whole = Talk::with(Kind::Honest).send(&stream);
    assert_eq!(whole.len(), 6);
    for cut in 0..stream.len() {
        let mut talk = Talk::with(Kind::Honest);
        let mut parts = talk.send(&stream[..cut]);
        parts.extend(talk.send(&stream[cut..]));
        assert_eq!(parts, whole, "cut at {cut}");
    }
    let mut talk = Talk::with(Kind::Honest);
    let bytewise: Vec<_> = stream.iter().flat_map(|&byte| talk.send(&[byte])).collect();
    assert_eq!(bytewise, whole);
}

#[test]
fn bad_frames_close_and_undecodable_messages_are_skipped() {
    let mut talk = Talk::with(Kind::Honest);
    talk.send(&[0xf9]);
    assert_eq!(talk.next, Next::Close, "another chain's magic");

    let mut oversized = frame(NetworkMessage::Verack);
    oversized[16..20].copy_from_slice(&4_000_001u32.to_le_bytes());
    let mut talk = Talk::with(Kind::Honest);
    talk.send(&oversized);
    assert_eq!(talk.next, Next::Close, "too long");

    let mut talk = Talk::ready(Kind::Honest, true);
    let mut damaged = frame(NetworkMessage::Ping(1));
    damaged[20] ^= 1;
    assert!(talk.send(&damaged).is_empty(), "wrong checksum");
    assert_eq!(talk.next, Next::Stay);
    assert_eq!(talk.say(NetworkMessage::Ping(2)), [NetworkMessage::Pong(2)]);
}

#[test]
fn the_rude_close_and_the_mute_stay() {
    assert_eq!(Talk::with(Kind::Rude).next, Next::Close);
    let mut mute = Talk::with(Kind::Mute);
    assert!(mute.say(version(PROTOCOL_VERSION)).is_empty());
    assert_eq!(mute.next, Next::Stay);
}

#[test]
fn fresh_addresses_come_as_they_do_from_core() {
    let mut talk = Talk::on(with(roster(100), |profile| profile.ages = Ages::Core), Kind::Honest);
    talk.say(version(PROTOCOL_VERSION));
    talk.say(NetworkMessage::SendAddrV2);
    let announced = talk.say(NetworkMessage::Verack);
    let [NetworkMessage::AddrV2(entries)] = &announced[..] else { panic!("{announced:?}") };
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.socket_addr().unwrap(), u64::from(entry.time)), (NODE, NOW.0));

    let said = talk.wait(Duration::from_secs(3600));
    assert!((90..150).contains(&said.len()), "twice a minute, not {} an hour", said.len());
    for (passed, message) in said {
        let NetworkMessage::AddrV2(entries) = message else { panic!("{message:?}") };
        let now = NOW + passed;
        let age = |entry: &AddrV2Message| now.since(UnixTime(entry.time.into()));
        assert!(entries.iter().all(|entry| age(entry) < Duration::from_secs(600)));
    }
    let early = talk.actor.wake_at().unwrap();
    let mut out = Vec::new();
    assert_eq!(talk.wake(Now::default(), &mut out), Next::Stay);
    assert!(out.is_empty() && talk.actor.wake_at() == Some(early), "nothing before its time");
}

#[test]
fn kind_nodes_speak_only_when_asked() {
    let talk = Talk::ready(Kind::Honest, true);
    assert_eq!(talk.actor.wake_at(), None);
}

#[test]
fn a_flood_is_endless_well_formed_and_poured_in_pieces() {
    let mut talk = Talk::ready(Kind::Flooder, true);
    let (mut poured, mut largest) = (Vec::new(), 0);
    while poured.len() < 12_000_000 {
        let mono = talk.actor.wake_at().expect("a flood has no end");
        let before = poured.len();
        let next = talk.wake(Now { mono, unix: NOW }, &mut poured);
        assert_eq!(next, Next::Stay);
        assert!(talk.actor.wake_at() > Some(mono), "time moves on");
        largest = largest.max(poured.len() - before);
    }
    assert!(largest < 70_000, "{largest} bytes at once");
    let mut rest = &poured[..];
    let mut seen = Vec::new();
    while let Frame::Whole(length) = Frame::first_in(Magic::REGTEST, rest) {
        let message: RawNetworkMessage = deserialize(&rest[..length]).expect("well-formed");
        match message.payload() {
            NetworkMessage::Ping(_) if seen.last() == Some(&"ping".to_owned()) => {}
            NetworkMessage::Addr(entries) => {
                assert_eq!(entries.len(), 1000);
                seen.push("addr".to_owned());
            }
            NetworkMessage::Inv(entries) => {
                assert_eq!(entries.len(), 50_000);
                seen.push("inv".to_owned());
            }
            other => seen.push(other.command().to_string()),
        }
        rest = &rest[length..];
    }
    let round = ["addr", "ping", "inv", "nonsense"];
    assert_eq!(seen[..8], [round, round].concat());
    assert!(talk.say(NetworkMessage::Ping(1)).is_empty(), "a pong would break a message in two");
}

#[test]
fn a_slow_node_lets_its_bytes_go_one_by_one() {
    let roster = with(roster(10), |profile| profile.slow_rate = 10);
    let mut talk = Talk::on(roster, Kind::Slow);
    assert!(talk.say(version(PROTOCOL_VERSION)).is_empty());
    let mut trickled = Vec::new();
    while let Some(mono) = talk.actor.wake_at() {
        let before = trickled.len();
        let next = talk.wake(Now { mono, unix: NOW }, &mut trickled);
        assert_eq!((next, trickled.len() - before), (Next::Stay, 1));
        assert_eq!(mono.since_origin(), Duration::from_millis(100) * trickled.len() as u32);
    }
    let whole = messages_in(&trickled);
    assert_eq!(commands(&whole), ["version", "wtxidrelay", "sendaddrv2", "verack"]);
}

#[test]
fn a_slow_node_relays_between_its_messages_not_amid_them() {
    // About as fast as what it has to relay, so that messages wait for one another.
    let roster = with(roster(100), |it| (it.slow_rate, it.ages) = (5, Ages::Core));
    let mut talk = Talk::on(roster, Kind::Slow);
    let opening = [version(PROTOCOL_VERSION), NetworkMessage::SendAddrV2, NetworkMessage::Verack];
    assert!(talk.send(&opening.map(frame).concat()).is_empty());
    let mut bytes = Vec::new();
    let hour = Monotonic::new(Duration::from_secs(3600));
    let is_dripping =
        |actor: &ByteActor| actor.drip.as_ref().is_some_and(|d| d.wake_at().is_some());
    while let Some(mono) = talk.actor.wake_at() {
        if mono > hour && !is_dripping(&talk.actor) {
            break;
        }
        let before = bytes.len();
        let next = talk.wake(Now { mono, unix: NOW }, &mut bytes);
        assert!(next == Next::Stay && bytes.len() - before <= 1, "one by one");
    }
    let said = commands(&messages_in(&bytes)).join(" ");
    let relayed = said.strip_prefix("version wtxidrelay sendaddrv2 verack").expect("the handshake");
    assert!(relayed.matches(" addrv2").count() > 50, "{said}");
}

#[test]
fn a_slow_node_that_is_asked_too_much_stops_reading() {
    let mut talk = Talk::ready(Kind::Slow, true);
    let mut pings = 0;
    while talk.actor.is_reading() {
        assert!(talk.say(NetworkMessage::Ping(pings)).is_empty());
        pings += 1;
    }
    assert!((2000..2100).contains(&pings), "64 KiB of pongs: {pings}");
}

#[test]
fn a_slow_node_with_too_much_to_say_relays_nothing_besides() {
    // Slower than what it would relay.
    let roster = with(roster(100), |it| (it.slow_rate, it.ages) = (1, Ages::Core));
    let mut talk = Talk::on(roster, Kind::Slow);
    talk.send(&[version(PROTOCOL_VERSION), NetworkMessage::Verack].map(frame).concat());
    while talk.actor.is_reading() {
        talk.say(NetworkMessage::Ping(1));
    }
    let mut now = Now { unix: NOW, ..Now::default() };
    while !talk.actor.is_reading() {
        now.mono = talk.actor.wake_at().expect("it has much to say");
        assert!(now.mono.since_origin() <= Duration::from_secs(60), "a pong above 64 KiB is 32 s");
        assert_eq!(talk.wake(now, &mut Vec::new()), Next::Stay);
    }
}

#[test]
fn a_deaf_node_stops_reading_once_hands_are_shaken() {
    let mut talk = Talk::with(Kind::Deaf);
    talk.say(version(PROTOCOL_VERSION));
    assert!(talk.actor.is_reading());
    talk.say(NetworkMessage::Verack);
    assert_eq!((talk.actor.is_reading(), talk.actor.stage()), (false, Stage::Ready));
}
