//! Bans as Core's tests have them, and against a scan of all bans.

use proptest::prelude::*;

use super::*;
use crate::address::Address;

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

fn host(text: &str) -> Host {
    Address::parse(text, 1).expect("an address").host
}

fn at(secs: u64) -> UnixTime {
    UnixTime(1_000 + secs)
}

// Cases of Core's rpc_setban, p2p_disconnect_ban and banman_tests.

#[test]
fn a_subnet_that_is_covered_is_banned_already() {
    let mut banned = Banned::new(10);
    let ban = banned.ban(at(0), subnet("127.0.0.0/24"), at(100)).expect("room");
    for covered in ["127.0.0.1", "127.0.0.0/24", "127.0.0.0/32", "127.0.0.128/25"] {
        let subnet = subnet(covered);
        let error = banned.ban(at(1), subnet, at(500)).expect_err("it is covered");
        assert_eq!(error, BanError::AlreadyBanned { subnet, by: ban });
        assert!(error.to_string().contains("already banned"), "{error}");
    }
    // Not what is wider, nor what is beside it.
    banned.ban(at(1), subnet("127.0.0.0/16"), at(500)).expect("it is wider");
    banned.ban(at(1), subnet("127.1.0.1"), at(500)).expect("it is beside it");
    assert_eq!(banned.len(), 3);
    // Once the ban of the whole is over, so is the cover.
    assert_eq!(banned.expire(at(100)), [ban]);
    assert!(banned.contains(&host("127.0.0.1")), "the /16 still holds");
}

#[test]
fn a_time_that_is_past_is_refused_and_one_without_end_is_bounded() {
    let mut banned = Banned::new(10);
    let error = banned.ban(at(5), subnet("1.2.3.4"), at(5)).expect_err("it would be over");
    assert_eq!(error.to_string(), "a ban until unix time 1005 would be over; now it is 1005");
    assert!(banned.is_empty());
    let ban = banned.ban(at(5), subnet("1.2.3.4"), UnixTime(u64::MAX)).expect("room");
    assert_eq!((ban.since, ban.until), (at(5), Ban::FOREVER));
    assert_eq!(banned.expire(UnixTime(200_000_000_000)), []);
}

#[test]
fn only_what_was_banned_is_unbanned() {
    let mut banned = Banned::new(10);
    let error = banned.unban(&subnet("1.2.3.4")).expect_err("nobody is banned");
    assert_eq!(error.to_string(), "1.2.3.4 is not banned");
    let ban = banned.ban(at(0), subnet("1.2.3.0/24"), at(9)).expect("room");
    let error = banned.unban(&subnet("1.2.3.4")).expect_err("its subnet is");
    assert_eq!(
        error.to_string(),
        "1.2.3.4 is not banned by itself; the ban of 1.2.3.0/24 covers it"
    );
    assert_eq!(banned.unban(&subnet("1.2.3.9/24")), Ok(ban));
    assert!(banned.is_empty() && !banned.contains(&host("1.2.3.4")));
    banned.check_table().expect("the table is sound");
}

#[test]
fn an_unroutable_onion_can_be_banned() {
    let name = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
    let mut banned = Banned::new(10);
    banned.ban(at(0), subnet(name), at(9)).expect("room");
    assert!(banned.contains(&host(name)));
    assert_eq!(banned.entries().map(|ban| ban.subnet.to_string()).collect::<Vec<_>>(), [name]);
    banned.unban(&subnet(name)).expect("it is banned");
    assert!(banned.is_empty());
}

#[test]
fn what_is_left_of_a_ban_survives_a_restart() {
    let mut banned = Banned::new(10);
    for (text, secs) in [("1.2.3.0/24", 100), ("2a01::/32", 10), ("5.6.7.8", 1000)] {
        banned.ban(at(0), subnet(text), at(secs)).expect("room");
    }
    let mut restored = Banned::new(10);
    let saved: Vec<Ban> = banned.entries().collect();
    let kept = saved.iter().filter(|ban| restored.restore(at(50), **ban)).count();
    assert_eq!(kept, 2, "one is over");
    let entries: Vec<Ban> = restored.entries().collect();
    assert_eq!(entries, saved.into_iter().filter(|ban| ban.until > at(50)).collect::<Vec<_>>());
    assert_eq!(restored.first_end(), Some(at(100)));
    assert!(!restored.restore(at(50), entries[0]), "it is there already");
}

