//! What became of our dials, by address: counts, what it last said of itself, round trips, and the
//! latest facts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::event::{Event, PeerVersion, UserAgent};
use peerpool_core::id::{DisconnectReason, PeerState};
use peerpool_core::policy::{Policy, format_duration};
use peerpool_core::time::UnixTime;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use super::row::{seconds, time};

/// How a connection that worked was made. There is one way as yet.
const TRANSPORT: &str = "tcp v1";

/// How much is kept of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) facts: usize,
    pub(crate) round_trips: usize,
}

impl Limits {
    pub(crate) fn of(policy: &Policy) -> Self {
        Self { facts: policy.max_facts, round_trips: policy.max_round_trips }
    }
}

/// Something that happened to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When.
    pub at: UnixTime,
    /// What: `chosen` (as what and why), `connected`, `ready`, `failed`, `given_up` or `dropped`
    /// (and why), `burned` (why), `backed_off` (for how long), `waits` (the verdict that waits),
    /// `misbehaved` (how), `discouraged` (for how long).
    pub what: String,
    /// As what, why, or for how long; may be empty.
    pub detail: String,
}

/// How and when a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEnd {
    /// The state it was in: `connecting`, `connected` or `ready`.
    pub state: String,
    /// The reason, by its word in logs.
    pub reason: String,
    /// When.
    pub at: UnixTime,
}

/// What became of our dials to one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Handshakes done.
    pub successes: u64,
    /// Dials and handshakes that failed, by the word for the reason.
    pub failures: BTreeMap<String, u64>,
    /// The services it last said it has, and its user agent.
    pub said: Option<(ServiceFlags, UserAgent)>,
    /// How the last connection that worked was made: `tcp v1`.
    pub transport: Option<String>,
    /// Round trips of its latest pings, the latest last.
    pub round_trips: Vec<Duration>,
    /// How its last connection, or the last try of one, ended.
    pub last_end: Option<LastEnd>,
    /// The latest facts, the latest last.
    pub facts: Vec<Fact>,
}

/// The round trip that so many percent of `sorted` do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

impl History {
    /// The median of the round trips kept, and the value that 95 % of them do not exceed.
    pub fn percentiles(&self) -> Option<(Duration, Duration)> {
        let mut sorted = self.round_trips.clone();
        sorted.sort_unstable();
        Some((percentile(&sorted, 50)?, percentile(&sorted, 95)?))
    }

    /// Takes in an event that tells of this address.
    pub(super) fn note(&mut self, at: UnixTime, event: &Event, limits: Limits) {
        let (what, detail): (&str, String) = match event {
            Event::Connecting { connection_type, chosen, .. } => {
                ("chosen", format!("{} {}", connection_type.as_str(), chosen.as_str()))
            }
            Event::Connected { .. } => ("connected", String::new()),
            Event::Ready { version, .. } => {
                self.on_ready(version);
                ("ready", String::new())
            }
            Event::DialFailed { error, .. } => {
                self.on_end(at, PeerState::Connecting, error.as_str(), true);
                ("failed", error.as_str().to_owned())
            }
            Event::Disconnected { state, reason, .. } => {
                let failed = matches!(reason, DisconnectReason::Handshake(_));
                self.on_end(at, *state, reason.as_str(), failed);
                let what = match state {
                    _ if failed => "failed",
                    PeerState::Ready => "dropped",
                    PeerState::Connecting | PeerState::Connected => "given_up",
                };
                (what, reason.as_str().to_owned())
            }
            Event::Burned { reason, .. } => ("burned", reason.as_str().to_owned()),
            Event::BackedOff { failures, retry_in, .. } => {
                let rounded = Duration::from_secs(retry_in.as_secs());
                let wait = format_duration(rounded.max(Duration::from_secs(1)));
                ("backed_off", format!("for {wait}, failures in a row: {failures}"))
            }
            Event::VerdictWaits { reason, .. } => ("waits", reason.as_str().to_owned()),
            Event::Misbehaved { misbehavior, .. } => {
                ("misbehaved", misbehavior.as_str().to_owned())
            }
            Event::Discouraged { lasts, .. } => {
                ("discouraged", format!("for {}", format_duration(*lasts)))
            }
            _ => return,
        };
        self.facts.push(Fact { at, what: what.to_owned(), detail });
        keep_last(&mut self.facts, limits.facts);
    }

    fn on_ready(&mut self, version: &PeerVersion) {
        self.successes += 1;
        self.said = Some((version.services, version.user_agent.clone()));
        self.transport = Some(TRANSPORT.to_owned());
    }

