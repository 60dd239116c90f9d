//! Named pools: groups of slots over one addr book, and who may fill whose.

use crate::id::{MAX_POOL_NAME, PoolId};
use crate::netgroup::NetGroup;
use crate::peer::Peers;
use crate::policy::{Policy, PolicyError};

/// A pool beside the main one, with slots of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPool {
    /// Its name: 1 to [`MAX_POOL_NAME`] bytes of ASCII letters, digits, `-` and `_`, not `main`.
    pub name: String,
    /// Peers to keep for it; at least 1.
    pub target: usize,
    /// Whether no node that serves it ever serves another pool. Each netgroup then belongs to one
    /// separate pool, or to all those that are not, for as long as the addr book and the names of
    /// the separate pools stay as they are: over restarts, too.
    pub separate: bool,
}

/// All pools of an engine, the main one first.
#[derive(Clone, Debug)]
pub struct Slots {
    pools: Vec<NamedPool>,
}

/// Why a pool cannot be.
fn not_allowed(name: &str, value: String, allowed: &str) -> PolicyError {
    let key = format!("pool {:?}", name.chars().take(MAX_POOL_NAME).collect::<String>());
    PolicyError { key, value, allowed: allowed.to_owned() }
}

impl Slots {
    /// The main pool, and these beside it, which are counted in `target_connect_count`.
    ///
    /// # Errors
    /// A name that may not be or comes twice, a target of 0, more pools than `max_pools`, or no
    /// slot left for the main pool.
    pub fn new(policy: &Policy, named: &[NamedPool]) -> Result<Self, PolicyError> {
        let mut left = policy.target_connect_count;
        let mut pools = vec![NamedPool { name: "main".to_owned(), target: 0, separate: false }];
        for pool in named {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            let length = (1..=MAX_POOL_NAME).contains(&pool.name.len());
            let taken = pools.iter().any(|other| other.name == pool.name);
            if !length || taken || !pool.name.bytes().all(is_plain) {
                let allowed = "1 to 32 letters, digits, - and _; each name once, and not main";
                return Err(not_allowed(&pool.name, pool.name.clone(), allowed));
            }
            if pool.target == 0 || pool.target >= left {
                let allowed = "a target from 1, with one slot left for the main pool at least";
                return Err(not_allowed(&pool.name, pool.target.to_string(), allowed));
            }
            left -= pool.target;
            pools.push(pool.clone());
        }
        if named.len() > policy.max_pools {
            let allowed = format!("at most {} pools (max_pools)", policy.max_pools);
            return Err(not_allowed("main", named.len().to_string(), &allowed));
        }
        if let Some(main) = pools.first_mut() {
            main.target = left;
        }
        Ok(Self { pools })
    }

    /// Every pool.
    pub fn iter(&self) -> impl Iterator<Item = (PoolId, &NamedPool)> {
        (0..).map(PoolId).zip(&self.pools)
    }

    /// The pools that have free slots.
    pub fn with_room(&self, peers: &Peers) -> Vec<PoolId> {
        let has_room = |(id, pool): &(PoolId, &NamedPool)| peers.slots_filled_of(*id) < pool.target;
        self.iter().filter(has_room).map(|(id, _)| id).collect()
    }

    /// The pool that has the smallest part of its target, of those that have room and may be meant.
    pub fn emptiest(&self, peers: &Peers, may: impl Fn(PoolId) -> bool) -> Option<PoolId> {
        let filled = |(id, pool): (PoolId, &NamedPool)| {
            let filled = peers.slots_filled_of(id);
            // Parts of different wholes, compared in millionths.
            (filled < pool.target && may(id)).then_some((filled * 1_000_000 / pool.target, id))
        };
        self.iter().filter_map(filled).min().map(|(_, id)| id)
    }

    /// Whether hosts of a netgroup may serve a pool. `weight` is a keyed hash of a name and a
    /// netgroup: the highest one has it (rendezvous hashing), so that a pool that is added or
    /// removed moves no more netgroups than it must.
    pub fn may_serve(
        &self,
        pool: PoolId,
        group: NetGroup,
        weight: impl Fn(&str, NetGroup) -> u64,
    ) -> bool {
        let separate = || self.iter().filter(|(_, pool)| pool.separate);
        if separate().next().is_none() {
            return true;
        }
        // All that are not separate are one, called main.
        let owner = separate()
            .map(|(id, pool)| (weight(&pool.name, group), id))
            .chain([(weight("main", group), PoolId::MAIN)])
            .max()
            .map(|(_, id)| id);
        let class = if separate().any(|(id, _)| id == pool) { pool } else { PoolId::MAIN };
        owner == Some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, target: usize, separate: bool) -> NamedPool {
        NamedPool { name: name.to_owned(), target, separate }
    }

    fn slots(pools: &[NamedPool]) -> Result<Slots, String> {
        let policy = Policy { target_connect_count: 10, ..Policy::default() };
        Slots::new(&policy, pools).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_a_pool_is_an_error_that_says_why() {
        let long = "x".repeat(33);
        for name in ["", "main", "a b", "wallet\n", "\u{e9}", &long] {
            let error = slots(&[named(name, 1, false)]).expect_err(name);
            assert!(error.contains("1 to 32 letters"), "{error}");
        }
        let error = slots(&[named("a", 1, false), named("a", 1, true)]).expect_err("twice");
        assert!(error.starts_with("pool \"a\" = \"a\" is not allowed"), "{error}");
        for target in [0, 10, 11] {
            let error = slots(&[named("a", target, false)]).expect_err("no room");
            assert!(error.contains("one slot left"), "{error}");
        }
        let many: Vec<_> = (0..9).map(|n| named(&format!("p{n}"), 1, false)).collect();
        assert!(slots(&many).is_ok());
        let policy = Policy { target_connect_count: 10, max_pools: 8, ..Policy::default() };
        let error = Slots::new(&policy, &many).expect_err("too many").to_string();
        assert!(error.contains("at most 8 pools"), "{error}");
    }

    #[test]
    fn each_netgroup_serves_one_separate_pool_or_all_others() {
        let pools =
            [named("a", 1, true), named("b", 1, false), named("c", 1, true), named("d", 1, false)];
        let slots = slots(&pools).expect("they fit");
        // Any hash will do that tells names and netgroups apart.
        let weight = |name: &str, group: NetGroup| {
            use std::hash::{DefaultHasher, Hash as _, Hasher as _};
            let mut hasher = DefaultHasher::new();
            (name, group).hash(&mut hasher);
            hasher.finish()
        };
        let mut counts = [0; 5];
        for n in 0..=u16::MAX {
            let group = NetGroup::Ipv4(n.to_be_bytes());
            let serves: Vec<bool> =
                (0..5).map(|id| slots.may_serve(PoolId(id), group, weight)).collect();
            let [main, a, b, c, d] = serves[..] else { panic!("five pools") };
            assert!(b == main && d == main, "they share all they have");
            assert_eq!([main, a, c].iter().filter(|it| **it).count(), 1);
            counts.iter_mut().zip(&serves).for_each(|(count, it)| *count += u32::from(*it));
        }
        assert!(counts.iter().all(|count| (21_000..23_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn pools_that_are_not_separate_share_all() {
        let slots = slots(&[named("a", 1, false)]).expect("it fits");
        let group = NetGroup::Ipv4([1, 2]);
        assert!((0..2).all(|id| slots.may_serve(PoolId(id), group, |_, _| unreachable!())));
    }
}
