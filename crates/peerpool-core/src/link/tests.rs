//! What a link makes of good, bad and hostile bytes: the tables first, then the properties.

mod queries;

use proptest::prelude::*;

use super::*;
use crate::event::UserAgent;
use crate::wire::{HEADER_LEN, Version, encode_frame};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
const START: Monotonic = Monotonic::new(Duration::from_secs(100));

/// A link whose handshake has no end, so that every budget after it can be met.
fn link() -> Link {
    Link::new(MAGIC, &Policy { max_handshake_messages: 100_000, ..Policy::default() })
}

fn watched() -> Link {
    let mut link = link();
    link.set_watched(true);
    link
}

fn frame(command: &str, payload: &[u8]) -> Vec<u8> {
    encode_frame(MAGIC, Command::parse(command).unwrap(), payload)
}

fn drain(link: &mut Link) -> Vec<LinkOutput> {
    std::iter::from_fn(|| link.poll()).collect()
}

/// What comes of `bytes` given at once.
fn feed(link: &mut Link, now: Monotonic, bytes: &[u8]) -> Vec<LinkOutput> {
    link.handle_bytes(now, bytes);
    drain(link)
}

fn fault(fault: LinkFault) -> Vec<LinkOutput> {
    vec![LinkOutput::Fault(fault)]
}

fn control(message: Control) -> LinkOutput {
    LinkOutput::Control(message)
}

fn message(command: &str, payload: &[u8]) -> LinkOutput {
    let command = Command::parse(command).unwrap();
    LinkOutput::Message(RawMessage { command, payload: payload.into() })
}

fn version() -> Version {
    Version {
        protocol: 70016,
        services: 9.into(),
        timestamp: 5,
        nonce: 6,
        user_agent: UserAgent(b"/x/".to_vec()),
        height: 7,
        relay: true,
    }
}

/// One `addr` entry: 1.2.3.4:8333.
fn addr_entry() -> Vec<u8> {
    let ip = std::net::Ipv4Addr::new(1, 2, 3, 4).to_ipv6_mapped().octets();
    [&[0; 12][..], &ip, &[0x20, 0x8d]].concat()
}

#[test]
fn messages_for_the_engine_reach_it_with_or_without_a_lease() {
    let addr = [&[1][..], &addr_entry()].concat();
    let Ok(Some(addrs)) = Control::decode(Command::new("addr"), &addr, 1) else {
        panic!("a valid addr")
    };
    let version = Control::Version(Box::new(version()));
    let nonce = 7u64.to_le_bytes();
    for (command, payload, expected) in [
        ("version", &version.encode_payload(None)[..], version.clone()),
        ("verack", &[], Control::Verack),
        ("verack", &[1, 2], Control::Verack),
        ("wtxidrelay", &[], Control::WtxidRelay),
        ("sendaddrv2", &[], Control::SendAddrV2),
        ("getaddr", &[], Control::GetAddr),
        ("addr", &addr, addrs.clone()),
        ("addrv2", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], Control::Addr(vec![])),
        ("ping", &nonce, Control::Ping(7)),
        ("ping", &[7, 0, 0, 0, 0, 0, 0, 0, 9, 9], Control::Ping(7)),
        ("pong", &nonce, Control::Pong(7)),
        ("pong", &[7, 0, 0, 0, 0, 0, 0, 0, 9, 9], Control::Pong(7)),
    ] {
        let bytes = frame(command, payload);
        assert_eq!(feed(&mut link(), START, &bytes), [control(expected.clone())], "{command}");

        let opening = ["version", "verack", "wtxidrelay", "sendaddrv2"].contains(&command);
        let shown = (!opening).then(|| message(command, payload));
        let expected: Vec<_> = [control(expected)].into_iter().chain(shown).collect();
        assert_eq!(feed(&mut watched(), START, &bytes), expected, "{command}, watched");
    }
}

#[test]
fn messages_for_a_lease_are_shown_only_while_the_link_is_watched() {
    for (command, payload) in [
        ("headers", &[0][..]),
        ("inv", &[0xfd, 1]),
        ("block", &[0xab; 1000]),
        ("tx", &[]),
        ("sendheaders", &[]),
        ("reject", &[1]),
        ("alert", &[1]),
        ("", &[]),
        ("novelty", &[1]),
    ] {
        let bytes = frame(command, payload);
        assert_eq!(feed(&mut link(), START, &bytes), [LinkOutput::Progress], "{command}");
        let expected = [LinkOutput::Progress, message(command, payload)];
        assert_eq!(feed(&mut watched(), START, &bytes), expected, "{command}, watched");
    }
}

