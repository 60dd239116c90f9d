//! The netgroups that addresses in the book are of, by number: so that a record, a candidate and a
//! closed netgroup need no search for it.

use std::collections::BTreeSet;

use crate::netgroup::NetGroup;

use super::index::Index;
use super::tables::Key;

/// A netgroup, by its place in memory: used again once no record is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(pub(super) u32);

/// A netgroup with addresses in the book.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) name: NetGroup,
    /// Records that are of it; 0 if nobody is, and the place is free.
    pub(super) records: u32,
}

/// Every netgroup with addresses in the book, and those that are closed.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    key: Key,
    all: Vec<Group>,
    free: Vec<GroupId>,
    index: Index,
    pub(super) closed: BTreeSet<NetGroup>,
    /// A bit for each number: whether that netgroup is closed. Selection asks for many.
    bits: Vec<u64>,
}

impl Groups {
    pub(super) fn new(key: Key) -> Self {
        let (all, free, index, closed, bits) = Default::default();
        Self { key, all, free, index, closed, bits }
    }

    /// Another key, while there is no netgroup.
    pub(super) fn set_key(&mut self, key: Key) {
        self.key = key;
    }

    fn hash(&self, name: NetGroup) -> u32 {
        self.key.hash(&[b"i", &name.to_bytes()]) as u32
    }

    /// The number of a netgroup that has a record.
    pub(super) fn id(&self, name: NetGroup) -> Option<GroupId> {
        let is = |id: u32| self.all[id as usize].name == name;
        self.index.find(self.hash(name), is).map(GroupId)
    }

    /// The number of a netgroup that has one record more.
    pub(super) fn enter(&mut self, name: NetGroup) -> GroupId {
        let hash = self.hash(name);
        let is = |id: u32| self.all[id as usize].name == name;
        if let Some(id) = self.index.find(hash, is) {
            self.all[id as usize].records += 1;
            return GroupId(id);
        }
        let group = Group { name, records: 1 };
        let id = self.free.pop().unwrap_or(GroupId(self.all.len() as u32));
        match self.all.get_mut(id.0 as usize) {
            Some(free) => *free = group,
            None => self.all.push(group),
        }
        self.index.insert(hash, id.0);
        let closed = !self.closed.is_empty() && self.closed.contains(&name);
        self.set_bit(id, closed);
        id
    }

    /// Notes that a netgroup has one record less.
    pub(super) fn leave(&mut self, id: GroupId) {
        let group = &mut self.all[id.0 as usize];
        group.records -= 1;
        if group.records == 0 {
            let name = group.name;
            self.index.remove(self.hash(name), id.0);
            self.free.push(id);
        }
    }

    pub(super) fn is_closed(&self, id: GroupId) -> bool {
        let word = self.bits.get(id.0 as usize / 64);
        word.is_some_and(|word| word & (1 << (id.0 % 64)) != 0)
    }

    /// Closes or opens a netgroup; whether that is a change.
    pub(super) fn set_closed(&mut self, name: NetGroup, closed: bool) -> bool {
        if let Some(id) = self.id(name) {
            self.set_bit(id, closed);
        }
        if closed { self.closed.insert(name) } else { self.closed.remove(&name) }
    }

    fn set_bit(&mut self, id: GroupId, closed: bool) {
        let (word, bit) = (id.0 as usize / 64, 1 << (id.0 % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let word = &mut self.bits[word];
        *word = if closed { *word | bit } else { *word & !bit };
    }

    /// Netgroups with a record, by number.
    pub(super) fn entries(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, group)| group.records > 0).map(|(id, group)| (GroupId(id as u32), group))
    }

    /// Netgroups that the index holds.
    pub(super) const fn indexed(&self) -> usize {
        self.index.len()
    }
}
