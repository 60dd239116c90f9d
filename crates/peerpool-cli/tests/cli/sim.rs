//! `peerpool sim`.

use std::fs;

use serde_json::Value;

use crate::{Running, json_lines, output, text};

const SMALL: [&str; 5] = ["sim", "--nodes", "200", "--days", "0.1"];

/// The last line of a run that goes well.
fn report(more: &[&str]) -> Value {
    let output = output(&[&SMALL[..], &["--json"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    json_lines(&output.stdout).pop().expect("a report")
}

/// The report without what depends on the machine.
fn lasting(mut report: Value) -> String {
    let wall = report.as_object_mut().and_then(|report| report.shift_remove("wall"));
    assert!(wall.expect("a key").is_object());
    report.to_string()
}

#[test]
fn a_seed_makes_the_same_report_but_for_the_wall_clock() {
    let (first, again) = (report(&["--seed", "7"]), report(&["--seed", "7"]));
    let other = report(&["--seed", "8"]);
    assert_ne!(first["trace_hash"], other["trace_hash"]);
    assert_eq!(lasting(first), lasting(again));
}

#[test]
fn the_report_says_how_the_pool_fared() {
    let report = report(&["--scenario", "sybil", "--target", "4", "--set", "max_dials=8"]);
    assert_eq!((&report["event"], &report["scenario"]), (&"report".into(), &"sybil".into()));
    assert_eq!((&report["stopped"], &report["breach"]), (&false.into(), &Value::Null));
    assert_eq!((&report["nodes"], &report["lasted_days"]), (&200.into(), &0.1.into()));
    assert_eq!(report["trace_hash"].as_str().map(str::len), Some(16));
    let pool = &report["pools"][0];
    assert_eq!((&pool["target"], &pool["lasted"]), (&4.into(), &8640.0.into()));
    assert!(pool["time_to_full"].as_f64() > Some(0.0), "{pool}");
    for (key, within) in [("at_target", 0.5..=1.0), ("starved", 0.0..=0.5), ("offline", 0.0..=0.1)]
    {
        assert!(within.contains(&pool[key].as_f64().expect("a share")), "{key}: {pool}");
    }
    let dials = &pool["dials"];
    let sum = |map: &Value| {
        map.as_object().expect("counts").values().filter_map(Value::as_u64).sum::<u64>()
    };
    assert!(dials["total"].as_u64() >= Some(4), "{dials}");
    assert_eq!(sum(&dials["by_type"]), sum(&dials["outcomes"]));
    assert_eq!(Some(sum(&dials["by_type"])), dials["total"].as_u64());
    assert!(pool["bytes"]["received_a_day"].as_f64() > Some(0.0), "{pool}");
    assert!(pool["holding"]["netgroups"].as_u64() >= Some(3), "{pool}");
    let curve = &pool["curve"];
    for column in ["at", "ready", "attacker"] {
        assert_eq!(curve[column].as_array().map(Vec::len), Some(720), "{column}");
    }
    assert!(report["wall"]["events_per_second"].as_f64() > Some(0.0), "{report}");
    assert!(report["wall"]["peak_memory"].as_u64() > Some(1_000_000), "{report}");
}

#[test]
fn several_seeds_end_in_a_summary_that_threads_do_not_change() {
    let args = [&SMALL[..], &["--json", "--seeds", "3", "--seed", "5", "--jobs", "2"]].concat();
    let output = output(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut lines = json_lines(&output.stdout);
    let summary = lines.pop().expect("a summary");
    lines.sort_by_key(|line| line["seed"].as_u64());
    let seeds: Vec<_> = lines.iter().map(|line| line["seed"].as_u64()).collect();
    assert_eq!(seeds, [Some(5), Some(6), Some(7)]);
    assert_eq!(lasting(lines[2].clone()), lasting(report(&["--seed", "7"])));
    assert_eq!((&summary["event"], &summary["done"]), (&"summary".into(), &3.into()));
    let mut dials: Vec<_> =
        lines.iter().filter_map(|line| line["pools"][0]["dials"]["a_day"].as_f64()).collect();
    dials.sort_by(f64::total_cmp);
    let spread = &summary["figures"]["dials_a_day"];
    assert_eq!((&spread["least"], &spread["median"]), (&dials[0].into(), &dials[1].into()));
    assert_eq!((&spread["most"], &spread["count"]), (&dials[2].into(), &3.into()));
    assert_eq!(lasting(summary), lasting(report(&args[6..])));
}

#[test]
fn people_get_a_page_or_a_table_that_fits_a_terminal() {
    for (more, rows) in [
        (&["--scenario", "calm"][..], &["full ", "at target ", "refills ", "dials ", "trace "][..]),
        (&["--pools", "2"], &["1/0 ", "1/1 ", "mean ", "worst "]),
        (&["--seeds", "2"], &["1 ", "2 ", "mean ", "worst "]),
    ] {
        let output = output(&[&SMALL[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "no bar where there is no terminal");
        let shown = text(&output.stdout);
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
        for row in rows {
            assert!(shown.lines().any(|line| line.starts_with(row)), "{row}: {shown}");
        }
    }
}

#[test]
fn a_trace_goes_before_the_report() {
    let args = ["sim", "--nodes", "50", "--days", "10s", "--trace", "--seeds"];
    let refused = text(&output(&[&args[..], &["2"]].concat()).stderr);
    assert!(refused.contains("a trace is of one run"), "{refused}");
    let plain = text(&output(&[&args[..], &["1"]].concat()).stdout);
    assert!(plain.starts_with("# time "), "{plain}");
    let output = output(&[&args[..], &["1", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut lines = json_lines(&output.stdout);
    let report = lines.pop().expect("a report");
    assert_eq!((&report["event"], &report["pools"][0]["lasted"]), (&"report".into(), &10.0.into()));
    assert!(lines.len() > 20, "{lines:?}");
    assert!(lines.iter().all(|line| line["event"] == "trace"), "{lines:?}");
    let traced: Vec<_> = lines.iter().filter_map(|line| line["line"].as_str()).collect();
    assert!(plain.starts_with(&(traced.join("\n") + "\n")), "the same, legend and all: {plain}");
}

#[test]
fn the_attackers_share_of_the_nodes_that_answer_is_told() {
    for scenario in ["sybil", "poisoned"] {
        let share = report(&["--scenario", scenario])["answering_share"].as_f64();
        assert!(share > Some(0.2) && share < Some(0.8), "{scenario}: {share:?}");
        let several = report(&["--scenario", scenario, "--seeds", "2"]);
        assert!(several["answering_share"].as_f64() > Some(0.2), "{several}");
        let told = format!("{:.0} % of the nodes that answer at", share.unwrap_or(0.0) * 100.0);
        let shown = text(&output(&[&SMALL[..], &["--scenario", scenario]].concat()).stdout);
        assert!(shown.contains(&told), "{told}: {shown}");
    }
    assert!(report(&[])["answering_share"].is_null(), "there is no attacker");
}

#[test]
fn curves_are_drawn_into_a_folder() {
    let dir = std::env::temp_dir().join(format!("peerpool-sim-{}", std::process::id()));
    let folder = dir.join("new");
    report(&["--pools", "2", "--plot", folder.to_str().expect("a plain path")]);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    let names: Vec<_> =
        files.iter().filter_map(|file| file.file_name()?.to_str().map(str::to_owned)).collect();
    let svg = fs::read_to_string(&files[0]).expect("text");
    fs::remove_dir_all(&dir).expect("it is ours");
    assert_eq!(
        names,
        [
            "seed1-pool0-attacker.svg",
            "seed1-pool0-ready.svg",
            "seed1-pool1-attacker.svg",
            "seed1-pool1-ready.svg"
        ]
    );
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
}

#[test]
fn an_interrupted_run_says_so_and_reports_what_it_has() {
    let mut running = Running::start(&["sim", "--days", "3650", "--trace", "--json"]);
    running.line();
    running.signal("INT");
    let (code, rest, error) = running.end();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("stopped after") && error.contains("of 3650 days"), "{error}");
    let last = rest.lines().last().expect("a report");
    let report: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!((&report["event"], &report["stopped"]), (&"report".into(), &true.into()));
    let lasted = report["lasted_days"].as_f64();
    assert!(lasted > Some(0.0) && lasted < Some(3650.0), "{lasted:?}");
}

#[test]
fn a_wrong_flag_names_what_is_allowed() {
    for (code, flag, value, allowed) in [
        (2, "--scenario", "none", "one of internet, "),
        (2, "--days", "0", "up to 3650"),
        (2, "--days", "3651", "up to 3650"),
        (2, "--days", "NaN", "up to 3650"),
        (2, "--days", "1e-12", "at least 1ms"),
        (2, "--nodes", "1000001", "1 to 1000000"),
        (2, "--pools", "0", "1 to 1000"),
        (2, "--jobs", "1001", "1 to 1000"),
        (2, "--seed", "-1", "0 to 18446744073709551615"),
        (2, "--seeds", "-1", "1 to 1000000"),
        (2, "--days", "-1", "up to 3650"),
        (2, "--days", "-1h", "up to 3650"),
        (2, "--nodes", "-1", "1 to 1000000"),
        (2, "--pools", "-1", "1 to 1000"),
        (2, "--jobs", "-1", "1 to 1000"),
        (1, "--target", "-1", "1 to 1000"),
        (1, "--target", "1001", "1 to 1000"),
        (1, "--set", "data_dir=x", "no rule of a pool; allowed: required_services, target_"),
        (1, "--set", "dial_timeout=1", "a time such as 400ms"),
        (1, "--plot", "/proc/none/plots", "--plot /proc/none/plots: "),
    ] {
        let output = output(&["sim", flag, value]);
        assert_eq!(output.status.code(), Some(code), "{flag} {value}");
        let error = text(&output.stderr);
        assert!(error.contains(allowed), "{flag} {value}: {error}");
    }
}

#[test]
fn a_swarm_run_is_replayed_by_its_seed() {
    let run = |more: &[&str]| {
        let args = ["sim", "--scenario", "swarm", "--seed", "3", "--json"];
        let output = output(&[&args[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let report = |shown: &str| {
        serde_json::from_str::<Value>(shown.lines().last().expect("a report")).expect("JSON")
    };
    let (plain, traced) = (run(&[]), run(&["--trace"]));
    assert!(traced.starts_with(r##"{"event":"trace","line":"# time "##), "the legend first");
    assert!(traced.lines().count() > 1000, "a line an event");
    let plain = report(&plain);
    assert_eq!(lasting(plain.clone()), lasting(report(&traced)));
    assert_eq!((&plain["days"], &plain["breach"]), (&1.0.into(), &Value::Null));
    let faults = plain["swarm"]["faults"].as_object().expect("faults");
    assert!(faults.values().all(|count| count.as_u64() > Some(0)), "{faults:?}");
    assert!(faults.len() > 2 && plain["swarm"]["recovery"].is_number(), "{plain}");
}

#[test]
fn several_swarm_runs_say_how_soon_their_pools_were_full_again() {
    let args = ["sim", "--scenario", "swarm", "--seed", "3", "--seeds", "3", "--json"];
    let output = output(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&output.stdout);
    let [first, second, third, summary] = &lines[..] else { panic!("not four: {lines:?}") };
    let swarm = &summary["swarm"];
    let runs = [first, second, third].map(|run| &run["swarm"]);
    let (cramped, open): (Vec<&Value>, Vec<&Value>) =
        runs.into_iter().partition(|run| run["cramped"] == true);
    let (emptied, left): (Vec<&Value>, Vec<&Value>) =
        open.into_iter().partition(|run| run["emptied"] == true);
    let recovery = &swarm["recovery"];
    assert_eq!(
        (&recovery["runs"], &recovery["count"]),
        (&emptied.len().into(), &emptied.len().into())
    );
    assert_eq!(
        (&recovery["not_emptied"], &recovery["cramped"]),
        (&left.len().into(), &cramped.len().into())
    );
    assert!(!emptied.is_empty(), "{swarm}");
    let times = emptied.iter().map(|run| run["recovery"].as_f64().expect("full"));
    let worst = times.fold(0.0, f64::max);
    assert_eq!(recovery["worst"].as_f64(), Some(worst));
    assert!(worst > 0.0, "who has nobody is not full at once");
    let dials_lost = |run: &Value| run["swarm"]["dials_lost"].as_u64().expect("a count");
    let lost: u64 = [first, second, third].map(dials_lost).iter().sum();
    assert_eq!(swarm["dials_lost"].as_u64(), Some(lost));
    assert!(swarm["faults"].as_object().is_some_and(|faults| faults.len() > 2), "{swarm}");
}

#[test]
fn an_attack_comes_to_a_figure() {
    let args = ["sim", "--scenario", "a16-peers-clocks", "--seeds", "2"];
    let output = output(&[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&output.stdout);
    let [first, _, summary] = &lines[..] else { panic!("not three lines: {lines:?}") };
    assert_eq!((&first["attack"], &first["failure"]), (&"A16".into(), &Value::Null));
    assert_eq!(first["met"], first["needs"].is_null(), "{first}");
    assert!(first["figures"].as_object().is_some_and(|figures| !figures.is_empty()), "{first}");
    assert_eq!((&first["stopped"], &summary["stopped"]), (&false.into(), &false.into()));
    assert_eq!((&summary["done"], &summary["failures"]), (&2.into(), &Value::Array(Vec::new())));
    let shown = text(&crate::output(&args).stdout);
    assert!(
        shown.starts_with("a16-peers-clocks (A16)\n\ndone       all peers of a pool"),
        "{shown}"
    );
    assert!(shown.contains("\n2 of 2 runs as expected"), "{shown}");
    assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
}

#[test]
fn an_interrupted_attack_is_reported_as_stopped() {
    for (seeds, event) in [("1", "report"), ("2", "summary")] {
        let args = ["sim", "--scenario", "a4-erebus", "--json", "--seeds", seeds];
        let mut running = Running::start(&args);
        running.minds_signals();
        running.signal("INT");
        let (code, lines, error) = running.end();
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&format!("stopped after 0 of {seeds} runs")), "{error}");
        let last = json_lines(lines.as_bytes()).pop().expect("a line");
        assert_eq!((&last["event"], &last["stopped"]), (&event.into(), &true.into()), "{last}");
    }
}

#[test]
fn a_flag_that_the_scenario_ignores_is_an_error() {
    for (scenario, flag, value) in [
        ("swarm", "--nodes", "10"),
        ("swarm", "--days", "2"),
        ("swarm", "--set", "max_dials=4"),
        ("a16-peers-clocks", "--pools", "2"),
        ("a16-peers-clocks", "--plot", "x"),
    ] {
        let output = output(&["sim", "--scenario", scenario, flag, value]);
        assert_eq!(output.status.code(), Some(1), "{scenario} {flag}");
        let error = text(&output.stderr);
        let expected = format!("{flag} means nothing to the scenario {scenario}; allowed: --seed");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn scenarios_are_listed_a_line_each() {
    let shown = text(&output(&["sim", "--list"]).stdout);
    let names: Vec<_> = shown.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names[0], "internet");
    for name in ["swarm", "a7-address-flood", "a37-port-scan"] {
        assert!(names.contains(&name), "{name}: {shown}");
    }
    assert!(shown.lines().all(|line| line.len() > 30), "{shown}");
    let listed = json_lines(&output(&["sim", "--list", "--json"]).stdout);
    let same: Vec<_> = listed.iter().filter_map(|scenario| scenario["name"].as_str()).collect();
    assert_eq!(names, same);
    let of = |kind: &str| listed.iter().filter(|scenario| scenario["kind"] == kind).count();
    assert_eq!((of("network"), of("swarm"), of("attack")), (4, 1, names.len() - 5));
    let help = text(&output(&["sim", "--help"]).stdout);
    for line in shown.lines().take(5) {
        assert!(help.contains(line), "{line}");
    }
}
