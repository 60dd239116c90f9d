//! Every number the pool decides by, with unit, bounds, default and source.
//!
//! Durations may be as short as 10 ms, so that tests can shrink times. [`Policy::set`] is the one
//! way in from settings; [`Policy::check`] holds a hand-filled policy against the same bounds.

use std::fmt;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

/// One number of the policy, described.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key in the settings.
    pub key: &'static str,
    /// What it means, its source included.
    pub doc: &'static str,
    /// The default, as text that [`Policy::set`] takes.
    pub default: fn() -> String,
    /// What is allowed, in words.
    pub allowed: fn() -> String,
}

/// A wrong value: which key, what was given, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The key.
    pub key: String,
    /// The value given.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?} is not allowed; allowed: {}", self.key, self.value, self.allowed)
    }
}

impl std::error::Error for PolicyError {}

/// A type of value that a field can hold.
trait Value: Sized + Copy + PartialOrd {
    const KIND: &'static str;
    fn read(text: &str) -> Option<Self>;
    fn write(self) -> String;
}

impl Value for usize {
    const KIND: &'static str = "a whole number";
    fn read(text: &str) -> Option<Self> {
        text.replace('_', "").parse().ok()
    }
    fn write(self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    const KIND: &'static str = "a time such as 400ms, 5s, 2min, 3h or 30d";
    fn read(text: &str) -> Option<Self> {
        parse_duration(text)
    }
    fn write(self) -> String {
        format_duration(self)
    }
}

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a time such as `400ms`, `5s`, `2min`, `3h` or `30d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*millis)?))
}

/// Writes a time so that [`parse_duration`] reads it back, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    let (unit, size) =
        UNITS.into_iter().find(|(_, size)| millis > 0 && millis % size == 0).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / size)
}

macro_rules! policy {
    ($( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $min:expr => $max:expr; )+) => {
        /// Every number the pool decides by. Plain and public: fill it in, then let
        /// [`Policy::check`] hold it against the bounds (the pool does so at its start).
        ///
        /// ```
        /// use peerpool_core::policy::Policy;
        ///
        /// let mut policy = Policy { target_connect_count: 12, ..Policy::default() };
        /// assert!(policy.check().is_ok());
        /// let error = policy.set("dial_timeout", "9h").expect("a key").expect_err("too long");
        /// assert!(error.to_string().contains("from 10ms to 5min"));
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        pub struct Policy {
            $( $(#[doc = $doc])+ pub $key: $type, )+
            /// Service bits every automatic peer must have; `NETWORK` here is met by
            /// `NETWORK_LIMITED` too (BIP159). Default `NETWORK` and `WITNESS`.
            pub required_services: ServiceFlags,
            /// Lets addresses through that the public internet cannot reach. Default off, implied
            /// by regtest.
            pub allow_unroutable: bool,
            /// Gives a netgroup that has more addresses than others no more than its share of
            /// selections, and less the more of its addresses have answered. Default on; Core draws
            /// addresses, whatever their netgroup.
            pub even_netgroups: bool,
            /// Asks full-relay and manual peers to relay transactions (`version.relay`, BIP37),
            /// fixed per connection at its dial. Default off.
            pub relay: bool,
        }

        impl Default for Policy {
            fn default() -> Self {
                Self {
                    $( $key: $default, )+
                    required_services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
                    allow_unroutable: false,
                    even_netgroups: true,
                    relay: false,
                }
            }
        }

        impl Policy {
            /// The numbers, described.
            pub const FIELDS: &'static [Field] = &[
                $( Field {
                    key: stringify!($key),
                    doc: concat!($($doc, "\n"),+),
                    default: || Value::write({ let default: $type = $default; default }),
                    allowed: || allowed::<$type>($min, $max),
                }, )+
            ];

            /// Sets the number called `key` from text, within its bounds. `None`: no such key.
            pub fn set(&mut self, key: &str, text: &str) -> Option<Result<(), PolicyError>> {
                match key {
                    $( stringify!($key) => Some(read(key, text, $min, $max).map(|v| self.$key = v)), )+
                    _ => None,
                }
            }

            /// Holds every number against its bounds, and shortest waits against longest ones.
            ///
            /// # Errors
            /// The first number out of its bounds, or wait out of order.
            pub fn check(&self) -> Result<(), PolicyError> {
                $( within(stringify!($key), self.$key, $min, $max)?; )+
                in_order("backoff_min", self.backoff_min, "backoff_max", self.backoff_max)?;
                let (min, max) = (self.seed_retry_min, self.seed_retry_max);
                in_order("seed_retry_min", min, "seed_retry_max", max)
            }
        }
    };
}