#[test]
fn the_table_is_bounded() {
    let mut banned = Banned::new(2);
    let nth = |n: u8| subnet(&format!("1.2.3.{n}"));
    for n in 0..2 {
        banned.ban(at(0), nth(n), at(10)).expect("room");
    }
    let error = banned.ban(at(0), nth(2), at(10)).expect_err("no room");
    assert_eq!(error, BanError::Full { max_bans: 2 });
    assert_eq!(banned.expire(at(10)).len(), 2);
    banned.ban(at(10), nth(2), at(20)).expect("room");
    // One that is over, and was not ended yet, makes way for itself.
    banned.ban(at(30), nth(2), at(40)).expect("it was over");
    banned.check_table().expect("the table is sound");
    assert_eq!(banned.len(), 1);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Ban(Subnet, u64),
    Unban(usize),
    Wait(u64),
}

/// Hosts of few bits that differ, so that they meet.
fn hosts() -> impl Strategy<Value = Host> {
    let spread = |bits: u32| ((bits & 3) << 30) | ((bits & 0xc) << 14) | (bits >> 4);
    prop_oneof![
        (0u32..256).prop_map(move |bits| Host::Ipv4(spread(bits).into())),
        (0u32..256).prop_map(move |bits| {
            let wide = (u128::from(spread(bits)) << 93) | u128::from(bits & 1);
            Host::Ipv6(wide.into())
        }),
        (0u128..4).prop_map(|n| Host::Ipv6(((0xfcu128 << 120) | n).into())),
        (0u128..4).prop_map(|n| Host::Cjdns(((0xfcu128 << 120) | n).into())),
        (0u8..4).prop_map(|n| Host::Onion([n; 32])),
        (0u8..4).prop_map(|n| Host::I2p([n; 32])),
    ]
}

fn subnets() -> impl Strategy<Value = Subnet> {
    let prefix = prop_oneof![Just(0u8), Just(2), Just(16), Just(32), 0u8..=128];
    (hosts(), prefix).prop_map(|(host, prefix)| {
        Subnet::new(host, prefix.min(32)).unwrap_or_else(|_| Subnet::of(host))
    })
}

/// Whether the hosts share their first bits, bit by bit.
fn naive(subnet: &Subnet, host: &Host) -> bool {
    let bits = |host: &Host| match host {
        Host::Ipv4(ip) => (4, ip.octets().to_vec()),
        Host::Ipv6(ip) if ip.octets()[0] == 0xfc => (8, ip.octets().to_vec()),
        Host::Ipv6(ip) => (6, ip.octets().to_vec()),
        Host::Cjdns(ip) => (8, ip.octets().to_vec()),
        Host::Onion(key) => (9, key.to_vec()),
        Host::I2p(key) => (10, key.to_vec()),
    };
    let ((kind, ours), (other, theirs)) = (bits(&subnet.host()), bits(host));
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    let count = if kind > 8 { 256 } else { usize::from(subnet.prefix()) };
    kind == other && (0..count).all(|at| bit(&ours, at) == bit(&theirs, at))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn hosts_are_banned_as_a_scan_of_all_bans_would_have_it(
        ops in prop::collection::vec(prop_oneof![
            4 => (subnets(), 1u64..50).prop_map(|(subnet, secs)| Op::Ban(subnet, secs)),
            1 => (0usize..10).prop_map(Op::Unban),
            2 => (0u64..20).prop_map(Op::Wait),
        ], 1..40),
        probes in prop::collection::vec(hosts(), 1..10),
    ) {
        let mut banned = Banned::new(12);
        let mut model: Vec<Ban> = Vec::new();
        let mut now = at(0);
        for op in ops {
            match op {
                Op::Ban(subnet, secs) => {
                    let until = UnixTime(now.0 + secs);
                    let covered = model.iter().any(|ban| {
                        ban.subnet.prefix() <= subnet.prefix() && naive(&ban.subnet, &subnet.host())
                    });
                    let fits = !covered && model.len() < 12;
                    let done = banned.ban(now, subnet, until);
                    prop_assert_eq!(done.is_ok(), fits, "{:?}", done);
                    model.extend(done.ok());
                }
                Op::Unban(nth) if nth < model.len() => {
                    let ban = model.swap_remove(nth);
                    prop_assert_eq!(banned.unban(&ban.subnet), Ok(ban));
                }
                Op::Unban(_) => {}
                Op::Wait(secs) => {
                    now = UnixTime(now.0 + secs);
                    let over = banned.expire(now).len();
                    let before = model.len();
                    model.retain(|ban| ban.until > now);
                    prop_assert_eq!(over, before - model.len());
                }
            }
            banned.check_table().expect("the table is sound");
            prop_assert_eq!(banned.len(), model.len());
            for probe in &probes {
                let expected = model.iter().any(|ban| naive(&ban.subnet, probe));
                prop_assert_eq!(banned.contains(probe), expected, "{}", probe);
            }
        }
        let mut restored = Banned::new(12);
        let saved: Vec<Ban> = banned.entries().collect();
        prop_assert!(saved.iter().all(|ban| restored.restore(now, *ban)));
        prop_assert!(restored.entries().eq(saved));
    }
}
