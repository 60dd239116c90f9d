//! What the process does not allow is said at the start.

use peerpool::bitcoin::Network;
use peerpool::{Net, Policy, Pool, StartError};

use crate::alone::is_alone_with_files;
use crate::cores_as_map::CORES;

#[tokio::test]
async fn too_few_open_files_are_refused_by_name() {
    if !is_alone_with_files("limits::too_few_open_files_are_refused_by_name", 64) {
        return;
    }
    let error = Pool::builder(Network::Regtest).start().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StartError::OpenFiles { limit: 64, .. }), "{text}");
    assert!(text.contains("target_connect_count = 8") && text.contains("limited to 64"));
}

#[tokio::test]
async fn files_are_needed_for_whatever_is_dialled_beside_the_target() {
    if !is_alone_with_files(
        "limits::files_are_needed_for_whatever_is_dialled_beside_the_target",
        150,
    ) {
        return;
    }
    let of = |block_relay_count| {
        let counts = Policy {
            target_connect_count: 20,
            max_dials: 20,
            max_addr_fetch: 0,
            block_relay_count,
            ..Policy::default()
        };
        Pool::builder(Network::Regtest).no_dns().policy(counts)
    };
    drop(of(62).start().await.unwrap());
    let error = of(69).start().await.unwrap_err();
    // With 8 private ones, a feeler, a newcomer, and 32 that are nobody's connection.
    assert!(matches!(error, StartError::OpenFiles { needed: 151, .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_number_is_refused_by_name() {
    let error = Pool::builder(Network::Regtest).target(0).start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "target_connect_count = \"0\" is not allowed; allowed: a whole number from 1 to 1000"
    );
    let onion = Pool::builder(Network::Regtest).onlynet([Net::Ipv4, Net::Onion]).start().await;
    assert_eq!(
        onion.unwrap_err().to_string(),
        "onlynet = \"onion\" is not allowed; allowed: a list of ipv4, ipv6"
    );
    let long = Pool::builder(Network::Regtest).user_agent("x".repeat(257)).start().await;
    assert!(matches!(long.unwrap_err(), StartError::UserAgent { length: 257 }));
}

#[tokio::test]
async fn a_data_directory_is_made_or_its_failure_told() {
    let base = std::env::temp_dir().join(format!("peerpool-data-{}", std::process::id()));
    let builder = || Pool::builder(Network::Regtest).no_dns();
    let pool = builder().data_dir(base.join("deep/inside")).start().await.unwrap();
    assert!(base.join("deep/inside").is_dir());
    drop(pool);
    std::fs::write(base.join("file"), "").unwrap();
    let error = builder().data_dir(base.join("file/inside")).start().await.unwrap_err();
    assert!(error.to_string().contains("file/inside"), "{error}");
    std::fs::remove_dir_all(base).unwrap();
}

/// The cases of Core's feature_asmap.
#[tokio::test]
async fn an_as_map_is_read_or_its_failure_told() {
    let base = std::env::temp_dir().join(format!("peerpool-asmap-{}", std::process::id()));
    std::fs::create_dir_all(base.join("data")).unwrap();
    std::fs::write(base.join("data/ip_asn.map"), CORES).unwrap();
    let builder = || Pool::builder(Network::Regtest).no_dns();
    // Absolute, and relative to the data directory or to where we are.
    drop(builder().asmap(base.join("data/ip_asn.map")).start().await.unwrap());
    let elsewhere = builder().data_dir(base.join("other")).asmap(base.join("data/ip_asn.map"));
    drop(elsewhere.start().await.unwrap());
    drop(builder().data_dir(base.join("data")).asmap("ip_asn.map").start().await.unwrap());
    drop(builder().asmap_bytes(CORES).start().await.unwrap());
    let here = builder().asmap("no/such/ip_asn.map").start().await.unwrap_err().to_string();
    assert!(here.starts_with("the AS map no/such/ip_asn.map could not be read: "), "{here}");

    std::fs::write(base.join("data/empty"), []).unwrap();
    std::fs::write(base.join("data/short"), &CORES[..58]).unwrap();
    for (name, expected) in [
        ("missing", "could not be read: "),
        (".", "could not be read: it is not a file"),
        ("empty", "cannot be used: it is empty"),
        ("short", "cannot be used: its 464 bits are no map in the format of Bitcoin Core's -asmap"),
    ] {
        let error = builder().data_dir(base.join("data")).asmap(name).start().await.unwrap_err();
        let path = base.join("data").join(name);
        let text = error.to_string();
        assert!(text.starts_with(&format!("the AS map {} {expected}", path.display())), "{text}");
    }
    let error = builder().asmap_bytes([]).start().await.unwrap_err();
    assert_eq!(error.to_string(), "the AS map cannot be used: it is empty");
    std::fs::remove_dir_all(base).unwrap();
}
