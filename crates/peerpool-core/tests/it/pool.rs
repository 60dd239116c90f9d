//! Founding table: pool size, three states, what is tracked, settings.

use std::time::Duration;

use expect_test::expect;
use peerpool_core::engine::Engine;
use peerpool_core::id::{ConnectionType, PeerState};
use peerpool_core::io::Input;
use peerpool_core::rng::Rng;

use crate::script::{Node, Script, address, config, ips, nth};

#[test]
fn pool_size_works_to_reach_the_target_and_not_beyond() {
    let all: Vec<_> = (0..30).map(nth).collect();
    let mut script = Script::seeded(3, &all);
    script.run_secs(600);
    assert_eq!(script.ready().len(), 3);
    let dials = script.dials.len();
    assert!(dials <= 4, "at a perfect success rate {dials} dials for 3 peers are too many");
    expect![[r#"
        0.000 seed_asked seed.test
        0.001 seed_answered seed.test 30 of 30
        0.001 connecting #1 11.15.1.1:8333 OutboundFullRelay
        0.001 connecting #2 11.10.1.1:8333 OutboundFullRelay
        0.001 connecting #3 11.11.1.1:8333 OutboundFullRelay
        0.001 connecting #4 11.19.1.1:8333 OutboundFullRelay
        0.002 connected #1 11.15.1.1:8333
        0.002 connected #2 11.10.1.1:8333
        0.002 connected #3 11.11.1.1:8333
        0.002 connected #4 11.19.1.1:8333
        0.003 ready #1 11.15.1.1:8333
        0.003 ready #2 11.10.1.1:8333
        0.003 ready #3 11.11.1.1:8333
        0.003 full 0.003s
        0.003 disconnected #4 11.19.1.1:8333 Connected surplus
    "#]]
    .assert_eq(&script.log());
    script.run_secs(36_000);
    assert_eq!(script.dials.len(), dials, "a full pool dials nobody");
}

#[test]
fn pool_size_counts_full_relay_and_manual_but_no_extras() {
    let mut config = config(|policy| policy.target_connect_count = 2);
    config.manual = vec![address("1.1.1.1:1000")];
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(1), nth(2), nth(3)]))];
    script.run_secs(10);
    let kinds: Vec<_> = script.status().ready.iter().map(|peer| peer.connection_type).collect();
    assert_eq!(kinds, [ConnectionType::Manual, ConnectionType::OutboundFullRelay]);
}

