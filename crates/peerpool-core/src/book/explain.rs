//! Why an address may be dialled now, or may not: the rule of the book that decides, with its time.

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Net};
use crate::banned::{Ban, Subnet};
use crate::id::{BurnReason, Chosen, ConnectionType};
use crate::netgroup::NetGroup;
use crate::policy::meets;
use crate::time::{Now, UnixTime};

use super::burned::ports;
use super::hear::{is_bad_port, is_broadcast};
use super::record::{Record, Shelf};
use super::saved::to_unix;
use super::{Book, end_of};

/// Whether an address may be dialled now, and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The address.
    pub address: Address,
    /// Its netgroup, of which only so many are dialled at once.
    pub netgroup: NetGroup,
    /// The rule that decides.
    pub rule: Rule,
}

impl Explanation {
    /// Whether it may be dialled now.
    pub const fn may_dial(&self) -> bool {
        matches!(self.rule, Rule::Manual | Rule::Experience { .. } | Rule::Hearsay { .. })
    }
}

/// The rule of the book that decides whether an address may be dialled. The first three let it be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The user named it.
    Manual,
    /// We handshook with it lately: it is a candidate.
    Experience {
        /// From then on it is none from experience.
        until: UnixTime,
    },
    /// It was heard of lately: it is a candidate.
    Hearsay {
        /// From then on it is too old.
        until: UnixTime,
    },
    /// It would be a candidate, but peers or dials of its netgroup are as many as there may be.
    NetgroupTaken,
    /// A connection to it, or to another port of its host, is being made or up.
    InUse {
        /// To whom.
        by: Address,
    },
    /// The user banned it, or its subnet.
    Banned {
        /// The ban.
        ban: Ban,
    },
    /// Its host is discouraged, for what a peer there did.
    Discouraged {
        /// Until then, if the pool runs on.
        until: UnixTime,
    },
    /// It failed, and is not dialled until that fades and it is heard of anew.
    Burned {
        /// Why.
        reason: BurnReason,
        /// When it was.
        since: UnixTime,
        /// When the burn fades; `None` if it is ourselves, which never does.
        until: Option<UnixTime>,
    },
    /// It failed while nothing showed that the network was up: evidence decides.
    VerdictWaits {
        /// What the verdict would be.
        reason: BurnReason,
        /// When it failed.
        since: UnixTime,
    },
    /// It failed, and is tried again later.
    BacksOff {
        /// When.
        until: UnixTime,
        /// Failures in a row.
        failures: u32,
    },
    /// Nobody has named it lately, and we have not handshaken with it for long.
    TooOld {
        /// Since when it is no candidate; 0 if it never was.
        since: UnixTime,
    },
    /// It lacks services that are required.
    Services {
        /// Those that it lacks; it may be enough to have one of them.
        missing: ServiceFlags,
    },
    /// It is none that the book takes in.
    Unfit(Unfit),
    /// The book does not know it.
    Unknown,
}

impl Rule {
    /// The word for this rule in logs and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Experience { .. } => "experience",
            Self::Hearsay { .. } => "hearsay",
            Self::NetgroupTaken => "netgroup_taken",
            Self::InUse { .. } => "in_use",
            Self::Banned { .. } => "banned",
            Self::Discouraged { .. } => "discouraged",
            Self::Burned { .. } => "burned",
            Self::VerdictWaits { .. } => "verdict_waits",
            Self::BacksOff { .. } => "backs_off",
            Self::TooOld { .. } => "too_old",
            Self::Services { .. } => "services",
            Self::Unfit(_) => "unfit",
            Self::Unknown => "unknown",
        }
    }
}

/// Why the book does not take an address in, whoever names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Unfit {
    /// Its port is 0, or another service's.
    Port,
    /// Nobody can be there: the unspecified address, multicast, broadcast.
    NoHost,
    /// Its network cannot be dialled, or the user excludes it.
    Net,
    /// The public internet cannot reach it.
    Unroutable,
    /// It is an address of our own.
    Own,
    /// As many other ports of its host are known as may be.
    Ports,
}

impl Unfit {
    /// The word for this in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::NoHost => "no_host",
            Self::Net => "net",
            Self::Unroutable => "unroutable",
            Self::Own => "own",
            Self::Ports => "ports",
        }
    }
}

impl Book {
    /// Whether `address` may be dialled now, and which rule of the book says so. What else stands
    /// in the way of a dial (a full pool, no route, no evidence of a network) is the dialer's.
    pub fn explain(&self, now: Now, address: &Address) -> Explanation {
        let netgroup = self.tables.groups().of(&address.host);
        let ban = self.banned.covering(&Subnet::of(address.host));
        let rule = match (ban, self.record(address)) {
            (Some(ban), _) => Rule::Banned { ban },
            (None, Some(record)) => self.rule_of(now, record),
            (None, None) => self.rule_of_stranger(now, address),
        };
        Explanation { address: *address, netgroup, rule }
    }

