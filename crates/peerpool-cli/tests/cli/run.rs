//! `peerpool run`, against `peerpool devnet` in another process.

use serde_json::Value;

use crate::{Running, devnet, output, peerpool, printed_flags, text};

fn run(said: &Value, more: &[&str]) -> Running {
    let flags = printed_flags(said);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    Running::start(
        &[&["run", "--json", "--target", "3", "--for", "1min"], &flags[..], more].concat(),
    )
}

#[test]
fn the_line_that_the_devnet_prints_fills_a_pool() {
    let (devnet, said) = devnet(&["--nodes", "80"]);
    let mut pool = run(&said, &[]);
    pool.event("full");
    pool.signal("TERM");
    let (code, rest, errors) = pool.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let stopped: Value =
        serde_json::from_str(rest.lines().last().expect("a last line")).expect("JSON");
    assert_eq!(stopped["event"], "stopped");
    let ready = stopped["status"]["ready"].as_array().expect("a list");
    let counting = ready.iter().filter(|it| it["connection_type"] == "outbound_full_relay");
    assert_eq!(counting.count(), 3, "{stopped}");

    devnet.signal("INT");
    let (code, rest, errors) = devnet.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let summary: Value = serde_json::from_str(rest.trim()).expect("JSON");
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["most_links_to_one_node"], 1, "{summary}");
    assert!(summary["accepts"].as_u64() >= Some(3), "{summary}");
}

#[test]
fn sigint_closes_cleanly_with_the_last_line() {
    let (_devnet, said) = devnet(&["--nodes", "40", "--rng-seed", "3"]);
    let mut pool = run(&said, &[]);
    pool.event("ready");
    pool.signal("INT");
    let (code, rest, errors) = pool.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let last = rest.lines().last().expect("a last line");
    assert!(last.starts_with("{\"event\":\"stopped\",\"at\":"), "{last}");
    assert!(rest.contains("\"reason\":\"pool_closed\""), "{rest}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (_devnet, said) = devnet(&["--nodes", "40", "--rng-seed", "4"]);
    let mut pool = run(&said, &[]);
    pool.line();
    pool.stdout = None;
    let (code, _, errors) = pool.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
}

#[test]
fn a_pool_told_where_to_connect_dials_nobody_else() {
    let (_devnet, said) = devnet(&["--nodes", "40", "--rng-seed", "5", "--mix", "honest=1"]);
    let mut pool = run(&said, &[]);
    let address = pool.event("ready")["address"].as_str().expect("an address").to_owned();
    drop(pool);
    let mut pool = run(&said, &["--connect", &address]);
    pool.event("ready");
    pool.signal("INT");
    let (_, rest, _) = pool.end();
    let stopped: Value =
        serde_json::from_str(rest.lines().last().expect("a last line")).expect("JSON");
    assert_eq!(stopped["status"]["dials"], 1, "{stopped}");
    assert_eq!(stopped["status"]["ready"][0]["address"], address.as_str());
    assert_eq!(stopped["status"]["ready"][0]["connection_type"], "manual");
}

#[test]
fn wrong_settings_are_said_on_stderr_and_exit_with_1() {
    let error = |args: &[&str]| {
        let output = output(args);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        text(&output.stderr)
    };
    assert_eq!(
        error(&["run", "--target", "9999"]),
        "error: target_connect_count = \"9999\" (flag --target) is not allowed; allowed: a whole \
         number from 1 to 1000\n"
    );
    assert_eq!(
        error(&["run", "--set", "dial_timout=2s"]),
        "error: \"dial_timout\" (flag --set) is no setting; allowed: dial_timeout\n"
    );
    assert_eq!(
        error(&["run", "--network", "custom"]),
        "error: network (flag --network) needs chain.magic; allowed: 8 hex digits, in the order \
         they are sent, such as f9beb4d9\n"
    );
    assert!(error(&["run", "--config", "/nowhere.toml"]).contains("/nowhere.toml"));

    let output = peerpool(&["run"]).env("PEERPOOL_RELAY", "yes").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: relay = \"yes\" (environment variable PEERPOOL_RELAY) is not allowed; allowed: \
         true or false\n"
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [&["run", "--for", "soon"][..], &["probe"], &["devnet", "--mix", "x=1"], &["fly"]] {
        assert_eq!(output(args).status.code(), Some(2), "{args:?}");
    }
}
