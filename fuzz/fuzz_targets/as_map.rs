//! No bytes panic the reading of an AS map, and no look-up runs off the end of one that was taken.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use peerpool_core::netgroup::AsMap;

fuzz_target!(|data: &[u8]| {
    let Some((addresses, bytes)) = data.split_first_chunk::<64>() else { return };
    let Ok(map) = AsMap::from_bytes(bytes.to_vec()) else { return };
    assert_eq!(map.as_bytes(), bytes);
    for address in addresses.as_chunks::<16>().0 {
        let wide = Ipv6Addr::from(*address);
        let four = Ipv4Addr::from(wide.to_bits() as u32);
        for ip in [IpAddr::V6(wide), IpAddr::V4(four)] {
            let asn = map.asn(&ip.into());
            assert!(asn.is_none_or(|asn| (1..1 << 25).contains(&asn)));
        }
    }
});
