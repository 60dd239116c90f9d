//! `addr` and `addrv2`: what is kept of them.

use peerpool_core::id::{BurnReason, LinkFault};

use super::bytes::{LIMITED, NETWORK, WITNESS, compact, entry, entry_v2, frame, ip, list};
use super::row::{Row, Site, Step, burned, fault, open};

const FULL: u64 = NETWORK | WITNESS;
/// From where we dial.
const OWN: &str = "99.9.9.9";
const DAY: u32 = 86_400;

pub(crate) fn rows(site: &Site) -> Vec<Row> {
    let maker = Maker(*site);
    [
        maker.counts(),
        maker.undecodable(),
        maker.times(),
        maker.hosts(),
        maker.wrong_entries(),
        maker.networks(),
        maker.crowds(),
    ]
    .concat()
}

/// Builds entries that are good on its site.
struct Maker(Site);

/// A row of well-formed gossip, of which `kept` addresses are kept. Before `version` it is out of
/// order, before `verack` it is ignored.
fn gossip(row: Row, kept: usize) -> Row {
    row.gives(burned(BurnReason::Protocol), open(), open().kept(kept))
}

/// A row of messages that cannot be decoded, so many that the link stays up.
fn ignored(row: Row, undecodable: u64) -> Row {
    row.always(open().undecodable(undecodable))
}

fn addr(entries: &[Vec<u8>]) -> Vec<u8> {
    frame("addr", &list(entries))
}

fn addrv2(entries: &[Vec<u8>]) -> Vec<u8> {
    frame("addrv2", &list(entries))
}

impl Maker {
    fn mapped(&self, n: usize) -> [u8; 16] {
        std::net::Ipv4Addr::from(self.0.host(n)).to_ipv6_mapped().octets()
    }

    /// The `n`th good entry.
    fn good(&self, n: usize) -> Vec<u8> {
        entry(self.0.now, FULL, self.mapped(n), 18_555)
    }

    fn good_v2(&self, n: usize) -> Vec<u8> {
        entry_v2(self.0.now, &compact(FULL), 1, &self.0.host(n), 18_555)
    }

    fn many(&self, numbers: std::ops::Range<usize>) -> Vec<u8> {
        addr(&numbers.map(|n| self.good(n)).collect::<Vec<_>>())
    }

    /// An entry that is good but for its time.
    fn at(&self, time: u32) -> Vec<u8> {
        entry(time, FULL, self.mapped(1), 18_555)
    }

    /// A message of the entry and a good one.
    fn beside(&self, entry: Vec<u8>) -> Vec<u8> {
        addr(&[entry, self.good(2)])
    }

    fn beside_v2(&self, net: u8, host: &[u8]) -> Vec<u8> {
        let entry = entry_v2(self.0.now, &compact(FULL), net, host, 18_555);
        addrv2(&[entry, self.good_v2(2)])
    }

    fn counts(&self) -> Vec<Row> {
        let protocol = burned(BurnReason::Protocol);
        let too_many = fault(LinkFault::TooMany);
        let count = |count: u32, name| {
            let entries = if name == "addr" { self.good(1) } else { self.good_v2(1) };
            frame(name, &[compact(count.into()), entries.repeat(count as usize)].concat())
        };
        let megabytes = [compact(133_000), self.good(1).repeat(133_000)].concat();
        vec![
            gossip(
                // One netgroup that one source names has one bucket.
                Row::of(
                    "Addresses",
                    "1000 addresses of one netgroup",
                    vec![Step::Bytes(self.many(1..1001))],
                ),
                64,
            ),
            gossip(
                Row::of(
                    "Addresses",
                    "1000 addresses, then 1000 nobody asked for",
                    vec![Step::Bytes(self.many(1..1001)), Step::Bytes(self.many(2001..3001))],
                ),
                64,
            ),
            Row::new("Addresses", "more than 1000 addresses")
                .frames([
                    ("addr of 1001", count(1001, "addr")),
                    ("addrv2 of 1001", count(1001, "addrv2")),
                    ("1001 and no entry", frame("addr", &compact(1001))),
                    ("133,000 in 4 MB", frame("addr", &megabytes)),
                ])
                .gives(protocol, protocol, too_many)
                .differs("discourages too", "discouraged for a day too"),
            gossip(
                Row::new("Addresses", "bytes behind the last address").frames([
                    ("addr", frame("addr", &[list(&[self.good(1)]), vec![7; 9]].concat())),
                    ("addrv2", frame("addrv2", &[list(&[self.good_v2(1)]), vec![7; 9]].concat())),
                ]),
                1,
            ),
        ]
    }

