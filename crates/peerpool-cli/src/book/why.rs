//! `peerpool book why`: whether an address may be dialled, by which rule, and what became of it
//! last; from the rules of the book and the facts that were recorded.

use peerpool::store::{Fact, History, now_at};
use peerpool::{Explanation, Rule, Unfit, UnixTime};
use serde_json::{Value, json};

use super::show::{Known, word};
use super::{Place, row};
use crate::failure::Failure;
use crate::{json, text};

pub(super) fn run(place: &mut Place, address: &str) -> Result<(), Failure> {
    let store = place.read()?;
    let address = place.address(address)?;
    let known = Known::of(&store, &address)?;
    let explained = place.book(&store)?.explain(now_at(place.now), &address);
    let word = known.row.as_ref().map(|row| row::standing(row, &explained.rule));
    let mut sentences = vec![match word {
        Some(row::NAMED) => format!(
            "{address} was named by the user. A pool dials it if it is named again, and not by its \
             own choice, since nobody else has spoken of it and we never shook hands with it."
        ),
        Some(row::NO_PLACE) => format!(
            "{address} is in the file, and not dialled: a pool that starts finds its place in the \
             tables taken by an address that it knows better."
        ),
        _ => rule(place.now, &explained, word.is_some()),
    }];
    sentences.extend(known.row.as_ref().map(|row| {
        let when = text::moment(place.now, row.heard_at);
        format!("It was first heard of from {}, {when}.", row::origin(&row.origin))
    }));
    let last = Last::of(known.history.as_ref());
    sentences.extend(last.sentences(place.now));
    sentences.extend(unknown(&explained));
    let mut map = row::rule(&explained);
    let mut value = json!({ "address": address.to_string() });
    if let Some(word) = word {
        map.insert("rule".into(), word.into());
    }
    if let Value::Object(value) = &mut value {
        value.extend(map);
        value.insert("netgroup".into(), format!("{:?}", explained.netgroup).into());
        value.insert("source".into(), known.row.as_ref().map(row::source).into());
        value.insert("chosen".into(), last.chosen());
        value.insert("last".into(), last.last.map(fact).into());
        value.insert("unknown".into(), not_known(&explained).into());
        value.insert("sentences".into(), sentences.clone().into());
    }
    place.say("why", value, || {
        sentences.iter().map(|it| text::filled(it, "")).collect::<Vec<_>>().join("\n")
    })
}

/// Of an address that a pool with other settings took in.
const KEPT_THOUGH_UNFIT: &str = "is in the file, and not dialled: a pool with these settings does \
                                 not take it from there, since";

/// The rule that decides, in a sentence, over an address that may be in the file.
pub(super) fn rule(now: UnixTime, explained: &Explanation, in_file: bool) -> String {
    let address = explained.address;
    let when = |at: UnixTime| text::moment(now, at);
    match explained.rule {
        Rule::Manual => format!("{address} may be dialled: the user named it."),
        Rule::Experience { until } => format!(
            "{address} may be dialled: we shook hands with it lately, and it is a candidate from \
             experience until {}.",
            when(until)
        ),
        Rule::Hearsay { until } => format!(
            "{address} may be dialled: it was heard of lately, and hearsay is good until {}.",
            when(until)
        ),
        Rule::NetgroupTaken => format!(
            "{address} is not dialled now: its netgroup {:?} has as many peers or dials as it may.",
            explained.netgroup
        ),
        Rule::InUse { by } if by == address => {
            format!("{address} is not dialled now: it is in use.")
        }
        Rule::InUse { by } => format!("{address} is not dialled now: {by} is in use."),
        Rule::Banned { ban } => format!(
            "{address} is not dialled: the user banned {} {}.",
            ban.subnet,
            row::ban_end(now, &ban)
        ),
        Rule::Discouraged { until } => format!(
            "{address} is not dialled: a peer on its host misbehaved, and it is discouraged until \
             {}.",
            when(until)
        ),
        Rule::Burned { reason, until: None, .. } => {
            format!("{address} is never dialled: it is ourselves ({}).", word(reason.as_str()))
        }
        Rule::Burned { reason, since, until: Some(until) } => format!(
            "{address} is not dialled: it was burned {}, because of: {}. That fades {}; then it \
             must be heard of anew.",
            when(since),
            word(reason.as_str()),
            when(until)
        ),
        Rule::VerdictWaits { reason, .. } => format!(
            "{address} is not dialled now: it failed ({}) while nothing showed that the network was \
             up.",
            word(reason.as_str())
        ),
        Rule::BacksOff { until, failures } => format!(
            "{address} is not dialled now: after {} in a row it backs off until {}.",
            text::counted(failures as usize, "failure"),
            when(until)
        ),
        Rule::TooOld { since: UnixTime(0) } => format!(
            "{address} is not dialled: nobody has said when it was last seen, and we have never \
             shaken hands with it."
        ),
        Rule::TooOld { since } => format!(
            "{address} is not dialled: what we know of it is too old since {}; it must be heard of \
             anew.",
            when(since)
        ),
        Rule::Services { missing } => format!(
            "{address} is not dialled: it lacks services that are required: {}.",
            json::services(missing).join(", ")
        ),
        Rule::Unfit(unfit) => {
            let kept = if in_file { KEPT_THOUGH_UNFIT } else { "is never taken in:" };
            format!("{address} {kept} {}.", unfit_because(unfit))
        }
        _ => format!("{address} is not dialled: it is not in the book."),
    }
}

