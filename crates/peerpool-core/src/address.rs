//! Addresses of any BIP155 network, and which of them may be dialled at all.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{Index, IndexMut};
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Specification};
use sha3::{Digest, Sha3_256};

/// The network an address belongs to. (`bitcoin::Network` means the chain; this is Core's `Network`
/// of `-onlynet`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Net {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Tor, version 3.
    Onion,
    /// I2P.
    I2p,
    /// CJDNS.
    Cjdns,
}

impl Net {
    /// Every network, in the order of declaration.
    pub const ALL: [Net; 5] = [Net::Ipv4, Net::Ipv6, Net::Onion, Net::I2p, Net::Cjdns];

    /// The name in settings, logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Net::Ipv4 => "ipv4",
            Net::Ipv6 => "ipv6",
            Net::Onion => "onion",
            Net::I2p => "i2p",
            Net::Cjdns => "cjdns",
        }
    }

    /// The network of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|net| net.as_str() == name)
    }
}

/// A value for each network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerNet<T>([T; Net::ALL.len()]);

impl<T> PerNet<T> {
    /// A table of values made one by one.
    pub fn new(mut value: impl FnMut() -> T) -> Self {
        Self(std::array::from_fn(|_| value()))
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Index<Net> for PerNet<T> {
    type Output = T;

    #[expect(clippy::indexing_slicing, reason = "there is a place for each network")]
    fn index(&self, net: Net) -> &T {
        &self.0[net as usize]
    }
}

impl<T> IndexMut<Net> for PerNet<T> {
    #[expect(clippy::indexing_slicing, reason = "there is a place for each network")]
    fn index_mut(&mut self, net: Net) -> &mut T {
        &mut self.0[net as usize]
    }
}

/// An address without its port: what "one node counts once" compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address that is no IPv4-mapped one, and none of CJDNS: [`Host::canonical`] sees to it.
    Ipv6(Ipv6Addr),
    /// The public key of a version 3 onion service.
    Onion([u8; 32]),
    /// The hash of an I2P destination.
    I2p([u8; 32]),
    /// A CJDNS address, in `fc00::/8`.
    Cjdns(Ipv6Addr),
}

impl Ord for Host {
    /// By network, then by the bytes of the address. Tables of addresses spend most of their time
    /// here, on IPv4, which compares as a number.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Host::Ipv4(this), Host::Ipv4(that)) => this.to_bits().cmp(&that.to_bits()),
            (Host::Ipv6(this), Host::Ipv6(that)) | (Host::Cjdns(this), Host::Cjdns(that)) => {
                this.to_bits().cmp(&that.to_bits())
            }
            (Host::Onion(this), Host::Onion(that)) | (Host::I2p(this), Host::I2p(that)) => {
                this.cmp(that)
            }
            _ => self.net().cmp(&other.net()),
        }
    }
}

impl PartialOrd for Host {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where a peer can be dialled: a host and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The host.
    pub host: Host,
    /// The TCP port; 0 for I2P.
    pub port: u16,
}

impl Host {
    /// The host itself, so that no comparison sees one node as two: IPv4-mapped IPv6 is IPv4, and
    /// IPv6 in `fc00::/8` of CJDNS, whatever it was taken for. Nothing else there is routable, and
    /// texts and bytes of 16 tell one from the other by nothing else.
    #[must_use]
    pub const fn canonical(self) -> Self {
        let Host::Ipv6(ip) = self else { return self };
        match ip.to_ipv4_mapped() {
            Some(ip) => Host::Ipv4(ip),
            None if is_cjdns(ip) => Host::Cjdns(ip),
            None => self,
        }
    }

    /// The network this host is on.
    pub const fn net(&self) -> Net {
        match self {
            Host::Ipv4(_) => Net::Ipv4,
            Host::Ipv6(_) => Net::Ipv6,
            Host::Onion(_) => Net::Onion,
            Host::I2p(_) => Net::I2p,
            Host::Cjdns(_) => Net::Cjdns,
        }
    }

