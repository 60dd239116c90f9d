//! Samples of the book for others: for exports, and for whoever asks for addresses.

use crate::address::Address;
use crate::rng::Rng;
use crate::time::Now;

use super::Book;
use super::record::{Record, Shelf};

impl Book {
    /// So many percent of the addresses in the book, `most` at most, drawn at random from those
    /// that are worth naming to others: seen or spoken to lately enough to be dialled, and neither
    /// burned nor banned nor discouraged. Those that the user named are the user's, and left out.
    /// Fewer if there are no more of these. As Core's `GetAddr`; each one drawn takes some 15 ns.
    pub fn sample(&self, now: Now, percent: usize, most: usize, rng: &mut Rng) -> Vec<Address> {
        let wanted = (self.len().saturating_mul(percent) / 100).min(most).min(self.len());
        let mut ids: Vec<u32> = (0..self.records.slots() as u32).collect();
        let mut sample = Vec::with_capacity(wanted);
        let worth = |record: &&Record| {
            let over = record.expires().is_some_and(|at| at <= now.unix);
            let barred = matches!(record.shelf, Shelf::Idle | Shelf::Banned | Shelf::Discouraged);
            !record.manual && !barred && !over
        };
        // The shuffle of Fisher and Yates, as far as it is needed.
        for at in 0..ids.len() {
            if sample.len() == wanted {
                break;
            }
            let left = ids.len() - at;
            ids.swap(at, at + rng.below(left));
            let record = self.records.at(ids[at]);
            sample.extend(record.filter(worth).map(|record| record.address));
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::address::Net;
    use crate::banned::{Ban, Subnet};
    use crate::book::Source;
    use crate::id::BurnReason;
    use crate::policy::Policy;
    use crate::time::{Monotonic, UnixTime};

    const NOW: Now =
        Now { mono: Monotonic::new(Duration::from_secs(100)), unix: UnixTime(1_700_000_000) };

    fn address(n: u32) -> Address {
        format!("{}.{}.1.1:8333", 11 + n / 250, n % 250).parse().expect("an address")
    }

    /// A book of `count` addresses of as many netgroups.
    fn book(count: u32, rng: &mut Rng) -> Book {
        let policy = Policy::default();
        let mut book = Book::new(&policy, 8333, &[Net::Ipv4], rng);
        for n in 0..count {
            let source = Source::Peer(address(n));
            book.hear(NOW, address(n), policy.required_services, NOW.unix, source, rng);
        }
        assert!(book.len() > count as usize * 9 / 10);
        book
    }

    #[test]
    fn a_sample_is_a_capped_share_without_repetition() {
        let mut rng = Rng::from_u64(1);
        let book = book(1000, &mut rng);
        for (percent, most, expected) in [
            (23, 2500, book.len() * 23 / 100),
            (23, 10, 10),
            (100, 5000, book.len()),
            (1000, 5000, book.len()),
            (0, 5000, 0),
        ] {
            let sample = book.sample(NOW, percent, most, &mut rng);
            assert_eq!(sample.len(), expected);
            let different: BTreeSet<Address> = sample.iter().copied().collect();
            assert_eq!(different.len(), expected);
            assert!(different.iter().all(|at| book.heard_at(at).is_some()));
        }
        assert_eq!(book.sample(NOW, 50, 5000, &mut rng.clone()), {
            book.sample(NOW, 50, 5000, &mut rng)
        });
    }

    #[test]
    fn every_address_is_drawn_as_often() {
        let mut rng = Rng::from_u64(2);
        let book = book(50, &mut rng);
        let mut drawn: BTreeMap<Address, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            for at in book.sample(NOW, 100, 5, &mut rng) {
                *drawn.entry(at).or_default() += 1;
            }
        }
        // 10,000 times 5 of 50, give or take five deviations of 30.
        let each = 50_000 / book.len() as u32;
        assert_eq!(drawn.len(), book.len());
        assert!(drawn.values().all(|n| n.abs_diff(each) < 160), "{drawn:?}");
    }

    #[test]
    fn nobody_is_named_who_is_old_barred_burned_or_the_users() {
        let mut rng = Rng::from_u64(3);
        let mut book = book(20, &mut rng);
        let services = Policy::default().required_services;
        let old = NOW.unix - Duration::from_secs(2 * 3600);
        let later = Now { unix: NOW.unix + Duration::from_secs(2 * 3600), ..NOW };
        book.hear(NOW, address(30), services, old, Source::Seed(0), &mut rng);
        book.burn(NOW, address(1), BurnReason::Refused);
        book.ban(NOW, Subnet::of(address(2).host), Ban::FOREVER).expect("a ban");
        book.discourage(NOW, address(3).host, Duration::from_secs(60));
        book.add_manual(NOW, address(4));
        book.set_in_use(NOW, address(5), true);
        let named = |now, rng: &mut Rng| -> BTreeSet<Address> {
            book.sample(now, 100, 100, rng).into_iter().collect()
        };
        let all = named(NOW, &mut rng);
        assert!([1, 2, 3, 4].iter().all(|n| !all.contains(&address(*n))), "{all:?}");
        assert!(all.contains(&address(5)) && all.contains(&address(30)), "{all:?}");
        // Before the book is advanced.
        assert!(!named(later, &mut rng).contains(&address(30)));
    }
}
