//! Frames: magic, command, length, checksum, and messages that do not end.

use std::time::Duration;

use peerpool_core::id::{BurnReason, DisconnectReason, LinkFault};

use super::bytes::{
    MAGIC, checksum, command, entry, frame, header, ip, list, raw_frame, verack, version,
};
use super::row::{Row, Site, Step, burned, closed, fault, open, secs};

const MAINNET: [u8; 4] = [0xf9, 0xbe, 0xb4, 0xd9];
const LONGEST: usize = 4_000_000;

pub(crate) fn rows(site: &Site) -> Vec<Row> {
    [magics(), spoilt(), lengths(), unknown(), pieces(), unfinished(site)].concat()
}

fn magics() -> Vec<Row> {
    let strange = || burned(BurnReason::BadMagic);
    let other = |name, payload: &[u8]| {
        let length = payload.len() as u32;
        [&header(MAINNET, command(name), length, checksum(payload)), payload].concat()
    };
    let hello = version(|_| ())[24..].to_vec();
    let v2_key: Vec<u8> = (1..=64).collect();
    vec![
        Row::new("Frames", "a frame of another chain")
            .frames([("ping", other(b"ping", &[7; 8])), ("version", other(b"version", &hello))])
            .gives(strange(), strange(), fault(LinkFault::BadMagic)),
        Row::new("Frames", "another protocol: HTTP, TLS, BIP324, one wrong byte")
            .frames([
                ("http", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
                ("tls", vec![0x16, 3, 1, 2, 0, 1, 0]),
                ("bip324", v2_key),
                ("one byte", vec![0]),
                ("last byte of the magic", vec![MAGIC[0], MAGIC[1], MAGIC[2], !MAGIC[3]]),
            ])
            .gives(strange(), strange(), fault(LinkFault::BadMagic)),
    ]
}

fn spoilt() -> Vec<Row> {
    let payload = [7; 8];
    let wrong_sum = |sum| [&header(MAGIC, command(b"ping"), 8, sum)[..], &payload].concat();
    let mut after_nul = command(b"ping");
    after_nul[6] = b'x';
    let frames = [
        ("checksum one bit off", wrong_sum(checksum(&payload).map(|byte| byte ^ 1))),
        ("checksum 0", wrong_sum([0; 4])),
        ("command with 0xff", raw_frame(command(b"\xffing"), &payload)),
        ("command with a control character", raw_frame(command(b"pi\x1bg"), &payload)),
        ("command with bytes after its NUL", raw_frame(after_nul, &payload)),
    ];
    let times = |name, count: usize| {
        let row = Row::new("Frames", name);
        let each = |row: Row, (label, bytes): &(&str, Vec<u8>)| {
            row.input(*label, vec![Step::Times(count, bytes.clone())])
        };
        frames.iter().fold(row, each)
    };
    let eleven = burned(BurnReason::Protocol).bad_frames(11);
    vec![
        times("a wrong checksum or malformed command, 10 times", 10).always(open().bad_frames(10)),
        times("11 frames with a wrong checksum or malformed command", 11)
            .gives(eleven, eleven, fault(LinkFault::BadFrames).bad_frames(11))
            .differs(
                "ignores any number",
                "TCP has its own checksum: who garbles is broken or hostile",
            ),
    ]
}

fn lengths() -> Vec<Row> {
    let claims = |name: &[u8], length| header(MAGIC, command(name), length, [0; 4]);
    let protocol = burned(BurnReason::Protocol);
    vec![
        Row::new("Frames", "a header that claims more than 4,000,000 B")
            .frames([
                ("4,000,001", claims(b"block", 4_000_001)),
                ("0xffffffff", claims(b"ping", u32::MAX)),
                ("0xffffffff, unknown command", claims(b"novelty", u32::MAX)),
            ])
            .gives(protocol, protocol, fault(LinkFault::Oversized)),
        Row::of("Frames", "4,000,000 B of an unknown command, 4 times", four_megabytes(4))
            .always(open()),
        Row::of("Frames", "4,000,000 B of an unknown command, 5 times", four_megabytes(5))
            .gives(protocol, protocol, fault(LinkFault::Flood))
            .differs("ignores any amount", "16 MiB a minute are more than any extension needs"),
    ]
}

fn four_megabytes(times: usize) -> Vec<Step> {
    vec![Step::Times(times, frame("novelty", &vec![1; LONGEST]))]
}

fn unknown() -> Vec<Row> {
    let names = ["novelty", "", "reject", "alert", "sendtxrcncl"];
    vec![
        Row::new("Frames", "an unknown, empty or obsolete command")
            .frames(names.map(|name| (name, frame(name, &[1; 20]))))
            .always(open()),
    ]
}

fn pieces() -> Vec<Row> {
    let data = frame("novelty", &[1; 100]);
    let hello = || version(|_| ());
    vec![
        Row::new("Frames", "a message cut anywhere")
            .input("every byte by itself", vec![Step::Cut(data.clone())])
            .input(
                "header in two",
                vec![Step::Bytes(data[..11].to_vec()), Step::Bytes(data[11..].to_vec())],
            )
            .input("two messages at once", vec![Step::Bytes(data.repeat(2))])
            .input("a version byte by byte", vec![Step::Cut(hello())])
            .always(open()),
        Row::of(
            "Frames",
            "a header cut short, then the end",
            vec![Step::Bytes(data[..20].to_vec()), Step::Fin],
        )
        .gives(
            burned(BurnReason::ClosedBeforeVersion),
            burned(BurnReason::ClosedInHandshake),
            closed(DisconnectReason::ClosedByPeer),
        ),
    ]
}

fn unfinished(site: &Site) -> Vec<Row> {
    let late = burned(BurnReason::HandshakeTimedOut).after(10);
    let stalled = fault(LinkFault::StalledMessage).after(30);
    let addr = frame("addr", &list(&[entry(site.now, 9, ip("127.0.0.2"), 18555)]));
    let block = frame("block", &[1; 1000]);
    let half = |bytes: &[u8]| vec![Step::Bytes(bytes[..bytes.len() / 2].to_vec())];
    let trickle = |bytes: &[u8]| {
        let pieces = bytes.iter().map(|byte| vec![*byte]).take(10).collect();
        vec![Step::Drip(secs(29), pieces)]
    };
    let large = frame("block", &[1; 100_000]);
    let steady = large.chunks(20_000).map(<[u8]>::to_vec).collect();
    let core = ("held for 20 min", "no message of an honest peer pauses for half a minute");
    vec![
        Row::new("Frames", "half a message, then silence")
            .input("one byte", vec![Step::Bytes(vec![MAGIC[0]])])
            .input("header", vec![Step::Bytes(addr[..23].to_vec())])
            .input("addr", half(&addr))
            .input("block", half(&block))
            .silent()
            .gives(late, late, stalled)
            .differs(core.0, core.1),
        Row::new("Frames", "a message of which a byte comes every 29 s")
            .input("header", trickle(&addr))
            .input("addr", [half(&addr), trickle(&addr[40..])].concat())
            .input("block", [half(&block), trickle(&block[512..])].concat())
            .silent()
            .gives(late, late, stalled)
            .differs(core.0, "a trickle keeps a slot as cheaply as silence does"),
        Row::of("Frames", "100 kB of a block in a minute", vec![Step::Drip(secs(10), steady)])
            .gives(late, late, open())
            .differs("60 s for a handshake", "honest peers shake hands within 10 s, Tor included"),
        Row::of(
            "Frames",
            "a handshake message in each of 9 s",
            vec![
                Step::Drip(secs(4), vec![version(|_| ()), frame("novelty", &[])]),
                Step::Wait(Duration::from_millis(1500)),
                Step::Bytes(verack()),
            ],
        )
        .always(open()),
    ]
}
