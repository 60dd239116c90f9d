//! Attacks on resources, each with its figure: what floods, scans and outages may cost. Virtual
//! time; what the links themselves hold is in `resources/bytes.rs`.

mod bytes;

use std::collections::BTreeMap;
use std::time::Duration;

use peerpool_core::address::{Address, Host, Net};
use peerpool_core::book::{Book, Heard, Source};
use peerpool_core::event::Event;
use peerpool_core::id::BurnReason;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};

use crate::script::{Node, SERVICES, START, Script, config, ips, nth};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// A pool of `target` whose one seed names all of `addresses`, and which has found its peers.
fn full(target: usize, addresses: &[Address], seed: u64) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = target;
        policy.max_seed_addresses = 1000;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::with_seed(config, seed);
    script.seeds = vec![Ok(ips(addresses))];
    script.run_secs(2 * HOUR);
    assert_eq!(script.ready().len(), target);
    script
}

#[test]
fn a_flood_of_small_addr_messages_stores_six_addresses_a_minute() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(1);
    let credit = script.policy().addr_burst;
    for message in 0..500 {
        let entries = (0..10).map(|n| script.seen(nth(10 + 10 * message + n), Duration::ZERO));
        let entries = entries.collect();
        script.gossip_from(nth(1), entries);
        script.run(Duration::from_millis(120));
    }
    // What our getaddr earned it, the token it began with, and 0.1 a second; and the peer itself.
    let stored = script.engine.book().len() - 1;
    // Some find their place taken: one source has 64 buckets.
    assert!(stored >= credit * 8 / 10 && stored <= credit + 1 + 6, "{stored} stored");
    let told = script.events.iter().filter(|event| matches!(event, Event::Gossip { .. })).count();
    assert!(told <= 101 + 7, "{told} events tell of messages that the budget did not pay for");
}

/// What makes a thousand connections a second to ourselves impossible: the pool alone dials, gossip
/// is rationed, and no address that has shown itself to be us is dialled twice.
#[test]
fn ten_thousand_addresses_of_ourselves_cost_a_dial_each_and_a_short_log() {
    let us: Vec<_> = (100..10_100).map(nth).collect();
    let mut script = Script::seeded(2, &[nth(1)]);
    script.others = Node::Itself;
    script.nodes.insert(nth(1), Node::Alive);
    script.run_secs(1);
    script.log();
    let mut log = 0;
    for message in 0..360 {
        let named = us.iter().cycle().skip(97 * message).take(100);
        let entries = named.map(|&address| script.seen(address, Duration::ZERO)).collect();
        script.gossip_from(nth(1), entries);
        script.run_secs(10);
        log += script.log().len();
    }
    let dials: Vec<_> = us.iter().map(|&address| script.dialled(address).len()).collect();
    assert!(dials.iter().all(|&dials| dials <= 1));
    let burned = script.status().burned[&BurnReason::Itself];
    println!("{burned} addresses of our own in an hour: {log} bytes of log");
    assert!(burned > 1000 && burned <= 1 + 1000 + 360, "{burned}: the ration of an hour");
    assert!(log < 1_000_000, "{log} bytes of log");
}

#[test]
fn addresses_that_name_one_victim_on_all_ports_bring_it_five_dials() {
    let victim =
        Address { host: "93.184.216.34".parse().map(Host::Ipv4).expect("an IPv4"), port: 0 };
    let mut config = config(|policy| {
        policy.target_connect_count = 8;
        // No ration: what holds is the rule for ports alone.
        policy.addr_burst = 1_000_000;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(1)]))];
    script.others = Node::Refusing;
    script.nodes.insert(nth(1), Node::Alive);
    script.run_secs(1);
    let ports: Vec<u16> = (0..10_000).map(|n| if n < 5000 { n } else { n + 5000 }).collect();
    for _ in 0..6 {
        for ports in ports.chunks(1000) {
            let entry = |&port: &u16| script.seen(Address { port, ..victim }, Duration::ZERO);
            let entries = ports.iter().map(entry).collect();
            script.gossip_from(nth(1), entries);
            assert!(script.engine.book().len() <= 1 + 5, "four ports and the chain's own");
        }
        script.run_secs(10 * MINUTE);
    }
    let dialled: Vec<u16> = (script.dials.iter())
        .filter(|(_, to)| to.host == victim.host)
        .map(|(_, to)| to.port)
        .collect();
    assert!(!dialled.is_empty() && dialled.len() <= 5, "{dialled:?} in an hour");
    let bad = [0, 21, 22, 23, 25, 53, 80, 110, 143, 443, 465, 587, 993, 995];
    for port in bad {
        let heard = script.seen(Address { port, ..nth(7) }, Duration::ZERO);
        let before = script.dials.len();
        script.gossip_from(nth(1), vec![heard]);
        script.run_secs(1);
        assert_eq!(script.dials.len() - before, usize::from(port == 80 || port == 443), "{port}");
    }
}

