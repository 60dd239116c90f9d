//! What is known of an address, as JSON and as words.

use peerpool::store::{AddressRow, Origin};
use peerpool::{Ban, Explanation, Rule, UnixTime};
use serde_json::{Map, Value, json};

use crate::{json, text};

/// The word for an address that nobody but the user has named, and that never shook hands.
pub(super) const NAMED: &str = "named";
/// The word for one in the file that a pool which starts has no place for.
pub(super) const NO_PLACE: &str = "no_place";

/// The word for how an address in the file stands, by the rule of a book that was filled from it.
pub(super) fn standing(row: &AddressRow, rule: &Rule) -> &'static str {
    let named = row.origin == Origin::User && row.last_success.is_none();
    match rule {
        Rule::Unknown | Rule::Unfit(_) | Rule::TooOld { .. } if named => NAMED,
        Rule::Unknown => NO_PLACE,
        rule => rule.as_str(),
    }
}

/// The word for who named an address.
pub(super) const fn origin_word(origin: &Origin) -> &'static str {
    match origin {
        Origin::Seed(_) => "seed",
        Origin::Peer(_) => "peer",
        Origin::User => "user",
        Origin::Import => "import",
    }
}

/// Who named an address, in words.
pub(super) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Seed(name) => format!("the DNS seed {name}"),
        Origin::Peer(address) => format!("the peer {address}, over {}", address.net().as_str()),
        Origin::User => "the user".to_owned(),
        Origin::Import => "a file that was imported".to_owned(),
    }
}

/// Who named an address.
pub(super) fn source(row: &AddressRow) -> Value {
    let (name, over) = match &row.origin {
        Origin::Seed(name) => (Some(name.clone()), Some("dns")),
        Origin::Peer(address) => (Some(address.to_string()), Some(address.net().as_str())),
        Origin::User | Origin::Import => (None, None),
    };
    json!({ "kind": origin_word(&row.origin), "name": name, "over": over, "at": row.heard_at.0 })
}

/// A row of the book.
pub(super) fn address(row: &AddressRow) -> Map<String, Value> {
    let time = |at: Option<UnixTime>| at.map(|at| at.0);
    let told = |at: UnixTime| (at > UnixTime(0)).then_some(at.0);
    let value = json!({
        "address": row.address.to_string(),
        "net": row.address.net().as_str(),
        "table": if row.tried { "tried" } else { "new" },
        "anchor": row.anchor,
        "services": json::services(row.services),
        "last_seen": told(row.last_seen),
        "last_success": time(row.last_success),
        "proven": row.proven,
        "failures": row.failures,
        "strikes": row.strikes,
        "retry_at": time(row.retry_at),
        "tried_at": time(row.tried_at),
        "asked_at": time(row.asked_at),
        "source": source(row),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Until when a ban lasts, in words.
pub(super) fn ban_end(now: UnixTime, ban: &Ban) -> String {
    if ban.until == Ban::FOREVER {
        "for good".to_owned()
    } else {
        format!("until {}", text::moment(now, ban.until))
    }
}

/// The rule that decides over an address: `rule`, and what it tells besides.
pub(super) fn rule(explanation: &Explanation) -> Map<String, Value> {
    let rule = explanation.rule;
    let more = match rule {
        Rule::Experience { until } | Rule::Hearsay { until } | Rule::Discouraged { until } => {
            json!({ "until": until.0 })
        }
        Rule::InUse { by } => json!({ "by": by.to_string() }),
        Rule::Banned { ban } => json!({ "ban": json::ban(&ban) }),
        Rule::Burned { reason, since, until } => json!({
            "reason": reason.as_str(),
            "since": since.0,
            "until": until.map(|until| until.0),
        }),
        Rule::VerdictWaits { reason, since } => {
            json!({ "reason": reason.as_str(), "since": since.0 })
        }
        Rule::BacksOff { until, failures } => json!({ "until": until.0, "failures": failures }),
        Rule::TooOld { since } => json!({ "since": since.0 }),
        Rule::Services { missing } => json!({ "missing": json::services(missing) }),
        Rule::Unfit(unfit) => json!({ "reason": unfit.as_str() }),
        _ => Value::Null,
    };
    let mut map = Map::new();
    map.insert("may_dial".into(), explanation.may_dial().into());
    map.insert("rule".into(), rule.as_str().into());
    if let Value::Object(more) = more {
        map.extend(more);
    }
    map
}
