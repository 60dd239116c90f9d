//! `peerpool book show`: everything that is known of an address.

use peerpool::store::{AddressRow, BurnedRow, History, now_at};
use peerpool::{Address, Ban, UnixTime};
use serde_json::{Value, json};

use super::{Place, not_there, row, why};
use crate::failure::Failure;
use crate::{json, text};

/// What a store keeps of one address.
pub(super) struct Known {
    pub(super) row: Option<AddressRow>,
    pub(super) burn: Option<BurnedRow>,
    pub(super) history: Option<History>,
}

impl Known {
    pub(super) fn of(store: &peerpool::Store, address: &Address) -> Result<Self, Failure> {
        Ok(Self {
            row: store.address(address).map_err(Failure::said)?,
            burn: store.burn(address).map_err(Failure::said)?,
            history: store.history(address).map_err(Failure::said)?,
        })
    }
}

pub(super) fn run(place: &mut Place, address: &str) -> Result<(), Failure> {
    let store = place.read()?;
    let address = place.address(address)?;
    let known = Known::of(&store, &address)?;
    if known.row.is_none() && known.burn.is_none() {
        return Err(not_there(address));
    }
    let book = place.book(&store)?;
    let explained = book.explain(now_at(place.now), &address);
    let ban = book.banned().covering(&address.into());
    let mut map = known.row.as_ref().map(row::address).unwrap_or_default();
    map.insert("address".into(), address.to_string().into());
    map.insert("net".into(), address.net().as_str().into());
    map.insert("netgroup".into(), format!("{:?}", explained.netgroup).into());
    map.insert("in_book".into(), known.row.is_some().into());
    let burn = known.burn.as_ref();
    let burned = burn.map(|burn| json!({ "reason": burn.reason.as_str(), "at": burn.at.0 }));
    map.insert("burned".into(), burned.into());
    map.insert("ban".into(), ban.as_ref().map(json::ban).into());
    map.extend(row::rule(&explained));
    map.insert("history".into(), known.history.as_ref().map(history).into());
    place.say("shown", map.into(), || {
        let mut page = page(place.now, address, &known, ban.as_ref());
        text::wrapped(&mut page, "netgroup", " ", &[&format!("{:?}", explained.netgroup)]);
        let rule = why::rule(place.now, &explained, known.row.is_some());
        let filled = text::filled(&rule, &" ".repeat(11));
        page += &format!("{:<11}{}", "now", filled.trim_start());
        page
    })
}

/// The history of an address.
fn history(history: &History) -> Value {
    let percentiles = history.percentiles();
    let facts = history.facts.iter();
    let facts =
        facts.map(|fact| json!({ "at": fact.at.0, "what": fact.what, "detail": fact.detail }));
    let end = history.last_end.as_ref();
    json!({
        "successes": history.successes,
        "failures": history.failures,
        "transport": history.transport,
        "user_agent": history.said.as_ref().map(|(_, agent)| agent.to_string()),
        "services": history.said.as_ref().map(|(services, _)| json::services(*services)),
        "round_trips": history.round_trips.len(),
        "rtt_p50": percentiles.map(|(p50, _)| json::seconds(p50)),
        "rtt_p95": percentiles.map(|(_, p95)| json::seconds(p95)),
        "last_end": end.map(|end| json!({
            "state": end.state,
            "reason": end.reason,
            "at": end.at.0,
        })),
        "facts": facts.collect::<Vec<_>>(),
    })
}

fn page(now: UnixTime, address: Address, known: &Known, ban: Option<&Ban>) -> String {
    let mut page = String::new();
    let mut line = |name: &str, parts: &[String]| text::wrapped(&mut page, name, ", ", parts);
    line("address", &[address.to_string(), address.net().as_str().to_owned()]);
    if let Some(row) = &known.row {
        let time = |at: Option<UnixTime>| {
            let told = at.filter(|at| *at > UnixTime(0));
            told.map_or("never".to_owned(), |at| text::moment(now, at))
        };
        line("from", &[row::origin(&row.origin), text::moment(now, row.heard_at)]);
        let mut table = vec![format!("{} table", if row.tried { "tried" } else { "new" })];
        table.extend(row.anchor.then(|| "an anchor".to_owned()));
        line("stands in", &table);
        line("services", &none(json::services(row.services)));
        line("seen", &[time(Some(row.last_seen))]);
        line("success", &[time(row.last_success)]);
        line("dialled", &[time(row.tried_at)]);
        line("failed", &[format!("{} in a row", row.failures)]);
    }
    if let Some(burn) = &known.burn {
        line("burned", &[word(burn.reason.as_str()), text::moment(now, burn.at)]);
    }
    if let Some(ban) = ban {
        line("banned", &[ban.subnet.to_string(), row::ban_end(now, ban)]);
    }
    match &known.history {
        Some(history) => past(&mut page, history),
        None => line("history", &["none: it was never dialled".to_owned()]),
    }
    page
}

fn past(page: &mut String, history: &History) {
    let mut line = |name: &str, parts: &[String]| text::wrapped(page, name, ", ", parts);
    let failures = history.failures.iter();
    let failures = failures.map(|(reason, count)| format!("{} {count}", word(reason)));
    line("handshakes", &[history.successes.to_string()]);
    line("failures", &none(failures.collect()));
    if let Some((services, agent)) = &history.said {
        line("user agent", &[agent.to_string()]);
        line("", &[format!("services {}", json::services(*services).join(" "))]);
    }
    line("transport", &none(history.transport.clone().into_iter().collect()));
    if let Some((p50, p95)) = history.percentiles() {
        let count = text::counted(history.round_trips.len(), "ping");
        let (p50, p95) = (text::short(p50), text::short(p95));
        line("round trip", &[format!("median {p50}"), format!("p95 {p95}"), count]);
    }
    for (at, fact) in history.facts.iter().enumerate() {
        let what = format!("{} {}", fact.what, fact.detail).replace('_', " ");
        let name = if at == 0 { "facts" } else { "" };
        line(name, &[format!("{}  {}", text::second(fact.at), what.trim_end())]);
    }
    if history.facts.is_empty() {
        line("facts", &["none".to_owned()]);
    }
}

/// A word of logs, for people.
pub(super) fn word(word: &str) -> String {
    word.replace('_', " ")
}

fn none(parts: Vec<String>) -> Vec<String> {
    if parts.is_empty() { vec!["none".to_owned()] } else { parts }
}
