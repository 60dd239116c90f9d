//! Attacks on resources over real sockets: memory, log, queues. What the core alone decides is in
//! its own tests of this name.

use peerpool::{BurnReason, DisconnectReason, Event, LinkFault, NetworkMessage, Pool, Require};
use peerpool_core::address::{Address, Host, Net};
use peerpool_core::book::{Book, Heard, Source};
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use peerpool_core::wire::Control;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::alone::is_alone;
use crate::events::Watch;
use crate::log::LogCount;
use crate::raw::{self, LONG, Raw};
use crate::{ms, within};

const MB: usize = 1_000_000;

/// Nobody is timed out, pinged again or dialled again.
fn patient(policy: &mut Policy) {
    policy.handshake_deadline = LONG;
    policy.dial_timeout = LONG;
    policy.message_deadline = LONG;
    policy.pong_deadline = LONG;
    policy.write_stall = LONG;
    policy.backoff_min = LONG;
    policy.backoff_max = LONG;
}

fn address(listener: &TcpListener) -> Address {
    listener.local_addr().unwrap().into()
}

async fn disconnected(watch: &mut Watch) -> DisconnectReason {
    let reason = |event: &Event| match event {
        Event::Disconnected { reason, .. } => Some(*reason),
        _ => None,
    };
    watch.until(reason).await
}

// ---- memory ----

/// A thousand peers, each of which claims four megabytes and sends none of them: before its
/// `verack` if `early`, else when it is ready. Returns by how much the process grew.
async fn growth_by_claims(early: bool) -> usize {
    const PEERS: usize = 1000;
    let mut listeners = Vec::new();
    for n in 0..PEERS {
        let [a, b] = [(n / 250) as u8, (n % 250) as u8];
        listeners.push(raw::listen([127, 7, a, b + 1], 0).await);
    }
    let tune = |policy: &mut Policy| {
        patient(policy);
        policy.max_dials = PEERS + 8;
    };
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    let pool = raw::pool().target(PEERS).connect(addresses).tune(tune).start().await.unwrap();
    let mut greeted = JoinSet::new();
    for listener in listeners {
        greeted.spawn(async move {
            let mut peer = Raw::accept(&listener).await;
            if early {
                peer.hear_until(|message| matches!(message, Control::Version(_))).await;
            } else {
                peer.shake_hands().await;
            }
            peer
        });
    }
    let peers = greeted.join_all().await;
    if !early {
        pool.ready(PEERS).await.unwrap();
    }
    // What is reserved and not touched yet is not resident, but it is data.
    let before = ["VmRSS", "VmData"].map(raw::memory);
    let mut claimed = JoinSet::new();
    for (mut peer, command) in
        peers.into_iter().zip(["block", "addr", "inv", "novelty"].into_iter().cycle())
    {
        claimed.spawn(async move {
            // One segment: what answers its first message has read the claim.
            let first = if early { raw::version(1) } else { Control::Ping(7) };
            let bytes = [peer.encode(&first), raw::claim(command, 4_000_000)].concat();
            peer.write(&bytes).await;
            let answer = if early { Control::Verack } else { Control::Pong(7) };
            peer.hear_until(|message| *message == answer).await;
            peer
        });
    }
    let _peers = claimed.join_all().await;
    let after = ["VmRSS", "VmData"].map(raw::memory);
    let status = pool.status().await;
    let there = if early { status.connected.len() } else { status.ready.len() };
    assert_eq!(there, PEERS, "nobody was dropped");
    println!("1000 claims of 4 MB, early: {early}: resident and data {before:?} to {after:?}");
    after[0].saturating_sub(before[0]).max(after[1].saturating_sub(before[1]))
}

#[tokio::test]
async fn a_thousand_claims_in_the_handshake_take_less_than_40_mb() {
    if is_alone("resources::a_thousand_claims_in_the_handshake_take_less_than_40_mb") {
        let growth = within(120, growth_by_claims(true)).await;
        assert!(growth < 40 * MB, "{growth}");
    }
}

