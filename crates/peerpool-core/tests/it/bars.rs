//! Whom the pool has nothing to do with: banned by its user, or discouraged for what it did.

use std::time::Duration;

use expect_test::expect;
use peerpool_core::address::Address;
use peerpool_core::banned::{Ban, BanError, Banned, Subnet};
use peerpool_core::event::{Event, MAX_REASON};
use peerpool_core::id::{DisconnectReason, LinkFault, PeerId};
use peerpool_core::io::Input;
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::time::UnixTime;
use peerpool_core::wire::Control;

use crate::script::{Node, START, Script, address, config, greeting, ips, nth};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

fn ban(script: &mut Script, text: &str, secs: u64) {
    let until = UnixTime(script.now.unix.0 + secs);
    script.input(Input::Ban { subnet: subnet(text), until });
}

fn peer_at(script: &Script, at: Address) -> PeerId {
    let status = script.status();
    status.ready.iter().find(|peer| peer.address == at).map(|peer| peer.id).expect("it is ready")
}

fn fault(script: &mut Script, at: Address, fault: LinkFault) {
    let peer = peer_at(script, at);
    script.input(Input::Closed { peer, reason: DisconnectReason::Fault(fault) });
}

fn report(script: &mut Script, at: Address, misbehavior: Misbehavior) {
    let (peer, reason) = (peer_at(script, at), "as I say".to_owned());
    script.input(Input::Report { peer, address: at, misbehavior, reason });
}

#[test]
fn a_ban_drops_links_and_is_over_when_its_time_is() {
    let mut script = Script::seeded(2, &[nth(1), nth(2), nth(3)]);
    script.run_secs(600);
    assert_eq!(script.ready().len(), 2);
    script.log();
    let gone = script.ready()[0];
    let wide = format!("{}/16", gone.host);
    ban(&mut script, &wide, HOUR);
    // Both netgroups are in this one, and so is the first ban's.
    ban(&mut script, "11.0.0.0/8", 60);
    script.run_secs(59);
    assert_eq!((script.status().bans, script.status().known.banned), (2, 3));
    assert_eq!(script.ready().len(), 0);
    let before = script.dials.len();
    script.run_secs(2);
    // The /8 is over; the /16 is not.
    assert!(!script.ready().contains(&gone) && script.dials.len() > before);
    assert_eq!((script.status().bans, script.status().known.banned), (1, 1));
    script.run_secs(2 * HOUR);
    assert_eq!(script.status().bans, 0);
    let told = script.log();
    let bans = ["banned", "unbanned", "disconnected"];
    let line = |line: &&str| bans.iter().any(|word| line.contains(word));
    let lines: Vec<&str> = told.lines().filter(line).collect();
    expect![[r#"
        600.000 banned 11.3.0.0/16 until 4200
        600.000 disconnected #1 11.3.1.1:8333 Ready banned
        600.000 banned 11.0.0.0/8 until 660
        600.000 disconnected #2 11.2.1.1:8333 Ready banned
        600.000 disconnected #4 11.4.1.1:8333 Connecting banned
        600.001 starved Known { blocked: 0, backing_off: 0, waiting: 0, burned: 0, ineligible: 0, banned: 3, discouraged: 0 }
        660.000 unbanned 11.0.0.0/8 expired=true
        4200.002 unbanned 11.3.0.0/16 expired=true"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn nobody_banned_is_dialled_whoever_names_it() {
    let [seeded, told, named] = [1, 2, 3].map(nth);
    let mut script = Script::seeded(3, &[seeded, nth(9)]);
    for at in [seeded, told, named] {
        ban(&mut script, &at.host.to_string(), DAY);
    }
    script.input(Input::AddManual(named));
    script.run_secs(10);
    let seen = [told, named, seeded].map(|at| script.seen(at, Duration::ZERO));
    script.gossip_from(nth(9), seen.to_vec());
    script.run_secs(HOUR);
    assert_eq!(script.ready(), [nth(9)]);
    assert!([seeded, told, named].iter().all(|at| script.dialled(*at).is_empty()));
    // What was refused is not known; what the user named is, and is dialled as soon as it may be.
    assert_eq!((script.status().known.banned, script.engine.book().manual_len()), (1, 1));
    script.input(Input::Unban { subnet: subnet(&named.host.to_string()) });
    script.run_secs(1);
    assert!(script.ready().contains(&named));
}

#[test]
fn a_manual_peer_is_dropped_by_a_ban_and_returns_after_it() {
    let mut config = config(|policy| policy.target_connect_count = 2);
    config.manual = vec![nth(1), nth(2)];
    let mut script = Script::new(config);
    script.run_secs(120);
    ban(&mut script, "11.2.0.0/16", 600);
    assert_eq!(script.ready(), [nth(2)]);
    script.run_secs(599);
    assert_eq!((script.dialled(nth(1)).len(), script.ready()), (1, vec![nth(2)]));
    script.run_secs(2);
    assert_eq!(script.dialled(nth(1)).len(), 2);
    assert_eq!(script.ready().len(), 2);
}

#[test]
fn dials_and_handshakes_in_flight_are_dropped_too() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.nodes.extend([(nth(1), Node::Silent), (nth(2), Node::Mute)]);
    script.run_secs(1);
    let status = script.status();
    assert_eq!((status.connecting.len(), status.connected.len()), (1, 1));
    ban(&mut script, "11.0.0.0/8", DAY);
    script.run_secs(1);
    let status = script.status();
    assert!(status.connecting.is_empty() && status.connected.is_empty());
    let banned = |event: &&Event| {
        matches!(event, Event::Disconnected { reason: DisconnectReason::Banned, .. })
    };
    assert_eq!(script.events.iter().filter(banned).count(), 2);
    assert!(!script.events.iter().any(|event| matches!(event, Event::Burned { .. })));
    assert_eq!(status.known.banned, 2, "nothing is held against them");
}

#[test]
fn bans_of_an_earlier_run_hold_from_the_first_dial_on() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    let ban = |text: &str, until: u64| Ban {
        subnet: subnet(text),
        since: UnixTime(START - DAY),
        until: UnixTime(START + until),
    };
    let bans = [ban("11.2.1.1", 600), ban("11.3.0.0/16", 0), ban("11.2.0.0/16", 60)];
    // One is over, and one wider: it does not cover what comes before it.
    assert_eq!(script.engine.restore_bans(script.now, bans), 2);
    script.run_secs(599);
    assert_eq!(script.ready(), [nth(2)]);
    let saved: Vec<Ban> = script.engine.book().banned().entries().collect();
    assert_eq!(saved, [bans[0]]);
    // Once the seeds are asked again.
    script.run_secs(HOUR);
    assert_eq!(script.ready().len(), 2);
}