    /// The IP address to dial, if the host is reached by plain TCP.
    pub const fn ip(&self) -> Option<IpAddr> {
        match *self {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) | Host::Cjdns(ip) => Some(IpAddr::V6(ip)),
            Host::Onion(_) | Host::I2p(_) => None,
        }
    }

    /// The IPv4 address that this host is, or that a transition mechanism embeds in it: 6to4 (RFC
    /// 3964), Teredo (RFC 4380), NAT64 (RFC 6052) and SIIT (RFC 6145), as in Core's `GetGroup`.
    pub fn embedded_ipv4(&self) -> Option<Ipv4Addr> {
        let ip = match self {
            Host::Ipv4(ip) => return Some(*ip),
            Host::Ipv6(ip) => ip,
            _ => return None,
        };
        let [a, b, c, d, e, f, g, h] = ip.segments();
        let join = |hi: u16, lo: u16| Ipv4Addr::from((u32::from(hi) << 16) | u32::from(lo));
        match (a, b, c, d, e, f) {
            (0x2002, ..) => Some(join(b, c)),
            (0x2001, 0, ..) => Some(join(!g, !h)),
            (0x64, 0xff9b, 0, 0, 0, 0) | (0, 0, 0, 0, 0xffff, 0) => Some(join(g, h)),
            _ => None,
        }
    }

    /// Whether the host is reachable from the public internet, as Core's `IsRoutable` has it, and
    /// stricter: multicast, reserved and broadcast ranges are refused, and so is an IPv6 address
    /// whose embedded IPv4 address is.
    pub fn is_routable(&self) -> bool {
        match self {
            Host::Onion(_) | Host::I2p(_) => true,
            Host::Cjdns(ip) => is_cjdns(*ip),
            Host::Ipv4(ip) => is_routable_v4(*ip),
            Host::Ipv6(ip) => {
                is_routable_v6(*ip) && self.embedded_ipv4().is_none_or(is_routable_v4)
            }
        }
    }
}

const fn is_cjdns(ip: Ipv6Addr) -> bool {
    ip.octets()[0] == 0xfc
}

fn is_routable_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => b & 0xc0 == 64,
        169 => b == 254,
        172 => b & 0xf0 == 16,
        192 => (b, c) == (0, 2) || b == 168,
        198 => b & 0xfe == 18 || (b, c) == (51, 100),
        203 => (b, c) == (0, 113),
        _ => a >= 224,
    };
    !special
}

fn is_routable_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, ..] = ip.segments();
    let special = ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || a & 0xfe00 == 0xfc00 // unique local; CJDNS is a Host of its own
        || a & 0xffc0 == 0xfe80 // link local
        || (a, b) == (0x2001, 0xdb8)
        || (a == 0x2001 && matches!(b & 0xfff0, 0x10 | 0x20)) // ORCHID
        || (a, b, c) == (0xfd6b, 0x88c0, 0x8724) // Core's internal names
        || ip.octets()[..12] == [0; 12]; // deprecated IPv4-compatible
    !special
}

impl Address {
    /// The network this address is on.
    pub const fn net(&self) -> Net {
        self.host.net()
    }

    /// The socket address to dial, if the address is reached by plain TCP.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.host.ip().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self { host: addr.ip().into(), port: addr.port() }
    }
}

impl From<IpAddr> for Host {
    /// As [`Host::canonical`].
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip).canonical(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ipv4(ip) => ip.fmt(f),
            Host::Ipv6(ip) | Host::Cjdns(ip) => ip.fmt(f),
            Host::Onion(key) => {
                let mut bytes = [0; 35];
                bytes[..32].copy_from_slice(key);
                bytes[32..34].copy_from_slice(&onion_checksum(key));
                bytes[34] = ONION_VERSION;
                write!(f, "{}.onion", base32_lower().encode(&bytes))
            }
            Host::I2p(hash) => write!(f, "{}.b32.i2p", base32_lower().encode(hash)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Ipv6(ip) | Host::Cjdns(ip) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no address; expected IP:PORT, [IPV6]:PORT, NAME.onion:PORT or NAME.b32.i2p:0 \
             (the port may be left out where a chain gives a default)",
            self.0
        )
    }
}

impl std::error::Error for ParseAddressError {}

impl Address {
    /// Reads an address, with `default_port` where the text names none.
    ///
    /// # Errors
    /// The text is not an IP address, an onion or I2P name, with an optional port.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, ParseAddressError> {
        let fail = || ParseAddressError(text.to_owned());
        if let Ok(addr) = SocketAddr::from_str(text) {
            return Ok(addr.into());
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = IpAddr::from_str(bare) {
            return Ok(Self { host: ip.into(), port: default_port });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| fail())?),
            None => (text, default_port),
        };
        let host = parse_name(name).ok_or_else(fail)?;
        Ok(Self { host, port })
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    /// Reads an address whose port is written out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let without = Self::parse(text, 0)?;
        if Self::parse(text, 1)? == without {
            Ok(without)
        } else {
            Err(ParseAddressError(text.into()))
        }
    }
}

