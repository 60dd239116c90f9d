//! All records, by number and by address.

use crate::address::{Address, Host};
use crate::rng::Rng;

use super::groups::GroupId;
use super::index::Index;
use super::record::{Record, RecordId};
use super::tables::Key;

/// What selection asks of each record that it draws, apart from the rest: so most that it passes
/// over cost no look at the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Brief {
    pub(super) group: GroupId,
    pub(super) failures: u8,
}

impl Brief {
    pub(super) fn of(record: &Record) -> Self {
        Self { group: record.group, failures: record.failures.min(u8::MAX.into()) as u8 }
    }
}

/// Records in a piece of memory.
const PIECE: usize = 256;

/// All records. Those of one host are a chain in the order of ports, which is short: gossip adds no
/// more than `max_ports_per_host` to it.
#[derive(Clone, Debug)]
pub(super) struct Slab {
    key: Key,
    /// In pieces, so that nothing is copied, nor twice as much taken, when there are more.
    records: Vec<Vec<Option<Record>>>,
    briefs: Vec<Brief>,
    free: Vec<RecordId>,
    /// The first of the chain of each host.
    hosts: Index,
}

impl Slab {
    pub(super) fn new(key: Key) -> Self {
        let (records, briefs, free, hosts) = Default::default();
        Self { key, records, briefs, free, hosts }
    }

    /// Another key, while there is no record.
    pub(super) fn set_key(&mut self, key: Key) {
        self.key = key;
    }

    const fn place(id: RecordId) -> (usize, usize) {
        (id.0 as usize / PIECE, id.0 as usize % PIECE)
    }

    fn hash(&self, host: &Host) -> u32 {
        self.key.hash_host(b'h', &[], host, &[]) as u32
    }

    fn first(&self, hash: u32, host: &Host) -> Option<RecordId> {
        let is = |id| self.get(RecordId(id)).is_some_and(|record| record.address.host == *host);
        self.hosts.find(hash, is).map(RecordId)
    }

    /// The record of an address.
    pub(super) fn find(&self, address: &Address) -> Option<RecordId> {
        let mut next = self.first(self.hash(&address.host), &address.host);
        while let Some(id) = next {
            let record = self.get(id)?;
            if record.address.port == address.port {
                return Some(id);
            }
            next = record.sister();
        }
        None
    }