#[test]
fn a_ban_that_says_nothing_is_refused_before_it_is_made() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(10);
    let check = |script: &Script, text: &str, secs: i64| {
        let until = UnixTime(script.now.unix.0.saturating_add_signed(secs));
        script.engine.check_ban(script.now, subnet(text), until)
    };
    check(&script, "1.2.0.0/16", 60).expect("it says something");
    ban(&mut script, "1.2.0.0/16", 60);
    let error = check(&script, "1.2.3.4", 3600).expect_err("it is covered");
    assert!(error.to_string().contains("1.2.3.4 is already banned"), "{error}");
    check(&script, "5.6.7.8", -1).expect_err("it would be over");
    script.log();
    ban(&mut script, "1.2.3.4", 3600);
    script.input(Input::Ban { subnet: subnet("5.6.7.8"), until: UnixTime(START) });
    script.input(Input::Unban { subnet: subnet("1.2.3.4") });
    assert_eq!((script.log(), script.status().bans), (String::new(), 1));
}

#[test]
fn a_clock_that_is_set_ahead_ends_no_ban_before_its_time_is_come() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(10);
    ban(&mut script, "11.2.0.0/16", 10 * DAY);
    script.run_secs(DAY);
    // Far ahead, as nobody could know: within the hour that is noticed.
    script.unix_error = 30 * DAY as i64;
    script.run_secs(HOUR + 1);
    assert_eq!(script.status().bans, 0);
    script.run_secs(60);
    assert_eq!(script.status().bans, 0);
}

// ---- misbehavior ----

