//! The table of bad inputs: every way to be a bad peer that we know of, before and after the
//! handshake, and what the pool makes of it. The rows are data; `docs/bad-inputs.md` is written
//! from them, and the reasons where the pool does otherwise than Core stand in `docs/threats.md`.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy.toml covers test functions only"
)]

mod bench;
mod bytes;
mod row;
mod rows;
mod rows_addr;
mod rows_framing;
mod rows_messages;
mod rows_transport;
mod rows_version;
mod table;

use expect_test::expect_file;
use row::{Cell, Phase};

#[test]
fn every_row_comes_out_as_the_table_says() {
    let mut failures = Vec::new();
    let mut played = 0;
    for row in rows::all(&bench::SITE) {
        for (phase, cell) in Phase::ALL.into_iter().zip(row.cells) {
            let Cell::Is(expected) = cell else { continue };
            for (label, steps) in &row.inputs {
                let seen = bench::play(&row, steps, phase);
                played += 1;
                let name = format!("{} {} [{label}] {phase}", row.section, row.name);
                if seen.outcome != expected {
                    let got = seen.outcome;
                    failures.push(format!("{name}\n  expected {expected}\n  got      {got}"));
                }
                let breach = |breach| format!("{name}\n  {breach}");
                failures.extend(seen.breaches.into_iter().map(breach));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {played}:\n{}", failures.len(), failures.join("\n"));
    println!("{played} played");
}

#[test]
fn the_page_of_bad_inputs_is_true() {
    expect_file!["../../../../docs/bad-inputs.md"]
        .assert_eq(&table::page(&rows::all(&bench::SITE)));
}

#[test]
fn whatever_differs_from_core_is_said_and_why() {
    let threats = include_str!("../../../../docs/threats.md");
    let table = table::differences(&rows::all(&bench::SITE));
    assert!(threats.contains(&table), "docs/threats.md does not hold this table:\n{table}");
}
