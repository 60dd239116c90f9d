//! The scenarios as Markdown.

use std::fmt::Write as _;

use super::{Expected, Outcome, Scenario};

const HEAD: &str = "\
# Attacks

What an attacker does to the pool, and how it is judged. Each row is a scenario of the simulator,
played in virtual time: `crates/peerpool-sim/src/scenario`. This page is written by a test; after a
change, `UPDATE_EXPECT=1 cargo test -p peerpool-sim scenario`.

- *measured, small run* is of seed 1 and a hundredth of the runs, restarts and addresses that the
  attack names, but a least number of each; the figures say how many it was, where that is not what
  is named. What names no such number is run in full.
- Full runs, by the numbers that the attacks name, are in
  [bench/2026-11-30-attacks.jsonl](bench/2026-11-30-attacks.jsonl).
- A pool *without extras* dials nobody beside its target: no block-relay-only peers, no feelers, no
  newcomers. Where nothing is said of them it has all three, as by default.
- *passes*: the figures are what is demanded, and a run in which they are not fails.
- *needs*: they are not yet, for want of that. A run in which they are fails, too, so that none is
  reached unnoticed.
- The numbers are names and no more. Where there is a gap, the attack is on one connection, and in
  [bad-inputs.md](bad-inputs.md), or on memory and work, and in [threats.md](threats.md).

| attack | scenario | what is done | what must come of it | measured, small run | |
|---|---|---|---|---|---|
";

/// The page of all scenarios, with what each came to in a run.
pub fn page(runs: &[(&Scenario, Outcome)]) -> String {
    let mut page = HEAD.to_owned();
    for (scenario, outcome) in runs {
        let Scenario { name, row, says, accepts, expected, .. } = scenario;
        let status = match expected {
            Expected::Pass => "passes".to_owned(),
            Expected::Fail { why } => format!("needs {why}"),
        };
        writeln!(page, "| {row} | `{name}` | {says} | {accepts} | {outcome} | {status} |")
            .expect("strings have room");
    }
    page
}
