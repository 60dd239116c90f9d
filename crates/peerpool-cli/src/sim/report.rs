//! The report of a simulation: one JSON object, or a page for people.

use std::time::Duration;

use peerpool_sim::report::{Figures, Hostile, Refills, Variety};
use serde_json::{Map, Value, json};

use super::job::Done;
use crate::{json, text};

pub(super) use crate::text::{bytes_of, counted, wrapped};

/// A share for people.
pub(super) fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

/// One pool's figures.
pub(super) fn pool(figures: &Figures) -> Value {
    let Figures { lasted, target, time_to_full, refills, at_target, .. } = figures;
    let dials: u64 = figures.dials.values().sum();
    let time = |time: &Option<Duration>| time.map(json::seconds);
    json!({
        "target": target,
        "lasted": json::seconds(*lasted),
        "time_to_full": time(time_to_full),
        "at_target": at_target,
        "ready_mean": figures.ready_mean,
        "starved": figures.starved,
        "offline": figures.offline,
        "refills": {
            "count": refills.count,
            "median": time(&refills.median),
            "p95": time(&refills.p95),
            "worst": time(&refills.worst),
        },
        "lost": counts(&figures.lost, |reason| reason.as_str()),
        "dials": {
            "total": dials,
            "a_day": figures.a_day(dials),
            "by_type": counts(&figures.dials, |kind| kind.as_str()),
            "outcomes": counts(&figures.outcomes, |outcome| outcome.as_str()),
        },
        "burned": counts(&figures.burned, |reason| reason.as_str()),
        "bytes": {
            "sent": figures.sent,
            "received": figures.received,
            "sent_a_day": figures.a_day(figures.sent),
            "received_a_day": figures.a_day(figures.received),
        },
        "held": variety(&figures.held),
        "holding": variety(&figures.holding),
        "attacker": attacker(&figures.hostile),
        "curve": curve(figures),
    })
}

/// Counts by their words; those of one word added up.
pub(super) fn counts<'a, K: 'a>(
    counts: impl IntoIterator<Item = (&'a K, &'a u64)>,
    word: impl Fn(&K) -> &'static str,
) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, count) in counts {
        let sum = map.entry(word(key)).or_insert_with(|| 0.into());
        *sum = (sum.as_u64().unwrap_or(0) + count).into();
    }
    map
}

fn variety(variety: &Variety) -> Value {
    let nets = variety.nets.iter().map(|(net, count)| (net.as_str().to_owned(), (*count).into()));
    json!({
        "peers": variety.peers,
        "netgroups": variety.netgroups,
        "asns": variety.asns,
        "nets": nets.collect::<Map<_, Value>>(),
    })
}

fn attacker(hostile: &Hostile) -> Value {
    let mark = |mark: &peerpool_sim::report::Mark| {
        let (ready, slots) = (mark.ready, mark.hostile);
        json!({ "day": mark.day, "ready": ready, "slots": slots, "share": mark.share() })
    };
    json!({
        "share": hostile.share,
        "slots": hostile.now,
        "most_slots": hostile.most,
        "held_all": hostile.held_all,
        "eclipsed": hostile.eclipsed,
        "after": hostile.marks.iter().map(mark).collect::<Vec<_>>(),
    })
}

/// Columns of the curve: the ends of the intervals, and means over them.
fn curve(figures: &Figures) -> Value {
    let short = |number: f64| (number * 1e4).round() / 1e4;
    let column = |value: &dyn Fn(&peerpool_sim::report::Sample) -> Value| {
        figures.curve.iter().map(value).collect::<Vec<_>>()
    };
    json!({
        "at": column(&|sample| json::seconds(sample.at)),
        "ready": column(&|sample| short(sample.ready_mean).into()),
        "attacker": column(&|sample| short(sample.hostile_mean).into()),
    })
}

/// One world of one pool, on a page.
pub(super) fn page(done: &Done, figures: &Figures) -> String {
    let mut page = String::new();
    let mut line = |name: &str, parts: &[String]| {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        wrapped(&mut page, name, ", ", &parts);
    };
    let full = figures.time_to_full.map_or("never".to_owned(), text::short);
    line("full", &[format!("after {full}")]);
    line(
        "at target",
        &[
            format!("{} of the time", percent(figures.at_target)),
            format!("starved {}", percent(figures.starved)),
            format!("offline {}", percent(figures.offline)),
        ],
    );
    line("ready", &[format!("{:.3} of {} in the mean", figures.ready_mean, figures.target)]);
    line("refills", &refills(&figures.refills));
    line("lost", &listed(&counts(&figures.lost, |reason| reason.as_str())));
    let dials: u64 = figures.dials.values().sum();
    line("dials", &[dials.to_string(), format!("{:.1} a day", figures.a_day(dials))]);
    line("", &listed(&counts(&figures.dials, |kind| kind.as_str())));
    line("", &listed(&counts(&figures.outcomes, |outcome| outcome.as_str())));
    line("burned", &listed(&counts(&figures.burned, |reason| reason.as_str())));
    let a_day = |bytes| format!("{} a day", bytes_of(figures.a_day(bytes)));
    line("sent", &[a_day(figures.sent)]);
    line("received", &[a_day(figures.received)]);
    line("held", &kinds_of(&figures.held));
    line("holding", &kinds_of(&figures.holding));
    line("attacker", &slots(&figures.hostile, figures.target));
    line("trace", &[hash(done).unwrap_or_default()]);
    page
}

/// The trace's hash, as text: JSON readers lose the last digits of large numbers.
pub(super) fn hash(done: &Done) -> Option<String> {
    done.trace_hash.map(|hash| format!("{hash:016x}"))
}

/// The attacker's share of the nodes that answer, if there is an attacker: most addresses are dead,
/// and his are not, so a few percent of all are many of those that can be peers.
pub(super) fn answering_line(share: Option<f64>) -> String {
    let mut line = String::new();
    if let Some(share) = share {
        let words = format!("{:.0} % of the nodes that answer at the start are the", share * 100.0);
        wrapped(&mut line, "hostile", " ", &[words.as_str(), "attacker's"]);
    }
    line
}

pub(super) fn listed(counts: &Map<String, Value>) -> Vec<String> {
    if counts.is_empty() {
        return vec!["none".to_owned()];
    }
    counts.iter().map(|(word, count)| format!("{word} {count}")).collect()
}

fn refills(refills: &Refills) -> Vec<String> {
    let mut parts = vec![refills.count.to_string()];
    let times = [("median", refills.median), ("p95", refills.p95), ("worst", refills.worst)];
    parts.extend(
        times.into_iter().filter_map(|(word, time)| Some(format!("{word} {}", text::short(time?)))),
    );
    parts
}

fn kinds_of(variety: &Variety) -> Vec<String> {
    let mut parts = vec![
        counted(variety.peers, "peer"),
        counted(variety.netgroups, "netgroup"),
        counted(variety.asns, "ASN"),
    ];
    parts.extend(variety.nets.iter().map(|(net, count)| format!("{} {count}", net.as_str())));
    parts
}

fn slots(hostile: &Hostile, target: usize) -> Vec<String> {
    let mut parts = vec![
        format!("{} of the slots", percent(hostile.share)),
        format!("most {} of {target}", hostile.most),
        format!("alone {} of the time", percent(hostile.eclipsed)),
    ];
    let marks = hostile.marks.iter();
    parts.extend(marks.map(|mark| format!("day {}: {}/{}", mark.day, mark.hostile, mark.ready)));
    parts
}
