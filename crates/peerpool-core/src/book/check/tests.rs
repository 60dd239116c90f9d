//! Each table is put wrong by hand, and the check says so.

use std::time::Duration;

use super::*;
use crate::book::Source;
use crate::policy::Policy;
use crate::rng::Rng;
use crate::time::{Monotonic, UnixTime};

const NOW: Now =
    Now { mono: Monotonic::new(Duration::from_secs(100)), unix: UnixTime(1_700_000_000) };

fn address(group: usize, host: usize) -> Address {
    format!("11.{group}.1.{host}:8333").parse().expect("an address")
}

/// A book with addresses on every shelf, eight in each of two netgroups.
fn book() -> Book {
    let policy = Policy::default();
    let mut book = Book::new(&policy, 8333, &[Net::Ipv4, Net::Ipv6]);
    let mut rng = Rng::from_u64(1);
    let services = policy.required_services;
    for group in [1, 2] {
        for host in 1..=9 {
            book.hear(NOW, address(group, host), services, NOW.unix, Source::Seed(0), &mut rng);
        }
        book.on_ready(NOW, address(group, 2), services);
        book.on_proven(NOW, address(group, 2));
        book.on_proven(NOW, address(group, 3));
        book.back_off(NOW, address(group, 3), true, &mut rng);
        book.hold_verdict(NOW, address(group, 4), BurnReason::Refused);
        book.set_in_use(NOW, address(group, 5), true);
        book.add_manual(NOW, address(group, 6));
        book.burn(NOW, address(group, 7), BurnReason::Refused);
    }
    book.set_closed(NetGroup::of(&address(2, 1).host), true);
    book.check(NOW).expect("the book's invariants");
    book
}

#[track_caller]
fn finds(words: &str, plant: impl FnOnce(&mut Book)) {
    let mut book = book();
    plant(&mut book);
    let fault = book.check(NOW).expect_err("a fault was planted");
    assert!(fault.contains(words), "{fault}");
}

fn record(book: &mut Book, host: usize) -> &mut Record {
    book.records.get_mut(&address(1, host)).expect("a record")
}

#[test]
fn a_record_on_the_wrong_shelf_is_found() {
    finds("belongs on Hearsay", |book| record(book, 1).shelf = Shelf::Experienced);
    finds("on Hearsay, belongs on InUse", |book| {
        book.in_use.insert(address(1, 1));
    });
    finds("belongs on Hearsay", |book| {
        book.in_use.remove(&address(1, 5));
    });
    finds("shelf counts", |book| book.counts[0] += 1);
    let due = Now { mono: NOW.mono + Duration::from_secs(3600), ..NOW };
    book().check(due).expect("what is due by the clock has not been seen to yet");
    let (mut book, services) = (book(), Policy::default().required_services);
    let mut rng = Rng::from_u64(1);
    let later = Now { unix: NOW.unix + Duration::from_secs(4 * 3600), ..NOW };
    book.hear(later, address(1, 1), services, later.unix, Source::Seed(0), &mut rng);
    book.advance(later);
    book.check(NOW).expect("a clock that was set back has not been seen to yet");
}

#[test]
fn an_index_that_differs_from_the_records_is_found() {
    finds("index hearsay", |book| book.hearsay.remove(&address(1, 1)));
    finds("index hearsay", |book| book.hearsay.insert(address(1, 2), &BTreeSet::new()));
    finds("index hearsay", |book| {
        book.hearsay.remove(&address(1, 1));
        book.hearsay.insert(address(1, 2), &BTreeSet::new());
    });
    finds("index experienced", |book| book.experienced.remove(&address(1, 2)));
    finds("index manual", |book| book.manual_due.remove(&address(1, 6)));
    finds("index resting", |book| {
        book.resting.pop_first();
    });
    finds("index retries", |book| {
        book.retries.pop_first();
    });
    finds("index expiries", |book| {
        let (at, address) = book.expiries.pop_first().expect("an expiry");
        book.expiries.insert((at + Duration::from_secs(1), address));
    });
}

#[test]
fn a_list_that_differs_from_the_records_is_found() {
    finds("manual, but not listed", |book| {
        book.manual.remove(&address(1, 6));
    });
    finds("listed as manual", |book| {
        book.manual.insert(address(3, 1));
    });
    finds("its verdict waits, but is not listed", |book| book.verdicts.clear());
    finds("listed as manual or waiting", |book| {
        book.verdicts.insert(address(2, 9));
    });
    finds("not in the sampling table", |book| book.all.remove(&address(1, 1)));
    finds("holds more than the records", |book| book.all.insert(address(3, 1)));
    finds("not in the sampling table", |book| book.all.items.swap(0, 1));
}

#[test]
fn a_burned_address_in_the_book_and_a_wrong_burned_table_are_found() {
    finds("burned and on shelf", |book| {
        book.burned.insert(NOW.mono, address(1, 1), BurnReason::Refused);
    });
    finds("burned addresses differ", |book| {
        book.burned.order.pop_first();
    });
}

#[test]
fn candidates_in_the_wrong_netgroup_are_found() {
    let group = |n| NetGroup::of(&address(n, 1).host);
    finds("open and closed netgroups", |book| book.hearsay.set_closed(group(1), true));
    finds("open and closed netgroups", |book| {
        book.closed.clear();
    });
    finds("a candidate in netgroup", |book| {
        let bag = book.hearsay.groups.get_mut(&group(1)).expect("a netgroup");
        bag.insert(address(2, 1));
    });
    finds("has no candidate", |book| {
        book.hearsay.groups.insert(group(3), Bag::default());
    });
    finds("a netgroup is open on ipv6", |book| book.hearsay.open[Net::Ipv6].insert(group(3)));
    finds("candidates, counted", |book| book.hearsay.len += 1);
    finds("an item of a bag", |book| book.hearsay.shut.items.push(group(3)));
}

#[test]
fn a_table_over_its_bound_is_found() {
    finds("over its bound", |book| book.policy.max_addresses = 13);
    finds("over its bound", |book| book.policy.max_burned = 1);
}
