//! Events and numbers as plain text, for people and for logs.

use std::fmt::{Display, Write as _};
use std::time::{Duration, SystemTime};

use peerpool::{Ban, Stamped, Status, UnixTime, Variety};
use serde_json::{Map, Value};

use crate::json;

/// One event on one line: time since `start`, what, who, and the rest as `key=value`.
pub(crate) fn event(stamped: &Stamped, start: SystemTime) -> String {
    let since = stamped.at.duration_since(start).unwrap_or_default();
    let event = &stamped.event;
    let mut line = format!("{:>8.3}s {:<13}", since.as_secs_f64(), event.as_str());
    if let Some(peer) = event.peer() {
        line += &format!(" #{peer}");
    }
    if let Some(address) = event.address() {
        line += &format!(" {address}");
    }
    let details = pairs(&json::details(event));
    if details.is_empty() { line.trim_end().to_owned() } else { line + " " + &details }
}

/// A flat JSON object as `key=value`.
pub(crate) fn pairs(map: &Map<String, Value>) -> String {
    let pairs = map.iter().map(|(key, value)| match value {
        // Escaped by its printing already; quoting would escape it once more.
        Value::String(text) if key == "user_agent" => format!("{key}=\"{text}\""),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            format!("{key}={}", items.join(","))
        }
        Value::Object(inner) => pairs(inner),
        Value::String(text) if !text.contains([' ', '"']) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    pairs.collect::<Vec<_>>().join(" ")
}

/// The counters of the pool, on one line. An alarm stands first: a narrow terminal cuts the rest.
pub(crate) fn counters(status: &Status) -> String {
    let alarm: String = [(status.starved, "  STARVED"), (status.offline, "  OFFLINE")]
        .into_iter()
        .filter_map(|(holds, word)| holds.then_some(word))
        .collect();
    format!(
        "ready {}/{}{alarm}  connected {}  connecting {}  available {}  burned {}  dials {}  \
         surplus {}  {}",
        status.ready_count(),
        status.target,
        status.connected.len(),
        status.connecting.len(),
        status.available,
        status.burned.values().sum::<usize>(),
        status.dials,
        status.surplus,
        variety(&status.variety),
    )
}

/// How different the ready peers are.
fn variety(variety: &Variety) -> String {
    let mut words = vec![format!("netgroups {}", variety.netgroups)];
    words.extend(variety.asns.map(|asns| format!("ASNs {asns}")));
    if variety.unmapped > 0 {
        words.push(format!("unmapped {}", variety.unmapped));
    }
    words.extend(variety.nets.iter().map(|(net, peers)| format!("{} {peers}", net.as_str())));
    words.join("  ")
}

/// The last words of a run.
pub(crate) fn stopped(status: &Status) -> String {
    let burned = json::burned(status);
    let by_reason = if burned.is_empty() { "none".to_owned() } else { pairs(&burned) };
    let known = json::nets(&status.variety.addresses);
    let by_net = if known.is_empty() { "none".to_owned() } else { pairs(&known) };
    format!("stopped: {}\nburned: {by_reason}\naddresses: {by_net}", counters(status))
}

/// A short time for people.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{:.1}ms", duration.as_secs_f64() * 1000.0),
        1..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Columns of a page.
const WIDTH: usize = 80;
/// Where values begin.
const INDENT: usize = 11;

/// A name and its parts, continued below each other where they do not fit.
pub(crate) fn wrapped(page: &mut String, name: &str, between: &str, parts: &[impl AsRef<str>]) {
    let mut line = format!("{name:<0$} ", INDENT - 1);
    let mut begun = false;
    for part in parts.iter().map(AsRef::as_ref) {
        if begun && line.len() + between.len() + part.len() >= WIDTH {
            let _ = writeln!(page, "{line}{}", between.trim_end());
            line = " ".repeat(INDENT);
            begun = false;
        }
        line += if begun { between } else { "" };
        line += part;
        begun = true;
    }
    let _ = writeln!(page, "{}", line.trim_end());
}

/// So many of something.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let more = if what.ends_with('s') { "es" } else { "s" };
    format!("{count} {what}{}", if count == 1 { "" } else { more })
}

/// A number of bytes for people.
pub(crate) fn bytes_of(bytes: f64) -> impl Display {
    match bytes {
        ..1024.0 => format!("{bytes:.0} B"),
        ..1_048_576.0 => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{:.1} MiB", bytes / 1_048_576.0),
    }
}

/// A time of whole seconds for people, however long.
pub(crate) fn age(duration: Duration) -> String {
    let (seconds, hours) = (duration.as_secs(), duration.as_secs() / 3600);
    match hours {
        0 if seconds < 60 => format!("{seconds}s"),
        0..48 => short(duration),
        _ => format!("{}d{:02}h", hours / 24, hours % 24),
    }
}