    fn on_end(&mut self, at: UnixTime, state: PeerState, reason: &str, failed: bool) {
        if failed {
            *self.failures.entry(reason.to_owned()).or_default() += 1;
        }
        let (state, reason) = (state.as_str().to_owned(), reason.to_owned());
        self.last_end = Some(LastEnd { state, reason, at });
    }

    pub(super) fn note_round_trip(&mut self, took: Duration, limits: Limits) {
        // As it is kept, so that nothing changes when it is written and read.
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.round_trips.push(Duration::from_micros(micros.into()));
        keep_last(&mut self.round_trips, limits.round_trips);
    }

    /// Adds what happened later.
    pub(super) fn extend(&mut self, later: Self, limits: Limits) {
        self.successes += later.successes;
        for (reason, count) in later.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        self.said = later.said.or(self.said.take());
        self.transport = later.transport.or(self.transport.take());
        self.last_end = later.last_end.or(self.last_end.take());
        self.round_trips.extend(later.round_trips);
        keep_last(&mut self.round_trips, limits.round_trips);
        self.facts.extend(later.facts);
        keep_last(&mut self.facts, limits.facts);
    }
}

fn keep_last<T>(items: &mut Vec<T>, max: usize) {
    items.drain(..items.len().saturating_sub(max));
}

// ---- in the file ----

const COLUMNS: &str = "successes, failures, services, user_agent, transport, rtts, last_state, \
                       last_end, last_end_at, facts";

impl History {
    /// What is kept of the address with this name.
    pub(super) fn load(connection: &Connection, address: &str) -> rusqlite::Result<Option<Self>> {
        let select = format!("SELECT {COLUMNS} FROM history WHERE address = ?1");
        connection.prepare_cached(&select)?.query_row([address], Self::read).optional()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let services: Option<i64> = row.get(2)?;
        let user_agent: Option<Vec<u8>> = row.get(3)?;
        let said = services.zip(user_agent);
        let end: (Option<String>, Option<String>, Option<i64>) =
            (row.get(6)?, row.get(7)?, row.get(8)?);
        let last_end = match end {
            (Some(state), Some(reason), Some(at)) => Some(LastEnd { state, reason, at: time(at) }),
            _ => None,
        };
        Ok(Self {
            successes: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
            failures: failures_from(row.get_ref(1)?.as_str()?),
            said: said.map(|(bits, agent)| (ServiceFlags::from(bits as u64), UserAgent(agent))),
            transport: row.get(4)?,
            round_trips: round_trips_from(row.get_ref(5)?.as_blob()?),
            last_end,
            facts: facts_from(row.get_ref(9)?.as_str()?),
        })
    }

    pub(super) fn save(&self, connection: &Connection, address: &str) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO history (address, successes, failures, services, user_agent, transport, \
             rtt_p50, rtt_p95, rtts, last_state, last_end, last_end_at, facts) \
             VALUES (:address, :successes, :failures, :services, :user_agent, :transport, \
             :p50, :p95, :rtts, :last_state, :last_end, :last_end_at, :facts) \
             ON CONFLICT (address) DO UPDATE SET successes = excluded.successes, \
             failures = excluded.failures, services = excluded.services, \
             user_agent = excluded.user_agent, transport = excluded.transport, \
             rtt_p50 = excluded.rtt_p50, rtt_p95 = excluded.rtt_p95, rtts = excluded.rtts, \
             last_state = excluded.last_state, last_end = excluded.last_end, \
             last_end_at = excluded.last_end_at, facts = excluded.facts",
        )?;
        let (services, user_agent) = match &self.said {
            Some((services, agent)) => (Some(services.to_u64() as i64), Some(&agent.0)),
            None => (None, None),
        };
        let percentiles = self.percentiles();
        let micros = |took: Duration| took.as_micros() as i64;
        statement.execute(named_params! {
            ":address": address,
            ":successes": i64::try_from(self.successes).unwrap_or(i64::MAX),
            ":failures": failures_to(&self.failures),
            ":services": services,
            ":user_agent": user_agent,
            ":transport": self.transport,
            ":p50": percentiles.map(|(p50, _)| micros(p50)),
            ":p95": percentiles.map(|(_, p95)| micros(p95)),
            ":rtts": round_trips_to(&self.round_trips),
            ":last_state": self.last_end.as_ref().map(|end| &end.state),
            ":last_end": self.last_end.as_ref().map(|end| &end.reason),
            ":last_end_at": self.last_end.as_ref().map(|end| seconds(end.at)),
            ":facts": facts_to(&self.facts),
        })?;
        Ok(())
    }
}

/// `refused=3 timed_out=1`.
fn failures_to(failures: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> =
        failures.iter().map(|(reason, count)| format!("{reason}={count}")).collect();
    parts.join(" ")
}

