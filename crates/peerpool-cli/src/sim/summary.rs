//! Several worlds or pools beside each other: what they have in common.

use peerpool_sim::report::Figures;
use serde_json::{Map, Value};

use super::job::Done;
use super::report::{bytes_of, percent};
use crate::{figures, text};

/// A figure that worlds are compared by.
struct Measure {
    key: &'static str,
    /// Its column; the others are told in JSON only.
    column: Option<&'static str>,
    of: fn(&Figures) -> Option<f64>,
    write: fn(f64) -> String,
    /// Whether more is better.
    good: bool,
    /// Whether a pool without the figure waited for it in vain; others have no use for it.
    never: Option<fn(&Figures) -> bool>,
}

/// One pool's figure, or that of several.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    Is(f64),
    /// It did not come to pass: worse than any.
    Never,
    /// There is nothing to tell.
    None,
}

impl Measure {
    fn read(&self, pool: &Figures) -> Reading {
        match (self.of)(pool) {
            Some(value) => Reading::Is(value),
            None if self.never.is_some_and(|never| never(pool)) => Reading::Never,
            None => Reading::None,
        }
    }

    /// What is told of each pool that has something to tell.
    fn values(&self, all: &[Done]) -> Vec<f64> {
        all.iter().flat_map(|done| &done.pools).filter_map(self.of).collect()
    }

    /// How many pools waited in vain.
    fn never(&self, all: &[Done]) -> usize {
        let pools = all.iter().flat_map(|done| &done.pools);
        pools.filter(|pool| self.read(pool) == Reading::Never).count()
    }

    /// Over those that did not wait in vain; over none, if all did.
    fn mean(&self, all: &[Done]) -> Reading {
        match mean(&self.values(all)) {
            Some(mean) => Reading::Is(mean),
            None if self.never(all) > 0 => Reading::Never,
            None => Reading::None,
        }
    }

    fn worst(&self, all: &[Done]) -> Reading {
        if self.never(all) > 0 {
            return Reading::Never;
        }
        let worst =
            self.values(all).into_iter().reduce(if self.good { f64::min } else { f64::max });
        worst.map_or(Reading::None, Reading::Is)
    }

    fn write(&self, reading: Reading) -> String {
        match reading {
            Reading::Is(value) => (self.write)(value),
            Reading::Never => "never".to_owned(),
            Reading::None => "-".to_owned(),
        }
    }
}

/// Once full, then short of peers, and still so.
fn never_refilled(pool: &Figures) -> bool {
    pool.time_to_full.is_some() && pool.refills.count == 0 && pool.holding.peers < pool.target
}

fn seconds(seconds: f64) -> String {
    text::short(std::time::Duration::from_secs_f64(seconds))
}

fn whole(number: f64) -> String {
    format!("{number:.0}")
}

fn slots_after(figures: &Figures, day: u32) -> Option<f64> {
    figures.hostile.marks.iter().find(|mark| mark.day == day).map(|mark| mark.share())
}

const MEASURES: [Measure; 14] = {
    const fn measure(
        key: &'static str,
        column: Option<&'static str>,
        of: fn(&Figures) -> Option<f64>,
        write: fn(f64) -> String,
    ) -> Measure {
        Measure { key, column, of, write, good: false, never: None }
    }
    const fn awaited(measure: Measure, never: fn(&Figures) -> bool) -> Measure {
        Measure { never: Some(never), ..measure }
    }
    const fn good(measure: Measure) -> Measure {
        Measure { good: true, ..measure }
    }
    [
        awaited(
            measure(
                "time_to_full",
                Some("full"),
                |pool| Some(pool.time_to_full?.as_secs_f64()),
                seconds,
            ),
            |pool| pool.time_to_full.is_none(),
        ),
        good(measure("at_target", Some("at target"), |pool| Some(pool.at_target), percent)),
        measure("starved", None, |pool| Some(pool.starved), percent),
        measure("offline", None, |pool| Some(pool.offline), percent),
        measure("refills", Some("refills"), |pool| Some(pool.refills.count as f64), whole),
        awaited(
            measure(
                "refill_p95",
                Some("p95"),
                |pool| Some(pool.refills.p95?.as_secs_f64()),
                seconds,
            ),
            never_refilled,
        ),
        measure(
            "dials_a_day",
            Some("dials/d"),
            |pool| Some(pool.a_day(pool.dials.values().sum())),
            whole,
        ),
        measure(
            "bytes_a_day",
            Some("bytes/d"),
            |pool| Some(pool.a_day(pool.sent + pool.received)),
            |bytes| bytes_of(bytes).to_string(),
        ),
        good(measure("peers_held", Some("peers"), |pool| Some(pool.held.peers as f64), whole)),
        measure("attacker_share", Some("attacker"), |pool| Some(pool.hostile.share), percent),
        measure("attacker_after_1_day", None, |pool| slots_after(pool, 1), percent),
        measure("attacker_after_7_days", None, |pool| slots_after(pool, 7), percent),
        measure("attacker_after_30_days", None, |pool| slots_after(pool, 30), percent),
        measure(
            "attacker_held_all",
            None,
            |pool| Some(f64::from(u8::from(pool.hostile.held_all))),
            percent,
        ),
    ]
};

/// Every measure over all pools of all worlds: mean, median, least and most of those that have it,
/// how many these are, and how many waited for it in vain.
pub(super) fn measures(all: &[Done]) -> Map<String, Value> {
    let spread = |measure: &Measure| {
        let values = measure.values(all);
        let ends =
            (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max));
        let mut map = Map::new();
        map.insert("count".into(), values.len().into());
        if measure.never.is_some() {
            map.insert("never".into(), measure.never(all).into());
        }
        map.insert("mean".into(), mean(&values).into());
        map.insert("median".into(), figures::median(values).into());
        map.insert("least".into(), ends.0.into());
        map.insert("most".into(), ends.1.into());
        (measure.key.to_owned(), map.into())
    };
    MEASURES.iter().map(spread).collect()
}

