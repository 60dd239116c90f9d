//! What the bytes of one peer cost its link: memory held, outputs made. Not time, which the bench
//! `link` measures.

use std::time::Duration;

use peerpool_core::id::LinkFault;
use peerpool_core::link::{Link, LinkOutput};
use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;
use peerpool_core::wire::{Command, Control, HEADER_LEN, encode_frame};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
/// What the shell reads at once.
const READ: usize = 16 * 1024;
/// The longest payload.
const LONGEST: usize = 4_000_000;

/// The link of a peer that has shaken hands; before that it may say less.
fn link(watched: bool) -> Link {
    let mut link = Link::new(MAGIC, &Policy::default());
    link.handle_bytes(Monotonic::default(), &frame("verack", &[]));
    assert_eq!(link.poll(), Some(LinkOutput::Control(Control::Verack)));
    link.set_watched(watched);
    link
}

fn frame(command: &str, payload: &[u8]) -> Vec<u8> {
    encode_frame(MAGIC, Command::parse(command).expect("a command"), payload)
}

/// The frame of a list of `count` items of `item` zero bytes each.
fn list(command: &str, count: u32, item: usize) -> Vec<u8> {
    let payload = [&[0xfe][..], &count.to_le_bytes(), &vec![0; count as usize * item]].concat();
    frame(command, &payload)
}

/// What a link made of a stream.
struct Fed {
    outputs: Vec<LinkOutput>,
    /// The most memory it held, judged after every piece.
    most: usize,
    /// Bytes it had taken when it found a fault, or all.
    taken: usize,
}

/// Feeds `bytes` in pieces of `step`.
fn feed(link: &mut Link, now: Monotonic, bytes: &[u8], step: usize) -> Fed {
    let mut fed = Fed { outputs: Vec::new(), most: 0, taken: 0 };
    for piece in bytes.chunks(step) {
        link.handle_bytes(now, piece);
        fed.most = fed.most.max(link.memory());
        fed.taken += piece.len();
        fed.outputs.extend(std::iter::from_fn(|| link.poll()));
        if let Some(LinkOutput::Fault(_)) = fed.outputs.last() {
            break;
        }
    }
    fed
}

#[test]
fn a_list_longer_than_allowed_is_refused_by_its_count_within_64_kib() {
    // 0xfe begins a count of five bytes, so that the shortest form holds for the large ones only.
    for (command, count, item) in [
        ("addr", 133_000, 30),
        ("addrv2", 133_000, 30),
        ("inv", 111_000, 36),
        ("headers", 65_536, 61),
    ] {
        for watched in [false, true] {
            for step in [1, 1000, READ] {
                let bytes = list(command, count, item);
                let fed = feed(&mut link(watched), Monotonic::default(), &bytes, step);
                let fault = LinkOutput::Fault(LinkFault::TooMany);
                assert_eq!(fed.outputs.last(), Some(&fault), "{command}");
                assert!(fed.taken <= (HEADER_LEN + 5).next_multiple_of(step), "{command}");
                assert!(fed.most < 64 * 1024, "{command}: {} bytes held", fed.most);
            }
        }
    }
    let payload = [&[0xfd, 0xe9, 3][..], &vec![0; 1001 * 30]].concat();
    for step in [1, 1000, READ] {
        let bytes = frame("addr", &payload);
        let fed = feed(&mut link(false), Monotonic::default(), &bytes, step);
        assert_eq!(fed.outputs, [LinkOutput::Fault(LinkFault::TooMany)]);
        assert!(fed.taken < bytes.len() && fed.most < 64 * 1024);
    }
}

#[test]
fn a_claim_of_four_megabytes_costs_nothing_until_they_come() {
    for command in ["version", "addr", "addrv2", "ping", "inv", "block", "novelty"] {
        for watched in [false, true] {
            let mut bytes = frame(command, &[]);
            bytes[16..20].copy_from_slice(&4_000_000u32.to_le_bytes());
            let mut link = link(watched);
            let fed = feed(&mut link, Monotonic::default(), &bytes, 1);
            assert!(fed.most <= 1024, "{command}: {} bytes held", fed.most);
            // A byte more makes the buffer no larger than what was read.
            let fed = feed(&mut link, Monotonic::default(), &[0], 1);
            assert!(fed.most <= 1024, "{command}: {} bytes held", fed.most);
        }
    }
}

