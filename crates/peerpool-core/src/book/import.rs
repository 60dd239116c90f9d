//! Taking in a file of addresses: as hearsay, and older than that.

use bitcoin::p2p::ServiceFlags;

use crate::address::Address;
use crate::rng::Rng;
use crate::time::{Now, UnixTime};

use super::explain::Rule;
use super::hear::plausible;
use super::record::{Record, Source};
use super::{Book, Heard, end_of};

/// What became of an address of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is a new candidate.
    Fresh,
    /// It is in the book, and too old to be dialled until it is heard of anew.
    Old,
    /// It was known; its timestamp and services are brought up to date.
    Known,
    /// It is not kept.
    Refused(Refusal),
}

/// Why an address of a file is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A rule of the book is against it.
    Rule(Rule),
    /// There are as many addresses as there may be, and none that it may take the place of.
    Full,
    /// Its places in the tables are others'.
    NoPlace,
}

impl Refusal {
    /// The word for this in logs and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Rule(Rule::Unfit(unfit)) => unfit.as_str(),
            Self::Rule(rule) => rule.as_str(),
            Self::Full => "full",
            Self::NoPlace => "no_place",
        }
    }
}

impl Book {
    /// Takes in an address of a file that the user brings, as [`Book::hear`] does what is heard;
    /// but one that is too old to be dialled is kept as well, where there is room: it was
    /// somebody's, and may be heard of again. Nobody makes room for it.
    pub fn import(
        &mut self,
        now: Now,
        address: Address,
        services: ServiceFlags,
        seen: UnixTime,
        rng: &mut Rng,
    ) -> Imported {
        match self.hear(now, address, services, seen, Source::Import, rng) {
            Heard::New => return Imported::Fresh,
            Heard::Known => return Imported::Known,
            Heard::Burned | Heard::Refused => {}
        }
        let refused = |rule| Imported::Refused(Refusal::Rule(rule));
        match self.explain(now, &address).rule {
            Rule::Unknown => {}
            rule => return refused(rule),
        }
        if !self.serves(services) {
            let mut missing = self.policy.required_services;
            missing.remove(services);
            return refused(Rule::Services { missing });
        }
        if self.is_full() {
            return Imported::Refused(Refusal::Full);
        }
        let Some(place) = self.free_new_place(&address, Source::Import) else {
            return Imported::Refused(Refusal::NoPlace);
        };
        let (seen, services) = (plausible(now, seen), self.meaningful(services));
        let mut record = Record::new(address, now.unix, services, seen);
        record.cap_times(now.unix);
        record.add_place(place);
        self.insert(now, record, &Source::Import);
        let fresh = now.unix < end_of(seen, self.policy.max_address_age);
        if fresh { Imported::Fresh } else { Imported::Old }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::address::Net;
    use crate::banned::Subnet;
    use crate::book::Unfit;
    use crate::id::BurnReason;
    use crate::policy::Policy;
    use crate::time::Monotonic;

    use super::*;

    const UNIX: u64 = 1_000_000_000;

    fn now() -> Now {
        Now { mono: Monotonic::new(Duration::from_secs(UNIX)), unix: UnixTime(UNIX) }
    }

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    struct World(Book, Rng);

    impl World {
        fn new(policy: Policy) -> Self {
            let mut rng = Rng::from_u64(1);
            Self(Book::new(&policy, 8333, &[Net::Ipv4], &mut rng), rng)
        }

        fn import(&mut self, text: &str, seen: u64) -> Imported {
            let services = Policy::default().required_services;
            self.0.import(now(), address(text), services, UnixTime(seen), &mut self.1)
        }
    }

    #[test]
    fn what_is_old_is_kept_and_not_dialled() {
        let mut world = World::new(Policy::default());
        world.0.track_changes(true);
        assert_eq!(world.import("1.2.3.4:8333", UNIX - 3600), Imported::Fresh);
        assert_eq!(world.import("2.2.3.4:8333", UNIX - 86_400), Imported::Old);
        // Core's correction of impossible times.
        assert_eq!(world.import("3.2.3.4:8333", UNIX + 3600), Imported::Old);
        assert_eq!(world.import("4.2.3.4:8333", 0), Imported::Old);
        assert_eq!(world.import("2.2.3.4:8333", UNIX - 60), Imported::Known);
        let kept: Vec<_> = world.0.take_changes(now()).into_iter().map(|it| it.kept).collect();
        let seen: Vec<_> = kept.iter().flatten().map(|it| UNIX - it.last_seen.0).collect();
        assert_eq!(seen, [3600, 60, 432_000, 432_000]);
        assert!(kept.iter().flatten().all(|it| it.source == Source::Import));
        assert_eq!(world.0.available(), 2);
        world.0.check(now()).expect("a sound book");
    }

    #[test]
    fn what_is_refused_is_told_by_its_rule() {
        let mut world = World::new(Policy { max_addresses: 16, ..Policy::default() });
        let subnet: Subnet = "5.0.0.0/8".parse().expect("a subnet");
        let ban = world.0.ban(now(), subnet, UnixTime(UNIX + 1)).expect("a ban");
        let refused = |rule| Imported::Refused(Refusal::Rule(rule));
        assert_eq!(world.import("5.1.1.1:8333", UNIX), refused(Rule::Banned { ban }));
        let unfit = |unfit| refused(Rule::Unfit(unfit));
        assert_eq!(world.import("10.1.1.1:8333", UNIX), unfit(Unfit::Unroutable));
        assert_eq!(world.import("1.1.1.1:25", UNIX), unfit(Unfit::Port));
        assert_eq!(world.import("[2a01::1]:8333", UNIX), unfit(Unfit::Net));
        world.0.burn(now(), address("6.1.1.1:8333"), BurnReason::Refused);
        let Imported::Refused(burned) = world.import("6.1.1.1:8333", UNIX) else {
            panic!("it is burned");
        };
        assert_eq!(burned.as_str(), "burned");
        let none = ServiceFlags::NONE;
        let lacks = world.0.import(now(), address("7.1.1.1:8333"), none, now().unix, &mut world.1);
        let missing = Policy::default().required_services;
        assert_eq!(lacks, refused(Rule::Services { missing }));
        let mut old = 0;
        for n in 0..20 {
            old += usize::from(world.import(&format!("9.{n}.1.1:8333"), 1 << 29) == Imported::Old);
        }
        assert_eq!(
            (old, world.import("8.1.1.1:8333", 1 << 29)),
            (16, Imported::Refused(Refusal::Full))
        );
    }
}