    fn rule_of(&self, now: Now, record: &Record) -> Rule {
        let (shelf, until) = self.standing(now, record);
        let until = until.unwrap_or_default();
        let closed = !record.manual && self.groups.is_closed(record.group);
        match shelf {
            Shelf::InUse => {
                let by = self.in_use.range(ports(record.address.host)).next();
                Rule::InUse { by: by.copied().unwrap_or(record.address) }
            }
            Shelf::Discouraged => self.discouraged_until(now, &record.address),
            Shelf::Waiting | Shelf::Banned => match record.past.verdict {
                Some((at, reason)) => Rule::VerdictWaits { reason, since: to_unix(now, at) },
                None => Rule::Unknown,
            },
            Shelf::BackingOff | Shelf::Deferred => Rule::BacksOff {
                until: record.past.retry_at.map(|at| to_unix(now, at)).unwrap_or_default(),
                failures: record.failures,
            },
            Shelf::Experienced | Shelf::Hearsay if closed => Rule::NetgroupTaken,
            Shelf::Manual => Rule::Manual,
            Shelf::Experienced => Rule::Experience { until },
            Shelf::Hearsay => Rule::Hearsay { until },
            Shelf::Idle => self.rule_of_idle(now, record),
        }
    }

    fn rule_of_idle(&self, now: Now, record: &Record) -> Rule {
        let heard = end_of(record.last_seen, self.policy.max_address_age);
        if now.unix < heard {
            let wanted = self.policy.required_services;
            let mut missing = wanted;
            missing.remove(record.services);
            return Rule::Services { missing };
        }
        let age = self.policy.experience_age;
        let known = record.past.experience.map(|experience| end_of(experience.last_success, age));
        let named = (record.last_seen > UnixTime(0)).then_some(heard);
        Rule::TooOld { since: known.max(named).unwrap_or_default() }
    }

    fn rule_of_stranger(&self, now: Now, address: &Address) -> Rule {
        if let Some((at, reason)) = self.burned.entry(address) {
            let fades = reason != BurnReason::Itself;
            let until = fades.then_some(at + self.policy.burn_memory);
            if until.is_none_or(|until| now.mono < until) {
                let until = until.map(|until| to_unix(now, until));
                return Rule::Burned { reason, since: to_unix(now, at), until };
            }
        }
        if let Some(unfit) = self.unfit(address) {
            Rule::Unfit(unfit)
        } else if self.discouraged.contains(&address.host) {
            self.discouraged_until(now, address)
        } else if self.has_ports_enough(address) {
            Rule::Unfit(Unfit::Ports)
        } else {
            Rule::Unknown
        }
    }

    fn discouraged_until(&self, now: Now, address: &Address) -> Rule {
        let until = self.discouraged.until(&address.host);
        Rule::Discouraged { until: until.map(|at| to_unix(now, at)).unwrap_or_default() }
    }

    /// Why nobody may name `address` to us, if nobody may.
    pub(super) fn unfit(&self, address: &Address) -> Option<Unfit> {
        let host = &address.host;
        let port_ok = address.port == self.default_port
            || address.port != 0 && !is_bad_port(address.port)
            || host.net() == Net::I2p && address.port == 0;
        let nobody = host
            .ip()
            .is_some_and(|ip| ip.is_unspecified() || ip.is_multicast() || is_broadcast(host));
        if !port_ok {
            Some(Unfit::Port)
        } else if nobody {
            Some(Unfit::NoHost)
        } else if !self.nets.contains(&host.net()) {
            Some(Unfit::Net)
        } else if self.own.contains(host) {
            Some(Unfit::Own)
        } else if !self.policy.allow_unroutable && !host.is_routable() {
            Some(Unfit::Unroutable)
        } else {
            None
        }
    }

    /// Whether these services are all that is required of a peer.
    pub fn serves(&self, services: ServiceFlags) -> bool {
        meets(services, self.policy.required_services)
    }