/// In a debug build fewer than the thousand: what is asserted of each message says that more of
/// them cost no more.
#[test]
fn inventories_of_fifty_thousand_leave_nothing_behind() {
    let messages = 1000;
    let bytes = list("inv", 50_000, 36);
    let bytes = {
        // The shortest form of the count, which 50,000 has with two bytes.
        let payload = [&[0xfd][..], &50_000u16.to_le_bytes(), &bytes[HEADER_LEN + 5..]].concat();
        frame("inv", &payload)
    };
    let minute = Duration::from_secs(60);
    let mut link = link(false);
    let mut now = Monotonic::default();
    for message in 0..messages {
        // As fast as the budget of a minute allows.
        let within = Policy::default().max_unasked_bytes_per_min / bytes.len();
        if message % within == 0 {
            now = now + minute;
        }
        let fed = feed(&mut link, now, &bytes, READ);
        assert!(fed.most <= 1024, "{} bytes held", fed.most);
        // Progress is told to the engine for liveness; it answers nothing to it.
        assert!(fed.outputs.iter().all(|output| *output == LinkOutput::Progress));
    }
    assert_eq!(link.counters().messages, 1 + messages as u64);
}

#[test]
fn inventories_faster_than_the_budget_are_a_flood() {
    let bytes = frame("inv", &[&[0xfd][..], &50_000u16.to_le_bytes(), &[0; 1_800_000]].concat());
    let mut link = link(false);
    let mut sent = 0;
    let fault = loop {
        let fed = feed(&mut link, Monotonic::default(), &bytes, READ);
        sent += fed.taken;
        if let Some(LinkOutput::Fault(fault)) = fed.outputs.last() {
            break *fault;
        }
    };
    assert_eq!(fault, LinkFault::Flood);
    assert!(sent <= Policy::default().max_unasked_bytes_per_min + READ, "{sent} bytes borne");
}

/// The longest message of each kind, and a good many of the shortest.
#[test]
fn no_four_megabytes_make_more_than_their_share_of_work() {
    let policy = Policy::default();
    for command in [
        "version", "verack", "addr", "addrv2", "ping", "pong", "inv", "headers", "block", "novelty",
    ] {
        for watched in [false, true] {
            let mut link = link(watched);
            let fed =
                feed(&mut link, Monotonic::default(), &frame(command, &vec![0; LONGEST]), READ);
            assert!(fed.outputs.len() <= 3, "{command}: {:?}", fed.outputs.len());
            assert!(fed.most <= LONGEST + 64 * 1024, "{command}: {} bytes held", fed.most);

            let short = frame(command, &[]);
            let mut link = self::link(watched);
            let many = short.repeat(LONGEST / 20 / HEADER_LEN);
            let fed = feed(&mut link, Monotonic::default(), &many, READ);
            // A queue of outputs is drained after every read: it is as long as a read has frames.
            let queue = (READ / HEADER_LEN) * 2 * size_of::<LinkOutput>();
            assert!(fed.most <= 2 * queue, "{command}: {} bytes held", fed.most);
            let controls =
                fed.outputs.iter().filter(|o| matches!(o, LinkOutput::Control(_))).count();
            assert!(controls <= policy.max_control_per_min, "{command}: {controls} for the engine");
        }
    }
}

#[test]
fn of_a_hundred_thousand_pings_no_more_are_answered_than_the_budget_says() {
    let ping = frame("ping", &[7; 8]);
    let mut link = link(false);
    let fed = feed(&mut link, Monotonic::default(), &ping.repeat(100_000), READ);
    let pings = fed
        .outputs
        .iter()
        .filter(|o| **o == LinkOutput::Control(Control::Ping(0x0707_0707_0707_0707)));
    assert_eq!(pings.count(), Policy::default().max_pings_answered_per_min);
    assert_eq!(fed.outputs.last(), Some(&LinkOutput::Fault(LinkFault::Flood)));
    assert!(fed.taken <= 1001 * ping.len() + READ, "the rest is not even read");
}