#[test]
fn offenders_by_the_hundred_thousand_leave_the_table_of_burned_as_large_as_it_may_be() {
    let policy = Policy { required_services: SERVICES, ..Policy::bare() };
    let mut rng = Rng::from_u64(1);
    let mut book = Book::new(&policy, 8333, &[Net::Ipv4], &mut rng);
    let mut now = Now { mono: Monotonic::default(), unix: UnixTime(START) };
    let offender = |n: u32| {
        let ip = 0x0b00_0000 + n;
        Address { host: Host::Ipv4(ip.into()), port: 8333 }
    };
    for n in 0..200_000 {
        now.mono = now.mono + Duration::from_millis(1);
        let heard = book.hear(now, offender(n), SERVICES, now.unix, Source::Seed(0), &mut rng);
        assert_eq!(heard, Heard::New);
        book.burn(now, offender(n), BurnReason::Refused);
        let burned = book.known().burned;
        assert_eq!((burned, book.len()), (policy.max_burned.min(n as usize + 1), 0));
    }
    let forgotten = 200_000 - policy.max_burned as u32;
    assert!(!book.is_burned(&offender(forgotten - 1)) && book.is_burned(&offender(forgotten)));
    book.check(now).expect("the book's invariants");
}

/// Time until so many are ready. More than ten minutes of it is a pool that does not recover.
fn time_until_ready(script: &mut Script, count: usize) -> Duration {
    let start = script.now.mono;
    while script.ready().len() < count {
        let passed = script.now.mono.since(start);
        assert!(
            passed <= Duration::from_secs(10 * MINUTE),
            "{} of {count} ready {passed:?} later: {:?}",
            script.ready().len(),
            script.status()
        );
        script.run(Duration::from_millis(100));
    }
    script.now.mono.since(start)
}

/// Longest time from the return of `back` of the five peers to the first that is ready again, over
/// 40 seeds, after an hour in which every dial was refused.
fn recovery(back: usize) -> Duration {
    let all: Vec<_> = (0..5).map(nth).collect();
    let one = |seed| {
        let mut script = full(5, &all, seed);
        script.others = Node::Refusing;
        for address in script.ready() {
            script.drop_peer(address);
        }
        script.run_secs(HOUR);
        assert!(script.status().offline && script.ready().is_empty());
        script.nodes.extend(all[..back].iter().map(|&address| (address, Node::Alive)));
        time_until_ready(&mut script, 1)
    };
    (0..40).map(one).max().expect("40 seeds")
}

#[test]
fn after_an_hour_of_refusals_one_that_returns_is_found() {
    let one = recovery(1);
    println!("one of five back: {one:?}, all back: {:?}", recovery(5));
    assert!(one <= Duration::from_secs(60), "{one:?}");
}

#[test]
fn an_outage_of_an_hour_is_neither_a_storm_nor_slow_to_end() {
    let all: Vec<_> = (0..200).map(nth).collect();
    for seed in 0..10 {
        let mut script = full(8, &all, seed);
        let before = script.dials.len();
        script.others = Node::Silent;
        script.answers_pings = false;
        script.run_secs(HOUR);
        assert!(script.ready().is_empty() && script.status().offline);
        let outage = script.dials[before..].to_vec();
        assert!(outage.len() <= HOUR as usize, "{} dials in an hour", outage.len());
        let mut each: BTreeMap<Address, usize> = BTreeMap::new();
        for (_, address) in &outage {
            *each.entry(*address).or_default() += 1;
        }
        let most = each.values().max().copied().unwrap_or(0);
        let mut busiest: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, _) in &outage {
            *busiest.entry(at.as_secs()).or_default() += 1;
        }
        let busiest = busiest.values().max().copied().unwrap_or(0);
        script.others = Node::Alive;
        script.answers_pings = true;
        let took = time_until_ready(&mut script, 8);
        println!(
            "seed {seed}: {} dials, {most} to one address, {busiest} in one second; full {took:?} \
             after the link was up",
            outage.len()
        );
        assert!(most <= 10, "{most} dials to one address");
        assert!(took <= Duration::from_secs(30), "{took:?}");
    }
}
