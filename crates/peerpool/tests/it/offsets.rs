//! A peer that is cut off at every byte of the handshake, in both directions, by FIN and by RST,
//! over TCP. The same in virtual time, where it may also fall silent, is in the core's tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use peerpool::{Address, BurnReason, Event, Policy, Pool, ServiceFlags};
use peerpool_core::time::UnixTime;
use peerpool_core::wire::{AddrEntry, Control};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::alone::is_alone;
use crate::events::Watch;
use crate::log::LogCount;
use crate::raw::{self, LONG, Raw};
use crate::within;

/// How a peer ends the connection.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Fin,
    Reset,
}

/// Where a peer ends the connection.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// After sending so many bytes of its handshake. It has read all there was to read.
    Sent(usize),
    /// After reading so many bytes of ours. It has answered what it read, but the last of it.
    Read(usize),
}

/// Lengths of what a peer sends, and of what it reads: the `version`, that with the `verack` and
/// all between, and that with what we send to a ready peer.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    theirs: [usize; 2],
    ours: [usize; 3],
}

impl Lengths {
    fn expected(&self, cut: Cut) -> BurnReason {
        let (early, in_time) = match cut {
            Cut::Sent(sent) => (sent < self.theirs[0], sent < self.theirs[1]),
            Cut::Read(read) => (read <= self.ours[0], read <= self.ours[1]),
        };
        match (early, in_time) {
            (true, _) => BurnReason::ClosedBeforeVersion,
            (_, true) => BurnReason::ClosedInHandshake,
            _ => BurnReason::QuickDrop,
        }
    }
}

/// The handshake of a peer, in bytes: its `version`, then the rest.
fn handshake() -> [Vec<u8>; 2] {
    let rest = ["wtxidrelay", "sendaddrv2", "verack"].map(|command| raw::frame(command, &[]));
    let version = raw::version(1).encode(raw::magic(), None);
    [version, rest.concat()]
}

async fn read(stream: &mut TcpStream, bytes: usize) {
    stream.read_exact(&mut vec![0; bytes]).await.unwrap();
}

/// The part of a peer that is cut off.
async fn play(stream: &mut TcpStream, cut: Cut, lengths: Lengths) {
    let [version, rest] = handshake();
    let [first, second, third] = lengths.ours;
    match cut {
        Cut::Sent(sent) => {
            read(stream, first).await;
            stream.write_all(&[version, rest].concat()[..sent]).await.unwrap();
            // All that answers it, so that a reset overtakes nothing.
            let answer = match sent {
                _ if sent < lengths.theirs[0] => first,
                _ if sent < lengths.theirs[1] => second,
                _ => third,
            };
            read(stream, answer - first).await;
        }
        Cut::Read(read_in_all) => {
            read(stream, read_in_all.min(first)).await;
            if read_in_all > first {
                stream.write_all(&version).await.unwrap();
                read(stream, read_in_all.min(second) - first).await;
            }
            if read_in_all > second {
                stream.write_all(&rest).await.unwrap();
                read(stream, read_in_all - second).await;
            }
        }
    }
}