const fn unfit_because(unfit: Unfit) -> &'static str {
    match unfit {
        Unfit::Port => "its port is 0 or another service's",
        Unfit::NoHost => "no single host can be there",
        Unfit::Net => "its network cannot be dialled, or the settings exclude it (onlynet)",
        Unfit::Unroutable => {
            "the public internet cannot reach it (see the setting allow_unroutable)"
        }
        Unfit::Own => "it is an address of our own",
        Unfit::Ports => "as many other ports of its host are known as may be (max_ports_per_host)",
        _ => "a rule is against it",
    }
}

/// What only a running pool knows, and could stand in the way.
fn not_known(explained: &Explanation) -> Vec<&'static str> {
    if explained.may_dial() {
        vec!["in_use", "netgroup_taken", "discouraged", "verdict_waits"]
    } else {
        Vec::new()
    }
}

fn unknown(explained: &Explanation) -> Option<String> {
    let may = explained.may_dial();
    may.then(|| {
        format!(
            "Not known here, but to a running pool: whether it is in use, whether its netgroup {:?} \
             has a peer already, and whether its host is discouraged.",
            explained.netgroup
        )
    })
}

/// What the latest facts tell.
#[derive(Default)]
struct Last<'a> {
    /// When and why it was last dialled.
    chosen: Option<&'a Fact>,
    /// What happened since, the latest last.
    since: &'a [Fact],
    last: Option<&'a Fact>,
}

impl<'a> Last<'a> {
    fn of(history: Option<&'a History>) -> Self {
        let Some(history) = history else { return Self::default() };
        let facts = &history.facts;
        let at = facts.iter().rposition(|fact| fact.what == "chosen");
        let since = at.map_or(0, |at| at + 1);
        Self {
            chosen: at.and_then(|at| facts.get(at)),
            since: facts.get(since..).unwrap_or_default(),
            last: facts.last(),
        }
    }

    fn chosen(&self) -> Value {
        let Some(chosen) = self.chosen else { return Value::Null };
        let (kind, why) = kind_and_why(chosen);
        json!({ "at": chosen.at.0, "connection_type": kind, "chosen": why })
    }

    fn sentences(&self, now: UnixTime) -> Vec<String> {
        let mut sentences = Vec::new();
        match self.chosen {
            Some(fact) => {
                let (kind, why) = kind_and_why(fact);
                sentences.push(format!(
                    "It was last dialled {} as {}, because {}.",
                    text::moment(now, fact.at),
                    kind_words(kind),
                    chosen_because(why)
                ));
            }
            None if self.last.is_none() => {
                sentences.push("No dial to it is recorded.".to_owned());
            }
            None => {}
        }
        if let Some(last) = self.since.last() {
            let list = self.since.iter().map(happened).collect::<Vec<_>>().join(", ");
            let up = matches!(last.what.as_str(), "connected" | "ready");
            let end = if up { ", and no end of that is recorded" } else { "" };
            let when = text::moment(now, last.at);
            sentences.push(format!("Then it {list}{end}; the last of it {when}."));
        }
        sentences
    }
}

/// As what an address was chosen, and why.
fn kind_and_why(chosen: &Fact) -> (&str, &str) {
    chosen.detail.split_once(' ').unwrap_or((&chosen.detail, ""))
}

fn fact(fact: &Fact) -> Value {
    json!({ "what": fact.what, "detail": fact.detail, "at": fact.at.0 })
}

fn happened(fact: &Fact) -> String {
    let detail = word(&fact.detail);
    match fact.what.as_str() {
        "connected" => "was connected".to_owned(),
        "ready" => "shook hands with us".to_owned(),
        "failed" => format!("failed ({detail})"),
        "given_up" => format!("was given up ({detail})"),
        "dropped" => format!("was dropped ({detail})"),
        "burned" => format!("was burned ({detail})"),
        "backed_off" => format!("backed off ({detail})"),
        "waits" => format!("had to wait for its verdict ({detail})"),
        "misbehaved" => format!("misbehaved ({detail})"),
        "discouraged" => format!("was discouraged ({detail})"),
        other => format!("was {} ({detail})", word(other)),
    }
}

fn kind_words(kind: &str) -> String {
    match kind {
        "outbound_full_relay" => "a full-relay peer".to_owned(),
        "block_relay_only" => "a block-relay-only peer".to_owned(),
        "manual" => "a manual peer".to_owned(),
        "feeler" => "a feeler".to_owned(),
        "addr_fetch" => "an addr-fetch".to_owned(),
        other => word(other),
    }
}

fn chosen_because(why: &str) -> &str {
    match why {
        "manual" => "the user named it",
        "anchor" => "it was an anchor: ready in the run before, or before an outage",
        "experience" => "it was drawn from those that we know from experience",
        "hearsay" => "it was drawn from hearsay",
        "test" => "another address waited for its place in the tried table",
        "rotation" => "somebody was to take the place of the oldest peer",
        "probe" => "somebody had to show whether the network was up",
        _ => "of a reason that this version does not know",
    }
}
