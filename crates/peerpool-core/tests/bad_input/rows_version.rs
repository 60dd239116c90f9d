//! `version`, `verack`, and what else belongs to the handshake.

use peerpool_core::id::{BurnReason, DisconnectReason, LinkFault};

use super::bytes::{LIMITED, NETWORK, WITNESS, counted, frame, hello, ping, pong, verack, version};
use super::row::{Cell, Row, Site, Step, burned, closed, fault, open, secs};

const NOT_A_VERSION: &str = "waits 60 s for a good one";
const WHY_NOT_WAIT: &str = "who garbles its first message will not do better; others are waiting";

pub(crate) fn rows(_: &Site) -> Vec<Row> {
    [order(), payloads(), fields(), repeats(), negotiation(), silence()].concat()
}

fn order() -> Vec<Row> {
    let protocol = burned(BurnReason::Protocol);
    let early = ("ignored; waits 60 s", "an honest peer's first message is its version");
    vec![
        Row::of("Handshake", "ping", vec![Step::Bytes(ping(7))])
            .gives(protocol, open().pongs(1), open().pongs(1))
            .differs("ignored until verack; waits 60 s", early.1),
        Row::of("Handshake", "pong that nobody asked for", vec![Step::Bytes(pong(7))])
            .gives(protocol, open(), open())
            .differs(early.0, early.1),
        Row::of("Handshake", "verack", vec![Step::Bytes(verack())])
            .gives(protocol, open(), open())
            .differs(early.0, early.1),
        Row::of("Handshake", "getaddr", vec![Step::Bytes(frame("getaddr", &[]))])
            .gives(protocol, open(), open())
            .differs(early.0, early.1),
        Row::new("Handshake", "sendaddrv2 or wtxidrelay")
            .frames(["sendaddrv2", "wtxidrelay"].map(|name| (name, frame(name, &[]))))
            .always(open())
            .differs("closes after verack", "it changes nothing for us, so nothing can be broken"),
    ]
}

fn payloads() -> Vec<Row> {
    let whole = hello(|_| ()).payload();
    let bare = |length: usize| frame("version", &whole[..length]);
    let agent = |wire: Vec<u8>| version(|hello| hello.user_agent = wire);
    let undecodable = burned(BurnReason::Protocol).undecodable(1);
    let refused = |row: Row| {
        row.gives(undecodable, undecodable, fault(LinkFault::Undecodable).undecodable(1))
            .differs(NOT_A_VERSION, WHY_NOT_WAIT)
    };
    let without_relay = frame("version", &whole[..whole.len() - 1]);
    let trailing = frame("version", &[&whole[..], &[9; 100]].concat());
    vec![
        refused(
            Row::new("Handshake", "version of 0, 4, 45 or 79 B")
                .frames([0, 4, 45, 79].map(|length| (length.to_string(), bare(length)))),
        ),
        Row::new("Handshake", "version that ends early or late: 46 B, no relay byte, 100 B more")
            .frames([("46 B", bare(46)), ("no relay", without_relay), ("100 B more", trailing)])
            .always(open()),
        Row::of(
            "Handshake",
            "user agent of 256 B",
            vec![Step::Bytes(agent(counted(&[b'a'; 256])))],
        )
        .always(open()),
        refused(
            Row::new("Handshake", "user agent of 257 or 100,000 B, or with a senseless length")
                .frames([
                    ("257", agent(counted(&[b'a'; 257]))),
                    ("100,000", agent(counted(&[b'a'; 100_000]))),
                    ("2^64-1", agent(vec![0xff; 9])),
                    ("not minimal", agent([&[0xfd, 6, 0], &b"/abcd/"[..]].concat())),
                    ("longer than the message", agent(vec![200, b'a'])),
                ]),
        ),
        Row::new("Handshake", "user agent that is no text: not UTF-8, ESC, NUL, newline")
            .frames([
                ("not UTF-8", agent(counted(b"\xff\xfe\xc3\x28"))),
                ("controls", agent(counted(b"/\x1b[2J\x1b]0;x\x07\0\r\n/"))),
            ])
            .always(open()),
    ]
}