#[tokio::test]
async fn a_thousand_claims_of_ready_peers_take_less_than_40_mb() {
    if is_alone("resources::a_thousand_claims_of_ready_peers_take_less_than_40_mb") {
        let growth = within(120, growth_by_claims(false)).await;
        assert!(growth < 40 * MB, "{growth}");
    }
}

/// The tables that gossip and offenders fill. In a debug build an eighth of their default bounds,
/// for the sake of time: what is held against a limit is the price of one address.
#[test]
fn full_tables_cost_so_much_an_address_and_no_flood_makes_them_grow() {
    if !is_alone("resources::full_tables_cost_so_much_an_address_and_no_flood_makes_them_grow") {
        return;
    }
    let most = Policy::default().max_burned / if cfg!(debug_assertions) { 8 } else { 1 };
    let policy = Policy { max_burned: most, max_addresses: most, ..Policy::default() };
    let mut rng = Rng::from_u64(1);
    let mut book = Book::new(&policy, 8333, &[Net::Ipv4], &mut rng);
    let now = |n: u32| Now { mono: Monotonic::new(ms(n.into())), unix: UnixTime(1_700_000_000) };
    // In many netgroups, each named by somebody else.
    let ip = |n: u32| 0x0b00_0000 + n.wrapping_mul(0x9e37_79b1) % 0x5000_0000;
    let nth = |n: u32| Address { host: Host::Ipv4(ip(n).into()), port: 8333 };
    let mut hear = |book: &mut Book, n: u32| {
        let services = policy.required_services;
        book.hear(now(n), nth(n), services, now(n).unix, Source::Peer(nth(n ^ 0x5555)), &mut rng)
    };
    let start = raw::memory("VmRSS");
    let count = most as u32;
    for n in 0..count {
        assert_eq!(hear(&mut book, n), Heard::New);
        book.burn(now(n), nth(n), BurnReason::Refused);
    }
    let burned = raw::memory("VmRSS");
    // Ever new ones, until each table has been filled several times over ...
    let mut flood = |book: &mut Book, numbers: std::ops::Range<u32>| {
        for n in numbers {
            hear(book, n);
            if n % 2 == 0 {
                book.burn(now(n), nth(n), BurnReason::Refused);
            }
        }
        (book.len(), raw::memory("VmRSS"))
    };
    let (held, full) = flood(&mut book, count..8 * count);
    // ... and again.
    let (_, flooded) = flood(&mut book, 8 * count..14 * count);
    assert_eq!(book.known().burned, most);
    assert!(held > most / 2 && book.len() <= most, "{held}, then {} of {most}", book.len());
    let each = [(burned - start) / most, (full - burned) / held];
    let grown = flooded.saturating_sub(full);
    println!(
        "{most} burned: {} bytes each; {held} in the book: {} each; flood: {grown}",
        each[0], each[1]
    );
    assert!(each[0] < 600 && each[1] < 1100, "bytes for an address, burned and not: {each:?}");
    assert!(grown < (full - start) / 3, "grew from {full} to {flooded}");
}

// ---- the log ----

/// Messages that are wrong in every way a link bears.
fn malformed() -> Vec<Vec<u8>> {
    let mut checksum = raw::frame("ping", &[1; 8]);
    checksum[20] ^= 1;
    let mut command = raw::frame("ping", &[]);
    command[4..16].copy_from_slice(b"\x1b[2J\r\n\0\xff\x1b]0;");
    let undecodable = raw::frame("addr", &[1, 2, 3]);
    let short = raw::frame("pong", &[1, 2, 3]);
    vec![checksum, command, undecodable, short, raw::frame("\u{7e}novelty", b"\x1b[31m")]
}

