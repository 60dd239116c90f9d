//! Hearing of addresses: what is taken in, and what is refused.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Host};
use crate::rng::Rng;
use crate::time::{Now, UnixTime};

use super::record::{PLACES, Record, RecordId, Shelf, Source};
use super::tables::Place;
use super::{Book, Heard, TOLERANCE};

impl Book {
    /// Takes in an address that others told us of. `seen` is when, as they say; Core's correction
    /// of impossible times is applied here: before 1973 or over 10 min ahead reads as 5 days ago.
    pub fn hear(
        &mut self,
        now: Now,
        address: Address,
        services: ServiceFlags,
        seen: UnixTime,
        source: Source,
        rng: &mut Rng,
    ) -> Heard {
        // A seed's answer is of now, whatever our clock makes of that.
        let told = matches!(source, Source::Peer(_) | Source::Import);
        let seen = if told { plausible(now, seen) } else { seen };
        let services = self.meaningful(services);
        if !self.acceptable(&address) {
            return Heard::Refused;
        }
        self.fade_burns(now);
        if self.burned.contains(&address) {
            return Heard::Burned;
        }
        if let Some(id) = self.id(&address) {
            self.hear_again(now, id, services, seen, &source, rng);
            return Heard::Known;
        }
        let fresh = now.unix.since(seen) < self.policy.max_address_age;
        if !fresh || !self.serves(services) || self.has_ports_enough(&address) {
            return Heard::Refused;
        }
        let place = self.tables.new_place(&address, &source);
        let crowded = self.is_full() || self.tables.at(place).is_some();
        let sought = crowded && self.is_sought(&address);
        if !self.may_take(place, 0, sought) || !self.make_room(place, sought, rng) {
            return Heard::Refused;
        }
        self.vacate(now, place);
        let mut record = Record::new(address, now.unix, services, seen);
        record.add_place(place);
        self.insert(now, record, &source);
        Heard::New
    }

    /// A known address was named again: it may be fresher, and offer more. Whoever else names one
    /// that is not tried may give it one more place, the less likely the more it has, as in Core.
    fn hear_again(
        &mut self,
        now: Now,
        id: RecordId,
        services: ServiceFlags,
        seen: UnixTime,
        source: &Source,
        rng: &mut Rng,
    ) {
        let Some(record) = self.records.get_mut(id) else { return };
        let newer = seen > record.last_seen;
        record.last_seen = record.last_seen.max(seen);
        if newer {
            self.changes.mark(record.address);
        }
        let (address, standing) = (record.address, record.places().len());
        let spreads = newer && !record.is_tried() && (1..PLACES).contains(&standing);
        if !record.services.has(services) {
            self.update(now, id, |record| record.services |= services);
        } else if newer {
            self.shelve(now, id);
        }
        if spreads && rng.below(1 << standing) == 0 {
            let place = self.tables.new_place(&address, source);
            if self.tables.at(place) != Some(id) && self.may_take(place, standing, false) {
                self.vacate(now, place);
                self.tables.set(place, Some(id));
                self.update(now, id, |record| {
                    record.add_place(place);
                });
            }
        }
    }

    /// Takes in an address the user named: never burned, never evicted, dialled whatever its
    /// network's range. What spoke against it is forgotten, unless it is ourselves: then it is
    /// refused.
    pub fn add_manual(&mut self, now: Now, address: Address) {
        if self.burned.is_itself(&address) {
            return;
        }
        self.revision += 1;
        if self.burned.contains(&address) {
            self.burned.remove(&address);
            self.changes.mark(address);
        }
        self.manual.insert(address);
        let id = self.id(&address).unwrap_or_else(|| {
            let record = Record::new(address, now.unix, ServiceFlags::NONE, UnixTime(0));
            self.insert(now, record, &Source::User)
        });
        self.update(now, id, |record| {
            record.manual = true;
            record.past.verdict = None;
            record.past.retry_at = None;
        });
    }

    /// Notes that `ip` is our own: gossip naming it is refused. Private ranges are not noted, since
    /// other nodes may share them.
    pub fn note_own(&mut self, host: Host) {
        let known = self.own.contains(&host) || self.own.len() >= self.policy.max_own_addresses;
        if known || !host.is_routable() {
            return;
        }
        self.own.insert(host);
        let is_manual = |id: &RecordId| self.records.get(*id).is_some_and(|it| it.manual);
        let known = self.records.of_host(&host);
        let heard: Vec<RecordId> = known.filter(|id| !is_manual(id)).collect();
        for id in heard {
            self.remove(id);
        }
    }

    /// Services without the bits that mean nothing: a peer that sets them all would otherwise make
    /// an address look as if it had whatever is invented next.
    pub(super) fn meaningful(&self, services: ServiceFlags) -> ServiceFlags {
        let wanted = self.policy.required_services;
        let known = [
            ServiceFlags::NETWORK,
            ServiceFlags::BLOOM,
            ServiceFlags::WITNESS,
            ServiceFlags::COMPACT_FILTERS,
            ServiceFlags::NETWORK_LIMITED,
            ServiceFlags::P2P_V2,
        ];
        let known = known.into_iter().fold(wanted, |all, flag| all | flag);
        (services.to_u64() & known.to_u64()).into()
    }

    pub(super) fn acceptable(&self, address: &Address) -> bool {
        self.unfit(address).is_none() && !self.is_barred(&address.host)
    }

    /// Whether the host has as many non-default ports in the book, burned ones included, as may
    /// be tried: gossip must not make a port scanner of us.
    pub(super) fn has_ports_enough(&self, address: &Address) -> bool {
        if address.port == self.default_port {
            return false;
        }
        let known = self.records.of_host(&address.host).filter_map(|id| self.records.get(id));
        let known = known.map(|record| record.address);
        let odd = known.chain(self.burned.of(address.host)).filter(|a| a.port != self.default_port);
        odd.count() >= self.policy.max_ports_per_host
    }

