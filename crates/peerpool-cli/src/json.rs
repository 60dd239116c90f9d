//! Events and status as JSON. Written by hand: the core's types are not serializable, so that
//! what is promised to readers of the output does not change with them by accident.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

pub(crate) use peerpool::settings::service_names as services;
use peerpool::{Ban, Event, Known, Net, PeerStatus, PeerVersion, Stamped, Status, Variety};
use serde_json::{Map, Value, json};

/// An event: `event`, `at`, then `id` and `address` of the peer where there is one, then the rest.
pub(crate) fn event(stamped: &Stamped) -> Map<String, Value> {
    let event = &stamped.event;
    let mut map = Map::new();
    map.insert("event".into(), event.as_str().into());
    map.insert("at".into(), unix_seconds(stamped.at).into());
    if let Some(peer) = event.peer() {
        map.insert("id".into(), peer.0.into());
    }
    if let Some(address) = event.address() {
        map.insert("address".into(), address.to_string().into());
    }
    map.extend(details(event));
    map
}

/// What an event tells besides its peer.
pub(crate) fn details(event: &Event) -> Map<String, Value> {
    let value = match event {
        Event::SeedAsked { seed } => json!({ "seed": seed }),
        Event::SeedAnswered { seed, received, kept } => {
            json!({ "seed": seed, "received": received, "kept": kept })
        }
        Event::SeedFailed { seed, error } => json!({ "seed": seed, "error": error }),
        Event::Connecting { connection_type: kind, chosen, .. } => {
            json!({ "connection_type": kind.as_str(), "chosen": chosen.as_str() })
        }
        Event::Ready { version: said, .. } => version(said),
        Event::DialFailed { error, .. } => json!({ "error": error.as_str() }),
        Event::Disconnected { state: was, reason, .. } => {
            json!({ "state": was.as_str(), "reason": reason.as_str() })
        }
        Event::Burned { reason, .. } | Event::VerdictWaits { reason, .. } => {
            json!({ "reason": reason.as_str() })
        }
        Event::BackedOff { failures, retry_in, .. } => {
            json!({ "failures": failures, "retry_in": seconds(*retry_in) })
        }
        Event::Banned { ban } => self::ban(ban),
        Event::Unbanned { subnet, expired } => {
            json!({ "subnet": subnet.to_string(), "expired": expired })
        }
        Event::Misbehaved { misbehavior, reason, .. } => {
            json!({ "misbehavior": misbehavior.as_str(), "reason": reason })
        }
        Event::Discouraged { lasts, .. } => json!({ "lasts": seconds(*lasts) }),
        Event::Gossip { received, kept, .. } => json!({ "received": received, "kept": kept }),
        Event::Full { took } => json!({ "took": seconds(*took) }),
        Event::Starved { known: all } => json!({ "known": known(all) }),
        Event::Leased { lease, .. } | Event::Released { lease, .. } => json!({ "lease": lease.0 }),
        Event::StoreFailed { error } => json!({ "error": error }),
        Event::StoreSetAside { path, error } => json!({ "path": path, "error": error }),
        Event::Missed { events } => json!({ "events": events }),
        // Nothing to tell, or an event that a later version adds.
        _ => return Map::new(),
    };
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The last line of a run.
pub(crate) fn stopped(status: &Status) -> Value {
    json!({
        "event": "stopped",
        "at": unix_seconds(SystemTime::now()),
        "status": self::status(status),
    })
}

/// A snapshot of the pool.
pub(crate) fn status(status: &Status) -> Value {
    let peers = |peers: &[PeerStatus]| peers.iter().map(peer).collect::<Vec<_>>();
    let rates = status.success_rate.iter();
    json!({
        "target": status.target,
        "available": status.available,
        "connecting": peers(&status.connecting),
        "connected": peers(&status.connected),
        "ready": peers(&status.ready),
        "burned": burned(status),
        "bans": status.bans,
        "discouraged": status.discouraged,
        "dials": status.dials,
        "surplus": status.surplus,
        "starved": status.starved,
        "offline": status.offline,
        "known": known(&status.known),
        "success_rate": rates
            .map(|(net, rate)| (net.as_str().to_owned(), rounded(*rate).into()))
            .collect::<Map<_, _>>(),
        "variety": variety(&status.variety),
        "waiters": status.waiters,
        "leases": status.leases,
        "store_failure": status.store_failure,
    })
}

fn variety(variety: &Variety) -> Value {
    json!({
        "nets": nets(&variety.nets),
        "netgroups": variety.netgroups,
        "asns": variety.asns,
        "unmapped": variety.unmapped,
        "sources": variety.sources,
        "of_one_source": variety.of_one_source,
        "addresses": nets(&variety.addresses),
    })
}

/// A count for each network that has one.
pub(crate) fn nets(counts: &BTreeMap<Net, usize>) -> Map<String, Value> {
    counts.iter().map(|(net, count)| (net.as_str().to_owned(), (*count).into())).collect()
}

/// How many addresses are burned, by reason.
pub(crate) fn burned(status: &Status) -> Map<String, Value> {
    let reasons = status.burned.iter().filter(|(_, count)| **count > 0);
    reasons.map(|(reason, count)| (reason.as_str().to_owned(), (*count).into())).collect()
}

fn peer(peer: &PeerStatus) -> Value {
    let mut map = Map::new();
    map.insert("id".into(), peer.id.0.into());
    map.insert("address".into(), peer.address.to_string().into());
    map.insert("connection_type".into(), peer.connection_type.as_str().into());
    map.insert("age".into(), seconds(peer.age));
    if let Some(said) = &peer.version
        && let Value::Object(said) = version(said)
    {
        map.extend(said);
        map.insert("ping".into(), peer.ping.map(seconds).into());
        map.insert("ping_min".into(), peer.ping_min.map(seconds).into());
        map.insert("leases".into(), peer.leases.into());
        map.insert("requests".into(), peer.requests.into());
    }
    map.into()
}

/// What a peer said of itself.
pub(crate) fn version(version: &PeerVersion) -> Value {
    json!({
        "user_agent": version.user_agent.to_string(),
        "services": services(version.services),
        "protocol": version.protocol,
        "height": version.height,
        "relay": version.relay,
    })
}

fn known(known: &Known) -> Value {
    json!({
        "blocked": known.blocked,
        "backing_off": known.backing_off,
        "waiting": known.waiting,
        "burned": known.burned,
        "ineligible": known.ineligible,
        "banned": known.banned,
        "discouraged": known.discouraged,
    })
}

/// A ban.
pub(crate) fn ban(ban: &Ban) -> Value {
    json!({ "subnet": ban.subnet.to_string(), "since": ban.since.0, "until": ban.until.0 })
}

/// Unix time in seconds, to the millisecond.
pub(crate) fn unix_seconds(at: SystemTime) -> f64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rounded(since.as_secs_f64())
}

