//! `peerpool bench`: the figures themselves are not judged, only that they are figures.

use std::fs;

use crate::{Running, json_lines, output, text};

const FILL: [&str; 7] = ["bench", "fill", "--nodes", "200", "--seeds", "2", "--shares"];

#[test]
fn fill_measures_every_run_and_sums_them_up() {
    let raw = std::env::temp_dir().join(format!("peerpool-fill-{}.jsonl", std::process::id()));
    let file = raw.to_str().expect("a plain path");
    let output = output(&[&FILL[..], &["100/100,30/20", "--json", "--raw", file]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let written = fs::read(&raw).expect("the raw runs");
    fs::remove_file(&raw).expect("it is ours");
    assert_eq!(written, output.stdout, "what is shown is what is kept");
    let lines = json_lines(&output.stdout);
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert!(of("bench_fill")[0]["machine"]["cores"].as_u64().expect("a count") > 0);
    assert_eq!((of("run").len(), of("case").len()), (4, 2));
    for run in of("run") {
        assert_eq!((&run["ready"], &run["oracle_dials"]), (&8.into(), &8.into()), "{run}");
        assert_eq!(run["most_links_to_one_node"], 1, "{run}");
        assert!(run["took"].is_number() && run["oracle_took"].is_number(), "{run}");
        let (dials, need) = (run["dials"].as_u64(), run["need"].as_u64());
        assert!(dials >= need && need >= Some(8), "{run}");
    }
}

#[test]
fn fill_shows_people_a_table() {
    let output = output(&[&FILL[..], &["100/100"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let row = shown.lines().find(|line| line.starts_with("100/100")).expect("a row");
    assert_eq!(row.split_whitespace().nth(1), Some("2/2"), "{shown}");
}

#[test]
fn a_wrong_option_says_what_is_allowed() {
    for (bench, option, value, allowed) in [
        ("fill", "--shares", "90", "two percentages"),
        ("fill", "--shares", "90/101", "two percentages"),
        ("fill", "--shares", "-5/20", "two percentages"),
        ("fill", "--gossip-ages", "old", "kind, core"),
        ("fill", "--jobs", "0", "1 to 100"),
        ("fill", "--latency", "80", "400ms"),
        ("fill", "--latency", "-1s", "400ms"),
        ("fill", "--target", "255", "1 to 254"),
        ("fill", "--seeds", "0", "1 to 1000000"),
        ("hold", "--peers", "-1", "1 to 1000"),
        ("hold", "--for", "-1s", "400ms"),
        ("eclipse", "--nodes", "999", "1000 to 100000"),
        ("eclipse", "--nodes", "450000", "1000 to 100000"),
        ("eclipse", "--seeds", "-1", "1 to 1000000"),
        ("eclipse", "--rng-seed", "-1", "0 to 18446744073709551615"),
        ("eclipse", "--jobs", "-1", "1 to 100"),
    ] {
        let output = output(&["bench", bench, option, value]);
        assert_eq!(output.status.code(), Some(2), "{bench} {option} {value}");
        assert!(text(&output.stderr).contains(allowed), "{}", text(&output.stderr));
    }
    let output = output(&["bench", "fill", "--nodes", "10", "--target", "8", "--seeds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("netgroups with living nodes"));
}

#[test]
fn hold_measures_a_pool_in_a_process_of_its_own() {
    let output = output(&["bench", "hold", "--peers", "4,8", "--for", "100ms", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&output.stdout);
    let held: Vec<_> = lines.iter().filter(|line| line["event"] == "held").collect();
    let peers: Vec<_> = held.iter().map(|line| line["peers"].as_u64()).collect();
    assert_eq!(peers, [Some(1), Some(4), Some(8)]);
    for line in held {
        assert!(line["rss_anon"].as_u64() > Some(100_000), "{line}");
        assert!(line["core_share"].is_number(), "{line}");
    }
}

#[test]
fn a_measurement_that_is_stopped_says_so_and_keeps_what_it_has() {
    let more = ["90/20,30/20", "--json", "--seeds", "100000"];
    let mut running = Running::start(&[&FILL[..4], &["--shares"], &more].concat());
    running.event("run");
    running.signal("INT");
    let (code, rest, error) = running.end();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("stopped after"), "{error}");
    let lines = json_lines(rest.as_bytes());
    let last: Vec<_> = lines.iter().rev().take(2).map(|line| &line["event"]).collect();
    assert_eq!(last, ["stopped", "case"], "the case that was begun, and no other");
    assert!(lines[lines.len() - 2]["runs"].as_u64() > Some(0));
}