/// Accepts one connection and cuts it off; returns once the pool has closed it too.
async fn cut_off(listener: &TcpListener, cut: Cut, ending: Ending, lengths: Lengths) {
    let (mut stream, _) = listener.accept().await.unwrap();
    play(&mut stream, cut, lengths).await;
    match ending {
        Ending::Fin => {
            stream.shutdown().await.unwrap();
            // The pool may reset what it closes with our bytes unread.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Ending::Reset => stream.set_zero_linger().unwrap(),
    }
}

/// A pool whose only peer has shaken hands, and the lengths of what was said.
async fn guided() -> (Pool, Watch, Raw, Lengths) {
    let listener = raw::listen([127, 20, 0, 1], 0).await;
    let tune = |policy: &mut Policy| {
        policy.dial_timeout = LONG;
        policy.handshake_deadline = LONG;
        policy.quick_drop = LONG;
        policy.max_dials = 64;
        policy.max_dials_per_netgroup = 64;
        policy.max_peers_per_netgroup = 1000;
    };
    let guide = listener.local_addr().unwrap();
    let pool = raw::pool().add(guide).target(1000).tune(tune).start().await.unwrap();
    let mut watch = Watch::of(&pool);
    let mut guide = Raw::accept(&listener).await;
    let version = guide.hear().await.unwrap();
    let first = version.encode(raw::magic(), None).len();
    guide.say(&raw::version(2)).await;
    guide.say(&Control::Verack).await;
    guide.hear_until(|message| matches!(message, Control::Ping(_))).await;
    watch.named("ready").await;
    let [version, rest] = handshake().map(|bytes| bytes.len());
    // wtxidrelay, sendaddrv2, verack; then getaddr, ping.
    let ours = [first, first + 3 * 24, first + 5 * 24 + 8];
    (pool, watch, guide, Lengths { theirs: [version, version + rest], ours })
}

fn gossip(addresses: impl Iterator<Item = Address>) -> Control {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
    let entry = |address| AddrEntry { time: UnixTime(now), services, address };
    Control::Addr(addresses.map(entry).collect())
}

/// One peer for each of `cuts`, all told of by a guide.
async fn cut_off_at(cuts: impl Fn(Lengths) -> Vec<Cut>, ending: Ending) {
    let log = LogCount::start();
    let (pool, mut watch, mut guide, lengths) = guided().await;
    let cuts = cuts(lengths);
    let (tasks, sockets) = (Handle::current().metrics().num_alive_tasks(), raw::sockets());

    let mut peers = JoinSet::new();
    let mut expected: BTreeMap<Address, BurnReason> = BTreeMap::new();
    let mut listeners = Vec::new();
    for (n, &cut) in cuts.iter().enumerate() {
        let listener = raw::listen([127, 21 + (n % 200) as u8, (n / 200) as u8, 1], 0).await;
        let address: SocketAddr = listener.local_addr().unwrap();
        expected.insert(address.into(), lengths.expected(cut));
        peers.spawn(async move {
            cut_off(&listener, cut, ending, lengths).await;
            listener
        });
    }
    let mut burned = BTreeMap::new();
    let mut kept = 0;
    while burned.len() < expected.len() {
        // Who finds no free place is named again once those that did are burned.
        if burned.len() == kept {
            let left = expected.keys().copied().filter(|address| !burned.contains_key(address));
            guide.say(&gossip(left)).await;
            kept += watch
                .until(|event| match event {
                    Event::Gossip { kept, .. } => Some(*kept),
                    _ => None,
                })
                .await;
        }
        let burn = |event: &Event| match event {
            Event::Burned { address, reason } => Some((*address, *reason)),
            _ => None,
        };
        let (address, reason) = watch.until(burn).await;
        assert_eq!(expected.get(&address), Some(&reason), "{ending:?} {address}");
        assert_eq!(burned.insert(address, reason), None, "{address} is burned twice");
    }
    while let Some(listener) = peers.join_next().await {
        listeners.push(listener.unwrap());
    }

    let status = pool.status().await;
    let left = [&status.connecting, &status.connected, &status.ready].map(Vec::len);
    assert_eq!(left, [0, 0, 1], "the guide alone is left");
    assert_eq!(status.dials as usize, 1 + expected.len());
    assert_eq!(watch.seen("disconnected"), expected.len());
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks, "no task is left");
    assert_eq!(raw::sockets(), sockets + listeners.len(), "no descriptor is left");
    assert_eq!(log.errors(), 0, "no task panicked");
    println!("{} peers cut off by {ending:?}: {:?}", cuts.len(), status.burned);
}

#[tokio::test]
async fn a_peer_cut_off_at_any_byte_of_the_handshake_is_burned_once_and_leaves_nothing() {
    let name =
        "offsets::a_peer_cut_off_at_any_byte_of_the_handshake_is_burned_once_and_leaves_nothing";
    if !is_alone(name) {
        return;
    }
    within(120, async {
        // A reset before anything is read may meet a dial whose answer was not looked at yet: then
        // it is a refusal.
        for (ending, least) in [(Ending::Fin, 0), (Ending::Reset, 1)] {
            cut_off_at(|lengths| (0..=lengths.theirs[1]).map(Cut::Sent).collect(), ending).await;
            cut_off_at(|lengths| (least..=lengths.ours[2]).map(Cut::Read).collect(), ending).await;
        }
    })
    .await;
}
