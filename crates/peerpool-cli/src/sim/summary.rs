//! Several worlds or pools beside each other: what they have in common.

use peerpool_sim::report::Figures;
use serde_json::{Map, Value, json};

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
}

impl Measure {
    fn worst(&self, all: &[Done]) -> Option<f64> {
        values(self, all).into_iter().reduce(if self.good { f64::min } else { f64::max })
    }
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
        Measure { key, column, of, write, good: false }
    }
    const fn good(measure: Measure) -> Measure {
        Measure { good: true, ..measure }
    }
    [
        measure(
            "time_to_full",
            Some("full"),
            |pool| Some(pool.time_to_full?.as_secs_f64()),
            seconds,
        ),
        good(measure("at_target", Some("at target"), |pool| Some(pool.at_target), percent)),
        measure("starved", None, |pool| Some(pool.starved), percent),
        measure("offline", None, |pool| Some(pool.offline), percent),
        measure("refills", Some("refills"), |pool| Some(pool.refills.count as f64), whole),
        measure("refill_p95", Some("p95"), |pool| Some(pool.refills.p95?.as_secs_f64()), seconds),
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

/// Every measure over all pools of all worlds: mean, median, least and most.
pub(super) fn measures(all: &[Done]) -> Map<String, Value> {
    let spread = |measure: &Measure| {
        let values = values(measure, all);
        let ends =
            (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max));
        let value = json!({
            "count": values.len(),
            "mean": mean(&values),
            "median": figures::median(values),
            "least": ends.0,
            "most": ends.1,
        });
        (measure.key.to_owned(), value)
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
    let row = |name: String, cell: &dyn Fn(&Measure) -> Option<f64>| {
        let cells =
            columns.iter().map(|measure| cell(measure).map_or("-".to_owned(), measure.write));
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
            rows.push(row(name, &|measure| (measure.of)(pool)));
        }
    }
    rows.push(row("mean".to_owned(), &|measure| mean(&values(measure, all))));
    rows.push(row("worst".to_owned(), &|measure| measure.worst(all)));
    let mut table = figures::table(&rows) + "\n\n" + LEGEND;
    for measure in MEASURES.iter().filter(|measure| measure.column.is_none()) {
        let (mean, worst) = (mean(&values(measure, all)), measure.worst(all));
        if let (Some(mean), Some(worst)) = (mean.filter(|mean| *mean > 0.0), worst) {
            let (mean, worst) = ((measure.write)(mean), (measure.write)(worst));
            table += &format!("\n{}: mean {mean}, worst {worst}", measure.key.replace('_', " "));
        }
    }
    table
}

const LEGEND: &str = "full: time to full; p95: of 100 refills, 95 took no longer; /d: a day\n\
                      peers: different ones held; attacker: its share of the slots over time";

fn values(measure: &Measure, all: &[Done]) -> Vec<f64> {
    all.iter().flat_map(|done| &done.pools).filter_map(measure.of).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
