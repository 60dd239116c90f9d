//! Dials that fail, peers that trickle, leave anywhere, or never read.

use peerpool_core::event::DialError;
use peerpool_core::id::{BurnReason, DisconnectReason, LinkFault};

use super::bytes::{ping, verack, version};
use super::row::{Cell, Dial, End, Outcome, Row, Site, Step, burned, closed, ends, fault, secs};

/// Played over TCP only, where there is a socket to fill.
pub(crate) const NEVER_READS: &str = "reads nothing of what we send";
/// Played over TCP too, where there are descriptors to use up.
pub(crate) const NO_DESCRIPTORS: &str = "no descriptor is left (EMFILE)";

pub(crate) fn rows(_: &Site) -> Vec<Row> {
    [dials(), slow(), leaving(), sockets()].concat()
}

/// A row about a dial that comes to nothing: no other phase has it.
fn undialled(name: &'static str, dial: Dial, outcome: Outcome) -> Row {
    let na = Cell::Na("undialled");
    Row::of("Transport", name, vec![]).dial(dial).silent().cells([Cell::Is(outcome), na, na])
}

fn dials() -> Vec<Row> {
    use DialError::{NoDescriptors, NoRoute, Refused, TimedOut};
    let failed = |error| ends(End::Undialled(error));
    let waits = |error| ends(End::Waits(error));
    let burns = ("tries again later", "a failed dial burns: the rule of the pool");
    let core =
        ("counts it if peers in 2 other groups are up", "one link that is up is evidence enough");
    vec![
        undialled("refuses", Dial::Fails(Refused), failed(Refused)).differs(burns.0, burns.1),
        undialled(
            "never answers the dial (SYN dropped)",
            Dial::Unanswered,
            failed(TimedOut).after(5),
        )
        .differs(burns.0, burns.1),
        undialled("refuses while no other peer is up", Dial::Fails(Refused), waits(Refused))
            .alone()
            .differs(core.0, core.1),
        undialled(
            "never answers while no other peer is up",
            Dial::Unanswered,
            waits(TimedOut).after(5),
        )
        .alone()
        .differs(core.0, core.1),
        undialled("unreachable (EHOSTUNREACH, ENETUNREACH)", Dial::Fails(NoRoute), failed(NoRoute))
            .differs(
                "counts as a failed try",
                "the error of our own router looks the same, and local errors never burn",
            ),
        undialled(NO_DESCRIPTORS, Dial::Fails(NoDescriptors), failed(NoDescriptors)),
    ]
}

fn slow() -> Vec<Row> {
    let late = burned(BurnReason::HandshakeTimedOut).after(10);
    let by_byte = version(|_| ()).into_iter().map(|byte| vec![byte]).collect();
    let each_second: Vec<_> = (0..60).map(ping).collect();
    let sooner = ("60 s", "honest peers shake hands within 10 s, Tor included");
    vec![
        Row::of("Transport", "backlog full: accepts and never answers", vec![])
            .silent()
            .cells([Cell::Is(late), Cell::Na("accepted"), Cell::Na("accepted")])
            .differs(sooner.0, sooner.1),
        Row::of("Transport", "a version of 1 B/s", vec![Step::Drip(secs(1), by_byte)])
            .silent()
            .gives(late, late, fault(LinkFault::StalledMessage).after(30))
            .differs(sooner.0, sooner.1),
        Row::of(
            "Transport",
            "pings each second, and no verack",
            vec![Step::Drip(secs(1), each_second)],
        )
        .silent()
        .gives(
            burned(BurnReason::Protocol),
            late.pongs(10),
            closed(DisconnectReason::PongTimedOut).after(90).pongs(60),
        )
        .differs(sooner.0, sooner.1),
    ]
}

/// The bytes before the end, and then the end: one input for each number of bytes.
fn cut_at_each(row: Row, bytes: &[u8], end: &Step) -> Row {
    (0..bytes.len()).fold(row, |row, cut| {
        row.input(format!("at byte {cut}"), vec![Step::Bytes(bytes[..cut].to_vec()), end.clone()])
    })
}

fn leaving() -> Vec<Row> {
    let na = Cell::Na("behind");
    let row = |name, bytes: &[u8], end, cells| {
        cut_at_each(Row::new("Transport", name), bytes, &end).cells(cells)
    };
    let early = Cell::Is(burned(BurnReason::ClosedBeforeVersion));
    let midway = Cell::Is(burned(BurnReason::ClosedInHandshake));
    let left = Cell::Is(closed(DisconnectReason::ClosedByPeer));
    let broke = Cell::Is(closed(DisconnectReason::Broken));
    let hello = version(|_| ());
    let burns = ("tries again later", "a failed handshake burns: the rule of the pool");
    vec![
        row("FIN at each byte of version", &hello, Step::Fin, [early, midway, left])
            .differs(burns.0, burns.1),
        row("RST at each byte of version", &hello, Step::Rst, [early, midway, broke])
            .differs(burns.0, burns.1),
        row("FIN at each byte of verack", &verack(), Step::Fin, [na, midway, left])
            .differs(burns.0, burns.1),
        row("RST at each byte of verack", &verack(), Step::Rst, [na, midway, broke])
            .differs(burns.0, burns.1),
    ]
}

fn sockets() -> Vec<Row> {
    let na = Cell::Na("unsent");
    let stalls = Cell::OverTcp(closed(DisconnectReason::NotReading).after(20));
    vec![Row::of("Transport", NEVER_READS, vec![]).silent().cells([na, na, stalls]).differs(
        "stops reading from it too",
        "it holds our memory: 20 s, then others get the slot",
    )]
}
