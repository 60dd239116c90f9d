//! Pings and pongs, inventory, and messages that a pool has no use for.

use peerpool_core::id::{BurnReason, DisconnectReason, LinkFault};

use super::bytes::{compact, frame, ping, pong};
use super::row::{Row, Site, Step, burned, closed, fault, open, secs};

pub(crate) fn rows(_: &Site) -> Vec<Row> {
    [pings(), pongs(), lists(), requests(), bodies()].concat()
}

fn pings() -> Vec<Row> {
    let protocol = burned(BurnReason::Protocol);
    let minute = |count| vec![Step::Times(count, ping(7)), Step::Wait(secs(61))];
    let limit = ("answers all, without limit", "ten a second are more than an honest peer sends");
    vec![
        Row::new("Messages", "ping of 0 or 7 B")
            .frames([0, 7].map(|length| (length.to_string(), frame("ping", &vec![7; length]))))
            .always(open().pings_ignored(1)),
        Row::of("Messages", "ping of 100 B", vec![Step::Bytes(frame("ping", &[7; 100]))])
            .gives(protocol, open().pongs(1), open().pongs(1))
            .differs("ignored until verack", "an answer costs less than a rule against it"),
        Row::of("Messages", "1000 pings in a minute", minute(1000))
            .gives(protocol, protocol.pongs(99), open().pongs(600).pings_ignored(400))
            .differs(limit.0, limit.1),
        Row::of("Messages", "100,000 pings", vec![Step::Times(100_000, ping(7))])
            .gives(
                protocol,
                protocol.pongs(99),
                fault(LinkFault::Flood).pongs(600).pings_ignored(400),
            )
            .differs(limit.0, limit.1),
    ]
}

fn pongs() -> Vec<Row> {
    let protocol = burned(BurnReason::Protocol);
    let late = burned(BurnReason::HandshakeTimedOut).after(10);
    let dead = closed(DisconnectReason::PongTimedOut).after(90);
    let each_second = |message: Vec<u8>| vec![Step::Drip(secs(1), vec![message; 300])];
    let core = "20 min without a pong";
    vec![
        Row::new("Messages", "no pong but with a wrong nonce, each second")
            .input("wrong", each_second(pong(7)))
            .input("0", each_second(pong(0)))
            .silent()
            .gives(protocol, late, dead)
            .differs("nonce 0 cancels the ping", "only the nonce that was sent proves anything"),
        Row::new("Messages", "no pong but without a nonce, each second")
            .input("0 B", each_second(frame("pong", &[])))
            .input("7 B", each_second(frame("pong", &[7; 7])))
            .silent()
            .gives(late, late, dead)
            .differs(
                "a short pong cancels the ping",
                "only the nonce that was sent proves anything",
            ),
        Row::of(
            "Messages",
            "no pong, though it talks each second",
            each_second(frame("novelty", &[])),
        )
        .silent()
        .gives(late, late, dead)
        .differs(core, "a minute is long, and others wait for the slot"),
    ]
}

fn lists() -> Vec<Row> {
    let protocol = burned(BurnReason::Protocol);
    let items = |name: &str, count: u64, item: &[u8]| {
        frame(name, &[compact(count), item.repeat(count as usize)].concat())
    };
    let tx = [&[1, 0, 0, 0][..], &[7; 32]].concat();
    let header = [7; 81];
    let discourages = ("discourages too", "discouraged for a day too");
    vec![
        Row::new("Messages", "inv, getdata or notfound of 50,000")
            .frames(["inv", "getdata", "notfound"].map(|name| (name, items(name, 50_000, &tx))))
            .always(open()),
        Row::new("Messages", "inv, getdata or notfound of 50,001")
            .frames(["inv", "getdata", "notfound"].map(|name| (name, items(name, 50_001, &tx))))
            .gives(protocol, protocol, fault(LinkFault::TooMany))
            .differs(discourages.0, discourages.1),
        Row::new("Messages", "inv cut short, of an unknown type, or with a senseless count")
            .frames([
                ("cut short", frame("inv", &[3, 1, 0, 0, 0, 7])),
                ("no payload", frame("inv", &[])),
                ("unknown type", items("inv", 2, &[0x77; 36])),
                ("2^64-1", frame("inv", &[0xff; 9])),
            ])
            .always(open()),
        Row::of(
            "Messages",
            "2000 headers without proof of work",
            vec![Step::Bytes(items("headers", 2000, &header))],
        )
        .always(open())
        .differs("discourages", "whoever asked for headers judges them"),
        Row::of("Messages", "2001 headers", vec![Step::Bytes(items("headers", 2001, &header))])
            .gives(protocol, protocol, fault(LinkFault::TooMany))
            .differs(discourages.0, discourages.1),
    ]
}

fn requests() -> Vec<Row> {
    let protocol = burned(BurnReason::Protocol);
    let locator = [&[0x80, 0x11, 1, 0][..], &compact(102), &[7; 103 * 32]].concat();
    vec![
        Row::new("Messages", "getheaders with 102 locators, filterload, mempool")
            .frames([
                ("getheaders", frame("getheaders", &locator)),
                ("filterload", frame("filterload", &[7; 100])),
                ("mempool", frame("mempool", &[])),
            ])
            .always(open())
            .differs("closes", "we serve nothing, so there is nothing to refuse"),
        Row::new("Messages", "getaddr, twice or with a payload")
            .frames([
                ("twice", frame("getaddr", &[]).repeat(2)),
                ("payload", frame("getaddr", &[7; 100])),
            ])
            .gives(protocol, open(), open()),
        Row::of("Messages", "getaddr, 100 times", vec![Step::Times(100, frame("getaddr", &[]))])
            .gives(protocol, protocol, open())
            .differs("ignored", "more than 100 messages are no handshake"),
    ]
}

fn bodies() -> Vec<Row> {
    let names = ["block", "tx", "cmpctblock", "blocktxn", "merkleblock", "cfilter"];
    vec![
        Row::new(
            "Messages",
            "1 MB of garbage as block, tx, cmpctblock, blocktxn, merkleblock, cfilter",
        )
        .frames(names.map(|name| (name, frame(name, &vec![0xff; 1_000_000]))))
        .always(open()),
    ]
}