    /// Whether nobody can be dialled for lack of open netgroups, and this address could: then it is
    /// worth more than any of those. A small book would be kept full of them by whoever names them
    /// time and again, and the pool short of peers.
    fn is_sought(&self, address: &Address) -> bool {
        self.available() == 0
            && !self.groups.closed.contains(&self.tables.groups().of(&address.host))
    }

    /// Whether a place is free for an address with so many places, or its occupant is good for
    /// nothing, or has other places while this address has none, as in Core's `AddSingle`; or gives
    /// way.
    fn may_take(&self, place: Place, standing: usize, sought: bool) -> bool {
        let occupant = self.tables.at(place).and_then(|id| self.records.get(id));
        occupant.is_none_or(|occupant| {
            let yields = standing == 0 && !occupant.is_tried() && self.gives_way(occupant, sought);
            occupant.shelf == Shelf::Idle || standing == 0 && occupant.places().len() > 1 || yields
        })
    }

    /// Takes a place from whoever has it. Who has no other is forgotten.
    pub(super) fn vacate(&mut self, now: Now, place: Place) {
        let Some(id) = self.tables.at(place) else { return };
        let Some(record) = self.records.get(id) else { return };
        if record.places().len() == 1 && !record.manual {
            return self.remove(id);
        }
        self.tables.set(place, None);
        self.update(now, id, |record| record.remove_place(place));
    }

    /// Makes room for one more record, if there are as many as there may be: one that is good for
    /// nothing goes, whoever has the place if that is one.
    fn make_room(&mut self, place: Place, sought: bool, rng: &mut Rng) -> bool {
        let last = |id: RecordId| self.records.get(id).is_some_and(|it| it.places().len() == 1);
        let frees = self.tables.at(place).is_some_and(last);
        if frees || !self.is_full() {
            return true;
        }
        let idle = (!self.idle.is_empty()).then(|| self.idle[rng.below(self.idle.len())]);
        let Some(victim) = idle.or_else(|| self.crowded_out(sought, rng)) else { return false };
        self.remove(victim);
        true
    }

    /// Who makes room in a book full of candidates: of some drawn at random that give way, one of
    /// the netgroup of which most are known; for one that is `sought`, hearsay before those that we
    /// know. Whoever filled the book first would keep out all others.
    fn crowded_out(&self, sought: bool, rng: &mut Rng) -> Option<RecordId> {
        // The more are drawn, the surer it is one of the largest netgroup, and the dearer.
        const DRAWS: usize = 8;
        let drawn = (0..DRAWS).filter_map(|_| self.records.draw(rng));
        let crowd = |id: RecordId| {
            let record = self.records.get(id).filter(|record| self.gives_way(record, sought))?;
            let told = sought && record.shelf == Shelf::Hearsay;
            Some((told, self.experienced.crowd(record.group), id))
        };
        drawn.filter_map(crowd).max().map(|(.., id)| id)
    }

    /// Whether it is a candidate, no anchor, and one of many that are known of its netgroup, or, for
    /// one that is `sought`, of any closed netgroup. A netgroup that fewer are known of loses nobody
    /// to a flood of names elsewhere.
    fn gives_way(&self, record: &Record, sought: bool) -> bool {
        const MANY: usize = 16;
        matches!(record.shelf, Shelf::Experienced | Shelf::Hearsay)
            && !self.anchors.contains(&record.address)
            && (self.experienced.crowd(record.group) >= MANY
                || sought && self.groups.is_closed(record.group))
    }
}

/// Core's correction of impossible times: before 1973 or over 10 min ahead reads as 5 days ago.
pub(super) fn plausible(now: Now, seen: UnixTime) -> UnixTime {
    const TOO_EARLY: UnixTime = UnixTime(100_000_000);
    const CORRECTION: Duration = Duration::from_secs(5 * 86_400);
    let impossible = seen <= TOO_EARLY || seen > now.unix + TOLERANCE;
    if impossible { now.unix - CORRECTION } else { seen }
}

pub(super) fn is_broadcast(host: &Host) -> bool {
    matches!(host, Host::Ipv4(ip) if ip.is_broadcast())
}

/// Ports of other services, which Core avoids (`IsBadPort`): gossip naming one of them wants us
/// to knock at somebody's mail server.
const BAD_PORTS: [u16; 80] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669,
    6697, 10080,
];

pub(super) fn is_bad_port(port: u16) -> bool {
    BAD_PORTS.binary_search(&port).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Net;
    use crate::policy::Policy;

    #[test]
    fn bits_without_a_meaning_are_not_kept_unless_the_user_wants_them() {
        let all = ServiceFlags::from(u64::MAX);
        let own = ServiceFlags::from(1 << 40);
        for (required, expected) in
            [(ServiceFlags::NETWORK, 0xc4d), (ServiceFlags::NETWORK | own, 0xc4d | (1 << 40))]
        {
            let policy = Policy { required_services: required, ..Policy::default() };
            let mut rng = Rng::from_u64(1);
            let mut book = Book::new(&policy, 8333, &[Net::Ipv4], &mut rng);
            let address: Address = "1.2.3.4:8333".parse().expect("an address");
            let (now, source) = (Now::default(), Source::Seed(0));
            for _ in 0..2 {
                book.hear(now, address, all, now.unix, source, &mut rng);
                assert_eq!(
                    book.record(&address).expect("it was heard of").services.to_u64(),
                    expected
                );
            }
        }
    }
}