    fn undecodable(&self) -> Vec<Row> {
        let payloads = |entry: Vec<u8>| {
            let cut = entry[..entry.len() - 1].to_vec();
            [
                ("no payload", vec![]),
                ("empty list", vec![0]),
                ("count of 2^64-1", vec![0xff; 9]),
                ("count of 0x02000001", compact(0x0200_0001)),
                ("1000 that are one", [compact(1000), entry.clone()].concat()),
                ("count not minimal", [vec![0xfd, 1, 0], entry.clone()].concat()),
                ("entry cut short", [vec![2], entry, cut].concat()),
            ]
        };
        let times = |name, count| {
            let both = [("addr", self.good(1)), ("addrv2", self.good_v2(1))];
            let inputs = both.into_iter().flat_map(|(command, entry)| {
                payloads(entry).map(|(label, payload)| {
                    (format!("{command}: {label}"), frame(command, &payload))
                })
            });
            inputs.fold(Row::new("Addresses", name), |row, (label, bytes)| {
                row.input(label, vec![Step::Times(count, bytes)])
            })
        };
        let fourth = burned(BurnReason::Protocol).undecodable(4);
        vec![
            ignored(times("an empty list, a senseless count, a missing end, 3 times", 3), 3),
            times("a list of addresses that cannot be read, 4 times", 4)
                .gives(fourth, fourth, fault(LinkFault::Undecodable).undecodable(4))
                .differs("ignores any number", "three may be a bug; more is a peer of no use"),
        ]
    }

    fn times(&self) -> Vec<Row> {
        let now = self.0.now;
        let stored = "stored, as seen 5 days ago";
        vec![
            gossip(
                Row::new("Addresses", "time 0, an hour ahead, or 2^32-1").frames([
                    ("0", addr(&[self.at(0)])),
                    ("+1 h", addr(&[self.at(now + 3600)])),
                    ("2^32-1", addr(&[self.at(u32::MAX)])),
                ]),
                0,
            )
            .differs(stored, "read as 5 days ago too, and hearsay counts for 3 h only"),
            gossip(
                Row::new("Addresses", "time of 4 h, 40 days ago").frames([
                    ("4 h", addr(&[self.at(now - 4 * 3600)])),
                    ("40 days", addr(&[self.at(now - 40 * DAY)])),
                ]),
                0,
            )
            .differs("stored", "hearsay counts for 3 h only"),
        ]
    }

    fn hosts(&self) -> Vec<Row> {
        let hosts = |name, list: &[&str]| {
            let each = |row: Row, host: &&str| {
                let v1 = self.beside(entry(self.0.now, FULL, ip(host), 18_555));
                let row = row.input(*host, vec![Step::Bytes(v1)]);
                let v2 = match host.parse().expect("an IP address") {
                    std::net::IpAddr::V4(ip) => self.beside_v2(1, &ip.octets()),
                    std::net::IpAddr::V6(ip) => self.beside_v2(2, &ip.octets()),
                };
                row.input(format!("{host} in addrv2"), vec![Step::Bytes(v2)])
            };
            gossip(list.iter().fold(Row::new("Addresses", name).virtual_only(), each), 1)
        };
        let v4 = [
            "0.0.0.0",
            "10.0.0.1",
            "10.1.1.71",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "255.255.255.255",
        ];
        let v6 = [
            "::",
            "::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "2001:db8::1",
            "2001:10::1",
            "::1.2.3.4",
        ];
        let embedded = [
            "2002:a00:1::",
            "2002:7f00:1::1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "2001:0:102:304::f5ff:fffe",
        ];
        let stored = "stored";
        vec![
            hosts("private, reserved or documentation IPv4, beside a good one", &v4),
            hosts("the like of IPv6, beside a good one", &v6),
            hosts(
                "multicast and class E, beside a good one",
                &["224.0.0.1", "240.0.0.1", "ff02::1"],
            )
            .differs(stored, "nobody can be reached there"),
            hosts(
                "6to4, NAT64, SIIT or Teredo around a private IPv4, beside a good one",
                &embedded,
            )
            .differs(stored, "the address inside is dialled in the end"),
            hosts(
                "Tor v2 and Core's own names inside IPv6, beside a good one",
                &["fd87:d87e:eb43::1", "fd6b:88c0:8724::1"],
            ),
            hosts("our own address, beside a good one", &[OWN])
                .differs("stored, passed over when dialling", "there is no use for it"),
        ]
    }