const ONION_VERSION: u8 = 3;

fn parse_name(name: &str) -> Option<Host> {
    let lower = name.to_ascii_lowercase();
    if let Some(label) = lower.strip_suffix(".onion") {
        let bytes: [u8; 35] = base32_lower().decode(label.as_bytes()).ok()?.try_into().ok()?;
        let key: [u8; 32] = bytes[..32].try_into().ok()?;
        let valid = bytes[32..34] == onion_checksum(&key) && bytes[34] == ONION_VERSION;
        return valid.then_some(Host::Onion(key));
    }
    let label = lower.strip_suffix(".b32.i2p")?;
    let hash = base32_lower().decode(label.as_bytes()).ok()?.try_into().ok()?;
    Some(Host::I2p(hash))
}

/// The checksum inside an onion name (Tor rend-spec-v3, section 6).
fn onion_checksum(key: &[u8; 32]) -> [u8; 2] {
    let digest: [u8; 32] = Sha3_256::new()
        .chain_update(b".onion checksum")
        .chain_update(key)
        .chain_update([ONION_VERSION])
        .finalize()
        .into();
    let [first, second, ..] = digest;
    [first, second]
}

#[expect(clippy::expect_used, reason = "of a constant")]
fn base32_lower() -> data_encoding::Encoding {
    let mut spec: Specification = BASE32_NOPAD.specification();
    spec.symbols.make_ascii_lowercase();
    spec.encoding().expect("the lower-cased alphabet of BASE32_NOPAD is a valid alphabet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_name() {
        let ipv6 = |text: &str| Host::Ipv6(text.parse().expect("an IPv6 address"));
        assert_eq!(ipv6("::ffff:1.2.3.4").canonical(), host("1.2.3.4"));
        assert_eq!(ipv6("fc00::1").canonical(), Host::Cjdns("fc00::1".parse().expect("one")));
        for other in ["fd00::1", "::1.2.3.4", "64:ff9b::102:304", "2a01::1"] {
            assert_eq!(ipv6(other).canonical(), ipv6(other));
        }
    }

    fn host(text: &str) -> Host {
        Address::parse(text, 1).expect("a valid address").host
    }

    #[test]
    fn names_round_trip() {
        // The onion name of the Tor project's site and an I2P name of Core's own tests.
        for text in [
            "1.2.3.4:8333",
            "[2a01::1]:8333",
            "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333",
            "c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p:0",
            "[fc00:1::2]:8333",
        ] {
            let address: Address = text.parse().expect("a valid address");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn an_address_of_cjdns_is_known_by_its_first_byte() {
        for text in ["fc00::1", "[fcff::1]", "[fc12::1]:8333"] {
            assert_eq!(host(text).net(), Net::Cjdns, "{text}");
        }
        for text in ["fd00::1", "fb00::1", "[fe80::fc00]:8333"] {
            assert_eq!(host(text).net(), Net::Ipv6, "{text}");
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_text_in_the_error() {
        for text in [
            "",
            "1.2.3.4",
            "1.2.3.4:99999",
            "example.com:8333",
            "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wie.onion:1", // checksum
            "abc.onion:1",
        ] {
            let error = text.parse::<Address>().expect_err("must be refused");
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_self() {
        assert_eq!(host("::ffff:1.2.3.4"), host("1.2.3.4"));
    }

    #[test]
    fn unroutable_ranges_are_known() {
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::1.2.3.4",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001:10::1",
            "2001:20::1",
            "fd87:d87e:eb43::1",
            "fd6b:88c0:8724::1",
            "2002:a00:1::",
            "64:ff9b::10.0.0.1",
        ] {
            assert!(!host(text).is_routable(), "{text}");
        }
        for text in
            ["1.2.3.4", "11.0.0.1", "172.32.0.1", "2a01::1", "2002:102:304::", "64:ff9b::1.2.3.4"]
        {
            assert!(host(text).is_routable(), "{text}");
        }
        assert!(host("fc00::1").is_routable());
        assert!(!Host::Cjdns("fd00::1".parse().expect("an IPv6 address")).is_routable());
    }
}
