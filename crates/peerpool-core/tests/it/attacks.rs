//! Attacks that are named in the literature, as far as they are a peer's, a seed's or a clock's:
//! closers, poisoned seeds, fingerprints, wrong times.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::book::Source;
use peerpool_core::event::Event;
use peerpool_core::id::PeerState;
use peerpool_core::time::UnixTime;
use peerpool_core::wire::AddrEntry;

use crate::script::{Node, SERVICES, START, Script, config, ips, nth};

const HOUR: u64 = 3600;
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

/// A pool with so many DNS seeds.
fn with_seeds(seeds: Vec<Result<Vec<IpAddr>, String>>) -> Script {
    let mut config = config(|_| ());
    config.seeds = (0..seeds.len()).map(|n| format!("seed{n}.test")).collect();
    let mut script = Script::new(config);
    script.seeds = seeds;
    script
}

/// `SyncAttack`: the slots of most honest nodes are taken, so they close whoever comes.
#[test]
fn a_pool_fills_though_seven_in_ten_listeners_close_at_once_and_bothers_none_twice() {
    for seed in 0..10 {
        let mut config = config(|_| ());
        config.seeds = (0..3).map(|n| format!("seed{n}.test")).collect();
        let mut script = Script::with_seed(config, seed);
        let all: Vec<_> = (0..96).map(nth).collect();
        script.seeds = all.chunks(32).map(|chunk| Ok(ips(chunk))).collect();
        let closes = |n: usize| n % 10 < 7;
        let closers = all.iter().enumerate().filter(|(n, _)| closes(*n));
        let closers: Vec<Address> = closers.map(|(_, address)| *address).collect();
        script.nodes.extend(closers.iter().map(|address| (*address, Node::Rude)));
        script.run_secs(120);
        assert_eq!(script.ready().len(), 8, "seed {seed}");
        // Peers are lost, so that it goes on looking, and the seeds name the closers again.
        for _ in 0..12 {
            script.drop_peer(script.ready()[0]);
            script.run_secs(60);
        }
        for address in &closers {
            // A dial that is given up unanswered, because the pool is full, has told nothing.
            let given_up = |event: &&Event| match event {
                Event::Disconnected { address: of, state, .. } => {
                    of == address && *state == PeerState::Connecting
                }
                _ => false,
            };
            let given_up = script.events.iter().filter(given_up).count();
            let dials = script.dialled(*address).len();
            assert!(dials <= 1 + given_up, "seed {seed}: {address} closed, and dialled again");
        }
    }
}

#[test]
fn a_poisoned_seed_gives_32_addresses_at_most_and_none_that_is_unroutable() {
    let bad = ["127.0.0.1", "10.0.0.1", "192.168.7.7", "224.0.0.1", "0.0.0.0", "255.255.255.255"];
    let good = (0..5_000).map(|n| nth(n).host.ip().expect("an IP address"));
    let bad = bad.iter().cycle().map(|text| text.parse().expect("an IP address"));
    let poison: Vec<IpAddr> = good.zip(bad).flat_map(|(good, bad)| [good, bad]).collect();
    assert_eq!(poison.len(), 10_000);
    let mut script = with_seeds(vec![Ok(poison)]);
    script.others = Node::Silent;
    script.run_secs(HOUR);
    let kept: usize = (script.events.iter())
        .map(|event| if let Event::SeedAnswered { kept, .. } = event { *kept } else { 0 })
        .max()
        .expect("the seed answers");
    assert!((1..=32).contains(&kept), "{kept} kept");
    assert!(script.dials.len() >= kept);
    assert!(script.dials.iter().all(|(_, address)| address.host.is_routable()));
}

#[test]
fn a_hostile_seed_has_32_addresses_in_the_book_beside_all_that_others_give() {
    let honest = |from| Ok(ips(&(from..from + 25).map(nth).collect::<Vec<_>>()));
    let hostile: Vec<_> = (10_000..20_000).map(nth).collect();
    let mut script = with_seeds(vec![honest(0), Ok(ips(&hostile)), honest(100)]);
    script.others = Node::Silent;
    script.run(Duration::from_millis(10));
    let book = script.engine.book();
    let its = hostile.iter().filter(|address| book.source(address) == Some(Source::Seed(1)));
    // One or the other finds its place taken.
    let (its, all) = (its.count(), book.len());
    assert!((30..=32).contains(&its) && (78..=32 + 25 + 25).contains(&all), "{its} of {all}");
}

