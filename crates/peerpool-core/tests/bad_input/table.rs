//! The rows as Markdown: the page of all rows, and the table of those where Core does otherwise.

use std::fmt::Write as _;

use super::row::{Cell, Phase, Row};

const HEAD: &str = "\
# Bad inputs

What a peer may do that it should not, and what the pool makes of it. Each row is played by
`crates/peerpool-core/tests/bad_input` against the engine and the link in virtual time, in each of
its forms and in each phase of the connection. This page is written by the test: after a change,
`UPDATE_EXPECT=1 cargo test -p peerpool-core --test bad_input`.

`crates/peerpool/tests/it/bad_input.rs` plays again over TCP what answers a dial, waits for nothing
and leaves no address in the book; of a row with many inputs, 12 at most. There only the end and,
of links that stay open, the pongs are compared: not what was counted. The row of a peer that reads
nothing is played over TCP alone, with 200 ms in place of the 20 s; that the default is 20 s is what
the connection's own test pins (`crates/peerpool/src/connection/tests.rs`).

- *before version*: it is the first the peer does. *before verack*: behind a good `version`.
  *after*: the peer has been ready for 90 s.
- *stays open*: the handshake can be finished, and a ping is answered. *burned*: closed, and the
  address is burned. *closed*: closed, and the address backs off, or burns for a quick drop if it
  had not been ready for a minute.
- What else is listed is all there was: addresses kept, pongs sent, frames and messages counted as
  bad, undecodable or ignored.
- *Core* is Core 28.1: what it does otherwise; [threats.md](threats.md) says why the pool does not.
  Two things are said once, at the first row of each kind: whoever fails its handshake is burned
  here, where Core tries it again later; and a message out of order before `version` burns here,
  where Core ignores it and closes after 60 s.
";

/// Every row.
pub(crate) fn page(rows: &[Row]) -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    for row in rows {
        if row.section != section {
            section = row.section;
            let [first, second, third] = Phase::ALL;
            let head = format!("| input | {first} | {second} | {third} | Core |");
            write!(page, "\n## {section}\n\n{head}\n|---|---|---|---|---|\n").expect("room");
        }
        let [first, second, third] = row.cells;
        let core = row.differs.map_or("the same", |(core, _)| core);
        writeln!(page, "| {} | {first} | {second} | {third} | {core} |", row.name).expect("room");
    }
    page
}

/// Those where the pool does otherwise than Core.
pub(crate) fn differences(rows: &[Row]) -> String {
    let mut table = "| input | Core | pool | why |\n|---|---|---|---|\n".to_owned();
    for row in rows {
        let Some((core, why)) = row.differs else { continue };
        let mut cells: Vec<String> = Vec::new();
        for cell in row.cells {
            let text = cell.to_string();
            if !matches!(cell, Cell::Na(_)) && !cells.contains(&text) {
                cells.push(text);
            }
        }
        let pool = cells.join("; ");
        writeln!(table, "| {} | {core} | {pool} | {why} |", row.name).expect("room");
    }
    table
}
