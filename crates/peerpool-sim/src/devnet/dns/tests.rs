//! The seed, asked in datagrams.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use hickory_proto::rr::Name;

use super::*;

fn ips(third: u8, count: u8) -> Vec<Ipv4Addr> {
    (1..=count).map(|last| Ipv4Addr::new(127, 1, third, last)).collect()
}

fn seed(share: Option<f64>) -> Seed {
    let zone = Zone {
        living: ips(1, 60),
        dead: ips(2, 180),
        hostile: ips(1, 40),
        share,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        filter_names: true,
    };
    let rng = Rng::from_u64(3);
    let state = State { mode: DnsMode::Answer, queries: BTreeMap::new(), rng };
    Seed { zone, state: Mutex::new(state) }
}

fn query(name: &str, record: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_str(name).unwrap(), record));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn ask(seed: &Seed, name: &str, record: RecordType) -> (ResponseCode, usize) {
    let answer = seed.answer(&query(name, record, None)).unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    (answer.metadata.response_code, answer.answers.len())
}

fn addresses(seed: &Seed) -> Vec<Ipv4Addr> {
    let answer = seed.answer(&query("seed.devnet.", RecordType::A, None)).unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    let record = |record: &Record| match &record.data {
        RData::A(A(ip)) => *ip,
        other => panic!("{other:?}"),
    };
    answer.answers.iter().map(record).collect()
}

#[test]
fn an_answer_fills_its_datagram_and_no_more() {
    let seed = seed(None);
    for name in ["seed.devnet.", "x9.seed.devnet.", "x0000000000000009.seed.devnet."] {
        for payload in [None, Some(100), Some(512), Some(1232), Some(u16::MAX)] {
            let asked = query(name, RecordType::A, payload);
            let bytes = seed.answer(&asked).unwrap();
            let answer = Message::from_vec(&bytes).unwrap();
            let room = usize::from(payload.unwrap_or(512).clamp(512, DATAGRAM_MAX_BYTES));
            assert!(bytes.len() <= room, "{name} {payload:?}: {} bytes", bytes.len());
            assert!(bytes.len() + 2 * RECORD_BYTES > room, "{name} {payload:?}: {}", bytes.len());
            assert_eq!(answer.metadata.id, Message::from_vec(&asked).unwrap().metadata.id);
            assert_eq!(answer.queries[0].name().to_ascii(), name);
        }
    }
}

#[test]
fn answers_are_samples_without_repetition() {
    let seed = seed(None);
    let (first, second) = (addresses(&seed), addresses(&seed));
    assert_eq!(first.len(), first.iter().collect::<BTreeSet<_>>().len());
    assert_ne!(first, second);
}

#[test]
fn the_share_of_living_nodes_is_kept() {
    let living = |share, rounds: usize| {
        let seed = seed(share);
        let all: Vec<_> = (0..rounds).flat_map(|_| addresses(&seed)).collect();
        let living = all.iter().filter(|ip| ip.octets()[2] == 1).count();
        (living as f64 / all.len() as f64 * 100.0).round()
    };
    assert_eq!(living(Some(1.0), 1), 100.0);
    assert_eq!(living(Some(0.0), 1), 0.0);
    let within = |share, expected: f64| (living(share, 400) - expected).abs() <= 1.0;
    assert!(within(Some(0.3), 30.0) && within(Some(0.05), 5.0) && within(None, 25.0));
}

#[test]
fn only_the_zone_exists() {
    let mut seed = seed(None);
    let (ok, nx) = (ResponseCode::NoError, ResponseCode::NXDomain);
    assert_eq!(ask(&seed, "SEED.DevNet.", RecordType::A).0, ok);
    assert_eq!(ask(&seed, "seed.devnet.", RecordType::AAAA), (ok, 0));
    assert_eq!(ask(&seed, "x9.seed.devnet.", RecordType::AAAA), (ok, 0));
    assert_eq!(ask(&seed, "x49.seed.devnet.", RecordType::A), (ok, 0), "services not offered");
    for name in ["devnet.", "y9.seed.devnet.", "x.seed.devnet.", "xg.seed.devnet.", "a.example."] {
        assert_eq!(ask(&seed, name, RecordType::A), (nx, 0), "{name}");
    }
    seed.zone.filter_names = false;
    assert_eq!(ask(&seed, "x9.seed.devnet.", RecordType::A), (nx, 0));
    let counts = seed.state().queries.clone();
    assert_eq!(counts["seed.devnet"], Queries { a: 1, aaaa: 1, other: 0 });
    assert_eq!(counts["x9.seed.devnet"], Queries { a: 1, aaaa: 1, other: 0 });
}

#[test]
fn it_can_fail_and_be_silent() {
    let seed = seed(None);
    seed.state().mode = DnsMode::ServFail;
    assert_eq!(ask(&seed, "seed.devnet.", RecordType::A), (ResponseCode::ServFail, 0));
    seed.state().mode = DnsMode::Silent;
    assert_eq!(seed.answer(&query("seed.devnet.", RecordType::A, None)), None);
    assert_eq!(seed.state().queries["seed.devnet"].a, 2);
}

#[test]
fn a_poisoned_seed_names_the_attackers_nodes_and_nobodys() {
    let seed = seed(None);
    seed.state().mode = DnsMode::Poisoned;
    let named = addresses(&seed);
    assert_eq!(named.len(), 29);
    let (nodes, others): (Vec<_>, Vec<Ipv4Addr>) =
        named.iter().partition(|ip| seed.zone.living.contains(ip));
    assert!(nodes.iter().all(|ip| seed.zone.hostile.contains(ip)), "{nodes:?}");
    assert_eq!(others.len(), 3, "loopback, multicast, unspecified");
    assert!(others.iter().all(|ip| ip.is_loopback() || ip.is_multicast() || ip.is_unspecified()));
    assert_eq!(ask(&seed, "devnet.", RecordType::A), (ResponseCode::NXDomain, 0));
}

#[test]
fn what_is_no_query_is_not_answered() {
    let seed = seed(None);
    let answer = seed.answer(&query("seed.devnet.", RecordType::A, None)).unwrap();
    assert_eq!(seed.answer(&answer), None);
    let mut damaged = query("seed.devnet.", RecordType::A, Some(4096));
    for length in 0..damaged.len() {
        assert_eq!(seed.answer(&damaged[..length]), None, "{length} bytes");
    }
    for at in 0..damaged.len() {
        damaged[at] ^= 0xff;
        let _ = seed.answer(&damaged); // must not panic
        damaged[at] ^= 0xff;
    }
}
