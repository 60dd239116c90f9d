//! Precedence, and the text of every kind of error.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use super::*;

/// A settings file that is gone when the test is over.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peerpool-settings-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file is written");
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the file is there");
    }
}

fn load(
    file: &str,
    env: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
) -> Result<Settings, String> {
    let file = TempFile::new(file);
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let flags: Vec<_> =
        flags.iter().map(|(key, value, flag)| Flag::new(*key, *value, *flag)).collect();
    Settings::load(Some(&file.0), env, &flags)
        .map_err(|error| error.to_string().replace(&file.0.display().to_string(), "peers.toml"))
}

#[test]
fn nothing_given_is_the_default() {
    let settings = Settings::default();
    assert_eq!(settings.policy, Policy::default());
    assert_eq!(settings.chain, Chain::named("bitcoin").expect("a public chain"));
    assert!(settings.dns && settings.connect.is_empty() && settings.data_dir.is_none());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "dial_timeout = \"1s\"";
    let env = [("PEERPOOL_DIAL_TIMEOUT", "2s"), ("HOME", "/root")];
    let flags = [("dial_timeout", "3s", "--set")];
    for (env, flags, seconds) in
        [(&env[..0], &flags[..0], 1), (&env[..], &flags[..0], 2), (&env[..], &flags[..], 3)]
    {
        let settings = load(file, env, flags).expect("good settings");
        assert_eq!(settings.policy.dial_timeout, Duration::from_secs(seconds));
    }
}

#[test]
fn a_list_replaces_the_earlier_one_and_a_repeated_flag_adds_up() {
    let file = "seeds = [\"a.example\"]";
    let env = [("PEERPOOL_SEEDS", "b.example, c.example")];
    let flags = [("seeds", "d.example", "--seed"), ("seeds", "e.example", "--seed")];
    let seeds = |env, flags| load(file, env, flags).expect("good settings").seeds;
    assert_eq!(seeds(&[], &[]), ["a.example"]);
    assert_eq!(seeds(&env, &[]), ["b.example", "c.example"]);
    assert_eq!(seeds(&env, &flags), ["d.example", "e.example"]);
}

#[test]
fn an_empty_item_is_refused() {
    let error = |env: &[_], flags: &[_]| load("", env, flags).expect_err("an empty item");
    for key in ["connect", "add", "onlynet", "seeds", "required_services"] {
        let told = error(&[], &[(key, "", "--set")]);
        assert!(told.starts_with(&format!("{key} = \"\" (flag --set) is not allowed")), "{told}");
    }
    assert!(error(&[("PEERPOOL_CONNECT", "")], &[]).contains("connect = \"\""));
    assert!(error(&[("PEERPOOL_SEEDS", "a.example,")], &[]).contains("seeds = \"\""));
}

#[test]
fn every_key_is_taken_from_the_file() {
    let settings = load(
        r#"
        network = "signet"
        target_connect_count = 12
        max_addresses = 1_000
        data_dir = "/srv/peers"
        asmap = "ip_asn.map"
        seeds = ["seed.example"]
        dns = false
        connect = ["1.2.3.4", "[2a01::1]:5"]
        add = ["1.2.3.5:6"]
        onlynet = ["ipv6"]
        allow_unroutable = true
        relay = true
        required_services = ["compact_filters", "0x8"]
        height = 7
        "#,
        &[],
        &[],
    )
    .expect("good settings");
    let texts = |list: &[Address]| list.iter().map(Address::to_string).collect::<Vec<_>>();
    assert_eq!((settings.policy.target_connect_count, settings.policy.max_addresses), (12, 1000));
    assert_eq!(settings.data_dir, Some("/srv/peers".into()));
    assert_eq!(settings.asmap, Some("ip_asn.map".into()));
    assert_eq!(settings.onlynet, [Net::Ipv6]);
    assert_eq!(settings.seeds, ["seed.example"]);
    assert!(!settings.dns && settings.policy.allow_unroutable && settings.policy.relay);
    assert_eq!(texts(&settings.connect), ["1.2.3.4:38333", "[2a01::1]:5"]);
    assert_eq!(texts(&settings.add), ["1.2.3.5:6"]);
    assert_eq!(
        settings.policy.required_services,
        ServiceFlags::COMPACT_FILTERS | ServiceFlags::WITNESS
    );
    assert_eq!(settings.height, 7);
}

