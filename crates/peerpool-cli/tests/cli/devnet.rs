//! `peerpool devnet`: its options, and what it says of itself.

use serde_json::json;

use crate::{devnet, output, text};

#[test]
fn what_was_asked_for_is_said() {
    let (running, said) = devnet(&[
        "--nodes=20",
        "--mix=honest=1,liar=1",
        "--dns-share=0.9",
        "--gossip-share=0.2",
        "--gossip-ages=core",
        "--latency=80ms",
        "--slow-rate=7",
        "--flap-up=1s..2s",
        "--flap-down=3s",
    ]);
    for (key, value) in [
        ("nodes", json!(20)),
        ("mix", json!("honest=1,liar=1")),
        ("dns_share", json!(0.9)),
        ("gossip_share", json!(0.2)),
        ("gossip_ages", json!("core")),
        ("latency", json!(0.08)),
        ("slow_rate", json!(7)),
        ("vanish_after", json!([5.0, 30.0])),
        ("flap_up", json!([1.0, 2.0])),
        ("flap_down", json!([3.0, 3.0])),
    ] {
        assert_eq!(said[key], value, "{key}");
    }
    running.signal("INT");
    let (code, rest, errors) = running.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(rest.contains("\"shook_hands\":0"), "{rest}");
}

#[test]
fn a_wrong_option_is_answered_with_what_is_allowed() {
    for (option, allowed) in [
        ("--mix=honest=1,polite=1", "wrongmagic"),
        ("--dns-share=90%", "a share from 0 to 1"),
        ("--gossip-share=1.5", "a share from 0 to 1"),
        ("--gossip-ages=old", "one of kind, core"),
        ("--latency=61s", "a time up to 60s"),
        ("--slow-rate=0", "1.."),
        ("--flap-up=30s..5s", "shortest..longest"),
        ("--vanish-after=soon", "a time is written"),
    ] {
        let output = output(&["devnet", option]);
        assert_eq!(output.status.code(), Some(2), "{option}");
        let said = text(&output.stderr);
        let flag = option.split('=').next().unwrap_or(option);
        assert!(said.contains(allowed) && said.contains(flag), "{said}");
    }
}

#[test]
fn the_help_says_what_each_kind_does() {
    for command in ["devnet", "demo"] {
        let help = text(&output(&[command, "--help"]).stdout);
        assert!(
            help.contains("\n  mute        Accepts, reads, and never says a word.\n"),
            "{help}"
        );
    }
}
