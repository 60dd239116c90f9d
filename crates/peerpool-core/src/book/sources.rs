//! Who named the addresses in the book, by number: many name one source, which is as long as an
//! address.

use crate::address::Address;

use super::index::Index;
use super::record::Source;
use super::tables::Key;

/// A source, by its place in memory: used again once no record is from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceId(pub(super) u32);

/// Every source of an address in the book, and how many are from it.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    key: Key,
    all: Vec<(Source, u32)>,
    free: Vec<SourceId>,
    index: Index,
    /// The one that named the last.
    last: SourceId,
}

impl Sources {
    pub(super) fn new(key: Key) -> Self {
        Self { key, all: Vec::new(), free: Vec::new(), index: Index::default(), last: SourceId(0) }
    }

    /// Another key, while there is no source.
    pub(super) fn set_key(&mut self, key: Key) {
        self.key = key;
    }

    fn hash(&self, source: &Source) -> u32 {
        let hash = match source {
            Source::Seed(seed) => self.key.hash(&[b"0", &seed.to_le_bytes()]),
            Source::User => self.key.hash(&[b"1"]),
            Source::Import => self.key.hash(&[b"2"]),
            Source::Peer(Address { host, port }) => {
                self.key.hash_host(b'3', &[], host, &port.to_le_bytes())
            }
        };
        hash as u32
    }

    /// The number of a source that has named one address more.
    pub(super) fn enter(&mut self, source: &Source) -> SourceId {
        // Addresses of one source come together.
        if let Some((last, records @ 1..)) = self.all.get_mut(self.last.0 as usize) {
            if last == source {
                *records += 1;
                return self.last;
            }
        }
        let hash = self.hash(source);
        if let Some(id) = self.index.find(hash, |id| self.all[id as usize].0 == *source) {
            self.all[id as usize].1 += 1;
            self.last = SourceId(id);
            return self.last;
        }
        let id = self.free.pop().unwrap_or(SourceId(self.all.len() as u32));
        match self.all.get_mut(id.0 as usize) {
            Some(free) => *free = (*source, 1),
            None => self.all.push((*source, 1)),
        }
        self.index.insert(hash, id.0);
        self.last = id;
        id
    }

    /// Notes that there is one address less from a source.
    pub(super) fn leave(&mut self, id: SourceId) {
        let (source, records) = &mut self.all[id.0 as usize];
        *records -= 1;
        if *records == 0 {
            let source = *source;
            self.index.remove(self.hash(&source), id.0);
            self.free.push(id);
        }
    }

    pub(super) fn get(&self, id: SourceId) -> &Source {
        &self.all[id.0 as usize].0
    }

    /// Whether there are so many records from a source, and the index knows it.
    pub(super) fn is_sound(&self, id: SourceId, records: u32) -> bool {
        self.all.get(id.0 as usize).is_some_and(|(source, held)| {
            let find = |id: u32| self.all[id as usize].0 == *source;
            *held == records && self.index.find(self.hash(source), find) == Some(id.0)
        })
    }

    /// Sources that the index holds.
    pub(super) const fn len(&self) -> usize {
        self.index.len()
    }
}
