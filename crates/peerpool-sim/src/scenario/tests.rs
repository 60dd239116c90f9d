//! Every scenario, played small; and the page that lists them.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// Runs every scenario once, small, and all at the same time.
fn run_all() -> Vec<(&'static Scenario, Result<Outcome, Failure>)> {
    std::thread::scope(|scope| {
        let start =
            |scenario: &'static Scenario| (scenario, scope.spawn(|| scenario.run(&Setting::SMALL)));
        let runs: Vec<_> = all().iter().map(start).collect();
        runs.into_iter().map(|(scenario, run)| (scenario, run.join().unwrap())).collect()
    })
}

/// Also keeps the page true, since that needs the same runs.
#[test]
fn every_scenario_comes_out_as_expected_and_the_page_says_so() {
    let mut failures = Vec::new();
    let mut runs = Vec::new();
    for (scenario, result) in run_all() {
        match result {
            Ok(outcome) => {
                let names: BTreeSet<_> = outcome.figures.iter().map(|(name, _)| name).collect();
                assert_eq!(names.len(), outcome.figures.len(), "{}: {outcome}", scenario.name);
                runs.push((scenario, outcome));
            }
            Err(failure) => failures.push(format!("{}: {failure}", scenario.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/attacks.md");
    let page = page(&runs);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(page.lines()).find(|(found, told)| found != told);
    assert!(found == page, "docs/attacks.md is not what was measured, first here: {differs:#?}");
}

#[test]
fn a_scenario_fails_that_does_not_come_out_as_expected() {
    let scenario = |expected, run| Scenario {
        name: "planted",
        row: "A0",
        says: "",
        accepts: "",
        expected,
        run,
    };
    let not_yet = Expected::Fail { why: "something" };
    let reaches: fn(&Setting) -> _ = |_| Ok(Outcome::new());
    let misses: fn(&Setting) -> _ = |_| {
        let mut outcome = Outcome::new();
        outcome.demand_count("figure", 1, |count| count == 0);
        Ok(outcome)
    };
    let run = |expected, run| scenario(expected, run).run(&Setting::SMALL);
    assert!(run(Expected::Pass, reaches).is_ok_and(|outcome| outcome.met));
    assert!(run(not_yet, misses).is_ok_and(|outcome| !outcome.met));
    let missed = run(Expected::Pass, misses);
    assert!(matches!(&missed, Err(Failure::Missed(outcome)) if outcome.missed == ["figure"]));
    assert!(matches!(run(not_yet, reaches), Err(Failure::Surprise(_))));
}

#[test]
fn names_are_unique_and_say_their_row_and_every_row_has_one() {
    let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), all().len());
    for scenario in all() {
        let row = scenario.row.to_lowercase();
        assert!(scenario.name.starts_with(&format!("{row}-")), "{}", scenario.name);
        assert_eq!(find(scenario.name).map(|found| found.row), Some(scenario.row));
    }
    let rows: BTreeSet<_> = all().iter().map(|scenario| scenario.row.to_owned()).collect();
    let wanted = (1..=21).chain(36..=38).map(|row| format!("A{row}"));
    assert_eq!(rows, wanted.collect());
    assert!(find("a0-planted").is_none());
}

#[test]
fn a_run_is_the_same_twice_and_another_with_another_seed() {
    let run = |seed| find("a6-busy-listeners").unwrap().run(&Setting { seed, percent: 1 }).unwrap();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
