//! The attacker's nodes, and those far behind, spoken to in messages.

use std::collections::BTreeSet;

use super::*;

/// A roster of so many honest nodes, and as many of each hostile kind.
fn besieged(each: usize) -> Roster {
    let mut roster = roster(each * 5);
    let hostile = Kind::ALL.into_iter().filter(|kind| kind.is_hostile());
    let kinds: Vec<_> = std::iter::once(Kind::Honest).chain(hostile).collect();
    for (at, listing) in roster.listings.iter_mut().enumerate() {
        listing.kind = kinds[at % kinds.len()];
    }
    roster
}

/// A node of the roster that hands were shaken with, and what it said after that.
struct Met {
    roster: Roster,
    actor: Actor,
    said: Vec<NetworkMessage>,
}

impl Met {
    fn with(roster: Roster, kind: Kind) -> Self {
        let node = *roster.listings.iter().find(|node| node.kind == kind).unwrap();
        let peer = SocketAddr::from(([127, 0, 0, 1], 50000));
        let actor = Actor::new(node, peer, Rng::from_u64(7));
        let mut met = Self { roster, actor, said: Vec::new() };
        assert_eq!(met.actor.handle_open(), Next::Stay);
        let hello = met.say(version(PROTOCOL_VERSION));
        assert_eq!(commands(&hello), ["version", "wtxidrelay", "sendaddrv2", "verack"], "{kind}");
        met.say(NetworkMessage::SendAddrV2);
        met.said = met.say(NetworkMessage::Verack);
        met
    }

    fn say(&mut self, message: NetworkMessage) -> Vec<NetworkMessage> {
        let (now, mut out) = (Now { unix: NOW, ..Now::default() }, Vec::new());
        let next = self.actor.handle_message(&mut &self.roster, now, message, &mut out);
        assert_eq!(next, Next::Stay);
        out.into_iter().map(as_message).collect()
    }

    /// What it says of itself in a while, and when.
    fn wait(&mut self, time: Duration) -> Vec<(Duration, Vec<AddrV2Message>)> {
        let mut said = Vec::new();
        while let Some(mono) = self.actor.wake_at().filter(|at| at.since_origin() <= time) {
            let now = Now { mono, unix: NOW + mono.since_origin() };
            let mut out = Vec::new();
            let next = self.actor.handle_timeout(&mut &self.roster, now, &mut out);
            assert_eq!((next, out.len()), (Next::Stay, 1));
            said.extend(out.into_iter().map(|it| (mono.since_origin(), entries(&as_message(it)))));
        }
        said
    }

    /// The kinds of node that these entries name.
    fn kinds_of(&self, named: &[AddrV2Message]) -> BTreeSet<Kind> {
        let listed = |entry: &AddrV2Message| {
            let address = entry.socket_addr().unwrap();
            self.roster.listings.iter().find(|node| node.address == address).unwrap().kind
        };
        named.iter().map(listed).collect()
    }
}

fn as_message(said: Said) -> NetworkMessage {
    match said {
        Said::Message(message) => message,
        Said::Bytes(bytes) => panic!("{bytes:?} instead of a message"),
    }
}

fn entries(message: &NetworkMessage) -> Vec<AddrV2Message> {
    let NetworkMessage::AddrV2(entries) = message else { panic!("{message:?}") };
    entries.clone()
}

const HOSTILE: [Kind; 4] = [Kind::Sybil, Kind::NearSybil, Kind::Spammer, Kind::Shadow];

#[test]
fn an_attackers_node_is_honest_in_all_but_gossip() {
    for kind in HOSTILE {
        let mut met = Met::with(besieged(4), kind);
        assert_eq!(met.say(NetworkMessage::Ping(1)), [NetworkMessage::Pong(1)], "{kind}");
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).block_hash();
        let request = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
        let answer = met.say(NetworkMessage::GetHeaders(request));
        let [NetworkMessage::Headers(headers)] = &answer[..] else { panic!("{answer:?}") };
        assert_eq!(headers.len(), 3, "{kind}");
    }
}