#[test]
fn framing_faults() {
    let claims = |length: u32| {
        let mut bytes = frame("block", &[]);
        bytes[16..20].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    for (bytes, expected) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), LinkFault::BadMagic),
        (vec![0xf9, 0xbe, 0xb4, 0xd9], LinkFault::BadMagic),
        (claims(4_000_001), LinkFault::Oversized),
        (claims(u32::MAX), LinkFault::Oversized),
    ] {
        assert_eq!(feed(&mut link(), START, &bytes), fault(expected));
    }
    let mut link = link();
    let bytes = [&frame("verack", &[])[..], b"junk"].concat();
    let expected = [control(Control::Verack), LinkOutput::Fault(LinkFault::BadMagic)];
    assert_eq!(feed(&mut link, START, &bytes), expected);
}

#[test]
fn bad_frames_are_skipped_up_to_the_limit() {
    let mut bad_sum = frame("ping", &[1; 8]);
    bad_sum[20] ^= 1;
    let mut bad_command = frame("ping", &[1; 8]);
    bad_command[15] = b'x';
    for bad in [bad_sum, bad_command] {
        let mut link = link();
        let pings = feed(&mut link, START, &[bad.repeat(10), frame("ping", &[0; 8])].concat());
        assert_eq!(pings, [control(Control::Ping(0))]);
        assert_eq!((link.counters().bad_frames, link.counters().messages), (10, 1));
        assert_eq!(feed(&mut link, START, &bad), fault(LinkFault::BadFrames));
    }
}

#[test]
fn an_undecodable_version_ends_the_link() {
    let good = version().encode(None);
    let long = [&good[..80], &[0xfd, 1, 1], &[b'a'; 257]].concat();
    for payload in [&[][..], &good[..4], &good[..45], &good[..79], &long] {
        let bytes = frame("version", payload);
        assert_eq!(feed(&mut link(), START, &bytes), fault(LinkFault::Undecodable));
    }
    for payload in [&good[..46], &good[..good.len() - 1], &[&good[..], &[9; 100]].concat()] {
        let outputs = feed(&mut link(), START, &frame("version", payload));
        assert!(matches!(outputs[..], [LinkOutput::Control(Control::Version(_))]));
    }
}

#[test]
fn undecodable_addresses_are_borne_up_to_the_limit() {
    for payload in [
        &[][..],
        &[0xff; 9],
        &[0xfe, 1, 0, 0, 2],
        &[0xfd, 0xe8, 3, 1],
        &[0xfd, 1, 0],
        &[1, 2, 3],
        &[1, 0, 0, 0, 0, 0, 1, 5, 1, 2, 3, 4, 5, 0, 0],
    ] {
        let mut link = link();
        let bytes = frame("addrv2", payload);
        assert_eq!(feed(&mut link, START, &bytes.repeat(3)), [], "{payload:?}");
        assert_eq!(link.counters().undecodable, 3);
        assert_eq!(feed(&mut link, START, &bytes), fault(LinkFault::Undecodable));
    }
}

#[test]
fn lists_beyond_the_protocol_end_the_link_watched_or_not() {
    let list = |count: u32, item: usize| {
        let count = [&[0xfe][..], &count.to_le_bytes()].concat();
        let count = if count[3] == 0 { [&[0xfd], &count[1..3]].concat() } else { count };
        [count, vec![0; item]].concat()
    };
    for (command, most) in [("inv", 50_000), ("getdata", 50_000), ("notfound", 50_000)] {
        let ok = feed(&mut link(), START, &frame(command, &list(most, 36)));
        assert_eq!(ok, [LinkOutput::Progress], "{command}");
        for mut link in [link(), watched()] {
            let outputs = feed(&mut link, START, &frame(command, &list(most + 1, 36)));
            assert_eq!(outputs, [LinkOutput::Progress, LinkOutput::Fault(LinkFault::TooMany)]);
        }
    }
    let headers = feed(&mut link(), START, &frame("headers", &list(2000, 81)));
    assert_eq!(headers, [LinkOutput::Progress]);
    let headers = feed(&mut link(), START, &frame("headers", &list(2001, 81)));
    assert_eq!(headers, [LinkOutput::Progress, LinkOutput::Fault(LinkFault::TooMany)]);
    let addr = [&[0xfd, 0xe9, 3][..], &addr_entry().repeat(1001)].concat();
    assert_eq!(feed(&mut link(), START, &frame("addr", &addr)), fault(LinkFault::TooMany));
    assert_eq!(feed(&mut link(), START, &frame("addrv2", &addr)), fault(LinkFault::TooMany));
}