fn fields() -> Vec<Row> {
    let protocols = |name, list: &[i32]| {
        let row = Row::new("Handshake", name);
        let each = |row: Row, protocol: &i32| {
            let bytes = version(|hello| hello.protocol = *protocol);
            row.input(protocol.to_string(), vec![Step::Bytes(bytes)])
        };
        list.iter().fold(row, each)
    };
    let services = |name, list: &[u64]| {
        let row = Row::new("Handshake", name);
        let each = |row: Row, services: &u64| {
            let bytes = version(|hello| hello.services = *services);
            row.input(services.to_string(), vec![Step::Bytes(bytes)])
        };
        list.iter().fold(row, each)
    };
    let times = [0, i64::MIN, i64::MAX, 1_700_000_000 + 86_400, -1];
    let at = |time: i64| (format!("time {time}"), version(|hello| hello.time = time));
    vec![
        protocols("protocol below 70001", &[31_799, 31_800, 70_000, 0, -1, i32::MIN])
            .gives(burned(BurnReason::Protocol), open(), open())
            .differs("takes 31800", "a pong without a nonce proves nothing (BIP31)"),
        protocols("protocol from 70001 to 2^31-1", &[70_001, 70_015, i32::MAX]).always(open()),
        services("services without those wanted", &[0, NETWORK, WITNESS, LIMITED]).gives(
            burned(BurnReason::Services),
            open(),
            open(),
        ),
        services("services with more than is known", &[u64::MAX, LIMITED | WITNESS]).always(open()),
        Row::new("Handshake", "time 0, of a day ahead, or at either end of 64 bits")
            .frames(times.map(at))
            .always(open()),
        Row::new("Handshake", "height -1 or 2^31-1, relay byte 2, nonce 0")
            .frames([
                ("height -1", version(|hello| hello.height = -1)),
                ("height 2^31-1", version(|hello| hello.height = i32::MAX)),
                ("relay 2", version(|hello| hello.relay = 2)),
                ("nonce 0", version(|hello| hello.nonce = 0)),
            ])
            .always(open()),
        Row::of("Handshake", "our own version back", vec![Step::Echo])
            .gives(burned(BurnReason::Itself), open(), open())
            .differs("looks for its nonce on inbound links only", "we have no inbound links"),
    ]
}

fn repeats() -> Vec<Row> {
    let hello = || version(|_| ());
    let protocol = burned(BurnReason::Protocol);
    let closes = closed(DisconnectReason::Protocol);
    let core = ("ignores any number", "one may be a slip; an honest peer sends no more");
    vec![
        Row::of("Handshake", "version, twice", vec![Step::Times(2, hello())])
            .gives(open(), protocol, closes)
            .differs(core.0, core.1),
        Row::of("Handshake", "version, three times", vec![Step::Times(3, hello())])
            .gives(protocol, protocol, closes)
            .differs(core.0, core.1),
        Row::of(
            "Handshake",
            "version and verack, twice",
            vec![Step::Times(2, [hello(), verack()].concat())],
        )
        .gives(open(), closes, closes)
        .differs(core.0, core.1),
        Row::of("Handshake", "verack, twice", vec![Step::Times(2, verack())])
            .gives(protocol, open(), open())
            .differs("ignored; waits 60 s", "before its version a peer has nothing to accept"),
    ]
}

fn negotiation() -> Vec<Row> {
    let protocol = burned(BurnReason::Protocol);
    let times = |name, count, command| {
        Row::of("Handshake", name, vec![Step::Times(count, frame(command, &[]))])
    };
    let cap = ("takes any number", "a handshake has six messages; 100 leave room for extensions");
    vec![
        times("sendaddrv2, 98 times", 98, "sendaddrv2")
            .always(open())
            .differs("closes after verack", "it changes nothing for us, so nothing can be broken"),
        times("sendaddrv2, 1000 times", 1000, "sendaddrv2")
            .gives(protocol, protocol, open())
            .differs(cap.0, cap.1),
        times("unknown message, 98 times", 98, "novelty").always(open()),
        times("unknown message, 1000 times", 1000, "novelty")
            .gives(protocol, protocol, open())
            .differs(cap.0, cap.1),
    ]
}

fn silence() -> Vec<Row> {
    let late = burned(BurnReason::HandshakeTimedOut).after(10);
    vec![
        Row::of("Handshake", "accepts and closes", vec![Step::Fin])
            .gives(
                burned(BurnReason::ClosedBeforeVersion),
                burned(BurnReason::ClosedInHandshake),
                closed(DisconnectReason::ClosedByPeer),
            )
            .differs("tries again later", "a failed handshake burns: the rule of the pool"),
        Row::of("Handshake", "accepts and resets", vec![Step::Rst])
            .gives(
                burned(BurnReason::ClosedBeforeVersion),
                burned(BurnReason::ClosedInHandshake),
                closed(DisconnectReason::Broken),
            )
            .differs("tries again later", "a failed handshake burns: the rule of the pool"),
        Row::of("Handshake", "says nothing (more)", vec![])
            .silent()
            .gives(late, late, closed(DisconnectReason::PongTimedOut).after(90))
            .differs(
                "closes after 60 s; after 20 min without a pong",
                "honest peers shake hands in 10 s and answer pings in 60 s, Tor included",
            ),
        Row::of(
            "Handshake",
            "says its verack after 11 s",
            vec![Step::Wait(secs(11)), Step::Bytes(verack())],
        )
        .cells([Cell::Is(late), Cell::Is(late), Cell::Na("late")])
        .differs("60 s", "honest peers shake hands within 10 s, Tor included"),
    ]
}