#[tokio::test]
async fn a_million_malformed_messages_write_no_line_of_log() {
    within(300, async {
        let messages = 1_000_000;
        let listener = raw::listen([127, 8, 0, 1], 0).await;
        let log = LogCount::start();
        let bear_it_all = |policy: &mut Policy| {
            patient(policy);
            policy.max_bad_frames = 1_000_000;
            policy.max_undecodable = 1_000_000;
            policy.max_control_per_min = 1_000_000;
        };
        let pool =
            raw::pool().connect([address(&listener)]).tune(bear_it_all).start().await.unwrap();
        let mut peer = Raw::accept(&listener).await;
        peer.shake_hands().await;
        pool.ready(1).await.unwrap();
        let before = (log.bytes(), log.lines());
        let kinds = malformed().concat();
        for _ in 0..messages / (100 * malformed().len()) {
            peer.write(&kinds.repeat(100)).await;
        }
        peer.say(&Control::Ping(9)).await;
        peer.hear_until(|message| *message == Control::Pong(9)).await;
        assert_eq!((log.bytes(), log.lines()), before);
        assert!(before.1 > 3, "the log is written: {before:?}");
        assert_eq!(pool.status().await.ready_count(), 1);
    })
    .await;
}

/// A node that shakes hands, says something malformed until it is dropped, and is dialled again.
/// Returns what the log has after so many connections.
async fn log_of_a_nuisance(connections: usize, ration: usize) -> (usize, usize) {
    let listener = raw::listen([127, 8, 0, 2], 0).await;
    let log = LogCount::start();
    let tune = |policy: &mut Policy| {
        policy.backoff_min = ms(10);
        policy.backoff_max = ms(10);
        policy.max_log_bytes_per_hour = ration;
    };
    let pool = raw::pool().connect([address(&listener)]).tune(tune).start().await.unwrap();
    let mut watch = Watch::of(&pool);
    for _ in 0..connections {
        let mut peer = Raw::accept(&listener).await;
        peer.shake_hands().await;
        peer.write(&malformed()[0].repeat(11)).await;
        let reason = disconnected(&mut watch).await;
        assert_eq!(reason, DisconnectReason::Fault(LinkFault::BadFrames));
    }
    drop(pool);
    watch.end().await;
    assert!(watch.past.len() >= 5 * connections);
    (log.bytes(), log.lines())
}

#[tokio::test]
async fn a_peer_that_is_dropped_again_and_again_fills_no_log() {
    within(120, async {
        let (_, all) = log_of_a_nuisance(100, 1_000_000).await;
        assert!(all >= 500, "{all} lines: each event is one");
        let (bytes, lines) = log_of_a_nuisance(100, 10_000).await;
        println!("{lines} lines of {all}, {bytes} bytes");
        assert!(bytes <= 10_000 && lines >= 20, "{bytes} bytes, {lines} lines");
    })
    .await;
}

#[tokio::test]
async fn who_echoes_our_version_is_ourselves_and_dialled_once() {
    within(60, async {
        let mut listeners = Vec::new();
        for n in 1..=50 {
            listeners.push(raw::listen([127, 9, 0, n], 0).await);
        }
        let log = LogCount::start();
        let addresses: Vec<_> = listeners.iter().map(address).collect();
        let pool = raw::pool().connect(addresses.clone()).target(50).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let mut echoes = JoinSet::new();
        for listener in listeners {
            echoes.spawn(async move {
                loop {
                    let mut peer = Raw::accept(&listener).await;
                    let version = peer.hear().await.unwrap();
                    peer.say(&version).await;
                    assert!(peer.drain().await.is_empty(), "nothing is said to ourselves");
                }
            });
        }
        watch.count(50, |event| matches!(event, Event::Burned { .. })).await;
        let status = pool.status().await;
        assert_eq!(status.burned.get(&BurnReason::Itself), Some(&50));
        assert_eq!(status.dials, 50);
        assert_eq!(watch.seen("burned"), 50);
        for address in addresses {
            pool.add(address).await;
        }
        assert_eq!(pool.status().await.dials, 50, "not even when the user insists");
        assert!(log.bytes() < 50 * 1000, "{} bytes of log", log.bytes());
    })
    .await;
}

// ---- queues ----