#[test]
fn who_proves_to_be_broken_is_discouraged_and_forgotten() {
    for (proof, word) in [
        (LinkFault::BadMagic, "bad_magic"),
        (LinkFault::Oversized, "oversized"),
        (LinkFault::Undecodable, "undecodable"),
        (LinkFault::TooMany, "too_many"),
    ] {
        let mut script = Script::seeded(1, &[nth(1)]);
        script.run_secs(HOUR);
        fault(&mut script, nth(1), proof);
        assert_eq!(script.status().discouraged, 1);
        assert_eq!(script.status().known.discouraged, 1);
        let told = script.log();
        assert!(told.contains(&format!("misbehaved #1 11.2.1.1:8333 {word} \"\"")), "{told}");
        // The seeds go on naming it.
        script.run_secs(DAY - 60);
        assert_eq!(script.dialled(nth(1)).len(), 1, "{word}");
        script.run_secs(HOUR);
        assert_eq!((script.dialled(nth(1)).len(), script.ready()), (2, vec![nth(1)]));
        assert_eq!(script.status().discouraged, 0);
    }
}

#[test]
fn what_proves_nothing_discourages_nobody() {
    let mut script = Script::seeded(1, &[nth(1), nth(2), nth(3), nth(4), nth(5)]);
    script.run_secs(HOUR);
    for reason in [
        DisconnectReason::Fault(LinkFault::BadFrames),
        DisconnectReason::Fault(LinkFault::Flood),
        DisconnectReason::Fault(LinkFault::StalledMessage),
        DisconnectReason::Broken,
        DisconnectReason::ClosedByPeer,
        DisconnectReason::NotReading,
        DisconnectReason::SendQueueFull,
    ] {
        let peer = peer_at(&script, script.ready()[0]);
        script.input(Input::Closed { peer, reason });
        script.run_secs(HOUR);
    }
    // Nor does a silent peer, nor one that never speaks.
    script.answers_pings = false;
    script.others = Node::Mute;
    script.run_secs(HOUR);
    assert_eq!(script.status().discouraged, 0);
    let misbehaved = |event: &Event| matches!(event, Event::Misbehaved { .. });
    assert!(!script.events.iter().any(misbehaved));
}

/// Zebra banned whoever an attacker named (CVE-2026-104419).
#[test]
fn what_a_peer_told_of_others_is_not_held_against_them() {
    let honest: Vec<Address> = (100..1100).map(nth).collect();
    let mut script = Script::seeded(1, &[nth(1)]);
    script.others = Node::Refusing;
    script.nodes.insert(nth(1), Node::Alive);
    script.run_secs(90);
    let told = honest.iter().map(|at| script.seen(*at, Duration::ZERO)).collect();
    script.gossip_from(nth(1), told);
    let before = script.status().available;
    assert!(before > 800, "{before}");
    fault(&mut script, nth(1), LinkFault::TooMany);
    let status = script.status();
    assert_eq!((status.discouraged, status.known.discouraged), (1, 1));
    let discouraged = |at: &&Address| script.engine.book().is_barred(&at.host);
    assert_eq!(honest.iter().filter(discouraged).count(), 0);
}

