//! What a ban is of: one host, or the hosts that share the first bits of an IP address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::address::{Address, Host, Net};

/// One host, or all hosts of IPv4 or IPv6 whose addresses begin alike. As in Core, a name (onion,
/// I2P) or a CJDNS address is banned alone: who makes one makes any number, in no order.
///
/// Hosts are compared as they are: a ban of an IPv4 address does not reach the IPv6 addresses that
/// embed it (6to4, Teredo), as in Core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    host: Host,
    prefix: u8,
}

impl Subnet {
    /// One host.
    pub const fn of(host: Host) -> Self {
        let host = host.canonical();
        Self { host, prefix: whole(&host) }
    }

    /// The hosts whose first `prefix` bits are those of `host`; its other bits play no role.
    ///
    /// # Errors
    /// The prefix is longer than the address, or shorter where only a single host can be banned.
    pub fn new(host: Host, prefix: u8) -> Result<Self, SubnetError> {
        let host = host.canonical();
        let wrong = match host {
            Host::Ipv4(_) if prefix > 32 => Some("a prefix of IPv4 is from 0 to 32"),
            Host::Ipv6(_) if prefix > 128 => Some("a prefix of IPv6 is from 0 to 128"),
            Host::Cjdns(_) if prefix != 128 => Some(CJDNS),
            Host::Onion(_) | Host::I2p(_) if prefix != 128 => Some(NAME),
            _ => None,
        };
        let host = masked(host, prefix);
        // A short prefix of fc00::/7 may end there.
        let wrong = wrong.or((prefix < 128 && host.canonical() != host).then_some(CJDNS));
        match wrong {
            None => Ok(Self { host, prefix }),
            Some(wrong) => Err(SubnetError { text: format!("{host}/{prefix}"), wrong }),
        }
    }

    /// Its first host.
    pub const fn host(&self) -> Host {
        self.host
    }

    /// How many bits its hosts share: from 0 to 32 in IPv4, from 0 to 128 in IPv6, and 128 for
    /// whatever is banned alone.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is one host.
    pub const fn is_single(&self) -> bool {
        self.prefix == whole(&self.host)
    }

    /// Whether `host` is in it.
    pub fn contains(&self, host: &Host) -> bool {
        self.covers(&Self::of(*host))
    }

    /// Whether all hosts of `other` are in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && other.widened(self.prefix) == *self
    }

    /// The subnet of `prefix` bits, no more than its own, that it lies in.
    pub(super) fn widened(&self, prefix: u8) -> Self {
        Self { host: masked(self.host, prefix), prefix }
    }

    /// Every address of its hosts, in the order of addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = RangeInclusive<Address>> {
        let all =
            |first, last| Address { host: first, port: 0 }..=Address { host: last, port: u16::MAX };
        let last = last(self.host, self.prefix);
        // Whoever made the address may have called it IPv6.
        let other = match self.host {
            Host::Cjdns(ip) => Some(all(Host::Ipv6(ip), Host::Ipv6(ip))),
            _ => None,
        };
        [Some(all(self.host, last)), other].into_iter().flatten()
    }
}

impl From<Host> for Subnet {
    fn from(host: Host) -> Self {
        Self::of(host)
    }
}

impl From<Address> for Subnet {
    /// The host of an address, on all its ports.
    fn from(address: Address) -> Self {
        Self::of(address.host)
    }
}

impl From<IpAddr> for Subnet {
    fn from(ip: IpAddr) -> Self {
        Self::of(ip.into())
    }
}

const CJDNS: &str = "of CJDNS (fc00::/8) only single addresses can be banned";
const NAME: &str = "an onion or I2P name is banned alone, without a prefix";

/// The prefix of a single host.
const fn whole(host: &Host) -> u8 {
    match host.net() {
        Net::Ipv4 => 32,
        Net::Ipv6 | Net::Onion | Net::I2p | Net::Cjdns => 128,
    }
}

