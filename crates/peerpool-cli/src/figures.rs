//! Medians, percentiles, and a table of columns.

use std::time::Duration;

use crate::text;

/// Times of several runs; `None` is a run that did not get there in its time.
pub(crate) struct Times(Vec<Option<Duration>>);

impl Times {
    pub(crate) fn new(mut times: Vec<Option<Duration>>) -> Self {
        // A run without an end took longest.
        times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
        Self(times)
    }

    /// Runs that got there.
    pub(crate) fn reached(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// The time that this share of the runs did not exceed (nearest rank); `None` if there are no
    /// runs, or that run did not get there.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied().flatten()
    }

    pub(crate) fn worst(&self) -> Option<Duration> {
        self.quantile(1.0)
    }
}

/// The middle of some numbers, the lower of two, as with times; `None` if there are none.
pub(crate) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied()
}

/// A number, or a dash where there is none.
pub(crate) fn number(number: Option<f64>, decimals: usize) -> String {
    number.map_or("-".to_owned(), |number| format!("{number:.decimals$}"))
}

/// A time, or a dash for a run that did not get there.
pub(crate) fn time(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), text::short)
}

/// Rows as aligned columns, the first to the left and the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_runs_that_were_made() {
        let second = |n| Some(Duration::from_secs(n));
        let times = Times::new((1..=20).rev().map(second).collect());
        assert_eq!((times.quantile(0.5), times.quantile(0.95)), (second(10), second(19)));
        assert_eq!((times.worst(), times.reached()), (second(20), 20));
        let times = Times::new(vec![None, second(1), second(2)]);
        assert_eq!((times.quantile(0.5), times.worst(), times.reached()), (second(2), None, 2));
        assert_eq!(Times::new(Vec::new()).quantile(0.5), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_table_is_aligned() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[row(["a", "bbb"]), row(["cc", "d"])]), "a   bbb\ncc    d");
    }
}