#[tokio::test]
async fn inventories_get_no_answer_and_too_many_end_the_connection() {
    within(120, async {
        let listener = raw::listen([127, 8, 0, 3], 0).await;
        let pool = raw::pool().connect([address(&listener)]).tune(patient).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let mut peer = Raw::accept(&listener).await;
        peer.shake_hands().await;
        watch.named("ready").await;
        let payload = [&[0xfd][..], &50_000u16.to_le_bytes(), &[7; 50_000 * 36]].concat();
        let inventory = raw::frame("inv", &payload);
        let borne = Policy::default().max_unasked_bytes_per_min / inventory.len();
        for _ in 0..borne {
            peer.write(&inventory).await;
        }
        peer.say(&Control::Ping(9)).await;
        assert_eq!(peer.hear().await, Some(Control::Pong(9)), "the first thing said since");
        // The connection may be closed on us while we write.
        let (_, mut writer) = peer.stream.split();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &inventory).await;
        assert_eq!(disconnected(&mut watch).await, DisconnectReason::Fault(LinkFault::Flood));
    })
    .await;
}

/// A peer that asks for answers without end and reads none; and another peer meanwhile.
#[tokio::test]
async fn a_peer_that_never_reads_is_dropped_and_others_do_not_notice() {
    within(120, async {
        let deaf = raw::listen_narrow([127, 8, 0, 4]);
        let good = raw::listen([127, 8, 0, 5], 0).await;
        let tune = |policy: &mut Policy| {
            patient(policy);
            policy.max_pings_answered_per_min = 1_000_000;
            policy.max_pings_per_min = 1_000_000;
            policy.max_control_per_min = 1_000_000;
        };
        let addresses = [address(&deaf), address(&good)];
        let pool = raw::pool().connect(addresses).target(2).tune(tune).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let mut first = Raw::accept(&deaf).await;
        first.shake_hands().await;
        let mut second = Raw::accept(&good).await;
        second.shake_hands().await;
        watch.named("full").await;
        let mut lease = lease_of(&pool, address(&good)).await;
        let attack = tokio::spawn(async move {
            let ping = raw::frame("ping", &[1; 8]).repeat(1000);
            // Until it is cut off: sockets take in some 100,000 answers before any is queued.
            while tokio::io::AsyncWriteExt::write_all(&mut first.stream, &ping).await.is_ok() {}
            // Still there, and not reading, until the test ends.
            first
        });
        let echo = tokio::spawn(async move {
            while let Some(message) = second.hear().await {
                if let Control::Ping(nonce) = message {
                    second.say(&Control::Pong(nonce)).await;
                }
            }
        });
        let mut turns = 0;
        let reason = loop {
            tokio::select! {
                biased;
                reason = disconnected(&mut watch) => break reason,
                () = turn(&mut lease, turns) => turns += 1,
            }
        };
        assert_eq!(reason, DisconnectReason::SendQueueFull);
        assert!(turns > 10, "{turns} answers of the other peer meanwhile");
        turn(&mut lease, turns).await;
        assert_eq!(pool.status().await.ready_count(), 1);
        println!("{turns} turns with the other peer before the deaf one was dropped");
        attack.abort();
        echo.abort();
    })
    .await;
}

/// A lease of the peer at this address, of two.
async fn lease_of(pool: &Pool, address: Address) -> peerpool::Lease {
    let mut others = Vec::new();
    loop {
        let lease = pool.lease(&Require::any()).await.unwrap();
        if lease.address() == address {
            return lease;
        }
        others.push(lease);
    }
}

/// One question and its answer.
async fn turn(lease: &mut peerpool::Lease, nonce: u64) {
    lease.send(NetworkMessage::Ping(nonce)).await.unwrap();
    while lease.recv().await.unwrap() != NetworkMessage::Pong(nonce) {}
}

#[tokio::test]
async fn of_a_hundred_thousand_pings_at_most_600_are_answered() {
    within(60, async {
        let listener = raw::listen([127, 8, 0, 6], 0).await;
        let pool = raw::pool().connect([address(&listener)]).tune(patient).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let mut peer = Raw::accept(&listener).await;
        peer.shake_hands().await;
        watch.named("ready").await;
        let pings = raw::frame("ping", &[1; 8]).repeat(100_000);
        let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &pings).await;
        assert_eq!(disconnected(&mut watch).await, DisconnectReason::Fault(LinkFault::Flood));
        let heard = peer.drain().await.len();
        assert!(heard <= Policy::default().max_pings_answered_per_min, "{heard} answers");
    })
    .await;
}
