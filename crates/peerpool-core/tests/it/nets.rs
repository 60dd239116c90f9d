//! Networks: which ones automatic dials use, and that none is left without a peer.

use std::time::Duration;

use peerpool_core::address::{Address, Net};
use peerpool_core::book::Source;

use crate::script::{Script, address, config, ips, nth};

/// The `n`th address of IPv6, each in a netgroup of its own.
fn sixth(n: u32) -> Address {
    address(&format!("[2a01:{:x}::1]:8333", 1 + n))
}

#[test]
fn only_networks_that_the_user_named_are_dialled_and_kept() {
    for (net, near, far) in [
        (Net::Ipv4, nth as fn(u32) -> Address, sixth as fn(u32) -> Address),
        (Net::Ipv6, sixth, nth),
    ] {
        let mut config = config(|policy| policy.target_connect_count = 4);
        config.seeds = vec!["seed.test".to_owned()];
        config.only_nets = vec![net, net];
        // The user's own choice is not second-guessed.
        config.manual = vec![far(100)];
        let mut script = Script::new(config);
        script.seeds = vec![Ok(ips(&[far(1), near(1), far(2)]))];
        script.gossip = [far(3), near(2), near(3), far(4), near(4)]
            .map(|at| script.seen(at, Duration::ZERO))
            .into();
        script.run_secs(60);
        let ready = script.ready();
        assert_eq!(ready.len(), 4, "{net:?}");
        assert!(ready.contains(&far(100)));
        assert!(ready.iter().all(|at| at.net() == net || *at == far(100)), "{ready:?}");
        let book = script.engine.book();
        assert!((1..=4).all(|n| book.source(&far(n)).is_none()));
        assert_eq!(book.source(&near(1)), Some(Source::Seed(0)), "seeds are asked all the same");
    }
}

#[test]
fn a_network_that_cannot_be_dialled_is_refused_by_name() {
    let mut config = config(|_| ());
    config.only_nets = vec![Net::Ipv6, Net::Cjdns];
    let rng = peerpool_core::rng::Rng::from_u64(1);
    let error = peerpool_core::engine::Engine::new(config, rng).expect_err("no way to dial it");
    assert_eq!(
        error.to_string(),
        "onlynet = \"cjdns\" is not allowed; allowed: a list of ipv4, ipv6"
    );
}