/// Most worlds that each have rows of their own.
const MAX_ROWS: usize = 100;

/// A row for each pool of each world, then the means and the worst; then the measures without a
/// column, where there is something to tell.
pub(super) fn table(all: &[Done]) -> String {
    let columns: Vec<&Measure> =
        MEASURES.iter().filter(|measure| measure.column.is_some()).collect();
    let row = |name: String, cell: &dyn Fn(&Measure) -> Reading| {
        let cells = columns.iter().map(|measure| measure.write(cell(measure)));
        [name].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let header = columns.iter().filter_map(|measure| measure.column).map(str::to_owned);
    let mut rows = vec![["seed".to_owned()].into_iter().chain(header).collect::<Vec<_>>()];
    // Of thousands, nobody reads each.
    for done in all.iter().filter(|_| all.len() <= MAX_ROWS) {
        for (index, pool) in done.pools.iter().enumerate() {
            let several = done.pools.len() > 1;
            let name =
                if several { format!("{}/{index}", done.seed) } else { done.seed.to_string() };
            rows.push(row(name, &|measure| measure.read(pool)));
        }
    }
    rows.push(row("mean".to_owned(), &|measure| measure.mean(all)));
    rows.push(row("worst".to_owned(), &|measure| measure.worst(all)));
    let mut table = figures::table(&rows) + "\n\n" + LEGEND;
    let pools: usize = all.iter().map(|done| done.pools.len()).sum();
    for measure in &columns {
        let (never, column) = (measure.never(all), measure.column.unwrap_or_default());
        if never > 0 {
            table +=
                &format!("\n{column}: {never} of {pools} pools never; the mean is over the others");
        }
    }
    for measure in MEASURES.iter().filter(|measure| measure.column.is_none()) {
        if let Reading::Is(mean) = measure.mean(all)
            && mean > 0.0
        {
            let (mean, worst) = ((measure.write)(mean), measure.write(measure.worst(all)));
            table += &format!("\n{}: mean {mean}, worst {worst}", measure.key.replace('_', " "));
        }
    }
    table
}

const LEGEND: &str = "full: time to full; p95: of 100 refills, 95 took no longer; /d: a day\n\
                      peers: different ones held; attacker: its share of the slots over time";

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use peerpool_sim::report::{Refills, Variety};

    use super::*;
    use crate::sim::tests::done;

    /// A pool of one peer that it holds, full after so many seconds, with one refill as long.
    fn full_after(seconds: u64) -> Figures {
        let time = Some(Duration::from_secs(seconds));
        let refills = Refills { count: 1, median: time, p95: time, worst: time };
        let holding = Variety { peers: 1, ..Variety::default() };
        Figures { target: 1, time_to_full: time, refills, holding, ..Figures::default() }
    }

    fn world(seed: u64, pool: Figures) -> Done {
        Done { pools: vec![pool], ..done(seed, None) }
    }

    fn rows(all: &[Done]) -> Vec<Vec<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        table(all).lines().map(words).collect()
    }

    /// The cells of a row: full, refills and their p95.
    fn cells(all: &[Done], name: &str) -> [String; 3] {
        let rows = rows(all);
        let row = rows.iter().find(|row| row[0] == name).expect("a row");
        // A share is two words.
        [1, 4, 5].map(|at| row[at].clone())
    }

    #[test]
    fn the_worst_is_never_where_a_pool_waited_in_vain() {
        let never_full = Figures { target: 1, ..Figures::default() };
        let never_again =
            Figures { refills: Refills::default(), holding: Variety::default(), ..full_after(4) };
        let all = [world(1, full_after(2)), world(2, never_full), world(3, never_again)];
        assert_eq!(cells(&all, "2"), ["never", "0", "-"]);
        assert_eq!(cells(&all, "3"), ["4.0s", "0", "never"]);
        assert_eq!(cells(&all, "mean"), ["3.0s", "0", "2.0s"]);
        assert_eq!(cells(&all, "worst"), ["never", "1", "never"]);
        let shown = table(&all);
        for line in ["full: 1 of 3 pools never; the mean", "p95: 1 of 3 pools never; the mean"] {
            assert!(shown.contains(line), "{shown}");
        }
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
        let figures = measures(&all);
        for key in ["time_to_full", "refill_p95"] {
            assert_eq!(figures[key]["never"], 1, "{key}");
        }
        assert_eq!(figures["time_to_full"]["count"], 2);
        assert_eq!(figures["refill_p95"]["count"], 1);
    }

    #[test]
    fn who_had_nothing_to_wait_for_did_not_wait_in_vain() {
        let steady = Figures { refills: Refills::default(), ..full_after(4) };
        let all = [world(1, full_after(2)), world(2, steady)];
        assert_eq!(cells(&all, "2"), ["4.0s", "0", "-"]);
        assert_eq!(cells(&all, "worst"), ["4.0s", "1", "2.0s"]);
        assert!(!table(&all).contains("never"));
        let figures = measures(&all);
        assert_eq!(figures["time_to_full"]["never"], 0);
        assert_eq!(figures["refill_p95"]["never"], 0);
        assert_eq!(figures["attacker_after_7_days"]["count"], 0);
        assert!(figures["attacker_after_7_days"].get("never").is_none());
    }
}
