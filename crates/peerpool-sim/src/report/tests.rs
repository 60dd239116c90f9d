//! Forged events, and figures worked out by hand. Times are seconds since the pool's start.

use std::net::IpAddr;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Net;
use peerpool_core::event::{DialError, Known, PeerVersion};
use peerpool_core::id::Chosen;
use peerpool_core::time::UnixTime;

use super::*;

/// Hosts that end in 6 are the attacker's; a system announces a /8.
struct Map;

impl Atlas for Map {
    fn is_hostile(&self, address: &Address) -> bool {
        address.to_string().contains("6:")
    }

    fn asn(&self, address: &Address) -> u32 {
        match address.host.ip() {
            Some(IpAddr::V4(ip)) => u32::from(ip.octets()[0]),
            _ => 0,
        }
    }
}

/// The pool starts when the clock shows this.
const START: Duration = Duration::from_secs(1000);
const DAY_SECONDS: u64 = 24 * 60 * 60;

fn at(seconds: u64) -> Now {
    Now { mono: Monotonic::new(START + secs(seconds)), unix: UnixTime(seconds) }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A pool of two, forged.
struct Script {
    report: Report,
    next: u64,
}

impl Script {
    fn new() -> Self {
        let report = Report::new(2, at(0).mono, secs(7200)).sample_every(secs(10));
        Self { report, next: 1 }
    }

    fn on(&mut self, seconds: u64, event: Event) {
        self.report.on_outputs(at(seconds), &[Output::Event(event)], &Map);
    }

    fn dial(&mut self, seconds: u64, address: &str, connection_type: ConnectionType) -> PeerId {
        let peer = PeerId(self.next);
        self.next += 1;
        self.on(
            seconds,
            Event::Connecting {
                peer,
                address: parse(address),
                connection_type,
                chosen: Chosen::Hearsay,
            },
        );
        peer
    }

    fn ready(&mut self, seconds: u64, address: &str, connection_type: ConnectionType) -> PeerId {
        let peer = self.dial(seconds, address, connection_type);
        let version = PeerVersion {
            protocol: 70016,
            services: ServiceFlags::NONE,
            user_agent: Default::default(),
            height: 0,
            relay: false,
        };
        self.on(seconds, Event::Ready { peer, address: parse(address), version, pool: None });
        peer
    }

    fn end(&mut self, seconds: u64, peer: PeerId, state: PeerState, reason: DisconnectReason) {
        self.on(seconds, Event::Disconnected { peer, address: parse("1.1.1.1:1"), state, reason });
    }

    fn lose(&mut self, seconds: u64, peer: PeerId) {
        self.end(seconds, peer, PeerState::Ready, DisconnectReason::ClosedByPeer);
    }

    fn figures(&self, seconds: u64) -> Figures {
        self.report.figures(at(seconds))
    }
}

fn parse(text: &str) -> Address {
    text.parse().expect("an address")
}

use ConnectionType::{AddrFetch, Manual, OutboundFullRelay as Full};

/// An attacker's peer at 2 s, full at 4 s, one lost at 14 s, full again at 20 s.
fn story() -> Script {
    let mut script = Script::new();
    let hostile = script.ready(2, "6.1.1.6:1", Full);
    script.ready(4, "7.1.1.1:1", Manual);
    script.on(4, Event::Full { took: secs(4) });
    let extra = script.ready(4, "8.1.1.6:1", AddrFetch);
    script.lose(5, extra);
    script.lose(14, hostile);
    script.ready(20, "7.2.1.1:1", Full);
    script.on(20, Event::Full { took: secs(6) });
    script
}

#[test]
fn time_is_weighed_exactly() {
    let figures = story().figures(40);
    assert_eq!((figures.lasted, figures.target), (secs(40), 2));
    assert_eq!(figures.time_to_full, Some(secs(4)));
    let six = Some(secs(6));
    assert_eq!(figures.refills, Refills { count: 1, median: six, p95: six, worst: six });
    // Full from 4 to 14 and from 20 on.
    assert_eq!(figures.at_target, 30.0 / 40.0);
    // One peer for 2 s, two for 10 s, one for 6 s, two for 20 s.
    assert_eq!(figures.ready_mean, 68.0 / 40.0);
    let hostile = figures.hostile;
    assert_eq!(hostile.share, 12.0 / 68.0);
    assert_eq!((hostile.now, hostile.most, hostile.held_all), (0, 1, false));
    // Alone with the attacker from 2 to 4.
    assert_eq!(hostile.eclipsed, 2.0 / 40.0);
    assert_eq!(hostile.marks, []);
}

#[test]
fn the_curve_has_means_and_snapshots() {
    let figures = story().figures(35);
    let sample = |at, (ready, hostile), (ready_mean, hostile_mean), (ready_least, hostile_most)| {
        let at = secs(at);
        Sample { at, ready, hostile, ready_mean, hostile_mean, ready_least, hostile_most }
    };
    let expected = [
        sample(10, (2, 1), (1.4, 0.8), (0, 1)),
        // Up to the end, not with it.
        sample(20, (1, 0), (1.4, 0.4), (1, 1)),
        sample(30, (2, 0), (2.0, 0.0), (2, 0)),
        // Cut short.
        sample(35, (2, 0), (2.0, 0.0), (2, 0)),
    ];
    assert_eq!(figures.curve, expected);
}

#[test]
fn asking_for_figures_changes_nothing() {
    let (asked, left) = (story(), story());
    assert_eq!(asked.figures(33), asked.figures(33));
    assert_eq!(asked.figures(40), left.figures(40));
}

#[test]
fn every_dial_has_one_outcome() {
    let mut script = Script::new();
    let address = parse("1.1.1.1:1");
    for error in [DialError::Refused, DialError::TimedOut, DialError::TimedOut] {
        let peer = script.dial(1, "1.1.1.1:1", Full);
        script.on(2, Event::DialFailed { peer, address, error });
    }
    let stale = DisconnectReason::Handshake(BurnReason::Services);
    for (state, reason) in [
        (PeerState::Connecting, DisconnectReason::Surplus),
        (PeerState::Connected, DisconnectReason::Surplus),
        (PeerState::Connected, stale),
    ] {
        let peer = script.dial(3, "1.1.1.1:1", Full);
        script.end(4, peer, state, reason);
    }
    script.ready(5, "1.1.1.1:1", Manual);
    let lost = script.ready(5, "1.1.1.1:1", Full);
    script.lose(6, lost);
    let fetched = script.ready(5, "1.1.1.1:1", AddrFetch);
    script.end(6, fetched, PeerState::Ready, DisconnectReason::AddrFetchDone);
    script.dial(7, "1.1.1.1:1", Full);
    for reason in [BurnReason::Refused, BurnReason::TimedOut, BurnReason::Refused] {
        script.on(8, Event::Burned { address, reason });
    }

    let figures = script.figures(10);
    assert_eq!(figures.dials, [(Full, 8), (Manual, 1), (AddrFetch, 1)].into());
    let expected = [
        (Outcome::Ready, 3),
        (Outcome::DialFailed(DialError::Refused), 1),
        (Outcome::DialFailed(DialError::TimedOut), 2),
        (Outcome::Closed(DisconnectReason::Surplus), 2),
        (Outcome::Closed(stale), 1),
        (Outcome::UnderWay, 1),
    ];
    assert_eq!(figures.outcomes, expected.into());
    assert_eq!(figures.outcomes.values().sum::<u64>(), figures.dials.values().sum::<u64>());
    assert_eq!(figures.lost, [(DisconnectReason::ClosedByPeer, 1)].into());
    assert_eq!(figures.burned, [(BurnReason::Refused, 2), (BurnReason::TimedOut, 1)].into());
}

#[test]
fn variety_counts_what_filled_a_slot() {
    let mut script = Script::new();
    let first = script.ready(1, "1.1.1.1:1", Full);
    script.lose(2, first);
    script.ready(3, "1.2.1.1:1", Full);
    script.ready(4, "1.2.1.2:1", Manual);
    script.ready(4, "[2a01::1]:1", Full);
    script.ready(5, "3.1.1.1:1", AddrFetch);
    let again = script.ready(6, "1.1.1.1:1", Full);
    script.lose(7, again);
    let figures = script.figures(10);
    let held =
        Variety { peers: 4, netgroups: 3, asns: 2, nets: [(Net::Ipv4, 3), (Net::Ipv6, 1)].into() };
    let holding =
        Variety { peers: 3, netgroups: 2, nets: [(Net::Ipv4, 2), (Net::Ipv6, 1)].into(), ..held };
    assert_eq!(figures.held, held);
    assert_eq!(figures.holding, holding);
}

#[test]
fn starved_and_offline_are_shares_of_time() {
    let mut script = Script::new();
    script.on(0, Event::Starved { known: Known::default() });
    script.on(5, Event::Fed);
    script.on(10, Event::Offline);
    script.on(12, Event::Online);
    script.on(18, Event::Offline);
    let figures = script.figures(20);
    assert_eq!((figures.starved, figures.offline), (5.0 / 20.0, 4.0 / 20.0));
    assert_eq!(figures.at_target, 0.0);
}

#[test]
fn an_attacker_that_holds_all_slots_is_seen_however_short() {
    let mut script = Script::new();
    script.ready(1, "6.1.1.6:1", Full);
    assert!(!script.figures(2).hostile.held_all, "the pool is not full");
    let last = script.ready(2, "6.2.1.6:1", Full);
    script.lose(2, last);
    script.ready(3, "1.1.1.1:1", Full);
    let hostile = script.figures(10).hostile;
    assert_eq!((hostile.held_all, hostile.most, hostile.now), (true, 2, 1));
    assert_eq!(hostile.eclipsed, 2.0 / 10.0);
}

#[test]
fn marks_are_taken_after_given_days() {
    let mut script = Script::new();
    script.ready(1, "6.1.1.6:1", Full);
    script.ready(DAY_SECONDS - 1, "1.1.1.1:1", Full);
    let mark = |day, ready, hostile| Mark { day, ready, hostile };
    assert_eq!(script.figures(DAY_SECONDS).hostile.marks, [mark(1, 2, 1)]);
    script.ready(DAY_SECONDS, "6.2.1.6:1", Full);
    let figures = script.figures(40 * DAY_SECONDS);
    assert_eq!(figures.hostile.marks, [mark(1, 2, 1), mark(7, 3, 2), mark(30, 3, 2)]);
    assert_eq!(figures.hostile.marks[0].share(), 0.5);
    assert!(!figures.hostile.held_all, "a third peer is not the attacker's");
    assert_eq!(mark(1, 0, 0).share(), 0.0);
}

#[test]
fn a_run_longer_than_planned_has_coarser_samples() {
    let mut script = Script::new();
    let lasted = 5 * DAY_SECONDS + 7;
    let mut peer = script.ready(0, "6.1.1.6:1", Full);
    for hour in 1..120 {
        script.lose(hour * 3600, peer);
        peer = script.ready(hour * 3600 + 600, "6.1.1.6:1", Full);
    }
    let figures = script.figures(lasted);
    let curve = &figures.curve;
    // 10 s doubles until 5 days make less than 1440 samples.
    assert_eq!((curve[0].at, curve.len()), (secs(320), 1351));
    assert_eq!(curve[1350].at, secs(lasted));
    assert!(curve.windows(2).all(|two| two[0].at < two[1].at));
    // No time is lost in the merging.
    let starts = [Duration::ZERO].into_iter().chain(curve.iter().map(|sample| sample.at));
    let lengths = starts.zip(curve).map(|(start, sample)| (sample.at - start).as_secs_f64());
    let sum: f64 = lengths.zip(curve).map(|(length, sample)| length * sample.ready_mean).sum();
    let exact = (lasted - 119 * 600) as f64;
    assert!((sum - exact).abs() < 1e-3, "{sum} {exact}");
    assert_eq!(figures.ready_mean, exact / lasted as f64);
    // A gap of 600 s from 3600 s times h on touches 2 samples where h is a multiple of 4, else 3,
    // and covers one.
    let touched = curve.iter().filter(|sample| sample.ready_least == 0).count();
    let covered = curve.iter().filter(|sample| sample.hostile_most == 0).count();
    assert_eq!((touched, covered), (29 * 2 + 90 * 3, 119));
}

#[test]
fn times_of_refills_are_ranked() {
    let mut script = Script::new();
    script.ready(500, "7.1.1.1:1", Full);
    let mut peer = script.ready(500, "7.2.1.1:1", Full);
    script.on(500, Event::Full { took: secs(500) });
    for (nth, took) in [20, 1].into_iter().chain(2..20).enumerate() {
        let lost = 600 + 50 * nth as u64;
        script.lose(lost, peer);
        peer = script.ready(lost + took, "7.2.1.1:1", Full);
        script.on(lost + took, Event::Full { took: secs(took) });
    }
    let figures = script.figures(2000);
    assert_eq!(figures.time_to_full, Some(secs(500)));
    let [median, p95, worst] = [10, 19, 20].map(|took| Some(secs(took)));
    assert_eq!(figures.refills, Refills { count: 20, median, p95, worst });
    assert_eq!(Script::new().figures(1).refills, Refills::default());
}

#[test]
fn one_that_leaves_for_another_makes_no_pool_short() {
    let mut script = Script::new();
    let old = script.ready(1, "7.1.1.1:1", Full);
    let kept = script.ready(1, "7.2.1.1:1", Full);
    script.on(1, Event::Full { took: secs(1) });
    // The old one is told to leave first, in the same instant.
    script.end(100, old, PeerState::Ready, DisconnectReason::Rotated);
    script.ready(100, "7.3.1.1:1", Full);
    script.lose(500, kept);
    script.ready(503, "7.4.1.1:1", Full);
    script.on(503, Event::Full { took: secs(3) });
    let three = Some(secs(3));
    let refills = Refills { count: 1, median: three, p95: three, worst: three };
    assert_eq!(script.figures(600).refills, refills);
}

#[test]
fn a_restart_before_the_pool_was_full_makes_it_full_no_sooner() {
    let mut script = Script::new();
    script.ready(10, "7.1.1.1:1", Full);
    script.report.on_restart(at(30));
    for address in ["7.1.1.1:1", "7.2.1.1:1"] {
        script.ready(50, address, Full);
    }
    // By its own account it took as long as its second life is.
    script.on(50, Event::Full { took: secs(20) });
    assert_eq!(script.figures(60).time_to_full, Some(secs(50)));
    // Nor does one while it is short of peers.
    script.report.on_restart(at(60));
    script.report.on_restart(at(70));
    for address in ["7.1.1.1:1", "7.2.1.1:1"] {
        script.ready(75, address, Full);
    }
    script.on(75, Event::Full { took: secs(5) });
    assert_eq!(script.figures(80).refills.worst, Some(secs(15)));
}

#[test]
fn a_restart_ends_every_peer() {
    let mut script = Script::new();
    script.ready(0, "6.1.1.6:1", Full);
    script.ready(0, "7.1.1.1:1", Full);
    script.ready(0, "7.1.1.2:1", AddrFetch);
    script.dial(5, "7.1.1.3:1", Full);
    script.report.on_restart(at(10));
    script.next = 1;
    script.ready(20, "7.1.1.1:1", Full);
    let figures = script.figures(40);
    assert_eq!(figures.ready_mean, (2.0 * 10.0 + 20.0) / 40.0);
    assert_eq!((figures.holding.peers, figures.held.peers), (1, 2));
    assert_eq!(figures.lost, [(DisconnectReason::PoolClosed, 2)].into());
    let given_up = Outcome::Closed(DisconnectReason::PoolClosed);
    assert_eq!(figures.outcomes, [(Outcome::Ready, 4), (given_up, 1)].into());
}

#[test]
fn counts_are_told_by_the_day() {
    let mut script = Script::new();
    script.report.on_bytes(3000, 500);
    script.report.on_bytes(1, 2);
    let figures = script.figures(DAY_SECONDS / 2);
    assert_eq!((figures.sent, figures.received), (3001, 502));
    assert_eq!(figures.a_day(figures.sent), 6002.0);
    assert_eq!(script.figures(0).a_day(5), 0.0);
}
