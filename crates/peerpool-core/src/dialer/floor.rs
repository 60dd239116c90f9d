//! That no network is left without a peer: whoever controls one of them, or cuts it off, has not
//! got us. Core makes an extra connection for it (`MaybePickPreferredNetwork`); here the last free
//! slots wait for it, though never for long.

use super::SURE;
use crate::address::Net;

/// One network, as the floor sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The network.
    pub net: Net,
    /// Ready peers on it that count toward the target, and those that attempts will bring, as far
    /// as rates tell.
    pub peers: f64,
    /// Whether it is reachable, as far as is known.
    pub reachable: bool,
    /// Whether it may be dialled, has candidates, and has not failed too often lately.
    pub hopeful: bool,
}

/// The networks that the next dial should go to: those below `floor`, if it takes all of the
/// `missing` slots (those left out that attempts will fill) to bring them up to it. Empty: any
/// will do. Pure.
pub fn below_floor(standings: &[Standing], missing: f64, floor: usize) -> Vec<Net> {
    if standings.iter().filter(|it| it.reachable).count() < 2 {
        return Vec::new();
    }
    let lacks = |it: &Standing| (floor as f64 - it.peers).max(0.0);
    let wanted = standings.iter().filter(|it| it.reachable && it.hopeful);
    let unmet: f64 = wanted.clone().map(lacks).sum();
    if missing > unmet + SURE {
        return Vec::new();
    }
    wanted.filter(|it| lacks(it) > SURE).map(|it| it.net).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(net: Net, peers: f64) -> Standing {
        Standing { net, peers, reachable: true, hopeful: true }
    }

    #[test]
    fn the_last_slots_wait_for_networks_without_a_peer() {
        let both = |v4, v6| [standing(Net::Ipv4, v4), standing(Net::Ipv6, v6)];
        assert_eq!(below_floor(&both(6.0, 0.0), 2.0, 1), [], "there is room for others still");
        assert_eq!(below_floor(&both(7.0, 0.0), 1.0, 1), [Net::Ipv6]);
        assert_eq!(below_floor(&both(6.0, 0.0), 2.0, 2), [Net::Ipv6]);
        assert_eq!(below_floor(&both(6.0, 1.0), 1.0, 1), [], "it has its peer");
        assert_eq!(below_floor(&both(6.0, 0.81), 1.0, 1), [], "it has one as good as ready");
        assert_eq!(below_floor(&both(6.0, 0.5), 0.5, 1), [Net::Ipv6]);
        assert_eq!(below_floor(&both(0.0, 0.0), 1.0, 1), [Net::Ipv4, Net::Ipv6]);
        assert_eq!(below_floor(&both(7.0, 0.0), 1.0, 0), [], "no floor");
    }

    #[test]
    fn no_slot_waits_for_a_network_without_hope_or_for_the_only_one() {
        let mut both = [standing(Net::Ipv4, 7.0), standing(Net::Ipv6, 0.0)];
        both[1].hopeful = false;
        assert_eq!(below_floor(&both, 1.0, 1), []);
        both[1] = Standing { reachable: false, ..standing(Net::Ipv6, 0.0) };
        assert_eq!(below_floor(&both, 1.0, 1), []);
        both[0].peers = 0.0;
        assert_eq!(below_floor(&both, 1.0, 1), [], "others may turn out to be reachable");
    }

    proptest! {
        #[test]
        fn what_is_preferred_is_below_its_floor_and_the_others_have_the_other_slots(
            networks in prop::array::uniform5((0.0f64..9.0, any::<bool>(), any::<bool>())),
            missing in 0.0f64..9.0, floor in 0usize..4,
        ) {
            let standings: Vec<_> = (Net::ALL.into_iter().zip(networks))
                .map(|(net, (peers, reachable, hopeful))| Standing { net, peers, reachable, hopeful })
                .collect();
            let preferred = below_floor(&standings, missing, floor);
            for it in standings.iter().filter(|it| preferred.contains(&it.net)) {
                prop_assert!(it.reachable && it.hopeful && it.peers < floor as f64);
            }
            if !preferred.is_empty() {
                prop_assert!(standings.iter().filter(|it| it.reachable).count() > 1);
                prop_assert!(missing <= (floor * preferred.len()) as f64 + SURE * 5.0);
            }
        }
    }
}