#[test]
fn a_custom_chain_is_a_table() {
    let settings = load(
        r#"
        network = "custom"
        [chain]
        name = "mine"
        magic = "0a0B0c0d"
        port = 4444
        seeds = ["seed.example"]
        pow = false
        "#,
        &[("PEERPOOL_CHAIN_PORT", "4445")],
        &[],
    )
    .expect("good settings");
    let expected = Chain {
        name: "mine".to_owned(),
        magic: [0x0a, 0x0b, 0x0c, 0x0d],
        default_port: 4445,
        seeds: vec!["seed.example".to_owned()],
        pow: false,
        local: false,
    };
    assert_eq!(settings.chain, expected);
}

#[test]
fn regtest_lets_unroutable_addresses_through_unless_told_otherwise() {
    let allowed = |flags| {
        load("network = \"regtest\"", &[], flags).expect("good settings").policy.allow_unroutable
    };
    assert!(allowed(&[]));
    assert!(!allowed(&[("allow_unroutable", "false", "--set")]));
}

#[cfg(feature = "hickory")]
#[test]
fn a_dns_server_may_leave_out_its_port() {
    let server = |text| {
        let settings = load("", &[], &[("dns_server", text, "--dns-server")]);
        settings.expect("good settings").dns_server.expect("a server").to_string()
    };
    assert_eq!(server("127.0.0.1"), "127.0.0.1:53");
    assert_eq!(server("127.0.0.1:5353"), "127.0.0.1:5353");
    assert_eq!(server("::1"), "[::1]:53");
}

#[cfg(not(feature = "hickory"))]
#[test]
fn a_dns_server_without_the_feature_is_an_error_that_names_it() {
    let error = load("dns_server = \"127.0.0.1\"", &[], &[]).expect_err("the feature is off");
    assert_eq!(
        error,
        "dns_server = \"127.0.0.1\" (peers.toml line 1) is not allowed; allowed: nothing: this \
         build lacks the feature \"hickory\""
    );
}

#[test]
fn a_wrong_value_names_key_value_source_and_what_is_allowed() {
    let addresses = "a list of addresses: IP, IP:PORT, [IPV6]:PORT, NAME.onion:PORT or \
                     NAME.b32.i2p:0";
    let times = "a time such as 400ms, 5s, 2min, 3h or 30d from 10ms to 5min";
    let cases = [
        ("\n\ndial_timeout = 5", "dial_timeout = \"5\" (peers.toml line 3)", times),
        ("dial_timeout = [\"5s\"]", "dial_timeout = \"[5s]\" (peers.toml line 1)", times),
        (
            "target_connect_count = 1001",
            "target_connect_count = \"1001\" (peers.toml line 1)",
            "a whole number from 1 to 1000",
        ),
        ("dns = \"maybe\"", "dns = \"maybe\" (peers.toml line 1)", "true or false"),
        (
            "network = \"moon\"",
            "network = \"moon\" (peers.toml line 1)",
            "bitcoin, testnet3, testnet4, signet, regtest, or custom (with its magic and port in \
             the table chain)",
        ),
        (
            "seeds = \"a.example\"",
            "seeds = \"a.example\" (peers.toml line 1)",
            "a list of host names",
        ),
        ("seeds = [\"a b\"]", "seeds = \"a b\" (peers.toml line 1)", "a list of host names"),
        ("add = [\"1.2.3.4\",\n\"moon\"]", "add = \"moon\" (peers.toml line 1)", addresses),
        (
            "required_services = [\"nothing\"]",
            "required_services = \"nothing\" (peers.toml line 1)",
            "a list of network, bloom, witness, compact_filters, network_limited, p2p_v2, or bits \
             in hex such as 0x9",
        ),
        (
            "onlynet = [\"ipv4\", \"onion\"]",
            "onlynet = \"onion\" (peers.toml line 1)",
            "a list of ipv4, ipv6: this build cannot dial onion, i2p or cjdns",
        ),
        (
            "onlynet = [\"tor\"]",
            "onlynet = \"tor\" (peers.toml line 1)",
            "a list of ipv4, ipv6: this build cannot dial onion, i2p or cjdns",
        ),
        (
            "height = -1",
            "height = \"-1\" (peers.toml line 1)",
            "a whole number from 0 to 2147483647",
        ),
        ("data_dir = \"\"", "data_dir = \"\" (peers.toml line 1)", "a path"),
        (
            "asmap = \"\"",
            "asmap = \"\" (peers.toml line 1)",
            "a path; a relative one is looked for in data_dir, if that is set",
        ),
        (
            "dns = true\n[chain]\nmagic = \"f9beb4\"",
            "chain.magic = \"f9beb4\" (peers.toml line 3)",
            "8 hex digits, in the order they are sent, such as f9beb4d9",
        ),
        ("chain.port = 0", "chain.port = \"0\" (peers.toml line 1)", "a port from 1 to 65535"),
    ];
    for (file, what, allowed) in cases {
        let error = load(file, &[], &[]).expect_err("wrong settings");
        assert_eq!(error, format!("{what} is not allowed; allowed: {allowed}"));
    }
}