    fn wrong_entries(&self) -> Vec<Row> {
        let port = |port| self.beside(entry(self.0.now, FULL, self.mapped(1), port));
        let services = |services| self.beside(entry(self.0.now, services, self.mapped(1), 18_555));
        let bits = |wire: &[u8]| {
            addrv2(&[entry_v2(self.0.now, wire, 1, &self.0.host(1), 18_555), self.good_v2(2)])
        };
        let ports = [0, 22, 25, 6667].map(|number| (number.to_string(), port(number)));
        vec![
            gossip(
                Row::new("Addresses", "port 0 or of another service, beside a good one")
                    .frames(ports),
                1,
            )
            .differs(
                "stored; avoided for 50 picks",
                "nobody is helped by a knock at a mail server",
            ),
            gossip(
                Row::new("Addresses", "services without those wanted, beside a good one").frames([
                    ("none", services(0)),
                    ("WITNESS", services(WITNESS)),
                    ("NETWORK", services(NETWORK)),
                    ("LIMITED", services(LIMITED)),
                ]),
                1,
            )
            .differs("asks for NETWORK or LIMITED", "it would be burned for its services anyway"),
            gossip(
                Row::of(
                    "Addresses",
                    "services of 2^64-1 in addrv2",
                    vec![Step::Bytes(bits(&[0xff; 9]))],
                ),
                2,
            )
            .differs("stored with all bits", "bits without a meaning are no services"),
            ignored(
                Row::of(
                    "Addresses",
                    "services that are no minimal number in addrv2",
                    vec![Step::Bytes(bits(&[0xfd, 9, 0]))],
                ),
                1,
            ),
        ]
    }

    fn networks(&self) -> Vec<Row> {
        let v2 = |net, host: &[u8]| vec![Step::Bytes(self.beside_v2(net, host))];
        let mapped = ip("1.2.3.4");
        let onioncat = ip("fd87:d87e:eb43::1");
        let lengths: [(&str, u8, usize); 8] = [
            ("IPv4 of 5 B", 1, 5),
            ("IPv4 of 0 B", 1, 0),
            ("IPv6 of 4 B", 2, 4),
            ("Tor v3 of 31 B", 4, 31),
            ("Tor v3 of 33 B", 4, 33),
            ("I2P of 31 B", 5, 31),
            ("CJDNS of 15 B", 6, 15),
            ("unknown of 513 B", 99, 513),
        ];
        let wrong = lengths.into_iter().fold(
            Row::new("Addresses", "addrv2: a wrong length, beside a good one"),
            |row, (label, net, length)| row.input(label, v2(net, &vec![0xfc; length])),
        );
        vec![
            ignored(wrong, 1),
            gossip(
                Row::new(
                    "Addresses",
                    "addrv2: Tor v2, or an unknown network of up to 512 B, beside a good one",
                )
                .input("Tor v2", v2(3, &[7; 10]))
                .input("Tor v2 of 11 B", v2(3, &[7; 11]))
                .input("unknown of 0 B", v2(99, &[]))
                .input("unknown of 512 B", v2(99, &[7; 512])),
                1,
            ),
            gossip(
                Row::new("Addresses", "addrv2: Tor v3, I2P or CJDNS, beside a good one")
                    .input("Tor v3", v2(4, &[7; 32]))
                    .input("I2P", v2(5, &[7; 32]))
                    .input("CJDNS", v2(6, &ip("fc00::1"))),
                1,
            ),
            gossip(
                Row::new(
                    "Addresses",
                    "addrv2: CJDNS without fc, IPv4 or Tor v2 inside IPv6, beside a good one",
                )
                .input("CJDNS", v2(6, &ip("fd00::1")))
                .input("IPv4", v2(2, &mapped))
                .input("Tor v2", v2(2, &onioncat)),
                1,
            ),
            gossip(
                Row::of(
                    "Addresses",
                    "addrv2 though we never sent sendaddrv2",
                    vec![Step::Bytes(addrv2(&[self.good_v2(1)]))],
                )
                .speaking(70_015),
                1,
            ),
        ]
    }

    fn crowds(&self) -> Vec<Row> {
        let one = self.good(5000);
        let repeated = frame("addr", &[compact(1000), one.repeat(1000)].concat());
        let port = |n: u16| entry(self.0.now, FULL, self.mapped(1), 20_000 + n);
        let ports: Vec<_> = (0..1000).map(port).collect();
        let token = "each takes a token";
        vec![
            gossip(
                Row::of(
                    "Addresses",
                    "one address 1000 times, then 1000 good ones",
                    vec![Step::Bytes(repeated), Step::Bytes(self.many(1..1001))],
                ),
                64,
            )
            .differs(token, "it is one address"),
            gossip(
                Row::of("Addresses", "1000 ports of one host", vec![Step::Bytes(addr(&ports))]),
                4,
            )
            .differs(token, "a victim's ports are not for us to scan"),
        ]
    }
}
