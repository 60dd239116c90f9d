//! `peerpool probe`.

use crate::{Running, devnet, json_lines, output, printed_flags, text};

/// The address of a node that shakes hands, found by a pool.
fn living_node(said: &serde_json::Value) -> String {
    let flags = printed_flags(said);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut run = Running::start(&[&["run", "--json", "--for", "1min"], &flags[..]].concat());
    run.event("ready")["address"].as_str().expect("an address").to_owned()
}

#[test]
fn a_living_node_is_described_and_every_step_timed() {
    let (_devnet, said) = devnet(&["--nodes", "30", "--mix", "honest=1"]);
    let address = living_node(&said);
    let output = output(&["probe", "--network", "regtest", "--json", &address]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&output.stdout);
    assert_eq!(lines.len(), 1);
    let probed = &lines[0];
    assert_eq!((&probed["event"], &probed["address"]), (&"probed".into(), &address.into()));
    assert_eq!(probed["good"], true);
    assert!(probed["services"].as_array().expect("names").contains(&"witness".into()));
    for key in ["user_agent", "protocol", "height", "relay"] {
        assert!(!probed[key].is_null(), "{key}: {probed}");
    }
    for step in ["dial", "handshake", "ping"] {
        assert!(probed["took"][step].is_number(), "{step}: {probed}");
    }
}

#[test]
fn one_dead_address_fails_the_probe_and_the_others_are_shown() {
    let (_devnet, said) = devnet(&["--nodes", "30", "--mix", "honest=1", "--rng-seed", "2"]);
    let address = living_node(&said);
    let output = output(&["probe", "--network", "regtest", &address, "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(shown.contains("127.0.0.1:1 failed at the dial: refused"), "{shown}");
    assert!(shown.contains(&format!("{address} is good")), "{shown}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_address_is_said() {
    let output = output(&["probe", "moon"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: connect = \"moon\" "), "{said}");
}
