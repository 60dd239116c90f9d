//! Each table is put wrong by hand, and the check says so.

use std::time::Duration;

use super::*;
use crate::address::Address;
use crate::book::{Heard, Source};
use crate::policy::Policy;
use crate::rng::Rng;
use crate::time::{Monotonic, UnixTime};

const NOW: Now =
    Now { mono: Monotonic::new(Duration::from_secs(100)), unix: UnixTime(1_700_000_000) };

fn address(group: usize, host: usize) -> Address {
    format!("11.{group}.1.{host}:8333").parse().expect("an address")
}

/// A book with addresses on most shelves, eight in each of two netgroups.
fn book() -> Book {
    let policy = Policy::default();
    let mut rng = Rng::from_u64(1);
    let mut book = Book::new(&policy, 8333, &[Net::Ipv4, Net::Ipv6], &mut rng);
    let services = policy.required_services;
    for group in [1, 2] {
        // Told of when it was hardly fresh any more, and since then too old.
        let (idle, source) = (address(group, 10), Source::Peer(address(110, 1)));
        let seen = UnixTime(NOW.unix.0 - policy.max_address_age.as_secs());
        let before = Now { unix: UnixTime(NOW.unix.0 - 1), ..NOW };
        assert_eq!(book.hear(before, idle, services, seen, source, &mut rng), Heard::New);
        book.advance(NOW);
        for host in 1..=9 {
            let (told, source) = (address(group, host), Source::Peer(address(100 + host, 1)));
            let heard = book.hear(NOW, told, services, NOW.unix, source, &mut rng);
            assert_eq!(heard, Heard::New);
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
    let id = id(book, address(1, host));
    book.records.get_mut(id).expect("a record")
}

fn id(book: &Book, address: Address) -> RecordId {
    book.id(&address).expect("a record")
}

fn group(book: &Book, n: usize) -> GroupId {
    book.groups.id(NetGroup::of(&address(n, 1).host)).expect("a netgroup")
}

/// Takes a record out of an index, and does not tell it.
fn drop_from(index: fn(&mut Book) -> &mut Candidates, book: &mut Book, host: usize) {
    let record = record(book, host).clone();
    index(book).remove(&record);
}

/// Puts one in that does not belong there.
fn put_into(index: fn(&mut Book) -> &mut Candidates, book: &mut Book, host: usize) {
    let (id, mut record) = (id(book, address(1, host)), record(book, host).clone());
    index(book).insert(id, &mut record, false);
    book.records.get_mut(id).expect("a record").spot = record.spot;
}

fn hearsay(book: &mut Book) -> &mut Candidates {
    &mut book.hearsay
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
    finds("by network", |book| book.per_net[Net::Ipv6] += 1);
    let due = Now { mono: NOW.mono + Duration::from_secs(3600), ..NOW };
    book().check(due).expect("what is due by the clock has not been seen to yet");
    let (mut book, services) = (book(), Policy::default().required_services);
    let mut rng = Rng::from_u64(1);
    let later = Now { unix: NOW.unix + Duration::from_secs(4 * 3600), ..NOW };
    book.hear(later, address(1, 1), services, later.unix, Source::Seed(0), &mut rng);
    book.advance(later);
    book.check(NOW).expect_err("it is kept by a later clock");
    book.advance(NOW);
    book.check(NOW).expect("a clock that was set back is seen to, by however little");
}

#[test]
fn an_index_that_differs_from_the_records_is_found() {
    // The last of its netgroup, so that no other moves.
    let last = {
        let book = book();
        let members = book.hearsay.members[group(&book, 1).0 as usize].on(Net::Ipv4);
        let last = members.last().and_then(|id| book.records.get(*id)).expect("a candidate");
        (1..=9).find(|host| address(1, *host) == last.address).expect("one of those told of")
    };
    finds("index hearsay", |book| drop_from(hearsay, book, last));
    finds("index hearsay", |book| put_into(hearsay, book, 4));
    finds("index hearsay", |book| {
        drop_from(hearsay, book, last);
        put_into(hearsay, book, 4);
    });
    finds("index experienced", |book| drop_from(|book| &mut book.experienced, book, 2));
    finds("not where it is said", |book| drop_from(hearsay, book, if last == 1 { 8 } else { 1 }));
    finds("index idle", |book| {
        book.idle.pop();
    });
    finds("not where it is said", |book| book.idle.swap(0, 1));
    finds("index backing off", |book| {
        book.backing_off.pop_first();
    });
    finds("index manual", |book| book.manual_due.remove(&id(book, address(1, 6))));
    finds("index verdicts", |book| book.verdicts.clear());
    finds("index verdicts", |book| {
        book.verdicts.insert(id(book, address(2, 9)));
    });
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
    finds("hosts or manual addresses are listed", |book| {
        book.manual.insert(address(3, 1));
    });
    finds("an anchor, and not in the book", |book| {
        book.anchors.insert(address(3, 1));
    });
    finds("selection knows it as it was", |book| record(book, 1).failures = 1);
    finds("known by the name of another", |book| {
        record(book, 1).address = address(1, 2);
    });
    finds("known by the name of another", |book| {
        book.records.insert(record(&mut book.clone(), 1).clone());
    });
}

#[test]
fn a_place_that_is_not_its_own_is_found() {
    finds("is another's", |book| {
        let place = record(book, 1).places()[0];
        book.tables.set(place, None);
    });
    finds("places are taken", |book| {
        let place = book.tables.tried_place(&address(3, 1));
        book.tables.set(place, Some(id(book, address(1, 1))));
    });
    finds("stands nowhere", |book| {
        let place = record(book, 4).places()[0];
        book.tables.set(place, None);
        record(book, 4).remove_place(place);
    });
    finds("stands in both tables", |book| {
        let (id, place) = (id(book, address(1, 4)), book.tables.tried_place(&address(1, 4)));
        book.tables.set(place, Some(id));
        record(book, 4).add_place(place);
    });
    finds("not its place in the tried table", |book| {
        let (own, other) = (record(book, 4).places()[0], book.tables.tried_place(&address(3, 1)));
        book.tables.set(own, None);
        record(book, 4).remove_place(own);
        book.tables.set(other, Some(id(book, address(1, 4))));
        record(book, 4).add_place(other);
    });
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
    let name = |n| NetGroup::of(&address(n, 1).host);
    finds("open and closed netgroups", |book| {
        book.hearsay.set_closed(group(book, 1), name(1), true);
    });
    finds("is closed, or is not", |book| {
        book.groups.closed.clear();
    });
    finds("netgroups differ", |book| {
        book.groups.enter(name(1));
    });
    finds("netgroups differ", |book| {
        book.groups.enter(name(3));
    });
    finds("sources differ", |book| {
        book.sources.enter(&Source::User);
    });
    finds("sources differ", |book| {
        book.sources.enter(&Source::Seed(7));
    });
    finds("a candidate in netgroup", |book| {
        let stranger = id(book, address(2, 1));
        let nth = group(book, 1).0 as usize;
        book.hearsay.members[nth].on_mut(Net::Ipv4).push(stranger);
    });
    finds("3 lists of candidates", |book| {
        let members = book.hearsay.members[group(book, 1).0 as usize].clone();
        book.hearsay.members.push(members);
    });
    finds("netgroups, 2 lists", |book| book.hearsay.groups += 1);
    finds("not where it is said", |book| {
        let group = group(book, 1);
        book.hearsay.open[Net::Ipv6].push(group);
    });
    finds("open and closed netgroups", |book| {
        let group = group(book, 1);
        book.hearsay.not_open(group, Net::Ipv4);
        book.hearsay.open[Net::Ipv6].push(group);
        *book.hearsay.members[group.0 as usize].open_at(Net::Ipv6) = 0;
    });
    finds("candidates, counted", |book| book.hearsay.len += 1);
    finds("not where it is said", |book| book.hearsay.shut.push(group(book, 1)));
    finds("places by bucket", |book| {
        let lane = record(book, 1).lane();
        let place = book.tables.tried_place(&address(3, 1));
        book.hearsay.lanes.get_mut(&lane).expect("a lane").insert(place);
    });
}

#[test]
fn a_table_over_its_bound_is_found() {
    finds("over its bound", |book| book.policy.max_addresses = 13);
    finds("over its bound", |book| book.policy.max_burned = 1);
}