#[test]
fn a_pool_whose_seeds_all_fail_says_that_it_starves() {
    for error in ["no such name", "timed out", "server failure"] {
        let mut script = with_seeds(vec![Err(error.to_owned()); 3]);
        script.run_secs(70);
        assert!(script.status().starved, "{error}");
        let told = |wanted: &dyn Fn(&Event) -> bool| {
            script.events.iter().filter(|event| wanted(event)).count()
        };
        assert_eq!(told(&|event| matches!(event, Event::Starved { .. })), 1, "{error}");
        let failed =
            |event: &Event| matches!(event, Event::SeedFailed { error: e, .. } if e == error);
        assert_eq!(told(&failed), 2 * 3, "asked at the start and after a minute");
        script.seeds[2] = Ok(ips(&(0..9).map(nth).collect::<Vec<_>>()));
        script.run_secs(600);
        assert_eq!(script.ready().len(), 8, "{error}");
    }
}

#[test]
fn a_thousand_versions_of_ours_say_nothing_of_where_we_are() {
    let mut config = config(|policy| {
        policy.target_connect_count = 1000;
        policy.max_seed_addresses = 1000;
    });
    // Many seeds, since one has few places in the book.
    let of = |seed: u32| Ok(ips(&(25 * seed..25 * seed + 25).map(nth).collect::<Vec<_>>()));
    config.seeds = (0..41).map(|seed| format!("seed{seed}.test")).collect();
    let mut script = Script::new(config);
    let own = [99, 88, 77, 66];
    script.local = Some(own.into());
    script.seeds = (0..41).map(of).collect();
    script.run_secs(60);
    assert_eq!(script.greetings.len(), 1000);
    let nonces: BTreeSet<u64> = script.greetings.iter().map(|version| version.nonce).collect();
    assert_eq!(nonces.len(), 1000, "a nonce is used once");
    let own_v6 = Host::from(IpAddr::from(own));
    assert!(script.dials.iter().all(|(_, address)| address.host != own_v6));
    for (version, (_, address)) in script.greetings.iter().zip(&script.dials) {
        let payload = version.encode(Some(*address));
        assert_eq!(payload[46..72], [0; 26], "addr_from");
        assert!(!payload.windows(4).any(|window| window == own));
        assert!(version.services.to_u64() == 0 && version.height == 0);
        assert!(version.timestamp.abs_diff(START as i64) <= 60, "our own clock's");
    }
}

#[test]
fn what_peers_take_the_time_to_be_moves_nothing() {
    let run = |their_time| {
        let all: Vec<_> = (0..12).map(nth).collect();
        let mut script = Script::seeded(4, &all);
        script.their_time = their_time;
        script.nodes.extend([(nth(3), Node::Silent), (nth(4), Node::Mute), (nth(5), Node::Rude)]);
        let time = UnixTime(START - 60);
        let entry = |n| AddrEntry { time, services: SERVICES, address: nth(n) };
        script.gossip = (20..40).map(entry).collect();
        script.run_secs(HOUR);
        script.drop_peer(script.ready()[0]);
        script.run_secs(4 * HOUR);
        assert_eq!(script.ready().len(), 4);
        let status = format!("{:?}", script.status());
        (script.log(), script.dials.clone(), status)
    };
    let expected = run(START as i64);
    for time in [0, i64::MIN, i64::MAX, -1, START as i64 - YEAR, START as i64 + YEAR] {
        assert!(run(time) == expected, "{time}");
    }
}

#[test]
fn a_jump_of_our_own_clock_costs_no_peer() {
    for jumps in [[-DAY, 0], [YEAR, 0], [DAY / 24, -YEAR], [-(START as i64), YEAR]] {
        let all: Vec<_> = (0..32).map(nth).collect();
        let mut script = Script::seeded(8, &all);
        script.run_secs(HOUR);
        let peers = script.ready();
        for jump in jumps {
            script.unix_error = jump;
            script.run_secs(2 * HOUR);
        }
        assert_eq!(script.ready(), peers, "{jumps:?}");
        let lost =
            script.events.iter().filter(|event| event.as_str() == "disconnected").count() as u64;
        assert_eq!(lost, script.status().surplus, "{jumps:?}");
        assert!(script.status().burned.is_empty());
    }
}