fn allowed<T: Value>(min: T, max: T) -> String {
    format!("{} from {} to {}", T::KIND, min.write(), max.write())
}

fn read<T: Value>(key: &str, text: &str, min: T, max: T) -> Result<T, PolicyError> {
    let fail =
        || PolicyError { key: key.to_owned(), value: text.to_owned(), allowed: allowed(min, max) };
    let value = T::read(text).ok_or_else(fail)?;
    if value < min || value > max { Err(fail()) } else { Ok(value) }
}

fn within<T: Value>(key: &str, value: T, min: T, max: T) -> Result<(), PolicyError> {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(PolicyError { key: key.to_owned(), value: value.write(), allowed: allowed(min, max) })
}

fn in_order(key: &str, min: Duration, other: &str, max: Duration) -> Result<(), PolicyError> {
    if min <= max {
        return Ok(());
    }
    let allowed = format!("at most {other}, which is {}", max.write());
    Err(PolicyError { key: key.to_owned(), value: min.write(), allowed })
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
const fn minutes(n: u64) -> Duration {
    secs(60 * n)
}
const fn hours(n: u64) -> Duration {
    minutes(60 * n)
}
const fn days(n: u64) -> Duration {
    hours(24 * n)
}

const SHORTEST: Duration = ms(10);

policy! {
    /// Peers to keep, those of named pools among them: full-relay and manual ones count, extras do
    /// not. Core keeps 8 full-relay.
    target_connect_count: usize = 8, 1 => 1000;
    /// Hearsay is a candidate only while its timestamp is younger than this.
    max_address_age: Duration = hours(3), SHORTEST => days(30);
    /// An address we handshook with is a candidate this long after the last success. Core's
    /// addrman horizon.
    experience_age: Duration = days(30), SHORTEST => days(3650);
    /// A burned address is not tried again for this long, and then only if heard of anew.
    burn_memory: Duration = hours(24), SHORTEST => days(3650);
    /// A peer that leaves sooner than this after becoming ready counts as failed.
    quick_drop: Duration = minutes(1), SHORTEST => hours(1);

    /// How long a dial may go unanswered. Core's `-timeout`.
    dial_timeout: Duration = secs(5), SHORTEST => minutes(5);
    /// How long from the dial's answer to `verack`; nothing extends it. Core waits 60 s.
    handshake_deadline: Duration = secs(10), SHORTEST => minutes(5);
    /// A dial or handshake unanswered for this long is no longer counted on, but goes on. The delay
    /// on a network where answers come sooner is three times their mean.
    hedge_delay: Duration = ms(400), SHORTEST => minutes(1);
    /// The delay never falls below this, however quick the answers; `hedge_delay` wins if shorter.
    hedge_delay_min: Duration = ms(50), SHORTEST => minutes(1);
    /// Dials and handshakes in flight at once.
    max_dials: usize = 128, 1 => 10_000;
    /// Dials and handshakes in flight at once to one netgroup.
    max_dials_per_netgroup: usize = 2, 1 => 10_000;
    /// Automatic peers kept in one netgroup. Core keeps one.
    max_peers_per_netgroup: usize = 1, 1 => 1000;

    /// Once candidates from experience lie in so many open netgroups, slots are filled from
    /// experience while it yields anybody, and hearsay is left to feelers. Below, each is drawn
    /// from half the time, as in Core.
    enough_known: usize = 32, 1 => 1_000_000;
    /// Share of the target, in percent, that automatic peers first heard of from one source (one
    /// DNS seed, or one peer) may come to while candidates from others are found. The status tells
    /// the largest share.
    max_source_share: usize = 50, 1 => 100;

    /// Block-relay-only peers kept beside the target once it is reached. Core keeps 2.
    block_relay_count: usize = 2, 0 => 100;
    /// Mean time between two feelers of a full pool, drawn anew each time; 0ms means none. Core's
    /// interval.
    feeler_interval: Duration = minutes(2), Duration::ZERO => days(1);
    /// Mean time between two rotations of a full pool, in each of which the peer that has been
    /// ready longest leaves once a newcomer is ready; 0ms means none. Core has none.
    rotation_interval: Duration = minutes(30), Duration::ZERO => days(30);
    /// Peers to go back to first after a restart or an outage, of those that were ready. Core goes
    /// back to 2, which relay blocks only.
    max_anchors: usize = 1000, 0 => 1000;
    /// Mean time until another newcomer is dialled for a rotation that is due.
    rotation_retry: Duration = minutes(1), SHORTEST => days(1);

    /// Peers kept on each network, where several are reachable: as many of the last free slots wait
    /// for candidates there. Core makes an extra connection to a network without any.
    min_peers_per_net: usize = 1, 0 => 100;
    /// A network is not waited for while so many attempts there are in flight or have failed, one
    /// after the other, since the last success.
    net_patience: usize = 16, 1 => 10_000;

    /// First wait before a failed manual or experienced address is tried again; doubles.
    backoff_min: Duration = minutes(1), SHORTEST => days(1);
    /// Longest wait between two tries of a manual or experienced address.
    backoff_max: Duration = hours(1), SHORTEST => days(30);
    /// An experienced address is hearsay again after this many failures in a row.
    max_failures: usize = 10, 1 => 1000;

    /// A failure is a verdict only with evidence this near that the network was up.
    offline_after: Duration = secs(30), SHORTEST => hours(1);
    /// While offline, one probe dial this often.
    probe_interval: Duration = secs(10), SHORTEST => hours(1);
    /// No automatic dial on a network for this long after one found no route there though others
    /// are connected: the system says so at once, and would say it of every address we know.
    no_route_pause: Duration = ms(100), SHORTEST => hours(1);
    /// While offline, an address known from experience is probed before hearsay is, but not sooner
    /// than this after it was tried last.
    probe_rest: Duration = minutes(12), SHORTEST => days(1);
    /// After an outage, reset back-offs and seed timers are spread over this long.
    recovery_jitter: Duration = secs(10), SHORTEST => hours(1);

    /// A starved pool asks the seeds again after this long; doubles.
    seed_retry_min: Duration = minutes(1), SHORTEST => days(1);
    /// Longest wait between two rounds of asking the seeds.
    seed_retry_max: Duration = minutes(10), SHORTEST => days(1);
    /// How long one seed may take to answer.
    seed_timeout: Duration = secs(5), SHORTEST => minutes(5);
    /// Addresses kept from one seed's answer. Core keeps 32.
    max_seed_addresses: usize = 32, 1 => 1000;

    /// Addr-fetch connections at once.
    max_addr_fetch: usize = 2, 0 => 100;
    /// Longest life of an addr-fetch connection. Core gives it 5 min.
    addr_fetch_timeout: Duration = minutes(5), SHORTEST => hours(1);
    /// An address is asked for addresses at most this often by addr-fetch.
    addr_fetch_interval: Duration = hours(24), SHORTEST => days(30);

    /// A ready peer is pinged this often. Core's interval.
    ping_interval: Duration = minutes(2), SHORTEST => hours(1);
    /// How long a pong may take. Core waits 20 min.
    pong_deadline: Duration = secs(60), SHORTEST => hours(1);
    /// A peer that sends no byte for this long is dropped. Core's value.
    inactivity: Duration = minutes(20), SHORTEST => days(1);
    /// A peer that reads none of what we send for this long is dropped.
    write_stall: Duration = secs(20), SHORTEST => minutes(10);
    /// Bytes queued to one peer.
    send_queue: usize = 262_144, 4_096 => 67_108_864;

    /// Addresses remembered. Core's new table holds 65,536.
    max_addresses: usize = 65_536, 16 => 10_000_000;
    /// Burned addresses remembered.
    max_burned: usize = 65_536, 16 => 10_000_000;
    /// Bans of hosts and subnets at once.
    max_bans: usize = 10_000, 1 => 1_000_000;
    /// Discouraged hosts remembered; who is forgotten soonest makes room. Core's filter holds
    /// 50,000.
    max_discouraged: usize = 50_000, 16 => 10_000_000;
    /// A host is discouraged this long for what a peer there did that no honest one does. Core
    /// forgets when it restarts.
    discourage_memory: Duration = hours(24), SHORTEST => days(365);
    /// A host is discouraged this long for a peer there that the holder of a lease found useless.
    useless_memory: Duration = hours(1), SHORTEST => days(365);
    /// Addresses of our own that are remembered, so that gossip naming them can be refused.
    max_own_addresses: usize = 64, 1 => 10_000;
    /// Ports other than the default that gossip may name of one host, burned ones included.
    max_ports_per_host: usize = 4, 1 => 65_535;
    /// Entries of one `addr` or `addrv2`; more is a fault. The protocol's limit.
    max_addr_entries: usize = 1000, 1 => 1000;
    /// Gossiped addresses a peer may bring per 100 s, beyond what a getaddr earns it. Core: 10.
    addr_rate_per_100s: usize = 10, 0 => 1_000_000;
    /// Tokens a peer may save up for gossiped addresses, and what one getaddr earns. Core: 1000.
    addr_burst: usize = 1000, 1 => 1_000_000;
    /// Messages of any kind that a peer may send up to its `verack`, that one included. Core sets
    /// no limit; a handshake of today has six.
    max_handshake_messages: usize = 100, 2 => 100_000;

    /// Longest payload of a frame, in bytes. Core's limit.
    max_message_size: usize = 4_000_000, 1_000 => 4_000_000;
    /// Frames with a wrong checksum or malformed command that a link bears.
    max_bad_frames: usize = 10, 0 => 1_000_000;
    /// Undecodable control messages that a link bears.
    max_undecodable: usize = 3, 0 => 1_000_000;
    /// A control message must be whole this long after its first byte. Any other, which may be a
    /// block over a slow link, must in every such span end or bring `min_message_progress`. Core
    /// waits 20 min for a further byte, so that one now and then holds a message open for ever.
    message_deadline: Duration = secs(30), SHORTEST => hours(1);
    /// Bytes that a message which is not for the engine must bring in each `message_deadline`
    /// until it ends.
    min_message_progress: usize = 16_384, 1 => 4_000_000;
    /// Bytes of frames with unknown commands, headers included, that a peer may send in a minute.
    max_unknown_bytes_per_min: usize = 16_777_216, 1_000 => 1_000_000_000;
    /// Bytes of messages for nobody (no lease, and not for the engine), headers included, that a
    /// peer may send in a minute. Late answers of a lease just given back come under it too.
    max_unasked_bytes_per_min: usize = 67_108_864, 1_000 => 1_000_000_000;
    /// Pings of a peer that are answered in a minute; the rest is ignored.
    max_pings_answered_per_min: usize = 600, 1 => 1_000_000;
    /// Pings in a minute above which the link is closed.
    max_pings_per_min: usize = 1_000, 1 => 1_000_000;
    /// Control messages other than pings in a minute above which the link is closed.
    max_control_per_min: usize = 1_000, 10 => 1_000_000;

    /// Leases one peer may serve at once.
    slots_per_peer: usize = 16, 1 => 10_000;
    /// A round trip shorter than this is no better than this when a lease goes to the better of two
    /// peers: nearness can be bought.
    least_round_trip: Duration = ms(100), SHORTEST => minutes(1);
    /// A longer one is no worse than this, and an unknown one as bad. Where it is not above
    /// `least_round_trip`, round trips do not count.
    most_round_trip: Duration = ms(200), SHORTEST => minutes(1);
    /// Share of leases, in percent, that go to any peer that fits, be it the better one or not.
    explore_share: usize = 10, 0 => 100;
    /// While somebody waits for a peer such as none is, one like it is dialled this often, in place
    /// of an idle one if the pool is full; 0ms means never.
    need_interval: Duration = ms(500), Duration::ZERO => hours(1);
    /// Pools that may have a name of their own, beside the main one.
    max_pools: usize = 16, 0 => 1000;
    /// Connections at once that are opened for a lease of their own, for private broadcasts. Core: 64.
    max_private: usize = 8, 0 => 64;
    /// Longest life of such a connection once it is ready. Core's value.
    private_lifetime: Duration = minutes(3), SHORTEST => hours(1);
    /// A transaction that was told to one peer in private, and was not heard of from others for this
    /// long, is told to another. Core's value.
    private_retry: Duration = minutes(1), SHORTEST => hours(24);
    /// Callers that may wait for a lease at once.
    max_waiters: usize = 10_000, 1 => 1_000_000;
    /// How long a caller waits for a lease, unless it says otherwise.
    lease_timeout: Duration = secs(30), SHORTEST => hours(24);
    /// Messages that may wait for the holder of a lease; what comes beyond is dropped, and said.
    lease_queue: usize = 256, 1 => 100_000;
    /// Messages of its leases that may wait for one connection; beyond, their senders wait.
    lease_send_queue: usize = 4, 1 => 10_000;
    /// How long a peer has to answer a query, unless the caller says otherwise.
    query_timeout: Duration = secs(30), SHORTEST => hours(1);
    /// An ask that is to hedge once a peer takes longer than it mostly does hedges after this long
    /// while too little is known.
    ask_hedge_delay: Duration = secs(2), SHORTEST => hours(1);
    /// Queries of one peer whose time is up and whose late answers are still waited for, so that
    /// they are not taken for others.
    max_late_queries: usize = 8, 0 => 1_000;
    /// Bytes that an answer of several messages may have: 1000 compact filters of today have 30 MB.
    max_answer_size: usize = 67_108_864, 1_000 => 1_000_000_000;
    /// What connections have read and the engine has not taken; beyond, connections stop reading.
    input_queue: usize = 256, 1 => 1_000_000;
    /// Requests of callers that the engine has not taken; beyond, callers wait.
    command_queue: usize = 64, 1 => 1_000_000;
    /// How long a connection that is told to end may take to send what is queued.
    farewell: Duration = secs(1), SHORTEST => minutes(1);
    /// Events that may wait for a subscriber; a slower one is told how many it missed.
    event_queue: usize = 1024, 1 => 1_000_000;
    /// Bytes of log lines about events in an hour; half of them may come at once. Lines beyond are
    /// counted and left out, since peers cause events. Core allows 1 MiB a place in its code.
    max_log_bytes_per_hour: usize = 1_000_000, 1_000 => 1_000_000_000;

    /// What the pool learns is on disk this soon, if it has a data directory.
    save_interval: Duration = secs(1), SHORTEST => hours(1);
    /// Longest wait before a save that failed is tried again; the first is `save_interval`, doubled
    /// from then on.
    save_retry_max: Duration = minutes(1), SHORTEST => hours(1);
    /// Facts of its past that are kept of one address, the latest.
    max_facts: usize = 16, 1 => 1_000;
    /// Round trips that are kept of one address, the latest.
    max_round_trips: usize = 32, 1 => 1_000;
}

impl Policy {
    /// The default without anything beside the target: no block-relay-only peers, no feelers and no
    /// rotation.
    pub fn bare() -> Self {
        let none = Duration::ZERO;
        Self {
            block_relay_count: 0,
            feeler_interval: none,
            rotation_interval: none,
            ..Self::default()
        }
    }

    /// Connections and dials that there may be at once: the target and the dials in flight for it,
    /// addr-fetches, block-relay-only peers, private ones, a feeler, and a newcomer that is to take
    /// the place of another.
    pub const fn max_connections(&self) -> usize {
        const FEELERS: usize = 1;
        const NEWCOMERS: usize = 1;
        let main = self.target_connect_count + self.max_dials + self.max_addr_fetch;
        main + self.block_relay_count + self.max_private + FEELERS + NEWCOMERS
    }
}

/// Whether `services` meet `required`; `NETWORK` is met by `NETWORK_LIMITED` too (BIP159).
pub fn meets(services: ServiceFlags, required: ServiceFlags) -> bool {
    let mut services = services;
    if services.has(ServiceFlags::NETWORK_LIMITED) {
        services |= ServiceFlags::NETWORK;
    }
    services.has(required)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_within_its_own_bounds_and_survives_text() {
        let mut policy = Policy::default();
        policy.check().expect("the default is within its bounds");
        for field in Policy::FIELDS {
            let text = (field.default)();
            policy.set(field.key, &text).expect("a key").expect("a value in bounds");
        }
        assert_eq!(policy, Policy::default());
    }

    #[test]
    fn a_wrong_value_names_key_value_and_what_is_allowed() {
        let mut policy = Policy::default();
        let check = |error: PolicyError, expected: &str| assert_eq!(error.to_string(), expected);
        check(
            policy.set("target_connect_count", "1001").expect("a key").expect_err("too many"),
            "target_connect_count = \"1001\" is not allowed; allowed: a whole number from 1 to 1000",
        );
        check(
            policy.set("dial_timeout", "5").expect("a key").expect_err("no unit"),
            "dial_timeout = \"5\" is not allowed; allowed: a time such as 400ms, 5s, 2min, 3h or \
             30d from 10ms to 5min",
        );
        assert!(policy.set("target", "8").is_none());
        policy.dial_timeout = ms(9);
        assert_eq!(policy.check().expect_err("too short").key, "dial_timeout");
        let policy = Policy { backoff_max: secs(5), ..Policy::default() };
        check(
            policy.check().expect_err("the shortest wait is longer than the longest"),
            "backoff_min = \"1min\" is not allowed; allowed: at most backoff_max, which is 5s",
        );
    }

    #[test]
    fn times_are_read_and_written() {
        for (text, millis) in
            [("400ms", 400), ("5s", 5000), ("2min", 120_000), ("30d", 2_592_000_000)]
        {
            assert_eq!(parse_duration(text), Some(ms(millis)));
            assert_eq!(format_duration(ms(millis)), text);
        }
        for text in ["", "5", "s", "-1s", "1.5s", "5 parsecs", "99999999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