    /// By what an address that is about to be dialled was chosen, if for nothing else.
    pub(crate) fn chosen(&self, address: &Address, connection_type: ConnectionType) -> Chosen {
        let Some(record) = self.record(address) else { return Chosen::Hearsay };
        match record.shelf {
            _ if record.manual => Chosen::Manual,
            _ if connection_type == ConnectionType::Feeler && record.is_tried() => Chosen::Test,
            Shelf::Experienced => Chosen::Experience,
            _ => Chosen::Hearsay,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::address::Host;
    use crate::book::Source;
    use crate::policy::Policy;
    use crate::rng::Rng;
    use crate::time::Monotonic;

    use super::*;

    const HOUR: u64 = 3600;
    const START: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Now {
        let mono = Monotonic::new(Duration::from_secs(seconds));
        Now { mono, unix: UnixTime(START + seconds) }
    }

    fn unix(seconds: u64) -> UnixTime {
        UnixTime(START + seconds)
    }

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    struct World {
        book: Book,
        rng: Rng,
    }

    impl World {
        fn new() -> Self {
            let mut rng = Rng::from_u64(1);
            let policy = Policy::default();
            Self { book: Book::new(&policy, 8333, &[Net::Ipv4], &mut rng), rng }
        }

        fn heard(seconds: u64) -> (Self, Address) {
            let (mut world, address) = (Self::new(), address("1.2.3.4:8333"));
            let services = Policy::default().required_services;
            let Self { book, rng } = &mut world;
            book.hear(at(seconds), address, services, unix(seconds), Source::Seed(0), rng);
            (world, address)
        }

        fn rule(&self, seconds: u64, address: &Address) -> Rule {
            self.book.explain(at(seconds), address).rule
        }
    }

    #[test]
    fn a_candidate_is_one_until_its_time_and_the_next_rule_takes_over() {
        let (mut world, address) = World::heard(0);
        let until = unix(3 * HOUR);
        assert!(world.book.explain(at(1), &address).may_dial());
        assert_eq!(world.rule(1, &address), Rule::Hearsay { until });
        assert_eq!(world.rule(3 * HOUR, &address), Rule::TooOld { since: until });

        world.book.on_ready(at(10), address, Policy::default().required_services);
        let until = unix(10 + 30 * 24 * HOUR);
        assert_eq!(world.rule(11, &address), Rule::Experience { until });
        let group = world.book.explain(at(11), &address).netgroup;
        world.book.set_closed(group, true);
        assert_eq!(world.rule(11, &address), Rule::NetgroupTaken);
        world.book.set_in_use(at(12), address, true);
        assert_eq!(world.rule(12, &address), Rule::InUse { by: address });
        world.book.set_in_use(at(12), address, false);
        let (_, wait) = world.book.back_off(at(20), address, true, &mut world.rng).expect("known");
        let Rule::BacksOff { until, failures: 1 } = world.rule(20, &address) else {
            panic!("{:?}", world.rule(20, &address));
        };
        assert!(until >= unix(20) + wait && until <= unix(21) + wait);
        world.book.set_closed(group, false);
        assert_eq!(world.rule(31 * 24 * HOUR, &address).as_str(), "too_old");
    }

    #[test]
    fn what_stands_against_an_address_is_told_with_its_end() {
        let (mut world, address) = World::heard(0);
        world.book.hold_verdict(at(5), address, BurnReason::TimedOut);
        let waits = Rule::VerdictWaits { reason: BurnReason::TimedOut, since: unix(5) };
        assert_eq!(world.rule(6, &address), waits);
        world.book.burn(at(7), address, BurnReason::Refused);
        let (since, until) = (unix(7), Some(unix(7 + 24 * HOUR)));
        let burned = Rule::Burned { reason: BurnReason::Refused, since, until };
        assert_eq!(world.rule(8, &address), burned);
        assert_eq!(world.rule(7 + 24 * HOUR, &address), Rule::Unknown);

        let (mut world, address) = World::heard(0);
        world.book.discourage(at(1), address.host, Duration::from_secs(HOUR));
        assert_eq!(world.rule(2, &address), Rule::Discouraged { until: unix(1 + HOUR) });
        let subnet: Subnet = "1.2.0.0/16".parse().expect("a subnet");
        let ban = world.book.ban(at(2), subnet, unix(50)).expect("a ban");
        assert_eq!(world.rule(3, &address), Rule::Banned { ban });
        world.book.add_manual(at(3), address);
        assert_eq!(world.rule(3, &address), Rule::Banned { ban });
        world.book.end_bars(at(50));
        assert_eq!(world.rule(50, &address), Rule::Manual);
    }

    #[test]
    fn a_stranger_is_unfit_or_unknown() {
        let mut world = World::new();
        world.book.note_own(Host::Ipv4([8, 8, 8, 8].into()));
        for (text, unfit) in [
            ("1.2.3.4:25", Unfit::Port),
            ("0.0.0.0:8333", Unfit::NoHost),
            ("[2a01::1]:8333", Unfit::Net),
            ("10.0.0.1:8333", Unfit::Unroutable),
            ("8.8.8.8:8333", Unfit::Own),
        ] {
            assert_eq!(world.rule(1, &address(text)), Rule::Unfit(unfit), "{text}");
        }
        assert_eq!(world.rule(1, &address("1.2.3.4:8333")), Rule::Unknown);
    }

    #[test]
    fn what_is_heard_of_without_its_services_lacks_them() {
        let (mut world, address) = World::heard(0);
        let id = world.book.id(&address).expect("known");
        world.book.update(at(1), id, |record| record.services = ServiceFlags::WITNESS);
        assert_eq!(world.rule(1, &address), Rule::Services { missing: ServiceFlags::NETWORK });
    }
}
