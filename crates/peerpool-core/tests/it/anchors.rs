//! Anchors: the peers of the last run, to whom a pool that starts again goes back first.

use std::collections::BTreeSet;
use std::time::Duration;

use peerpool_core::address::Address;

use crate::script::{Node, Script, config, ips, nth};

const KEY: [u8; 16] = [7; 16];

/// A pool of four and one block-relay-only peer that a seed tells of 24 nodes.
fn pool(seed: u64) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = 4;
        policy.block_relay_count = 1;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::with_seed(config, seed);
    script.seeds = vec![Ok(ips(&(0..24).map(nth).collect::<Vec<_>>()))];
    script
}

/// The pool is killed, and started again with what was kept.
fn restarted(mut old: Script, seed: u64) -> Script {
    let (_, kept) = old.engine.take_all(old.now);
    let mut script = pool(seed);
    script.now.unix = old.now.unix;
    script.unix_error = old.now.mono.since_origin().as_secs() as i64;
    script.nodes = std::mem::take(&mut old.nodes);
    script.engine.restore(script.now, KEY, kept);
    script
}

fn anchors(script: &Script) -> BTreeSet<Address> {
    script.engine.book().anchors().into_iter().collect()
}

fn first_dials(script: &Script, count: usize) -> BTreeSet<Address> {
    script.dials.iter().take(count).map(|(_, address)| *address).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn ready_peers_are_anchors_as_long_as_they_are_ready() {
    let mut script = pool(1);
    script.run(MINUTE * 2);
    let ready: BTreeSet<Address> = script.ready().into_iter().collect();
    assert_eq!(ready.len(), 5);
    assert_eq!(anchors(&script), ready);
    let lost = script.ready()[0];
    script.drop_peer(lost);
    script.run(MINUTE);
    assert_eq!(anchors(&script), script.ready().into_iter().collect());
}

#[test]
fn the_first_slots_after_a_restart_go_to_anchors() {
    let mut script = pool(1);
    script.run(MINUTE * 2);
    let before = anchors(&script);
    let mut script = restarted(script, 2);
    script.run_secs(10);
    assert_eq!(first_dials(&script, 5), before);
    assert_eq!(script.ready().into_iter().collect::<BTreeSet<_>>(), before);
}

#[test]
fn an_anchor_that_fails_is_forgotten_as_one() {
    let mut script = pool(1);
    script.run(MINUTE * 2);
    let before = anchors(&script);
    before.iter().for_each(|dead| {
        script.nodes.insert(*dead, Node::Refusing);
    });
    let mut script = restarted(script, 2);
    script.run(MINUTE);
    assert_eq!(first_dials(&script, 4).intersection(&before).count(), 4);
    assert_eq!(script.ready().len(), 5, "others take their slots");
    assert!(anchors(&script).is_disjoint(&before));
    let mut script = restarted(script, 3);
    script.run_secs(10);
    assert!(first_dials(&script, 5).is_disjoint(&before));
}

#[test]
fn no_anchor_is_forgotten_for_an_outage() {
    let mut script = pool(1);
    script.run(MINUTE * 2);
    let before = anchors(&script);
    let mut script = restarted(script, 2);
    script.others = Node::Silent;
    script.run(MINUTE * 10);
    assert!(script.status().offline);
    assert_eq!(anchors(&script), before);
    script.others = Node::Alive;
    let dialled = script.dials.len();
    script.run(MINUTE);
    assert_eq!(anchors(&script), script.ready().into_iter().collect());
    // Whom the probe found may be another.
    let after: BTreeSet<Address> = script.dials[dialled..].iter().map(|(_, to)| *to).collect();
    assert!(after.intersection(&before).count() >= 4, "{after:?} {before:?}");
}