#[test]
fn a_full_addr_with_bytes_behind_it_is_used() {
    let addr = [&[0xfd, 0xe8, 3][..], &addr_entry().repeat(1000), &[1; 600_000]].concat();
    match &feed(&mut link(), START, &frame("addr", &addr))[..] {
        [LinkOutput::Control(Control::Addr(entries))] => assert_eq!(entries.len(), 1000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn short_pings_and_pongs_are_ignored() {
    for length in [0, 7] {
        for command in ["ping", "pong"] {
            let mut link = watched();
            assert_eq!(feed(&mut link, START, &frame(command, &vec![1; length])), []);
            assert_eq!(link.counters().pings_ignored, u64::from(command == "ping"));
        }
    }
}

#[test]
fn pings_are_ignored_above_one_limit_and_end_the_link_above_the_next() {
    let mut link = watched();
    let ping = frame("ping", &[0; 8]);
    let outputs = feed(&mut link, START, &ping.repeat(1000));
    assert_eq!(outputs.len(), 2 * 600);
    assert_eq!(link.counters().pings_ignored, 400);
    let next_minute = START + WINDOW;
    assert_eq!(feed(&mut link, next_minute, &ping.repeat(1000)).len(), 2 * 600);
    assert_eq!(feed(&mut link, next_minute, &ping), fault(LinkFault::Flood));
}

#[test]
fn control_messages_have_a_budget_per_minute() {
    for (command, payload) in [("verack", &[][..]), ("getaddr", &[]), ("pong", &[1; 8])] {
        let mut link = link();
        let bytes = frame(command, payload);
        assert_eq!(feed(&mut link, START, &bytes.repeat(1000)).len(), 1000);
        assert_eq!(feed(&mut link, START + WINDOW, &bytes.repeat(1000)).len(), 1000);
        assert_eq!(feed(&mut link, START + WINDOW, &bytes), fault(LinkFault::Flood));
    }
}

#[test]
fn messages_for_nobody_have_a_budget_of_bytes_per_minute() {
    let policy = Policy { max_unasked_bytes_per_min: 1000 + HEADER_LEN, ..Policy::default() };
    let block = frame("block", &[1; 1000]);
    let flood = fault(LinkFault::Flood);
    let mut link = Link::new(MAGIC, &policy);
    assert_eq!(feed(&mut link, START, &block), [LinkOutput::Progress]);
    assert_eq!(feed(&mut link, START, &block[..HEADER_LEN]), flood);

    let mut link = Link::new(MAGIC, &policy);
    link.set_watched(true);
    for _ in 0..10 {
        let outputs = feed(&mut link, START, &block);
        assert!(!outputs.contains(&flood[0]), "whoever leases the peer has asked for them");
    }
}

#[test]
fn unknown_commands_have_a_budget_of_bytes_per_minute() {
    let policy = Policy { max_unknown_bytes_per_min: 1000 + HEADER_LEN, ..Policy::default() };
    let mut link = Link::new(MAGIC, &policy);
    let unknown = frame("novelty", &[1; 1000]);
    assert_eq!(feed(&mut link, START, &unknown), [LinkOutput::Progress]);
    assert_eq!(feed(&mut link, START, &frame("block", &[1; 5000])), []);
    assert_eq!(feed(&mut link, START + WINDOW, &unknown), [LinkOutput::Progress]);
    // What is too many is not waited for.
    let too_many = feed(&mut link, START + WINDOW, &unknown[..HEADER_LEN]);
    assert_eq!(too_many, fault(LinkFault::Flood));
    assert_eq!(link.counters().unknown_bytes, 2000 + 3 * HEADER_LEN as u64);

    // A frame without a payload is not free.
    let mut link = Link::new(MAGIC, &policy);
    let empty = frame("novelty", &[]);
    let within = (1000 + HEADER_LEN) / HEADER_LEN;
    assert_eq!(feed(&mut link, START, &empty.repeat(within)), [LinkOutput::Progress]);
    assert_eq!(feed(&mut link, START, &empty), [LinkOutput::Fault(LinkFault::Flood)]);
}

#[test]
fn a_control_message_must_be_whole_in_time_whatever_comes_meanwhile() {
    let deadline = Policy::default().message_deadline;
    let addr = frame("addr", &[&[9][..], &addr_entry().repeat(9)].concat());
    for cut in [1, 23, 24, 60] {
        let mut link = link();
        assert_eq!(link.wake_at(), None);
        link.handle_bytes(START, &addr[..cut]);
        assert_eq!(link.wake_at(), Some(START + deadline));
        link.handle_bytes(START + deadline / 2, &addr[cut..cut + 1]);
        assert_eq!(link.wake_at(), Some(START + deadline), "a byte more is not the end");
        link.handle_timeout(START + Duration::from_millis(29_999));
        assert_eq!(link.poll(), None, "woken too early");
        link.handle_timeout(START + deadline);
        assert_eq!(drain(&mut link), fault(LinkFault::StalledMessage));
        assert_eq!(link.wake_at(), None);
    }
    // The next one has its own time, though it came in the same read as the end of the last.
    let mut link = link();
    let half = addr.len() / 2;
    link.handle_bytes(START, &addr[..half]);
    let later = START + deadline / 2;
    link.handle_bytes(later, &[&addr[half..], &addr[..half]].concat());
    assert_eq!(link.wake_at(), Some(later + deadline));
}

#[test]
fn a_block_may_take_its_time_as_long_as_enough_of_it_comes() {
    let (deadline, progress) = (Duration::from_secs(30), 1000);
    let policy = Policy { min_message_progress: progress, ..Policy::default() };
    let block = frame("block", &[1; 5000]);
    let mut link = Link::new(MAGIC, &policy);
    link.handle_bytes(START, &block[..HEADER_LEN]);
    let mut now = START;
    for piece in block[HEADER_LEN..].chunks(progress / 2) {
        now = now + Duration::from_secs(14);
        link.handle_timeout(now);
        link.handle_bytes(now, piece);
    }
    assert_eq!((link.wake_at(), link.counters().messages), (None, 1));
    assert!(drain(&mut link).iter().all(|output| *output == LinkOutput::Progress));

    link.handle_bytes(START, &block[..HEADER_LEN + progress]);
    for second in 1..30 {
        link.handle_bytes(START + Duration::from_secs(second), &[1; 33]);
    }
    assert_eq!(link.wake_at(), Some(START + deadline), "29 times 33 bytes are not enough");
    link.handle_bytes(START + Duration::from_secs(29), &[1; 43]);
    assert_eq!(link.wake_at(), Some(START + Duration::from_secs(29) + deadline));
}

#[test]
fn a_handshake_has_so_many_messages_of_any_kind_and_no_more() {
    let link = || Link::new(MAGIC, &Policy::default());
    let flood = LinkOutput::Fault(LinkFault::Flood);
    let mut bad_sum = frame("ping", &[1; 8]);
    bad_sum[20] ^= 1;
    for (one, times) in [(frame("novelty", &[]), 99), (frame("sendaddrv2", &[]), 99), (bad_sum, 9)]
    {
        let rest = frame("novelty", &[]).repeat(99 - times);
        let opening = [one.repeat(times), rest, frame("verack", &[])].concat();
        let mut whole = link();
        feed(&mut whole, START, &opening);
        let after = feed(&mut whole, START, &frame("novelty", &[]).repeat(200));
        assert!(!after.contains(&flood), "the handshake is over");
        let mut long = link();
        let outputs = feed(&mut long, START, &[one, opening].concat());
        assert_eq!(outputs.last(), Some(&flood));
    }
}

#[test]
fn progress_is_told_at_most_once_a_second() {
    let mut link = link();
    let bytes = frame("block", &[1; 100]);
    let at = |millis| START + Duration::from_millis(millis);
    for (from, to, millis, expected) in [
        (0, 23, 0, 0),  // no header yet
        (23, 24, 0, 1), // now it is known what comes
        (24, 30, 999, 0),
        (30, 31, 1000, 1),
        (31, 32, 1999, 0),
        (32, 124, 2000, 1),
    ] {
        let outputs = feed(&mut link, at(millis), &bytes[from..to]);
        assert_eq!(outputs, vec![LinkOutput::Progress; expected], "bytes {from} to {to}");
    }
    let control = feed(&mut link, at(9000), &frame("ping", &[1; 8]));
    assert!(!control.contains(&LinkOutput::Progress));
}

#[test]
fn nothing_comes_after_a_fault() {
    let mut link = watched();
    link.handle_bytes(START, b"junk");
    link.handle_bytes(START, &frame("verack", &[]));
    link.handle_timeout(START + Duration::from_secs(9999));
    assert_eq!(drain(&mut link), fault(LinkFault::BadMagic));
    assert_eq!((link.wake_at(), link.counters().messages), (None, 0));
}

#[test]
fn memory_follows_what_has_come_and_is_given_back() {
    assert!(size_of::<Link>() < 1024, "{}", size_of::<Link>());
    let block = frame("block", &vec![1; 3_999_999]);
    let mut watched = watched();
    watched.handle_bytes(START, &block[..HEADER_LEN]);
    assert!(watched.memory() < 1024);
    watched.handle_bytes(START, &block[HEADER_LEN..1000]);
    assert!(watched.memory() < 2048);
    for chunk in block[1000..].chunks(4096) {
        watched.handle_bytes(START, chunk);
    }
    let outputs = drain(&mut watched);
    assert!(
        matches!(&outputs[..], [_, LinkOutput::Message(raw)] if raw.payload.len() == 3_999_999)
    );
    assert!(watched.memory() < 1024, "{}", watched.memory());

    let mut unwatched = link();
    for chunk in block.chunks(4096) {
        unwatched.handle_bytes(START, chunk);
        assert!(unwatched.memory() < 1024, "a payload for nobody is not held");
    }
    assert_eq!(drain(&mut unwatched), [LinkOutput::Progress]);
    let many = feed(&mut unwatched, START, &frame("verack", &[]).repeat(500));
    assert_eq!(many.len(), 500);
    assert!(unwatched.memory() < 1024);
}

#[test]
fn our_frames_are_read_by_a_link() {
    let mut dialler = link();
    dialler.set_remote("8.8.8.8:8333".parse().unwrap());
    let opening = Control::Version(Box::new(version()));
    for message in [opening, Control::Verack, Control::Ping(5)] {
        let bytes = dialler.encode(&message);
        assert_eq!(feed(&mut link(), START, &bytes), [control(message)]);
    }
    let bytes = dialler.encode_message(&NetworkMessage::FeeFilter(1000));
    let expected = [LinkOutput::Progress, message("feefilter", &1000u64.to_le_bytes())];
    assert_eq!(feed(&mut watched(), START, &bytes), expected);
    let named = &dialler.encode(&Control::Version(Box::new(version())))[HEADER_LEN + 38..][..8];
    assert_eq!(named, [0xff, 0xff, 8, 8, 8, 8, 0x20, 0x8d]);
}

/// Limits so low that short streams meet them.
fn strict() -> Policy {
    Policy {
        max_bad_frames: 2,
        max_undecodable: 1,
        max_addr_entries: 3,
        max_message_size: 1000,
        max_unknown_bytes_per_min: 1000,
        max_pings_answered_per_min: 3,
        max_pings_per_min: 5,
        max_control_per_min: 10,
        ..Policy::default()
    }
}

/// What comes of `bytes` cut at each of `cuts`.
fn outputs_of(bytes: &[u8], cuts: &[usize], watch: bool) -> Vec<LinkOutput> {
    let mut link = Link::new(MAGIC, &strict());
    link.set_watched(watch);
    let mut outputs = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        outputs.extend(feed(&mut link, START, &bytes[from..to]));
        from = to;
        assert!(link.memory() < 1024 + 2 * bytes.len());
    }
    outputs
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    const COMMANDS: [&str; 12] = [
        "version", "verack", "addr", "addrv2", "ping", "pong", "inv", "headers", "tx", "getaddr",
        "novelty", "",
    ];
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(any::<u8>(), 0..400),
        (0u8..5).prop_map(|n| [vec![n], addr_entry().repeat(n.into())].concat()),
        Just(version().encode(None)),
    ];
    let good = (prop::sample::select(&COMMANDS), payload)
        .prop_map(|(command, payload)| frame(command, &payload));
    let spoilt = (good.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    prop_oneof![8 => good, 2 => spoilt, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #[test]
    fn any_split_of_any_stream_gives_the_same(
        pieces in prop::collection::vec(piece(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        watch in any::<bool>(),
    ) {
        let bytes = pieces.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = outputs_of(&bytes, &[], watch);
        prop_assert_eq!(&outputs_of(&bytes, &cuts, watch), &whole);
        let every: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(&outputs_of(&bytes, &every, watch), &whole);
        let faults = whole.iter().filter(|output| matches!(output, LinkOutput::Fault(_))).count();
        let ends_with_it = matches!(whole.last(), Some(LinkOutput::Fault(_)));
        prop_assert_eq!(faults, usize::from(ends_with_it));
    }
}