/// What does not read as it should is left out, here and below: it was not written by us.
fn failures_from(text: &str) -> BTreeMap<String, u64> {
    let read = |part: &str| {
        let (reason, count) = part.split_once('=')?;
        Some((reason.to_owned(), count.parse().ok()?))
    };
    text.split(' ').filter_map(read).collect()
}

fn round_trips_to(round_trips: &[Duration]) -> Vec<u8> {
    round_trips.iter().flat_map(|took| (took.as_micros() as u32).to_le_bytes()).collect()
}

fn round_trips_from(bytes: &[u8]) -> Vec<Duration> {
    let micros = |chunk: &[u8]| chunk.try_into().map(u32::from_le_bytes).ok();
    let read = bytes.chunks(4).filter_map(micros);
    read.map(|micros| Duration::from_micros(micros.into())).collect()
}

fn facts_to(facts: &[Fact]) -> String {
    let mut text = String::new();
    for Fact { at, what, detail } in facts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {what} {detail}", at.0);
    }
    text
}

fn facts_from(text: &str) -> Vec<Fact> {
    let read = |line: &str| {
        let (at, rest) = line.split_once(' ')?;
        let (what, detail) = rest.split_once(' ')?;
        let at = UnixTime(at.parse().ok()?);
        Some(Fact { at, what: what.to_owned(), detail: detail.to_owned() })
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use peerpool_core::event::DialError;
    use peerpool_core::id::{BurnReason, Chosen, ConnectionType, PeerId};

    use super::*;

    const LIMITS: Limits = Limits { facts: 4, round_trips: 20 };

    fn told(history: &mut History, at: u64, event: &Event) {
        history.note(UnixTime(at), event, LIMITS);
    }

    #[test]
    fn events_become_counts_and_facts_and_survive_the_file() {
        let (peer, address) = (PeerId(1), "1.2.3.4:8333".parse().unwrap());
        let version = PeerVersion {
            protocol: 70016,
            services: ServiceFlags::NETWORK,
            user_agent: UserAgent(b"/a:1/\n\xff".to_vec()),
            height: 0,
            relay: false,
        };
        let (connection_type, chosen) = (ConnectionType::Manual, Chosen::Anchor);
        let (state, reason) = (PeerState::Ready, DisconnectReason::ClosedByPeer);
        let retry_in = Duration::from_millis(61_500);
        let mut history = History::default();
        told(&mut history, 1, &Event::DialFailed { peer, address, error: DialError::Refused });
        told(&mut history, 2, &Event::Connecting { peer, address, connection_type, chosen });
        told(
            &mut history,
            3,
            &Event::Ready { peer, address, version: version.clone(), pool: None },
        );
        let mut later = History::default();
        told(&mut later, 4, &Event::Disconnected { peer, address, state, reason });
        told(&mut later, 5, &Event::BackedOff { address, failures: 2, retry_in });
        for n in 1..=21 {
            later.note_round_trip(Duration::from_millis(n), LIMITS);
        }
        told(&mut later, 5, &Event::Gossip { peer, address, received: 1, kept: 1 });
        history.extend(later, LIMITS);
        assert_eq!(history.successes, 1);
        assert_eq!(history.failures, BTreeMap::from([("refused".to_owned(), 1)]));
        let facts: Vec<_> = history
            .facts
            .iter()
            .map(|it| format!("{} {} {}", it.at.0, it.what, it.detail))
            .collect();
        let backed_off = "5 backed_off for 61s, failures in a row: 2";
        let expected =
            ["2 chosen manual anchor", "3 ready ", "4 dropped closed_by_peer", backed_off];
        assert_eq!(facts, expected);
        // 2 ms to 21 ms are left.
        let ms = Duration::from_millis;
        assert_eq!(history.percentiles(), Some((ms(11), ms(20))));

        let mut connection = Connection::open_in_memory().unwrap();
        let (fresh, all) = (super::super::schema::Found::Fresh, super::super::schema::MIGRATIONS);
        super::super::schema::migrate(&mut connection, fresh, all).unwrap();
        for _ in 0..2 {
            history.save(&connection, "1.2.3.4:8333").unwrap();
            let read = History::load(&connection, "1.2.3.4:8333").unwrap();
            assert_eq!(read.as_ref(), Some(&history));
        }
        assert_eq!(History::load(&connection, "1.2.3.4:8334").unwrap(), None);
        let burned = Event::Burned { address, reason: BurnReason::QuickDrop };
        told(&mut history, 6, &burned);
        assert_eq!((history.facts.len(), &*history.facts[3].detail), (4, "quick_drop"));
    }
}