/// The minute of a time, in UTC.
pub(crate) fn date(at: UnixTime) -> String {
    let minutes = at.0 / 60 % 1440;
    format!("{} {:02}:{:02} UTC", day(at), minutes / 60, minutes % 60)
}

/// The second of a time, in UTC.
pub(crate) fn second(at: UnixTime) -> String {
    let minutes = at.0 / 60 % 1440;
    format!("{} {:02}:{:02}:{:02}", day(at), minutes / 60, minutes % 60, at.0 % 60)
}

fn day(at: UnixTime) -> String {
    let (mut year, mut day) = (1970, at.0.min(Ban::FOREVER.0) / 86_400);
    let by = |year: u64, n: u64| year.is_multiple_of(n);
    let leap = |year| by(year, 4) && (!by(year, 100) || by(year, 400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

/// A time, and how far from now it is.
pub(crate) fn moment(now: UnixTime, at: UnixTime) -> String {
    let far = match at <= now {
        true => format!("{} ago", age(now.since(at))),
        false => format!("in {}", age(at.since(now))),
    };
    format!("{} ({far})", date(at))
}

/// Words on lines of the width of a page, each after `indent`.
pub(crate) fn filled(text: &str, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split(' ') {
        let begun = lines.last().is_some_and(|line| line.len() > indent.len());
        let full = lines.last().is_some_and(|line| line.len() + 1 + word.len() > WIDTH);
        if begun && full {
            lines.push(indent.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            *line += if begun && !full { " " } else { "" };
            *line += word;
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use peerpool::{Event, Net, PeerId, PeerVersion, ServiceFlags, UserAgent};

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_the_peer_calls_itself() {
        let version = PeerVersion {
            protocol: 70016,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            user_agent: UserAgent(b"/a b\n/".to_vec()),
            height: 9,
            relay: true,
        };
        let address = "[2a01::1]:8333".parse().expect("an address");
        let start = SystemTime::UNIX_EPOCH;
        let at = start + Duration::from_millis(12_345);
        let line = event(
            &Stamped { at, event: Event::Ready { peer: PeerId(3), address, version, pool: None } },
            start,
        );
        assert_eq!(
            line,
            "  12.345s ready         #3 [2a01::1]:8333 user_agent=\"/a b\\n/\" \
             services=network,witness protocol=70016 height=9 relay=true"
        );
        let line = event(&Stamped { at, event: Event::Fed }, start);
        assert_eq!(line, "  12.345s fed");
    }

    #[test]
    fn an_alarm_is_seen_on_a_narrow_terminal() {
        let status = Status { target: 1000, starved: true, offline: true, ..Status::default() };
        assert!(counters(&status).starts_with("ready 0/1000  STARVED  OFFLINE  connected 0"));
    }

    #[test]
    fn what_there_is_of_each_kind_is_told_last() {
        let mut status = Status { target: 8, ..Status::default() };
        assert!(counters(&status).ends_with("surplus 0  netgroups 0"));
        assert!(stopped(&status).ends_with("\nburned: none\naddresses: none"));
        status.variety = Variety {
            nets: [(Net::Ipv4, 6), (Net::Ipv6, 2)].into(),
            netgroups: 8,
            asns: Some(6),
            unmapped: 1,
            sources: 3,
            of_one_source: 4,
            addresses: [(Net::Ipv4, 812), (Net::Ipv6, 30)].into(),
        };
        let told = "netgroups 8  ASNs 6  unmapped 1  ipv4 6  ipv6 2";
        assert!(counters(&status).ends_with(told), "{}", counters(&status));
        assert!(stopped(&status).ends_with("\naddresses: ipv4=812 ipv6=30"));
    }

    #[test]
    fn times_are_short() {
        for (millis, text) in
            [(12, "12.0ms"), (1500, "1.5s"), (61_000, "1m01s"), (3_660_000, "1h01m")]
        {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, date) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (u64::MAX, "9999-12-31 15:30 UTC"),
        ] {
            let at = UnixTime(at);
            assert_eq!(super::date(at)[..10], date[..10]);
            assert!(at.0 == u64::MAX || super::date(at) == date, "{}", super::date(at));
        }
        let now = UnixTime(1_000_000);
        assert!(moment(now, UnixTime(1_000_090)).ends_with("(in 1m30s)"));
        assert!(moment(now, UnixTime(1_000_000 - 49 * 3600)).ends_with("(2d01h ago)"));
    }

    #[test]
    fn words_are_kept_on_the_page() {
        let text = filled(&"word ".repeat(40), "  ");
        assert!(text.lines().all(|line| line.len() <= 80 && line.starts_with("  word")), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
    }
}