#[test]
fn the_source_of_a_wrong_value_may_be_a_variable_or_a_flag() {
    assert_eq!(
        load("", &[("PEERPOOL_RELAY", "yes")], &[]).expect_err("wrong settings"),
        "relay = \"yes\" (environment variable PEERPOOL_RELAY) is not allowed; allowed: true or \
         false"
    );
    assert_eq!(
        load("", &[], &[("target_connect_count", "many", "--target")]).expect_err("wrong"),
        "target_connect_count = \"many\" (flag --target) is not allowed; allowed: a whole number \
         from 1 to 1000"
    );
    // Overridden, but still wrong.
    let overridden = load("relay = 1", &[], &[("relay", "true", "--set")]);
    assert!(overridden.expect_err("wrong settings").starts_with("relay = \"1\" (peers.toml"));
}

#[test]
fn an_unknown_key_names_those_it_may_have_meant() {
    for (file, expected) in [
        (
            "dail_timeout = \"5s\"",
            "\"dail_timeout\" (peers.toml line 1) is no setting; allowed: dial_timeout",
        ),
        (
            "target = 8",
            "\"target\" (peers.toml line 1) is no setting; allowed: target_connect_count",
        ),
        (
            "[chain]\nmajic = \"00000000\"",
            "\"chain.majic\" (peers.toml line 2) is no setting; allowed: chain.magic",
        ),
    ] {
        assert_eq!(load(file, &[], &[]).expect_err("unknown"), expected);
    }
    assert_eq!(
        load("", &[("PEERPOOL_MAX_DIAL", "3")], &[]).expect_err("unknown"),
        "\"PEERPOOL_MAX_DIAL\" (environment variable PEERPOOL_MAX_DIAL) is no setting; allowed: \
         PEERPOOL_MAX_DIALS, PEERPOOL_MAX_DIALS_PER_NETGROUP"
    );
    let error = load("flux = 1", &[], &[]).expect_err("unknown");
    for key in keys() {
        assert!(error.contains(key), "{key} is not in: {error}");
    }
}

#[test]
fn a_setting_that_lacks_another_says_which() {
    let missing = |file| load(file, &[], &[]).expect_err("something is missing");
    assert_eq!(
        missing("network = \"custom\"\nchain.port = 1"),
        "network (peers.toml line 1) needs chain.magic; allowed: 8 hex digits, in the order they \
         are sent, such as f9beb4d9"
    );
    assert_eq!(
        missing("network = \"custom\"\nchain.magic = \"00000000\""),
        "network (peers.toml line 1) needs chain.port; allowed: a port from 1 to 65535"
    );
    assert_eq!(
        missing("[chain]\nport = 1"),
        "chain.port (peers.toml line 2) needs network; allowed: custom"
    );
}

#[test]
fn a_file_that_is_no_settings_file_is_named() {
    let error = load("dns = true\ndns =", &[], &[]).expect_err("no TOML");
    assert!(error.starts_with("peers.toml line 2: "), "{error}");
    let path = Path::new("/nowhere/peers.toml");
    let error = Settings::load(Some(path), std::iter::empty(), &[]).expect_err("no file");
    let start = "the settings file /nowhere/peers.toml cannot be read: ";
    assert!(error.to_string().starts_with(start), "{error}");
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for key in keys() {
        let name = format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase());
        assert_eq!(keys::key_of_variable(&name).as_deref(), Some(key));
        assert!(seen.insert(name));
    }
}