    /// The records of a host, in the order of ports.
    pub(super) fn of_host(&self, host: &Host) -> impl Iterator<Item = RecordId> + '_ {
        let first = self.first(self.hash(host), host);
        std::iter::successors(first, |id| self.get(*id)?.sister())
    }

    /// Takes in a record whose address has none.
    pub(super) fn insert(&mut self, record: Record) -> RecordId {
        let (host, port) = (record.address.host, record.address.port);
        let brief = Brief::of(&record);
        let id = match self.free.pop() {
            Some(id) => {
                self.briefs[id.0 as usize] = brief;
                let (piece, at) = Self::place(id);
                self.records[piece][at] = Some(record);
                id
            }
            None => {
                let id = RecordId(self.briefs.len() as u32);
                self.briefs.push(brief);
                let (piece, _) = Self::place(id);
                if piece == self.records.len() {
                    self.records.push(Vec::with_capacity(PIECE));
                }
                self.records[piece].push(Some(record));
                id
            }
        };
        let hash = self.hash(&host);
        let Some(first) = self.first(hash, &host) else {
            self.hosts.insert(hash, id.0);
            return id;
        };
        let (mut before, mut after) = (None, Some(first));
        while let Some(at) = after {
            let Some(record) = self.get(at).filter(|it| it.address.port < port) else { break };
            (before, after) = (Some(at), record.sister());
        }
        self.set_sister(id, after);
        match before {
            Some(before) => self.set_sister(before, Some(id)),
            None => self.hosts.replace(hash, first.0, id.0),
        }
        id
    }

    pub(super) fn remove(&mut self, id: RecordId) -> Option<Record> {
        let host = self.get(id)?.address.host;
        let hash = self.hash(&host);
        let first = self.first(hash, &host)?;
        let after = self.get(id)?.sister();
        if first != id {
            let before = self.of_host(&host).find(|at| self.sister_of(*at) == Some(id))?;
            self.set_sister(before, after);
        } else if let Some(after) = after {
            self.hosts.replace(hash, id.0, after.0);
        } else {
            self.hosts.remove(hash, id.0);
        }
        let (piece, at) = Self::place(id);
        let record = self.records.get_mut(piece)?.get_mut(at)?.take()?;
        self.free.push(id);
        Some(record)
    }

    fn sister_of(&self, id: RecordId) -> Option<RecordId> {
        self.get(id)?.sister()
    }

    fn set_sister(&mut self, id: RecordId, sister: Option<RecordId>) {
        if let Some(record) = self.get_mut(id) {
            record.set_sister(sister);
        }
    }

    /// What selection asks of a record, as it was when it was last taken in or brought up to date.
    pub(super) fn brief(&self, id: RecordId) -> Brief {
        self.briefs[id.0 as usize]
    }

    /// Notes what has changed of it.
    pub(super) fn update_brief(&mut self, id: RecordId) {
        if let Some(record) = self.get(id) {
            self.briefs[id.0 as usize] = Brief::of(record);
        }
    }

    pub(super) fn get(&self, id: RecordId) -> Option<&Record> {
        let (piece, at) = Self::place(id);
        self.records.get(piece)?.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: RecordId) -> Option<&mut Record> {
        let (piece, at) = Self::place(id);
        self.records.get_mut(piece)?.get_mut(at)?.as_mut()
    }

    /// A record drawn at random, or nobody.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<RecordId> {
        if self.slots() == 0 {
            return None;
        }
        let id = RecordId(rng.below(self.slots()) as u32);
        self.get(id).map(|_| id)
    }

    /// Places in memory, free ones among them.
    pub(super) fn slots(&self) -> usize {
        self.briefs.len()
    }

    /// The record at one of them.
    pub(super) fn at(&self, slot: u32) -> Option<&Record> {
        self.get(RecordId(slot))
    }

    pub(super) fn len(&self) -> usize {
        self.briefs.len() - self.free.len()
    }

    /// Every record, by number.
    pub(super) fn entries(&self) -> impl Iterator<Item = (RecordId, &Record)> {
        let all = self.records.iter().flatten().enumerate();
        all.filter_map(|(id, record)| Some((RecordId(id as u32), record.as_ref()?)))
    }

    /// Every address and its record, in the order of addresses.
    pub(super) fn sorted(&self) -> Vec<(Address, RecordId)> {
        let mut all: Vec<_> = self.entries().map(|(id, record)| (record.address, id)).collect();
        all.sort_unstable();
        all
    }

    /// Hosts that the index holds.
    pub(super) const fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Whether a record is the first of its host in the index.
    pub(super) fn is_first(&self, id: RecordId) -> bool {
        let host = self.get(id).map(|record| record.address.host);
        host.is_some_and(|host| self.first(self.hash(&host), &host) == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bitcoin::p2p::ServiceFlags;

    use super::*;
    use crate::time::UnixTime;

    #[test]
    fn behaves_as_a_map_of_addresses_under_random_operations() {
        let mut rng = Rng::from_u64(5);
        let (mut slab, mut model) = (Slab::new(Key::new(&mut rng)), BTreeMap::new());
        for _ in 0..20_000 {
            let (host, port) = (rng.below(40) as u8, rng.below(6) as u16);
            let address = Address { host: Host::Onion([host; 32]), port };
            let found = slab.find(&address);
            assert_eq!(found, model.get(&address).copied());
            match found {
                Some(id) => {
                    assert_eq!(slab.remove(id).map(|record| record.address), Some(address));
                    model.remove(&address);
                }
                None => {
                    let zero = UnixTime(0);
                    let record = Record::new(address, zero, ServiceFlags::NONE, zero);
                    model.insert(address, slab.insert(record));
                }
            }
            let all = model.iter().filter(|(at, _)| at.host == address.host).map(|(_, id)| *id);
            assert!(slab.of_host(&address.host).eq(all), "in the order of ports");
            assert_eq!(slab.len(), model.len());
        }
        assert!(slab.sorted().into_iter().eq(model));
    }
}
