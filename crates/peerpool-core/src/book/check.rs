//! The book's own invariants, checked by tests and by the simulator.

use std::collections::BTreeSet;

use crate::time::Now;

use super::Book;
use super::record::Shelf;

impl Book {
    /// Checks every invariant; expensive.
    ///
    /// # Errors
    /// The first one that does not hold, in words.
    pub fn check(&self, now: Now) -> Result<(), String> {
        let fail = |text: String| Err(text);
        let mut counts = [0; Shelf::ALL.len()];
        for (address, record) in &self.records {
            counts[record.shelf as usize] += 1;
            let on = [
                (Shelf::Hearsay, self.hearsay.contains(address)),
                (Shelf::Experienced, self.experienced.contains(address)),
                (Shelf::Manual, self.manual_due.contains(address)),
            ];
            for (shelf, holds) in on {
                if holds != (record.shelf == shelf) {
                    return fail(format!(
                        "{address}: on shelf {:?}, index {shelf:?}",
                        record.shelf
                    ));
                }
            }
            let rests = matches!(record.shelf, Shelf::Waiting | Shelf::BackingOff);
            if rests != self.resting.contains(&(record.tried_at, *address)) {
                return fail(format!("{address}: on shelf {:?}, at rest or not", record.shelf));
            }
            let due = record.retry_at.is_some_and(|at| at <= now.mono)
                || record.expires.is_some_and(|at| at <= now.unix);
            let belongs = self.standing(now, address, record).0;
            if !due && belongs != record.shelf {
                return fail(format!("{address}: on {:?}, belongs on {belongs:?}", record.shelf));
            }
            if record.manual != self.manual.contains(address) {
                return fail(format!("{address}: manual mark differs from the list"));
            }
            if !record.manual && self.burned.contains(address) {
                return fail(format!("{address}: burned and on shelf {:?}", record.shelf));
            }
        }
        if counts != self.counts {
            return fail(format!("shelf counts {:?}, counted {counts:?}", self.counts));
        }
        let retries: BTreeSet<_> = (self.records.iter())
            .filter_map(|(address, record)| Some((record.retry_at?, *address)))
            .collect();
        let expiries: BTreeSet<_> = (self.records.iter())
            .filter_map(|(address, record)| Some((record.expires?, *address)))
            .collect();
        let verdicts: BTreeSet<_> = (self.records.iter())
            .filter_map(|(address, record)| record.verdict.map(|_| *address))
            .collect();
        if self.resting.len()
            != counts[Shelf::Waiting as usize] + counts[Shelf::BackingOff as usize]
        {
            return fail("more addresses rest than stand on the shelves".to_owned());
        }
        if verdicts != self.verdicts {
            return fail("the verdicts that wait differ from the records".to_owned());
        }
        if retries != self.retries || expiries != self.expiries {
            return fail("a queue differs from the records".to_owned());
        }
        if self.all.iter().collect::<BTreeSet<_>>() != self.records.keys().copied().collect() {
            return fail("the sampling table differs from the records".to_owned());
        }
        if self.records.len() > self.policy.max_addresses + self.manual.len()
            || self.burned.len() > self.policy.max_burned
        {
            return fail("a table is over its bound".to_owned());
        }
        Ok(())
    }
}
