//! What a full pool has beside its target: block-relay-only peers, feelers, and rotation.

use std::time::Duration;

use expect_test::expect;
use peerpool_core::address::Address;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason, LeaseId};
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;

use crate::script::{Node, Script, config, ips, nth};

/// A pool of two that a seed tells of so many nodes.
fn pool(nodes: u32, change: impl FnOnce(&mut Policy)) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = 2;
        change(policy);
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&(0..nodes).map(nth).collect::<Vec<_>>()))];
    script
}

fn turn(script: &mut Script, n: u32, node: Node) {
    script.nodes.insert(nth(n), node);
}

fn of_type(script: &Script, wanted: ConnectionType) -> Vec<Address> {
    let ready = script.status().ready;
    let peers = ready.iter().filter(|peer| peer.connection_type == wanted);
    peers.map(|peer| peer.address).collect()
}

fn dials(script: &Script, wanted: ConnectionType) -> Vec<Address> {
    let dial = |event: &Event| match event {
        Event::Connecting { address, connection_type, .. } if *connection_type == wanted => {
            Some(*address)
        }
        _ => None,
    };
    script.events.iter().filter_map(dial).collect()
}

fn ends(script: &Script, wanted: DisconnectReason) -> usize {
    let end = |event: &&Event| match event {
        Event::Disconnected { reason, .. } => *reason == wanted,
        _ => false,
    };
    script.events.iter().filter(end).count()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_full_pool_keeps_block_relay_only_peers_beside_its_target() {
    let mut script = pool(20, |policy| {
        policy.block_relay_count = 2;
        policy.relay = true;
    });
    script.run_secs(5);
    assert_eq!(of_type(&script, ConnectionType::OutboundFullRelay).len(), 2);
    let extras = of_type(&script, ConnectionType::BlockRelayOnly);
    assert_eq!(extras.len(), 2);
    // Each says so in its version, and is asked for nothing.
    let relaying = script.greetings.iter().filter(|version| version.relay).count();
    assert_eq!(
        script.greetings.len() - relaying,
        dials(&script, ConnectionType::BlockRelayOnly).len()
    );
    let before = script.engine.book().len();
    let named = script.seen(nth(100), MINUTE);
    script.gossip_from(extras[0], vec![named]);
    assert_eq!(script.engine.book().len(), before, "nothing is taken of it");
    // Leases are for those that count.
    for lease in 0..script.policy().slots_per_peer as u64 * 2 + 1 {
        let lease = LeaseId(lease);
        script.input(Input::Lease { lease, require: Require::any(), wait: false });
    }
    assert!(script.log().contains("NoneFree"));
    let held = script.status().ready;
    let leases = |of: ConnectionType| -> usize {
        held.iter().filter(|peer| peer.connection_type == of).map(|peer| peer.leases).sum()
    };
    assert_eq!(leases(ConnectionType::BlockRelayOnly), 0);
    assert_eq!(leases(ConnectionType::OutboundFullRelay), 32);
    // One that is lost is replaced.
    script.run(MINUTE * 2);
    script.drop_peer(extras[0]);
    script.run_secs(5);
    assert_eq!(of_type(&script, ConnectionType::BlockRelayOnly).len(), 2);
}

#[test]
fn extras_give_way_to_a_pool_that_is_short_and_has_nobody_else() {
    let mut script = pool(3, |policy| policy.block_relay_count = 2);
    script.run_secs(5);
    let extras = of_type(&script, ConnectionType::BlockRelayOnly);
    assert_eq!(extras.len(), 1);
    let lost = of_type(&script, ConnectionType::OutboundFullRelay)[0];
    script.log();
    script.nodes.insert(lost, Node::Silent);
    script.run(MINUTE * 2);
    script.log();
    script.drop_peer(lost);
    script.run_secs(2);
    assert_eq!(of_type(&script, ConnectionType::OutboundFullRelay).len(), 2);
    expect![[r#"
        125.000 disconnected #1 11.2.1.1:8333 Ready closed_by_peer
        125.000 backed_off 11.2.1.1:8333 failures=0 retry_in=63s
        125.000 disconnected #4 11.3.1.1:8333 Ready yielded
        125.001 connecting #5 11.3.1.1:8333 OutboundFullRelay
        125.002 connected #5 11.3.1.1:8333
        125.003 ready #5 11.3.1.1:8333
        125.003 full 0.003s
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn nothing_is_dialled_beside_a_target_that_is_not_reached() {
    let mut script = pool(20, |policy| {
        policy.target_connect_count = 8;
        policy.block_relay_count = 2;
        policy.feeler_interval = MINUTE;
        policy.rotation_interval = MINUTE;
    });
    (0..20).for_each(|n| turn(&mut script, n, Node::Silent));
    (0..7).for_each(|n| turn(&mut script, n, Node::Alive));
    script.run(MINUTE * 30);
    assert_eq!(script.ready().len(), 7);
    let all = dials(&script, ConnectionType::OutboundFullRelay).len();
    assert_eq!(all, script.dials.len(), "and so nothing is yielded or rotated");
}

#[test]
fn a_pool_of_named_addresses_only_has_no_extras() {
    let mut config = config(|policy| {
        policy.block_relay_count = 2;
        policy.feeler_interval = MINUTE;
        policy.rotation_interval = MINUTE;
    });
    config.connect_only = true;
    config.manual = (0..3).map(nth).collect();
    let mut script = Script::new(config);
    script.run(MINUTE * 60);
    assert_eq!((script.ready().len(), script.dials.len()), (3, 3));
}

#[test]
fn feelers_find_out_who_is_alive() {
    let mut script = pool(32, |policy| policy.feeler_interval = MINUTE * 2);
    (0..32).step_by(2).for_each(|n| turn(&mut script, n, Node::Refusing));
    script.run(MINUTE * 120);
    assert_eq!(script.ready().len(), 2);
    let felt = dials(&script, ConnectionType::Feeler);
    assert!(felt.len() >= 12, "{} feelers in two hours", felt.len());
    let (refusing, alive): (Vec<_>, Vec<_>) =
        felt.into_iter().partition(|address| script.nodes.contains_key(address));
    assert!(!refusing.is_empty() && !alive.is_empty());
    assert!(refusing.iter().all(|address| script.engine.book().is_burned(address)));
    assert!(alive.iter().all(|address| script.engine.book().backs_off(script.now, address)));
    assert_eq!(ends(&script, DisconnectReason::FeelerDone), alive.len());
}

#[test]
fn feelers_come_at_random_times_with_their_mean() {
    let mut script = pool(32, |policy| {
        policy.feeler_interval = MINUTE * 2;
        policy.max_address_age = Duration::from_secs(30 * 86_400);
    });
    script.gossip = (100..1100).map(|n| script.seen(nth(n), Duration::ZERO)).collect();
    script.run(MINUTE * 60 * 24);
    let feelers = dials(&script, ConnectionType::Feeler).len();
    assert!((600..=840).contains(&feelers), "{feelers} feelers in a day");
}

#[test]
fn a_peer_leaves_once_a_newcomer_is_ready() {
    let mut script = pool(20, |policy| policy.rotation_interval = MINUTE * 10);
    script.run(MINUTE);
    let first = script.ready();
    let least = |script: &Script| {
        let counting = script.status().ready.len();
        assert!(counting >= 2 || script.dials.len() < 4, "{counting} peers");
    };
    script.watch = Some(least);
    script.run(MINUTE * 120);
    let rotations = ends(&script, DisconnectReason::Rotated);
    assert!((5..=24).contains(&rotations), "{rotations} rotations");
    // The one that was ready longest leaves as the newcomer's handshake is done.
    let log = script.log();
    let left = |address: &Address| {
        log.lines().any(|line| line.contains(&address.to_string()) && line.ends_with("rotated"))
    };
    assert!(first.iter().all(left), "those that were there first have left");
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().position(|line| line.ends_with("rotated")).expect("a rotation");
    assert!(lines[at + 1].contains(" ready #"), "{}", lines[at + 1]);
    assert!(first.iter().any(|address| lines[at].contains(&address.to_string())), "{}", lines[at]);
}

#[test]
fn a_lease_pins_its_peer_against_rotation_but_not_all_peers_at_once() {
    let mut script = pool(20, |policy| policy.rotation_interval = MINUTE * 10);
    script.run(MINUTE);
    let (one, two) = (LeaseId(1), LeaseId(2));
    script.input(Input::Lease { lease: one, require: Require::any(), wait: false });
    let pinned = script.peers[&script.granted[&one]];
    // Two dozen are to be expected.
    script.run(MINUTE * 240);
    assert!(ends(&script, DisconnectReason::Rotated) > 3);
    assert!(script.ready().contains(&pinned));
    // Two leases on one, one on the other: if one must leave, it is that.
    let three = LeaseId(3);
    for lease in [two, three] {
        script.input(Input::Lease { lease, require: Require::any(), wait: false });
    }
    let leases = |script: &Script| -> Vec<usize> {
        script.status().ready.iter().map(|peer| peer.leases).collect()
    };
    assert_eq!(leases(&script).iter().sum::<usize>(), 3);
    let before = script.ready();
    let mut rotated = ends(&script, DisconnectReason::Rotated);
    while ends(&script, DisconnectReason::Rotated) == rotated {
        script.run(MINUTE);
    }
    rotated += 1;
    assert_eq!(ends(&script, DisconnectReason::Rotated), rotated);
    assert_eq!(script.ready().iter().filter(|address| before.contains(address)).count(), 1);
    assert_eq!(leases(&script).iter().sum::<usize>(), 2, "the one with more leases stays");
}

#[test]
fn nobody_leaves_for_a_newcomer_that_does_not_come() {
    let mut script = pool(20, |policy| policy.rotation_interval = MINUTE);
    (0..20).for_each(|n| turn(&mut script, n, Node::Mute));
    (0..2).for_each(|n| turn(&mut script, n, Node::Alive));
    script.run(MINUTE * 120);
    assert_eq!(script.ready().len(), 2);
    assert_eq!(ends(&script, DisconnectReason::Rotated), 0);
}

#[test]
fn an_extra_at_an_address_that_the_user_names_makes_way() {
    let mut script = pool(20, |policy| policy.block_relay_count = 1);
    script.run_secs(5);
    let extra = of_type(&script, ConnectionType::BlockRelayOnly)[0];
    script.input(Input::AddManual(extra));
    script.run_secs(5);
    assert_eq!(of_type(&script, ConnectionType::Manual), [extra]);
    assert_eq!(of_type(&script, ConnectionType::BlockRelayOnly).len(), 1);
}

#[test]
fn an_offline_pool_has_no_extras_dialled() {
    let mut script = pool(32, |policy| {
        policy.block_relay_count = 2;
        policy.feeler_interval = MINUTE;
        policy.rotation_interval = MINUTE;
    });
    script.run_secs(5);
    script.others = Node::Silent;
    script.answers_pings = false;
    script.run(MINUTE * 10);
    assert!(script.status().offline);
    let before = script.dials.len();
    script.run(MINUTE * 10);
    let probes = script.dials.len() - before;
    assert!((55..=61).contains(&probes), "{probes} probes in ten minutes, one each 10 s");
}

/// A pool of eight with two seeds, of which the first names so many nodes and the second four.
fn two_seeds(first: u32) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = 8;
        policy.max_source_share = 50;
    });
    config.seeds = vec!["greedy.test".to_owned(), "modest.test".to_owned()];
    let mut script = Script::new(config);
    let named = |range: std::ops::Range<u32>| Ok(ips(&range.map(nth).collect::<Vec<_>>()));
    script.seeds = vec![named(0..first), named(100..104)];
    script
}

#[test]
fn one_source_names_no_more_than_its_share_of_peers_while_there_are_others() {
    let mut script = two_seeds(32);
    script.run(MINUTE);
    let (greedy, modest): (Vec<_>, Vec<_>) =
        script.ready().into_iter().partition(|address| *address < nth(100));
    assert_eq!((greedy.len(), modest.len()), (4, 4));
    let variety = script.status().variety;
    assert_eq!((variety.sources, variety.of_one_source), (2, 4));
}

#[test]
fn a_source_beyond_its_share_is_better_than_no_peer_and_the_status_tells() {
    let mut script = two_seeds(32);
    script.seeds[1] = Ok(vec![]);
    script.run(MINUTE);
    assert_eq!(script.ready().len(), 8);
    let variety = script.status().variety;
    assert_eq!((variety.sources, variety.of_one_source), (1, 8));
}