#[test]
fn it_names_its_whole_cluster_and_nobody_else() {
    for kind in HOSTILE {
        let mut met = Met::with(besieged(100), kind);
        let answer = entries(&met.say(NetworkMessage::GetAddr)[0]);
        let size = if kind == Kind::Shadow { 100 } else { 300 };
        let distinct: BTreeSet<_> = answer.iter().map(|it| it.socket_addr().unwrap()).collect();
        assert_eq!((answer.len(), distinct.len()), (size, size), "{kind}");
        assert!(met.kinds_of(&answer).into_iter().all(|named| kind.is_allied_with(named)));
        for entry in answer {
            let age = NOW.since(UnixTime(entry.time.into()));
            assert!(age < Duration::from_secs(600), "{kind}: {age:?}");
        }
        assert!(met.say(NetworkMessage::GetAddr).is_empty(), "once, as Core does");
    }
    let mut met = Met::with(besieged(500), Kind::Sybil);
    assert_eq!(entries(&met.say(NetworkMessage::GetAddr)[0]).len(), 1000, "Core's limit");
}

#[test]
fn it_announces_itself_and_relays_its_cluster_as_often_as_core_does() {
    for kind in [Kind::Sybil, Kind::NearSybil, Kind::Shadow] {
        let mut met = Met::with(besieged(100), kind);
        let announced = entries(&met.said[0]);
        assert_eq!(announced[0].socket_addr().unwrap(), met.actor.node.address);
        let relayed = met.wait(Duration::from_secs(3600));
        assert!((90..150).contains(&relayed.len()), "{kind}: {} an hour", relayed.len());
        for (at, named) in relayed {
            assert!((1..=3).contains(&named.len()));
            assert!(met.kinds_of(&named).into_iter().all(|named| kind.is_allied_with(named)));
            let age = |it: &AddrV2Message| (NOW + at).since(UnixTime(it.time.into()));
            assert!(named.iter().all(|it| age(it) < Duration::from_secs(600)), "{kind}");
        }
    }
}

#[test]
fn a_spammer_floods_for_a_minute_and_goes_on() {
    let mut met = Met::with(besieged(100), Kind::Spammer);
    let spam = met.wait(Duration::from_secs(240));
    let (burst, rest) = spam.split_at(500);
    assert_eq!((burst[0].0, burst[499].0), (Duration::from_millis(120), Duration::from_secs(60)));
    assert_eq!(rest.iter().map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [120, 180, 240]);
    for (_, named) in &spam {
        assert_eq!(named.len(), 10);
        let kinds = met.kinds_of(named);
        assert!(kinds.into_iter().all(|named| Kind::Spammer.is_allied_with(named)));
    }
}

#[test]
fn honest_nodes_name_attackers_as_they_name_any() {
    for ages in Ages::ALL {
        let roster = with(besieged(200), |profile| profile.ages = ages);
        let mut met = Met::with(roster, Kind::Honest);
        let at_once = met.say(NetworkMessage::GetAddr);
        let answer = match at_once.first() {
            Some(answer) => entries(answer),
            None => {
                let later = met.wait(Duration::from_secs(600));
                later.into_iter().map(|(_, named)| named).max_by_key(Vec::len).unwrap()
            }
        };
        assert_eq!(at_once.is_empty(), ages == Ages::Core, "Core takes its time");
        assert_eq!((answer.len(), met.kinds_of(&answer).len()), (230, 5), "{ages:?}");
    }
}

#[test]
fn a_lagging_node_is_far_behind_and_gives_no_headers() {
    let mut roster = roster(10);
    roster.listings[0].kind = Kind::Lagging;
    roster.profile.headers = HeaderChain::regtest(50);
    let node = roster.listings[0];
    let mut actor = Actor::new(node, SocketAddr::from(([127, 0, 0, 1], 1)), Rng::from_u64(1));
    let (mut out, now) = (Vec::new(), Now { unix: NOW, ..Now::default() });
    let hello = version(PROTOCOL_VERSION);
    assert_eq!(actor.handle_message(&mut &roster, now, hello, &mut out), Next::Stay);
    let NetworkMessage::Version(hello) = as_message(out.remove(0)) else { panic!() };
    assert_eq!(hello.start_height, 5);

    let mut met = Met::with(roster, Kind::Lagging);
    let request = GetHeadersMessage::new(vec![], BlockHash::all_zeros());
    let answer = met.say(NetworkMessage::GetHeaders(request));
    assert_eq!(answer, [NetworkMessage::Headers(vec![])]);
    assert_eq!(met.say(NetworkMessage::Ping(1)), [NetworkMessage::Pong(1)]);
}