const fn mask4(prefix: u8) -> u32 {
    match u32::MAX.checked_shl(32u32.saturating_sub(prefix as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

const fn mask6(prefix: u8) -> u128 {
    match u128::MAX.checked_shl(128u32.saturating_sub(prefix as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

fn masked(host: Host, prefix: u8) -> Host {
    match host {
        Host::Ipv4(ip) => Host::Ipv4(Ipv4Addr::from_bits(ip.to_bits() & mask4(prefix))),
        Host::Ipv6(ip) => Host::Ipv6(Ipv6Addr::from_bits(ip.to_bits() & mask6(prefix))),
        host => host,
    }
}

fn last(host: Host, prefix: u8) -> Host {
    match host {
        Host::Ipv4(ip) => Host::Ipv4(Ipv4Addr::from_bits(ip.to_bits() | !mask4(prefix))),
        Host::Ipv6(ip) => Host::Ipv6(Ipv6Addr::from_bits(ip.to_bits() | !mask6(prefix))),
        host => host,
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        if self.is_single() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// Why a text is no subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetError {
    text: String,
    wrong: &'static str,
}

impl fmt::Display for SubnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, wrong } = self;
        write!(
            f,
            "{text:?} cannot be banned: {wrong}; expected IP, IP/PREFIX, IP/NETMASK, NAME.onion or \
             NAME.b32.i2p"
        )
    }
}

impl std::error::Error for SubnetError {}

impl FromStr for Subnet {
    type Err = SubnetError;

    /// Reads `1.2.3.4`, `1.2.3.0/24`, `1.2.3.0/255.255.255.0`, the same of IPv6, and single names.
    /// Bits beyond the prefix are cleared, as in Core.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |wrong| SubnetError { text: text.to_owned(), wrong };
        let Some((host, mask)) = text.split_once('/') else {
            return parse_host(text).map(Self::of).map_err(fail);
        };
        let host = parse_host(host).map_err(fail)?;
        if matches!(host, Host::Onion(_) | Host::I2p(_)) {
            return Err(fail(NAME));
        }
        let prefix = parse_mask(&host, mask).map_err(fail)?;
        Self::new(host, prefix).map_err(|error| fail(error.wrong))
    }
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = IpAddr::from_str(bare) {
        return Ok(ip.into());
    }
    let with_port = |port| Address::parse(text, port);
    match (with_port(0), with_port(1)) {
        (Ok(one), Ok(other)) if one != other => Ok(one.host),
        (Ok(_), Ok(_)) => Err("bans are of hosts, whatever the port"),
        _ => Err("it is neither an IP address nor an onion or I2P name"),
    }
}

fn parse_mask(host: &Host, text: &str) -> Result<u8, &'static str> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too large a number is as wrong as the largest that there is room for.
        return Ok(text.parse().unwrap_or(u8::MAX));
    }
    let (ones, bits) = match (host, IpAddr::from_str(text)) {
        (Host::Ipv4(_), Ok(IpAddr::V4(mask))) => {
            (mask.to_bits().leading_ones(), mask.to_bits().count_ones())
        }
        (Host::Ipv6(_) | Host::Cjdns(_), Ok(IpAddr::V6(mask))) => {
            (mask.to_bits().leading_ones(), mask.to_bits().count_ones())
        }
        (_, Ok(_)) => return Err("the netmask is of another kind than the address"),
        (_, Err(_)) => return Err("what follows the slash is neither a number nor a netmask"),
    };
    if ones == bits {
        Ok(u8::try_from(ones).unwrap_or(u8::MAX))
    } else {
        Err("the ones of a netmask come first, without a gap")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("a subnet")
    }

    fn host(text: &str) -> Host {
        Address::parse(text, 1).expect("an address").host
    }

    const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    // Cases of Core's netbase_tests: subnet_test.

    #[test]
    fn subnets_are_read_and_written() {
        for (text, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4/32", "1.2.3.4"),
            ("1.2.3.0/24", "1.2.3.0/24"),
            ("1.2.3.4/24", "1.2.3.0/24"),
            ("1.2.3.0/255.255.255.0", "1.2.3.0/24"),
            ("1.2.3.4/255.255.255.255", "1.2.3.4"),
            ("1.2.3.4/255.255.248.0", "1.2.0.0/21"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("1.2.3.4/0.0.0.0", "0.0.0.0/0"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("2a01::1", "2a01::1"),
            ("[2a01::1]", "2a01::1"),
            ("2a01:0:0:1::/64", "2a01:0:0:1::/64"),
            ("1:2:3:4:5:6:7:8/ffff:ffff:ffff::", "1:2:3::/48"),
            ("::/0", "::/0"),
            ("fc00:1:2:3:4:5:6:7", "fc00:1:2:3:4:5:6:7"),
            ("fc00::7/128", "fc00::7"),
            (ONION, ONION),
            (
                "c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p",
                "c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p",
            ),
        ] {
            assert_eq!(subnet(text).to_string(), expected, "{text}");
            assert_eq!(subnet(expected), subnet(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_subnet_is_refused_with_what_is_wrong() {
        for (text, wrong) in [
            ("", "neither an IP address nor"),
            ("fuzzy", "neither an IP address nor"),
            ("1.2.3.4/", "neither a number nor a netmask"),
            ("1.2.3.4/-1", "neither a number nor a netmask"),
            ("1.2.3.4/+8", "neither a number nor a netmask"),
            ("1.2.3.4/24 0", "neither a number nor a netmask"),
            ("1.2.3.4/33", "from 0 to 32"),
            ("1.2.3.4/99999999999", "from 0 to 32"),
            ("2a01::/129", "from 0 to 128"),
            ("1.2.3.0/255.0.255.0", "without a gap"),
            ("1.2.3.0/0.0.0.255", "without a gap"),
            ("1.2.3.0/ffff::", "of another kind"),
            ("2a01::/255.0.0.0", "of another kind"),
            ("1.2.3.4:8333", "whatever the port"),
            ("fc00::/8", "only single addresses"),
            ("fd00::/7", "only single addresses"),
            (concat!("abc.onion", "/8"), "neither an IP address nor"),
        ] {
            let error = text.parse::<Subnet>().expect_err("must be refused").to_string();
            assert!(error.contains(wrong) && error.contains(&format!("{text:?}")), "{error}");
        }
        let error = format!("{ONION}/8").parse::<Subnet>().expect_err("a name has no subnets");
        assert!(error.to_string().contains("banned alone"), "{error}");
        assert!(Subnet::new(host(&format!("{ONION}:1")), 4).is_err());
    }

    #[test]
    fn a_subnet_has_its_hosts_and_no_others() {
        for (text, inside, outside) in [
            ("1.2.3.0/24", "1.2.3.255", "1.2.4.0"),
            ("1.2.3.4", "1.2.3.4", "1.2.3.5"),
            ("0.0.0.0/0", "255.255.255.255", "2a01::1"),
            ("2a01:1234::/32", "2a01:1234:ffff::1", "2a01:1235::1"),
            ("::/0", "2a01::1", "1.2.3.4"),
            // CJDNS is a network of its own, and known by its addresses.
            ("fc00::1", "[fc00::1]", "[fc00::2]"),
            ("::/0", "2a01::1", "[fc00::1]"),
            // What embeds an address is not it.
            ("1.2.3.0/24", "::ffff:1.2.3.9", "2002:102:304::1"),
        ] {
            assert!(subnet(text).contains(&host(inside)), "{text}, {inside}");
            assert!(!subnet(text).contains(&host(outside)), "{text}, {outside}");
        }
        let cjdns = Host::Cjdns("fc00::1".parse().expect("an IP address"));
        assert!(subnet("fc00::1").contains(&cjdns));
        assert!(subnet("1.2.0.0/16").covers(&subnet("1.2.3.0/24")));
        assert!(!subnet("1.2.3.0/24").covers(&subnet("1.2.0.0/16")));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_as_it_is_read(text in "[0-9a-f.:/]{0,20}") {
            if let Ok(subnet) = text.parse::<Subnet>() {
                prop_assert_eq!(subnet.to_string().parse::<Subnet>(), Ok(subnet));
            }
        }

        #[test]
        fn addresses_of_a_subnet_are_those_it_contains(
            ip in any::<u32>(), prefix in 0u8..=32, other in any::<u32>(), near in 0u32..=32,
        ) {
            let subnet = Subnet::new(Host::Ipv4(ip.into()), prefix).expect("in bounds");
            // One that often shares the prefix.
            let other = Host::Ipv4((ip ^ other.checked_shr(near).unwrap_or(0)).into());
            let at = Address { host: other, port: 8333 };
            let listed = subnet.addresses().any(|range| range.contains(&at));
            prop_assert_eq!(listed, subnet.contains(&other));
            prop_assert_eq!(listed, (0..prefix).all(|bit| {
                let (Host::Ipv4(other), mask) = (other, 1 << (31 - bit)) else { return false };
                ip & mask == other.to_bits() & mask
            }));
        }
    }
}
