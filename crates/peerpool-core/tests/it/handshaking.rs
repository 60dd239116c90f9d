//! Handshakes that go wrong, message by message.

use std::time::Duration;

use peerpool_core::event::DialError;
use peerpool_core::id::{BurnReason, DisconnectReason, LinkFault, PeerId};
use peerpool_core::io::Input;
use peerpool_core::wire::Control;

use crate::script::{Node, SERVICES, Script, config, greeting, ips, nth};

/// A pool whose first peer is connected and says nothing of itself.
fn connected() -> (Script, PeerId) {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.others = Node::Mute;
    script.run(Duration::from_millis(100));
    let peer = script.status().connected[0].id;
    (script, peer)
}

fn burned(script: &Script) -> Vec<BurnReason> {
    script.status().burned.keys().copied().collect()
}

#[test]
fn another_chains_magic_burns() {
    let (mut script, peer) = connected();
    let reason = DisconnectReason::Fault(LinkFault::BadMagic);
    script.input(Input::Closed { peer, reason });
    assert_eq!(burned(&script), [BurnReason::BadMagic]);
}

#[test]
fn a_peer_that_leaves_after_its_version_burns() {
    let (mut script, peer) = connected();
    let [version, _] = greeting(SERVICES);
    script.input(Input::Control { peer, message: version });
    script.input(Input::Closed { peer, reason: DisconnectReason::Broken });
    assert_eq!(burned(&script), [BurnReason::ClosedInHandshake]);
}

#[test]
fn a_peer_that_breaks_the_rules_burns() {
    let (mut script, peer) = connected();
    script.input(Input::Control { peer, message: Control::Verack });
    script.run_secs(1);
    assert_eq!(burned(&script), [BurnReason::Protocol]);
    assert_eq!(script.dialled(nth(1)).len(), 1);
}

#[test]
fn nothing_extends_the_handshake_deadline() {
    let (mut script, peer) = connected();
    let [version, _] = greeting(SERVICES);
    script.input(Input::Control { peer, message: version });
    for _ in 0..19 {
        script.run(Duration::from_millis(500));
        script.input(Input::Control { peer, message: Control::Ping(1) });
        script.input(Input::Progress { peer });
    }
    assert_eq!(script.status().connected.len(), 1, "9.5 s after it connected");
    script.run(Duration::from_millis(500));
    assert_eq!(burned(&script), [BurnReason::HandshakeTimedOut]);
}

#[test]
fn a_lack_of_descriptors_burns_nobody_and_pauses_all_dialling() {
    let all: Vec<_> = (0..20).map(nth).collect();
    let mut script = Script::seeded(8, &all);
    script.others = Node::Silent;
    script.run(Duration::from_millis(10));
    let connecting: Vec<_> = script.status().connecting.iter().map(|peer| peer.id).collect();
    let dials = script.dials.len();
    for peer in connecting {
        script.input(Input::DialFailed { peer, error: DialError::NoDescriptors });
    }
    script.run_secs(9);
    assert_eq!(script.dials.len(), dials);
    script.others = Node::Alive;
    script.run_secs(2);
    assert_eq!(script.ready().len(), 8);
    assert!(script.status().burned.is_empty());
}

#[test]
fn the_relay_flag_is_off_unless_asked_for() {
    for relay in [false, true] {
        let mut config = config(|policy| policy.relay = relay);
        config.seeds = vec!["seed.test".to_owned()];
        let mut script = Script::new(config);
        script.seeds = vec![Ok(ips(&[nth(1)]))];
        script.run_secs(1);
        assert_eq!(script.greetings.len(), 1);
        assert_eq!(script.greetings[0].relay, relay);
        assert_eq!(script.greetings[0].user_agent.to_string(), "/test/");
        assert_eq!(script.greetings[0].protocol, 70016);
    }
}

#[test]
fn an_automatic_peer_that_the_user_names_becomes_manual() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.run_secs(10);
    script.input(Input::AddManual(nth(2)));
    script.run_secs(10);
    assert_eq!(script.dials.len(), 2, "it is up already");
    script.nodes.insert(nth(2), Node::Refusing);
    script.drop_peer(nth(2));
    script.run_secs(3600);
    assert!(script.status().burned.is_empty(), "whom the user names does not burn");
    script.nodes.insert(nth(2), Node::Alive);
    script.run_secs(3600);
    assert!(script.ready().contains(&nth(2)));
}