#[test]
fn a_host_is_left_on_all_its_ports_but_for_what_the_user_named() {
    let port = |port| Address { port, ..nth(1) };
    let mut config = config(|policy| policy.target_connect_count = 4);
    config.manual = vec![port(1001), port(1002)];
    let mut script = Script::new(config);
    script.run_secs(60);
    assert_eq!(script.ready().len(), 2);
    // A manual peer may do as it likes; the user is told.
    script.log();
    report(&mut script, port(1001), Misbehavior::InvalidData);
    expect![[r#"
        60.000 misbehaved #2 11.2.1.1:1001 invalid_data "as I say"
    "#]]
    .assert_eq(&script.log());
    assert_eq!((script.ready().len(), script.status().discouraged), (2, 0));

    // Its sister that nobody named is left, and the one that is named stays.
    let mut script = Script::seeded(2, &[nth(1)]);
    script.run_secs(60);
    script.input(Input::AddManual(port(1001)));
    script.run_secs(60);
    script.log();
    report(&mut script, nth(1), Misbehavior::InvalidData);
    expect![[r#"
        120.000 misbehaved #1 11.2.1.1:8333 invalid_data "as I say"
        120.000 discouraged 11.2.1.1:8333 lasts=86400s
        120.000 disconnected #1 11.2.1.1:8333 Ready discouraged
    "#]]
    .assert_eq(&script.log());
    assert_eq!(script.ready(), [port(1001)]);
    let seen = vec![script.seen(port(1003), Duration::ZERO), script.seen(nth(7), Duration::ZERO)];
    script.gossip_from(port(1001), seen);
    script.run_secs(60);
    assert!(script.dialled(port(1003)).is_empty());
    assert_eq!(script.dialled(nth(7)).len(), 1);
}

#[test]
fn a_useless_peer_makes_room_for_another_and_rests() {
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.run_secs(60);
    let [useless] = script.ready()[..] else { panic!("one is ready") };
    report(&mut script, useless, Misbehavior::Useless);
    script.run_secs(10);
    let ready = script.ready();
    assert!(ready.len() == 1 && !ready.contains(&useless));
    script.run_secs(HOUR - 20);
    script.drop_peer(ready[0]);
    script.run_secs(5);
    assert_eq!(script.dialled(useless).len(), 1);
    script.run_secs(60);
    assert!(script.dialled(useless).len() == 2, "it is forgotten after an hour");
}

#[test]
fn a_report_may_come_when_its_peer_is_gone_and_its_reason_is_cut() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(90);
    let peer = peer_at(&script, nth(1));
    script.drop_peer(nth(1));
    let (address, misbehavior) = (nth(1), Misbehavior::InvalidData);
    let reason = "\u{1b}[2J".to_owned() + &"\u{e4}".repeat(MAX_REASON);
    script.input(Input::Report { peer, address, misbehavior, reason });
    assert_eq!(script.status().discouraged, 1);
    let told = script.events.iter().find_map(|event| match event {
        Event::Misbehaved { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(told, Some(" [2J".to_owned() + &"\u{e4}".repeat(MAX_REASON / 2 - 2)));
    script.run_secs(HOUR);
    assert_eq!(script.dialled(nth(1)).len(), 1);
}

#[test]
fn a_report_blames_who_is_there_whatever_address_it_names() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(90);
    let (peer, misbehavior) = (peer_at(&script, nth(1)), Misbehavior::InvalidData);
    script.input(Input::Report { peer, address: nth(2), misbehavior, reason: String::new() });
    let blamed = script.events.iter().find_map(|event| match event {
        Event::Discouraged { address, .. } => Some(*address),
        _ => None,
    });
    assert_eq!(blamed, Some(nth(1)));
}

#[test]
fn a_third_version_is_misbehavior() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(90);
    let peer = peer_at(&script, nth(1));
    script.log();
    for _ in 0..2 {
        let [version, _] = greeting(crate::script::SERVICES);
        script.input(Input::Control { peer, message: version });
    }
    expect![[r#"
        90.000 disconnected #1 11.2.1.1:8333 Ready protocol
        90.000 backed_off 11.2.1.1:8333 failures=0 retry_in=70s
        90.000 misbehaved #1 11.2.1.1:8333 protocol ""
        90.000 discouraged 11.2.1.1:8333 lasts=86400s
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn nobody_can_be_made_to_discourage_more_hosts_than_there_is_room_for() {
    let all: Vec<Address> = (0..40).map(nth).collect();
    let mut config = config(|policy| {
        policy.target_connect_count = 1;
        policy.max_discouraged = 16;
        policy.max_seed_addresses = 100;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&all))];
    for _ in 0..30 {
        script.run_secs(70);
        let at = script.ready()[0];
        fault(&mut script, at, LinkFault::TooMany);
        assert!(script.status().discouraged <= 16);
    }
    assert_eq!(script.status().discouraged, 16);
}

#[test]
fn of_ten_thousand_bans_the_right_one_is_found() {
    let mut banned = Banned::new(10_000);
    for n in 0..10_000u32 {
        let subnet = Subnet::of(std::net::IpAddr::from(n.to_be_bytes()).into());
        banned.ban(UnixTime(1), subnet, UnixTime(2)).expect("room");
    }
    assert_eq!(banned.len(), 10_000);
    assert!(banned.contains(&address("0.0.39.15:1").host));
    assert!(!banned.contains(&address("0.0.39.16:1").host));
}

#[test]
fn closing_and_bans_get_along() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(60);
    script.input(Input::Close);
    ban(&mut script, "11.0.0.0/8", 60);
    let peer = PeerId(1);
    let (address, misbehavior) = (nth(1), Misbehavior::Useless);
    script.input(Input::Report { peer, address, misbehavior, reason: String::new() });
    script.input(Input::Control { peer, message: Control::Ping(1) });
    script.run_secs(HOUR);
    let status = script.status();
    assert_eq!((status.bans, status.discouraged, script.dials.len()), (0, 0, 1));
    let error = script.engine.check_unban(&subnet("11.0.0.0/8")).expect_err("it is closed");
    assert_eq!(error, BanError::Closed);
}