/// A duration in seconds, to the microsecond.
pub(crate) fn seconds(duration: Duration) -> Value {
    ((duration.as_secs_f64() * 1e6).round() / 1e6).into()
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use peerpool::{
        Address, BurnReason, ConnectionType, Misbehavior, PeerId, PeerState, ServiceFlags, Subnet,
        UnixTime, UserAgent,
    };

    use super::*;

    fn address() -> Address {
        "127.0.0.1:18444".parse().expect("an address")
    }

    fn said() -> PeerVersion {
        PeerVersion {
            protocol: 70016,
            services: ServiceFlags::from(0x8009),
            user_agent: UserAgent(b"/\x1b[2J\"/".to_vec()),
            height: -1,
            relay: false,
        }
    }

    fn line(event: Event) -> String {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        Value::from(super::event(&Stamped { at, event })).to_string()
    }

    #[test]
    fn an_event_begins_with_what_when_and_who() {
        let ready =
            Event::Ready { peer: PeerId(7), address: address(), version: said(), pool: None };
        assert_eq!(
            line(ready),
            r#"{"event":"ready","at":1.5,"id":7,"address":"127.0.0.1:18444","user_agent":"/\\x1b[2J\\\"/","services":["network","witness","0x8000"],"protocol":70016,"height":-1,"relay":false}"#
        );
        let misbehaved = Event::Misbehaved {
            peer: PeerId(7),
            address: address(),
            misbehavior: Misbehavior::InvalidData,
            reason: "no work".to_owned(),
        };
        assert_eq!(
            line(misbehaved),
            r#"{"event":"misbehaved","at":1.5,"id":7,"address":"127.0.0.1:18444","misbehavior":"invalid_data","reason":"no work"}"#
        );
        let subnet: Subnet = "1.2.3.0/24".parse().expect("a subnet");
        let ban = Ban { subnet, since: UnixTime(1), until: UnixTime(2) };
        assert_eq!(
            line(Event::Banned { ban }),
            r#"{"event":"banned","at":1.5,"subnet":"1.2.3.0/24","since":1,"until":2}"#
        );
        assert_eq!(line(Event::Online), r#"{"event":"online","at":1.5}"#);
    }

    #[test]
    fn the_last_line_holds_the_four_views_and_the_counts() {
        let peer = PeerStatus {
            id: PeerId(7),
            address: address(),
            state: PeerState::Ready,
            connection_type: ConnectionType::Manual,
            age: Duration::from_millis(2500),
            version: Some(said()),
            ping: None,
            ping_min: None,
            pool: None,
            leases: 0,
            requests: 0,
        };
        let status = Status {
            target: 8,
            available: 3,
            ready: vec![peer],
            burned: [(BurnReason::Refused, 2), (BurnReason::Itself, 0)].into(),
            dials: 5,
            variety: Variety {
                nets: [(Net::Ipv4, 1)].into(),
                netgroups: 1,
                asns: Some(1),
                unmapped: 0,
                sources: 3,
                of_one_source: 4,
                addresses: [(Net::Ipv4, 7), (Net::Ipv6, 2)].into(),
            },
            ..Status::default()
        };
        let line = stopped(&status);
        assert_eq!(line["event"], "stopped");
        assert!(line["at"].is_number());
        let status = &line["status"];
        assert_eq!((&status["target"], &status["available"]), (&json!(8), &json!(3)));
        assert_eq!(status["connecting"], json!([]));
        assert_eq!(status["ready"][0]["address"], "127.0.0.1:18444");
        assert_eq!(status["ready"][0]["ping"], Value::Null);
        assert_eq!(status["burned"], json!({ "refused": 2 }));
        assert_eq!(
            status["variety"],
            json!({
                "nets": { "ipv4": 1 },
                "netgroups": 1,
                "asns": 1,
                "unmapped": 0,
                "sources": 3,
                "of_one_source": 4,
                "addresses": { "ipv4": 7, "ipv6": 2 },
            })
        );
        assert_eq!((&status["dials"], &status["surplus"]), (&json!(5), &json!(0)));
    }
}