#[test]
fn three_states_connecting_connected_ready() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.latency = Duration::from_secs(1);
    let mut states = Vec::new();
    for _ in 0..8 {
        script.run(Duration::from_millis(500));
        let status = script.status();
        let views = [&status.connecting, &status.connected, &status.ready];
        states.push(views.map(|view| view.len()));
        for (view, state) in
            views.iter().zip([PeerState::Connecting, PeerState::Connected, PeerState::Ready])
        {
            assert!(view.iter().all(|peer| peer.state == state));
        }
    }
    states.dedup();
    assert_eq!(states, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]);
    expect![[r#"
            0.000 seed_asked seed.test
            1.000 seed_answered seed.test 1 of 1
            1.000 connecting #1 11.2.1.1:8333 OutboundFullRelay
            2.000 connected #1 11.2.1.1:8333
            3.000 ready #1 11.2.1.1:8333
            3.000 full 3.000s
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn what_is_tracked_available_connecting_connected_ready() {
    let all: Vec<_> = (0..20).map(nth).collect();
    let mut script = Script::seeded(8, &all);
    script.nodes.insert(nth(0), Node::Silent);
    for n in 1..6 {
        script.nodes.insert(nth(n), Node::Mute);
    }
    script.run_secs(1);
    let status = script.status();
    let attempts = status.connecting.len() + status.connected.len();
    assert_eq!(status.ready.len(), 8);
    assert_eq!(status.available, 20 - 8 - attempts, "whoever is not in use is available");
    let ready = &status.ready[0];
    let version = ready.version.as_ref().expect("a ready peer has said what it is");
    assert_eq!((version.height, version.user_agent.to_string()), (7, "/node/".to_owned()));
    assert!(ready.ping.is_some());
}

#[test]
fn try_connect_runs_at_the_start_on_addresses_failures_losses_and_timers() {
    // Start: no addresses, so the seed is asked. Its answer: a dial. Its failure: the next one.
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.others = Node::Refusing;
    script.nodes.insert(nth(3), Node::Alive);
    script.run_secs(1);
    assert_eq!(script.dials.len(), 2);
    // A new address named by the user: a dial at once.
    script.input(Input::AddManual(nth(3)));
    script.run_secs(1);
    assert_eq!(script.ready(), [nth(3)]);
    // A loss: after its back-off, by timer.
    script.run_secs(3600);
    script.drop_peer(nth(3));
    script.run_secs(120);
    assert_eq!(script.ready(), [nth(3)]);
    expect![[r#"
        0.000 seed_asked seed.test
        0.001 seed_answered seed.test 2 of 2
        0.001 connecting #1 11.3.1.1:8333 OutboundFullRelay
        0.002 dial_failed #1 11.3.1.1:8333 refused
        0.002 verdict_waits 11.3.1.1:8333 refused
        0.002 connecting #2 11.2.1.1:8333 OutboundFullRelay
        0.003 dial_failed #2 11.2.1.1:8333 refused
        0.003 verdict_waits 11.2.1.1:8333 refused
        0.003 starved Known { blocked: 0, backing_off: 0, waiting: 2, burned: 0, ineligible: 0, banned: 0, discouraged: 0 }
        1.000 connecting #3 11.4.1.1:8333 Manual
        1.000 fed
        1.001 burned 11.2.1.1:8333 refused
        1.001 burned 11.3.1.1:8333 refused
        1.001 connected #3 11.4.1.1:8333
        1.002 ready #3 11.4.1.1:8333
        1.002 full 1.002s
        3602.000 disconnected #3 11.4.1.1:8333 Ready closed_by_peer
        3602.000 backed_off 11.4.1.1:8333 failures=0 retry_in=64s
        3602.000 starved Known { blocked: 0, backing_off: 1, waiting: 0, burned: 2, ineligible: 0, banned: 0, discouraged: 0 }
        3602.000 seed_asked seed.test
        3602.001 seed_answered seed.test 0 of 2
        3662.000 seed_asked seed.test
        3662.001 seed_answered seed.test 0 of 2
        3666.253 connecting #4 11.4.1.1:8333 Manual
        3666.253 fed
        3666.254 connected #4 11.4.1.1:8333
        3666.255 ready #4 11.4.1.1:8333
        3666.255 full 64.255s
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let config = config(|policy| policy.target_connect_count = 0);
    let error = Engine::new(config, Rng::from_u64(1)).expect_err("a target of 0");
    expect![[
        r#"target_connect_count = "0" is not allowed; allowed: a whole number from 1 to 1000"#
    ]]
    .assert_eq(&error.to_string());
}

#[test]
fn same_seed_and_inputs_give_the_same_outputs() {
    let run = |seed| {
        let all: Vec<_> = (0..60).map(nth).collect();
        let mut config = config(|_| ());
        config.seeds = vec!["seed.test".to_owned()];
        let mut script = Script::with_seed(config, seed);
        script.seeds = vec![Ok(ips(&all))];
        for n in 0..30 {
            let kind = [Node::Refusing, Node::Silent, Node::Mute, Node::Rude][n as usize % 4];
            script.nodes.insert(nth(n), kind);
        }
        script.run_secs(3600);
        script.log()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn close_gives_up_dials_and_disconnects_everyone() {
    let all: Vec<_> = (0..10).map(nth).collect();
    let mut script = Script::seeded(8, &all);
    script.nodes.insert(nth(0), Node::Silent);
    script.nodes.insert(nth(1), Node::Mute);
    script.nodes.insert(nth(2), Node::Mute);
    script.nodes.insert(nth(3), Node::Silent);
    script.run_secs(1);
    script.log();
    script.input(Input::Close);
    script.run_secs(10);
    let status = script.status();
    assert!(status.connecting.is_empty() && status.connected.is_empty() && status.ready.is_empty());
    assert!(status.burned.is_empty(), "closing burns nobody");
    assert_eq!(script.engine.wake_at(), None);
}
